"""Does a method that draws random numbers say the same again?"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import numpy as np

from temporal_attr._require import require_count
from temporal_attr.evaluation._again import Again
from temporal_attr.evaluation._case import Case, ScoresOf
from temporal_attr.evaluation._metric import Metric, MetricTraits, Score
from temporal_attr.evaluation._similarity import mean_similarity, similarity


@dataclass(frozen=True)
class Repeats(Metric):
    """How alike explanations of one clip are that differ in their seed only.

    The mean rank correlation over all pairs of runs, each with a seed drawn from the case's own; 1
    for a method without randomness. The value is in [-1, 1]; NaN where no two runs have scores that
    differ. The pairs, `curves["similarity"]`, are not independent, so there is no standard error.

    Args:
        of: What is scored.
        runs: How many explanations are compared, each with each.

    Example:
        >>> Repeats(runs=3).name
        'repeats-frames(runs=3)'
    """

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="repeats",
        question="Does the method say the same again, with another seed?",
        family="robustness",
        needs=("method",),
        higher_is_better=True,
        lowest=-1.0,
        highest=1.0,
        cost="runs A",
        source="",
    )

    of: ScoresOf = "frames"
    runs: int = 5

    def __post_init__(self) -> None:
        require_count("runs", self.runs, 2)

    def score(self, case: Case) -> Score:
        """Judge one explanation."""
        again = Again(case, self.require_explain(case), self.of)
        seeds = np.random.SeedSequence(case.seed).generate_state(self.runs)
        found = [again.scores(seed=int(seed)) for seed in seeds]
        return mean_similarity([similarity(*pair, "rank") for pair in combinations(found, 2)])
