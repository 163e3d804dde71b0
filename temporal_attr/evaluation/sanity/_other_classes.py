"""Is an explanation about its class, or the same for any?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from temporal_attr._targets import resolve_target
from temporal_attr.evaluation._again import Again, logits_of_clip
from temporal_attr.evaluation._case import Case, ScoresOf
from temporal_attr.evaluation._metric import Metric, MetricTraits, Score
from temporal_attr.evaluation._similarity import (
    Similarity,
    mean_similarity,
    require_similarity,
    similarity,
)

_ALONE = "the model has one class only"


@dataclass(frozen=True)
class RandomLogit(Metric):
    """How alike the explanations of the class and of another, drawn at random, are.

    An explanation that is the same for every class does not explain the class
    (:cite:t:`sixt2020`). The value is in [-1, 1]; NaN where the model has one class only, or an
    explanation no similarity. The other classes are all equally likely.

    Args:
        of: What is scored.
        similarity: How explanations are compared; see `similarity`. The source takes SSIM.

    Raises:
        TargetError: Of `score`, if the model has no class of the case's target.

    Example:
        >>> RandomLogit().name
        'random-logit-frames'
    """

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="random-logit",
        question="How much of it is the same for another class, drawn at random?",
        family="sanity",
        needs=("method", "model"),
        higher_is_better=False,
        lowest=-1.0,
        highest=1.0,
        cost="1 A + 1 F",
        source="sixt2020",
    )

    of: ScoresOf = "frames"
    similarity: Similarity = "rank"

    def __post_init__(self) -> None:
        require_similarity(self.of, self.similarity)

    def score(self, case: Case) -> Score:
        """Judge one explanation."""
        again = Again(case, self.require_explain(case), self.of)
        others, _ = _other_classes(case)
        if not len(others):
            return Score(math.nan, forward_passes=1, note=_ALONE)
        drawn = int(np.random.default_rng(case.seed).choice(others))
        return _compared(case, again, drawn, self.similarity)


@dataclass(frozen=True)
class OtherClass(Metric):
    """How alike the explanations of the class and of the runner-up are.

    As `RandomLogit`, of the class with the highest logit among the others: the one that an
    explanation of the class has to be told from. Of equal logits the first class counts. The value
    is in [-1, 1]; NaN where the model has one class only, or an explanation no similarity.

    Args:
        of: What is scored.
        similarity: How explanations are compared; see `similarity`.

    Raises:
        TargetError: Of `score`, if the model has no class of the case's target.

    Example:
        >>> OtherClass("pixels").name
        'other-class-pixels'
    """

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="other-class",
        question="How much of it is the same for the class that comes next?",
        family="sanity",
        needs=("method", "model"),
        higher_is_better=False,
        lowest=-1.0,
        highest=1.0,
        cost="1 A + 1 F",
        source="",
    )

    of: ScoresOf = "frames"
    similarity: Similarity = "rank"

    def __post_init__(self) -> None:
        require_similarity(self.of, self.similarity)

    def score(self, case: Case) -> Score:
        """Judge one explanation."""
        again = Again(case, self.require_explain(case), self.of)
        others, logits = _other_classes(case)
        if not len(others):
            return Score(math.nan, forward_passes=1, note=_ALONE)
        return _compared(case, again, int(others[logits[others].argmax()]), self.similarity)


def _other_classes(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of all classes but the case's own, and the logits of all."""
    logits = logits_of_clip(case.model, case.clip)
    target = int(resolve_target(case.target, logits[None]))
    classes = np.arange(len(logits))
    return classes[classes != target], logits.cpu().double().numpy()


def _compared(case: Case, again: Again, other: int, kind: Similarity) -> Score:
    found = similarity(case.scores(again.of), again.scores(target=other), kind)
    return mean_similarity([found], forward_passes=1, note=f"compared with class {other}")
