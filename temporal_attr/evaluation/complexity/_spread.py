"""Metrics of how many features an explanation is spread over."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from scipy.special import entr

from temporal_attr.evaluation._case import Case, ScoresOf
from temporal_attr.evaluation._metric import Metric, MetricTraits, Score
from temporal_attr.evaluation._scores import Scores, score_of, sizes_of

NOTHING = "all scores are 0"


def entropy(scores: Scores, normalized: bool = False) -> float:
    """The entropy of the shares that features have of the sum of magnitudes.

    `-Σ p ln p` with `p = |s| / Σ|s|` (:cite:t:`bhatt2020`, complexity), in nats.

    Args:
        scores: `(*features)`, of any sign.
        normalized: Whether to divide by ln n, which is the entropy of n equal scores.

    Returns:
        From 0, where one feature has all, to ln n, or to 1 if normalized. NaN if all scores are 0;
        and for a single feature, if normalized.

    Raises:
        DataError: If there are no scores, or one is no number.

    Example:
        >>> round(entropy(np.array([1.0, -1.0, 0.0, 0.0])), 4)
        0.6931
        >>> round(entropy(np.array([1.0, -1.0, 0.0, 0.0]), normalized=True), 4)
        0.5
    """
    sizes = sizes_of(scores)
    largest = math.log(len(sizes))
    if not sizes.any() or (normalized and not largest):
        return math.nan
    # Rounding may lead out of the range.
    found = min(max(0.0, float(entr(sizes / sizes.sum()).sum())), largest)
    return found / largest if normalized else found


@dataclass(frozen=True)
class Entropy(Metric):
    """Over how many features is the explanation spread, in nats? See `entropy`.

    NaN where all scores are 0.

    Attributes:
        of: "frames" or "pixels".
        normalized: Whether equal scores are to give 1, however many there are.

    Raises:
        DataError: From `score`, if the case has no such scores.

    Example:
        >>> Entropy("pixels", normalized=True).name
        'entropy-pixels(normalized=True)'
    """

    of: ScoresOf = "frames"
    normalized: bool = False

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="entropy",
        question="How evenly is the explanation spread, in nats?",
        family="complexity",
        needs=(),
        higher_is_better=False,
        lowest=0,
        highest=math.inf,
        cost="0",
        source="bhatt2020",
    )

    def score(self, case: Case) -> Score:
        """The entropy, 0 or more."""
        scores = case.scores(self.of)
        without = "there is a single score only" if scores.any() else NOTHING
        return score_of(entropy(scores, self.normalized), without)


def gini(scores: Scores) -> float:
    """The Gini index of the magnitudes: how unequal they are.

    `1 - 2 Σ_k s_(k) / Σs · (n - k + 1/2) / n`, for magnitudes s in ascending order
    (:cite:t:`hurley2009`; as the sparseness of an explanation, :cite:t:`chalasani2020`).

    Args:
        scores: `(*features)`, of any sign.

    Returns:
        From 0, where all magnitudes are equal, to 1 - 1/n, where one feature has all. NaN if all
        scores are 0.

    Raises:
        DataError: If there are no scores, or one is no number.

    Example:
        >>> gini(np.array([0.0, 0.0, -3.0, 0.0])), gini(np.array([1.0, -1.0]))
        (0.75, 0.0)
    """
    sizes = np.sort(sizes_of(scores))
    if not sizes.any():
        return math.nan
    count = len(sizes)
    # The same sum with its constant part taken out, which is exactly 0 for equal numbers.
    weights = 2 * np.arange(1, count + 1) - count - 1
    found = float(weights @ sizes / (count * sizes.sum()))
    return min(max(0.0, found), 1 - 1 / count)


@dataclass(frozen=True)
class Gini(Metric):
    """On how few features does the explanation concentrate? See `gini`.

    NaN where all scores are 0.

    Attributes:
        of: "frames" or "pixels".

    Raises:
        DataError: From `score`, if the case has no such scores.

    Example:
        >>> Gini("pixels").name
        'gini-pixels'
    """

    of: ScoresOf = "frames"

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="gini",
        question="How unequal are the scores?",
        family="complexity",
        needs=(),
        higher_is_better=True,
        lowest=0,
        highest=1,
        cost="0",
        source="chalasani2020",
    )

    def score(self, case: Case) -> Score:
        """The index, from 0 to 1 - 1/n."""
        return score_of(gini(case.scores(self.of)), NOTHING)


def effective_frames(scores: Float[np.ndarray, " time"]) -> float:
    """How many frames with equal scores would have the entropy of these: exp of `entropy`.

    Args:
        scores: `(time,)`, of any sign.

    Returns:
        From 1, where one frame has all, to the number of frames. NaN if all scores are 0.

    Raises:
        DataError: If there are no scores, or one is no number.

    Example:
        >>> round(effective_frames(np.array([2.0, 0.0, -2.0])), 4)
        2.0
    """
    return min(math.exp(entropy(scores)), float(len(scores)))


@dataclass(frozen=True)
class EffectiveFrames(Metric):
    """Over how many frames is the explanation spread? See `effective_frames`.

    Neither more nor fewer is better: it depends on how many decide. NaN where all scores are 0.

    Raises:
        DataError: From `score`, if the case has no scores of frames.

    Example:
        >>> EffectiveFrames().name
        'effective-frames'
    """

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="effective-frames",
        question="Over how many frames is the explanation spread?",
        family="complexity",
        needs=(),
        higher_is_better=None,
        lowest=1,
        highest=math.inf,
        cost="0",
        source="",
    )

    def score(self, case: Case) -> Score:
        """The number of frames, from 1 on."""
        return score_of(effective_frames(case.scores("frames")), NOTHING)
