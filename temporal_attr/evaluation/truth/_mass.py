"""The metric of the share of the sum of scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from temporal_attr.evaluation._case import Case, ScoresOf
from temporal_attr.evaluation._metric import Metric, MetricTraits, Score
from temporal_attr.evaluation._scores import Scores, TrueFeatures, rows_of, score_of


def mass_accuracy(scores: Scores, truth: TrueFeatures) -> float:
    """The share of the sum of scores that is true (:cite:t:`arras2022`, relevance mass accuracy).

    Their scores are made positive before; here those below 0 count as 0.

    Args:
        scores: `(*features)`, of any sign.
        truth: `(*features)`, true for at least one feature.

    Returns:
        A number in [0, 1]; NaN if no score is above 0.

    Raises:
        DataError: If the shapes are not one, a score is no number, or nothing is true.

    Example:
        >>> mass_accuracy(np.array([3.0, 1.0, -4.0]), np.array([True, False, False]))
        0.75
    """
    row, true = rows_of(scores, truth)
    if row.max() <= 0:
        return float("nan")
    # The largest is 1, so that no sum overflows.
    mass = np.maximum(row, 0) / row.max()
    within = mass[true].sum()
    return float(within / (within + mass[~true].sum()))


@dataclass(frozen=True)
class MassAccuracy(Metric):
    """Which share of all that is said for the class lies where it is decided? See `mass_accuracy`.

    Equal scores give the share of what decides. NaN where no score is above 0.

    Attributes:
        of: "frames" or "pixels".

    Raises:
        DataError: From `score`, if the case has no such scores or truth.

    Example:
        >>> MassAccuracy().name
        'mass-accuracy-frames'
    """

    of: ScoresOf = "frames"

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="mass-accuracy",
        question="Which share of all positive scores lies on what decides?",
        family="truth",
        needs=("truth",),
        higher_is_better=True,
        lowest=0,
        highest=1,
        cost="0",
        source="arras2022",
    )

    def score(self, case: Case) -> Score:
        """The share, in [0, 1]."""
        value = mass_accuracy(case.scores(self.of), case.true(self.of))
        return score_of(value, "no score is above 0")
