"""Does an explanation become more complex when the model knows nothing any more?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from temporal_attr._require import LONGEST, require_count
from temporal_attr.evaluation._again import Again
from temporal_attr.evaluation._case import Case, ScoresOf
from temporal_attr.evaluation._metric import Metric, MetricTraits, Score
from temporal_attr.evaluation.sanity._parameters import parameter_modules, randomized


def histogram_entropy(scores: Float[np.ndarray, "*scores"], bins: int = 100) -> float:
    r"""The entropy of the histogram of an explanation, in nats.

    :math:`H = -\sum_b p_b \ln p_b`, where p_b is the share of scores in bin b of so many bins of
    equal width from the smallest score to the largest (:cite:t:`hedstrom2024`).

    Args:
        scores: Of any shape; where they are in it does not matter, nor their scale.
        bins: The number of bins.

    Returns:
        In [0, ln bins]; 0 where all scores are in one bin.

    Example:
        >>> round(histogram_entropy(np.array([0.0, 0.0, 1.0, 1.0])), 4)  # ln 2
        0.6931
    """
    require_count("bins", bins, 1, LONGEST)
    counts, _ = np.histogram(scores, bins)
    shares = counts[counts > 0] / counts.sum()
    # Adding 0 makes 0 of -0.
    return float(-(shares * np.log(shares)).sum()) + 0.0


@dataclass(frozen=True)
class EfficientRandomization(Metric):
    r"""By how much an explanation becomes more complex when all parameters are drawn anew.

    :math:`(H(\hat e) - H(e)) / H(e)`, where e is the explanation, :math:`\hat e` that of a copy of
    the model with no parameter as it was (see `randomized`), and H the entropy of a histogram (see
    `histogram_entropy`): eMPRT of :cite:t:`hedstrom2024`. There is no similarity, which noise would
    lower, and one copy of the model. The value is -1 or more, and 0 for a method that ignores the
    model. A histogram of few scores says little: with a score for each of 8 frames H is at most
    ln 8. NaN if the original explanation has entropy 0.

    Args:
        of: What is scored.
        bins: Of the histogram.

    Raises:
        ModelError: Of `score`, as `parameter_modules`.

    Example:
        >>> EfficientRandomization("pixels").name
        'efficient-randomization-pixels'
    """

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="efficient-randomization",
        question="By how much more complex is it when the model knows nothing any more?",
        family="sanity",
        needs=("method", "parameters"),
        higher_is_better=True,
        lowest=-1.0,
        highest=math.inf,
        cost="1 A + 1 F",
        source="hedstrom2024",
    )

    of: ScoresOf = "frames"
    bins: int = 100

    def __post_init__(self) -> None:
        require_count("bins", self.bins, 2)

    def score(self, case: Case) -> Score:
        """Judge one explanation."""
        again = Again(case, self.require_explain(case), self.of)
        before = histogram_entropy(case.scores(self.of), self.bins)
        if not before:
            return Score(math.nan, note="the explanation has entropy 0: all scores are in one bin")
        other = randomized(case.model, parameter_modules(case.model, case.clip), case.seed)
        after = histogram_entropy(again.scores(model=other), self.bins)
        curves = {"entropy": (before, after)}
        return Score((after - before) / before, forward_passes=1, curves=curves)
