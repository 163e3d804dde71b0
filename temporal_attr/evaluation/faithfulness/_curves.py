"""Features removed, or shown, in the order of their scores: the area under what is predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar, Literal, TypeAlias, get_args

import numpy as np
import torch
from jaxtyping import Float, Int

from temporal_attr._errors import DataError
from temporal_attr._require import require_count
from temporal_attr.evaluation._case import Case
from temporal_attr.evaluation._metric import Metric, MetricTraits, Score
from temporal_attr.evaluation.faithfulness._features import (
    FeatureClips,
    FeatureMetric,
    Present,
    falling_by_chance,
    require_one_of,
    ties_note,
)

Order: TypeAlias = Literal["most", "least"]
"""Whether the features with the largest scores come first, or those with the smallest."""


def curve_area(counts: Sequence[int], values: Float[np.ndarray, "points"]) -> float:
    """The area under a curve over the share of features, by the trapezoid rule.

    It is the mean height of the curve, so it lies between its smallest and largest value.

    Args:
        counts: How many features are removed (or shown) at each point, from 0 to all, rising.
        values: `(points,)`, what is predicted there.

    Raises:
        DataError: If there are not as many counts as values, or counts do not rise from 0.

    Example:
        >>> curve_area([0, 1, 4], np.array([1.0, 0.0, 0.0]))  # the first of four features is all
        0.125
    """
    rising = all(first < second for first, second in pairwise(counts))
    if len(counts) != len(values) or len(counts) < 2 or counts[0] != 0 or not rising:
        raise DataError(
            "a value for each of at least two counts, which rise from 0",
            f"{len(values)} values and counts {list(counts)[:5]}",
            "Give the counts at which the values were found.",
        )
    return float(np.trapezoid(values, np.asarray(counts) / counts[-1]))


def area_between_curves(
    counts: Sequence[int],
    least: Float[np.ndarray, "points"],
    most: Float[np.ndarray, "points"],
) -> float:
    """The area between two curves of removal (ABPC, :cite:t:`samek2017`).

    Args:
        counts: As for `curve_area`.
        least: `(points,)`, what is predicted as features with the smallest scores go first.
        most: `(points,)`, as those with the largest go first.

    Returns:
        Positive if the prediction drops later where features with small scores go first.

    Raises:
        DataError: As `curve_area`.

    Example:
        >>> area_between_curves([0, 1, 2], np.array([1.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0]))
        0.5
    """
    return curve_area(counts, least) - curve_area(counts, most)


def removal_counts(features: int, steps: int) -> list[int]:
    """After how many features the model is asked: all counts, or at most so many steps.

    Args:
        features: How many there are.
        steps: At most so many steps from none to all, evenly spaced up to rounding.

    Example:
        >>> removal_counts(3, steps=32), removal_counts(10, steps=4)
        ([0, 1, 2, 3], [0, 2, 5, 8, 10])
    """
    return [round(one) for one in np.linspace(0, features, min(features, steps) + 1)]


def taken(order: Int[np.ndarray, "features"], counts: Sequence[int]) -> Present:
    """For each count, which features are among the first so many of an order.

    Example:
        >>> taken(np.array([2, 0, 1]), [0, 1, 2]).int().tolist()
        [[0, 0, 0], [0, 0, 1], [1, 0, 1]]
    """
    rank = np.empty(len(order), dtype=int)
    rank[order] = np.arange(len(order))
    return torch.from_numpy(rank < np.asarray(counts)[:, None])


@dataclass(frozen=True)
class _Curve(FeatureMetric):
    """Base of the metrics of a curve of removal.

    Attributes:
        steps: Steps of a curve from none to all features; of fewer features there is one for each.
    """

    steps: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("steps", self.steps, 1)

    def _removed(
        self, clips: FeatureClips, order: Int[np.ndarray, "features"], counts: Sequence[int]
    ) -> Float[np.ndarray, "points"]:
        return clips.values(~taken(order, counts), self.objective)

    def _score(self, clips: FeatureClips, value: float, **curves: Float[np.ndarray, "_"]) -> Score:
        return Score(
            value,
            forward_passes=clips.predictions.spent(),
            note=ties_note(clips.means),
            curves={name: tuple(map(float, curve)) for name, curve in curves.items()},
        )


@dataclass(frozen=True)
class _OrderedCurve(_Curve):
    """Base of the metrics of one curve.

    Attributes:
        order: Whether features with the largest scores come first (`"most"`), or those with the
            smallest (`"least"`), which turns round what is better; `traits` of the metric say so.
    """

    order: Order = "most"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("order", self.order, get_args(Order))
        if self.order == "least":
            turned_round(self)

    def _ordered(self, clips: FeatureClips, seed: int) -> Int[np.ndarray, "features"]:
        return falling_by_chance(clips.means if self.order == "most" else -clips.means, seed)


def turned_round(metric: Metric) -> None:
    """Let the traits of one metric say that the other direction is better."""
    traits = replace(metric.traits, higher_is_better=not metric.traits.higher_is_better)
    object.__setattr__(metric, "traits", traits)


@dataclass(frozen=True)
class Deletion(_OrderedCurve):
    """How soon does the prediction drop as what counts most is removed?

    Features are removed in the order of their scores, and the area under the objective over the
    share that is removed is the value (:cite:t:`petsiuk2018`, deletion; the curve is that of
    :cite:t:`samek2017`, who take its mean drop). The order of equal scores is drawn from the case's
    seed. Frames that are replaced by others make clips that no camera took, but frames are natural
    ones; see `AbsentFrames` for what stands for them.

    Args:
        features: `"frames"`, or a feature mask; see `Features`.
        baselines: What replaces what is removed; None for `"neighbour"` of frames and `"blur"` of
            others.
        objective: `"probability"` of the target, `"logit"` or `"log_probability"`; the range of the
            traits is that of the first.
        steps: Steps from none to all features; of fewer features there is one for each.
        order: `"most"`, or `"least"` to remove the smallest scores first; then higher is better.

    Example:
        >>> from temporal_attr.evaluation._case import Case, Explanation
        >>> clip = torch.tensor([4.0, 2.0, 0.0, 0.0]).reshape(1, 4, 1, 1, 1)
        >>> total = lambda clip: clip.sum((1, 2, 3, 4))[:, None]
        >>> case = Case(total, clip, 0, Explanation(torch.tensor([4.0, 2.0, 0.0, 0.0])))
        >>> Deletion(baselines=0.0, objective="logit").score(case).curves["objective"]
        (6.0, 2.0, 0.0, 0.0, 0.0)
    """

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="deletion",
        question="How soon does the prediction drop as what counts most is removed?",
        family="faithfulness",
        needs=("model",),
        higher_is_better=False,
        lowest=0.0,
        highest=1.0,
        cost="(S + 1) F for S steps; frames of a framewise model: at most 2 F",
        source="petsiuk2018",
    )

    def score(self, case: Case) -> Score:
        """The area under the curve, which is in `curves` over the share that is removed."""
        clips = self.clips(case)
        counts = removal_counts(clips.count, self.steps)
        values = self._removed(clips, self._ordered(clips, case.seed), counts)
        shares = np.asarray(counts) / clips.count
        return self._score(clips, curve_area(counts, values), removed=shares, objective=values)


@dataclass(frozen=True)
class Insertion(_OrderedCurve):
    """How soon does the prediction rise as what counts most is shown?

    The same as `Deletion` from the other end: all features are removed, and shown in the order of
    their scores (:cite:t:`petsiuk2018`, insertion).

    Args:
        features: As for `Deletion`.
        baselines: As for `Deletion`.
        objective: As for `Deletion`.
        steps: As for `Deletion`.
        order: `"most"`, or `"least"` to show the smallest scores first; then lower is better.

    Example:
        >>> from temporal_attr.evaluation._case import Case, Explanation
        >>> clip = torch.tensor([4.0, 2.0, 0.0, 0.0]).reshape(1, 4, 1, 1, 1)
        >>> total = lambda clip: clip.sum((1, 2, 3, 4))[:, None]
        >>> case = Case(total, clip, 0, Explanation(torch.tensor([4.0, 2.0, 0.0, 0.0])))
        >>> Insertion(baselines=0.0, objective="logit").score(case).curves["objective"]
        (0.0, 4.0, 6.0, 6.0, 6.0)
    """

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="insertion",
        question="How soon does the prediction rise as what counts most is shown?",
        family="faithfulness",
        needs=("model",),
        higher_is_better=True,
        lowest=0.0,
        highest=1.0,
        cost="(S + 1) F for S steps; frames of a framewise model: at most 2 F",
        source="petsiuk2018",
    )

    def score(self, case: Case) -> Score:
        """The area under the curve, which is in `curves` over the share that is shown."""
        clips = self.clips(case)
        counts = removal_counts(clips.count, self.steps)
        order = self._ordered(clips, case.seed)
        values = clips.values(taken(order, counts), self.objective)
        shares = np.asarray(counts) / clips.count
        return self._score(clips, curve_area(counts, values), shown=shares, objective=values)


@dataclass(frozen=True)
class ABPC(_Curve):
    """How much later does the prediction drop if what counts least is removed first?

    The area between perturbation curves (:cite:t:`samek2017`, appendix): `Deletion` with the
    smallest scores first, less `Deletion` with the largest first. What a model makes of clips with
    features removed is in both, so it counts for less than in either. Scores with the other sign
    get the negative, constant scores 0, and so do random ones in expectation.

    Args:
        features: As for `Deletion`.
        baselines: As for `Deletion`.
        objective: As for `Deletion`.
        steps: As for `Deletion`.

    Example:
        >>> from temporal_attr.evaluation._case import Case, Explanation
        >>> clip = torch.tensor([4.0, 2.0]).reshape(1, 2, 1, 1, 1)
        >>> total = lambda clip: clip.sum((1, 2, 3, 4))[:, None]
        >>> case = Case(total, clip, 0, Explanation(torch.tensor([4.0, 2.0])))
        >>> ABPC(baselines=0.0, objective="logit").score(case).value
        1.0
    """

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="abpc",
        question="How much later does the prediction drop if what counts least goes first?",
        family="faithfulness",
        needs=("model",),
        higher_is_better=True,
        lowest=-1.0,
        highest=1.0,
        cost="2 S F for S steps; frames of a framewise model: at most 2 F",
        source="samek2017",
    )

    def score(self, case: Case) -> Score:
        """The area between the curves, which are in `curves` over the share that is removed."""
        clips = self.clips(case)
        counts = removal_counts(clips.count, self.steps)
        least, most = (
            self._removed(clips, falling_by_chance(sign * clips.means, case.seed), counts)
            for sign in (-1, 1)
        )
        value = area_between_curves(counts, least, most)
        shares = np.asarray(counts) / clips.count
        return self._score(clips, value, removed=shares, least=least, most=most)
