"""The metric of how much scores jump from frame to frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from temporal_attr.evaluation._case import Case
from temporal_attr.evaluation._metric import Metric, MetricTraits, Score
from temporal_attr.evaluation._scores import row_of, score_of
from temporal_attr.evaluation.complexity._spread import NOTHING


def temporal_roughness(scores: Float[np.ndarray, " time"]) -> float:
    """How much scores change from frame to frame, over their magnitudes.

    `Σ_t |s_{t+1} - s_t| / Σ_t |s_t|`: the total variation over the norm.

    Args:
        scores: `(time,)`, of any sign.

    Returns:
        From 0, where all are equal, to 2, which only scores reach that are 0 in the first and the
        last frame, and in between have no two neighbours of one sign. NaN if all scores are 0.

    Raises:
        DataError: If there are no scores, or one is no number.

    Example:
        >>> temporal_roughness(np.array([0.0, 1.0, 1.0, 0.0]))
        1.0
    """
    row = row_of(scores)
    if not row.any():
        return math.nan
    # The largest is 1, so that no sum overflows.
    row = row / np.abs(row).max()
    return min(float(np.abs(np.diff(row)).sum() / np.abs(row).sum()), 2.0)


@dataclass(frozen=True)
class TemporalRoughness(Metric):
    """How much do scores jump from frame to frame? See `temporal_roughness`.

    Neither is better: a class may be decided by one frame. NaN where all scores are 0.

    Raises:
        DataError: From `score`, if the case has no scores of frames.

    Example:
        >>> TemporalRoughness().name
        'temporal-roughness'
    """

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="temporal-roughness",
        question="How much do scores jump from frame to frame?",
        family="complexity",
        needs=(),
        higher_is_better=None,
        lowest=0,
        highest=2,
        cost="0",
        source="",
    )

    def score(self, case: Case) -> Score:
        """The change over the magnitude, in [0, 2]."""
        return score_of(temporal_roughness(case.scores("frames")), NOTHING)
