"""Scores and truth as all metrics of numbers take them: one row, in float64, checked."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float

from temporal_attr._errors import DataError
from temporal_attr.evaluation._metric import Score

Scores: TypeAlias = Float[np.ndarray, "*features"]
"""One number for each feature: frames `(time,)`, pixels `(time, height, width)`, or any others."""

TrueFeatures: TypeAlias = Bool[np.ndarray, "*features"]
"""Whether each feature decides the class, in the shape of the scores."""

ScoreRow: TypeAlias = Float[np.ndarray, " features"]
TrueRow: TypeAlias = Bool[np.ndarray, " features"]


def row_of(scores: Scores) -> ScoreRow:
    """The scores in one row, in float64.

    Raises:
        DataError: If there are none, or not all are numbers.
    """
    row = np.asarray(scores, np.float64).ravel()
    if not len(row):
        raise DataError("scores of at least one feature", "none", "Pass the scores of a clip.")
    bad = int((~np.isfinite(row)).sum())
    if bad:
        raise DataError(
            "scores that are numbers",
            f"{bad} of {len(row)} NaN or infinite",
            "Look at what the method gives for this clip.",
        )
    return row


def rows_of(scores: Scores, truth: TrueFeatures) -> tuple[ScoreRow, TrueRow]:
    """The scores, and what is true, in one row each.

    Raises:
        DataError: If there are no scores, not all are numbers, the shapes are not one, or nothing
            is true.
    """
    if scores.shape != truth.shape:
        raise DataError(
            f"truth of shape {scores.shape}, as the scores",
            f"shape {truth.shape}",
            "Give both for the same frames or pixels.",
        )
    row = row_of(scores)
    if not truth.any():
        raise DataError(
            "at least one feature that is true",
            f"none of {truth.size}",
            "Leave clips out of which nothing is known to decide the class.",
        )
    return row, truth.ravel()


def sizes_of(scores: Scores) -> ScoreRow:
    """The magnitudes in one row, over the largest of them: sums of them cannot overflow.

    Raises:
        DataError: As `row_of`.
    """
    sizes: ScoreRow = np.abs(row_of(scores))
    largest = sizes.max()
    return sizes / largest if largest else sizes


def score_of(value: float, without: str) -> Score:
    """The score, with a note why where there is no value."""
    return Score(value, note=without if math.isnan(value) else "")
