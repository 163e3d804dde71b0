"""Metrics of those with the highest scores: how many of them are true."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from temporal_attr._errors import OptionError
from temporal_attr._require import require_count, require_within
from temporal_attr._told import shown
from temporal_attr.evaluation._case import Case, ScoresOf
from temporal_attr.evaluation._metric import Metric, MetricTraits, Score
from temporal_attr.evaluation._scores import (
    ScoreRow,
    Scores,
    TrueFeatures,
    TrueRow,
    rows_of,
)


def rank_accuracy(scores: Scores, truth: TrueFeatures) -> float:
    """The share of the K highest scores that is true, where K is how many are true.

    :cite:t:`arras2022`, relevance rank accuracy.

    Args:
        scores: `(*features)`, of any sign. Of those with equal scores, as many as there is room for
            are drawn: the expectation of that.
        truth: `(*features)`, true for at least one feature.

    Returns:
        A number in [0, 1].

    Raises:
        DataError: If the shapes are not one, a score is no number, or nothing is true.

    Example:
        >>> rank_accuracy(np.array([3.0, 2.0, 1.0]), np.array([True, False, True]))
        0.5
    """
    row, true = rows_of(scores, truth)
    count = int(true.sum())
    return _true_of_highest(row, true, count) / count


@dataclass(frozen=True)
class RankAccuracy(Metric):
    """Of as many of the highest scores as decide, how many decide? See `rank_accuracy`.

    By chance, and for equal scores, it is the share of what decides.

    Attributes:
        of: "frames" or "pixels".

    Raises:
        DataError: From `score`, if the case has no such scores or truth.

    Example:
        >>> RankAccuracy("pixels").name
        'rank-accuracy-pixels'
    """

    of: ScoresOf = "frames"

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="rank-accuracy",
        question="Of as many of the highest scores as decide, which share decides?",
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
        return Score(rank_accuracy(case.scores(self.of), case.true(self.of)))


def top_k_intersection(scores: Scores, truth: TrueFeatures, k: int | float = 1) -> float:
    """The share of the k highest scores that is true (:cite:t:`theiner2022`).

    Args:
        scores: `(*features)`, of any sign. Of those with equal scores, as many as there is room for
            are drawn: the expectation of that.
        truth: `(*features)`, true for at least one feature.
        k: How many; or below 1, which share of all, rounded, but at least one.

    Returns:
        A number in [0, 1]; with fewer than k true ones, at most their number over k.

    Raises:
        DataError: If the shapes are not one, a score is no number, or nothing is true.
        OptionError: If k is no such number, or there are fewer scores.

    Example:
        >>> top_k_intersection(np.array([3.0, 2.0, 1.0]), np.array([True, False, True]), k=2)
        0.5
    """
    row, true = rows_of(scores, truth)
    _require_k(k)
    count = k if isinstance(k, int) else max(round(k * len(row)), 1)
    if count > len(row):
        raise OptionError(
            f"k at most {len(row)}, which is how many scores there are",
            shown(k),
            "Ask for fewer, or for a share below 1.",
        )
    return _true_of_highest(row, true, count) / count


def _require_k(k: int | float) -> None:
    if isinstance(k, int):
        require_count("k", k, 1)
    elif not 0 < k < 1:
        raise OptionError(
            "k as a whole number of at least 1, or a share between 0 and 1",
            shown(k),
            "Choose another k.",
        )


@dataclass(frozen=True)
class TopKIntersection(Metric):
    """Which share of the k highest scores decides? See `top_k_intersection`.

    By chance, and for equal scores, it is the share of what decides.

    Attributes:
        of: "frames" or "pixels".
        k: How many; or below 1, which share of all.

    Raises:
        OptionError: If k is no such number; from `score`, if there are fewer scores.
        DataError: From `score`, if the case has no such scores or truth.

    Example:
        >>> TopKIntersection("pixels", k=0.01).name
        'top-k-intersection-pixels(k=0.01)'
    """

    of: ScoresOf = "frames"
    k: int | float = 1

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="top-k-intersection",
        question="Which share of the k highest scores decides?",
        family="truth",
        needs=("truth",),
        higher_is_better=True,
        lowest=0,
        highest=1,
        cost="0",
        source="theiner2022",
    )

    def __post_init__(self) -> None:
        _require_k(self.k)

    def score(self, case: Case) -> Score:
        """The share, in [0, 1]."""
        return Score(top_k_intersection(case.scores(self.of), case.true(self.of), self.k))


def _true_of_highest(scores: ScoreRow, truth: TrueRow, count: int) -> float:
    """How many of the `count` highest are true, in expectation over orders of equal scores."""
    least = np.partition(scores, len(scores) - count)[len(scores) - count]
    above, level = scores > least, scores == least
    room = count - above.sum()
    return float(truth[above].sum() + room * truth[level].sum() / level.sum())


def intersection_over_union(scores: Scores, truth: TrueFeatures, quantile: float = 0.9) -> float:
    """Intersection over union of the truth and the scores from a quantile on.

    As :cite:t:`bau2017` compares the map of a unit with a mask, but for the quantile: theirs is one
    of all images, here it is one of these scores.

    Args:
        scores: `(*features)`, of any sign. Those equal to the quantile count too; if all are equal,
            all do.
        truth: `(*features)`, true for at least one feature.
        quantile: In [0, 1]; between two scores, on the line between them.

    Returns:
        A number in [0, 1]: 1 if those from the quantile on are just the true ones.

    Raises:
        DataError: If the shapes are not one, a score is no number, or nothing is true.
        OptionError: If this is no quantile.

    Example:
        >>> scores, truth = np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, False, False, False])
        >>> intersection_over_union(scores, truth, quantile=0.5)
        0.5
    """
    row, true = rows_of(scores, truth)
    require_within("quantile", quantile, 0, 1)
    # A quantile between two scores parts the same as the upper one. A product that is whole but for
    # rounding is whole: 0.55 of 20 is 11.
    place = math.ceil(quantile * (len(row) - 1) * (1 - 4 * sys.float_info.epsilon))
    high = row >= np.partition(row, place)[place]
    return float((high & true).sum() / (high | true).sum())


@dataclass(frozen=True)
class IoU(Metric):
    """Are those with high scores just those that decide? See `intersection_over_union`.

    It reaches 1 only where the quantile leaves as many as decide. Equal scores give the share of
    what decides.

    Attributes:
        of: "frames" or "pixels".
        quantile: From which on a score is high, in [0, 1].

    Raises:
        OptionError: If this is no quantile.
        DataError: From `score`, if the case has no such scores or truth.

    Example:
        >>> IoU("pixels", quantile=0.95).name
        'iou-pixels(quantile=0.95)'
    """

    of: ScoresOf = "frames"
    quantile: float = 0.9

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="iou",
        question="How far do those with high scores and those that decide overlap?",
        family="truth",
        needs=("truth",),
        higher_is_better=True,
        lowest=0,
        highest=1,
        cost="0",
        source="bau2017",
    )

    def __post_init__(self) -> None:
        require_within("quantile", self.quantile, 0, 1)

    def score(self, case: Case) -> Score:
        """Intersection over union, in [0, 1]."""
        return Score(
            intersection_over_union(case.scores(self.of), case.true(self.of), self.quantile)
        )
