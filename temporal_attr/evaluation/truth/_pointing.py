"""Metrics of where the highest score stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float

from temporal_attr.evaluation._case import Case, ScoresOf
from temporal_attr.evaluation._metric import Metric, MetricTraits, Score
from temporal_attr.evaluation._scores import Scores, TrueFeatures, rows_of

PointingRule: TypeAlias = Literal["max", "mean-of-maxima"]
"""Which place the highest score points at."""


def pointing_game(scores: Scores, truth: TrueFeatures, rule: PointingRule = "max") -> float:
    """Whether the highest score stands where truth is (:cite:t:`zhang2016`).

    Their tolerance of 15 pixels around the truth is left out.

    Args:
        scores: `(*features)`, of any sign.
        truth: `(*features)`, true for at least one feature.
        rule: "max": of several with the highest score, the share that is true, which is the
            expectation if one of them is drawn. "mean-of-maxima", as the code of
            :cite:t:`gayamorey2024` does: the mean position of those with the highest score, along
            each axis, rounded (halves to the even number); it may have a low score itself.

    Returns:
        A number in [0, 1]; 0 or 1 by the mean of maxima.

    Raises:
        DataError: If the shapes are not one, a score is no number, or nothing is true.

    Example:
        >>> scores, truth = np.array([2.0, 0.0, 2.0]), np.array([True, False, False])
        >>> pointing_game(scores, truth), pointing_game(scores, truth, "mean-of-maxima")
        (0.5, 0.0)
    """
    row, true = rows_of(scores, truth)
    if rule == "max":
        return float(true[row == row.max()].mean())
    places = np.argwhere(scores == scores.max())
    middle = np.rint(places.mean(0)).astype(int)
    return float(truth[tuple(middle)])


@dataclass(frozen=True)
class PointingGame(Metric):
    """Does the highest score stand where the class is decided? See `pointing_game`.

    By chance, and for equal scores (by the rule "max"), it is the share of what decides.

    Attributes:
        of: "frames" or "pixels".
        rule: Where several have the highest score: see `pointing_game`.

    Raises:
        DataError: From `score`, if the case has no such scores or truth.

    Example:
        >>> PointingGame("pixels", "mean-of-maxima").name
        'pointing-game-pixels(rule=mean-of-maxima)'
    """

    of: ScoresOf = "frames"
    rule: PointingRule = "max"

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="pointing-game",
        question="Does the highest score stand where the class is decided?",
        family="truth",
        needs=("truth",),
        higher_is_better=True,
        lowest=0,
        highest=1,
        cost="0",
        source="zhang2016",
    )

    def score(self, case: Case) -> Score:
        """The share of those with the highest score that decides, in [0, 1]."""
        return Score(pointing_game(case.scores(self.of), case.true(self.of), self.rule))


def peak_distance(scores: Float[np.ndarray, " time"], truth: Bool[np.ndarray, " time"]) -> float:
    """How far the frame with the highest score is from the nearest true frame.

    Args:
        scores: `(time,)`, of any sign. Of several with the highest score, the mean of their
            distances.
        truth: `(time,)`, true for at least one frame.

    Returns:
        A number of frames, 0 or more and below the number of frames.

    Raises:
        DataError: If the shapes are not one, a score is no number, or nothing is true.

    Example:
        >>> peak_distance(np.array([0.0, 0.0, 0.0, 1.0]), np.array([True, True, False, False]))
        2.0
    """
    row, true = rows_of(scores, truth)
    peaks, deciding = np.flatnonzero(row == row.max()), np.flatnonzero(true)
    # The last true frame up to each peak, and the first after it; outside of them, the nearest.
    after = np.searchsorted(deciding, peaks)
    around = deciding[np.clip([after - 1, after], 0, len(deciding) - 1)]
    return float(np.abs(around - peaks).min(0).mean())


@dataclass(frozen=True)
class PeakDistance(Metric):
    """By how many frames does the highest score miss those that decide? See `peak_distance`.

    Raises:
        DataError: From `score`, if the case has no scores of frames or truth.

    Example:
        >>> PeakDistance().name
        'peak-distance'
    """

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="peak-distance",
        question="By how many frames does the highest score miss those that decide?",
        family="truth",
        needs=("truth",),
        higher_is_better=False,
        lowest=0,
        highest=float("inf"),
        cost="0",
        source="",
    )

    def score(self, case: Case) -> Score:
        """The distance in frames, 0 or more."""
        return Score(peak_distance(case.scores("frames"), case.true("frames")))
