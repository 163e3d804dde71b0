"""Whether scores add up to what removing several features does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float

from temporal_attr._errors import OptionError
from temporal_attr._require import require_count
from temporal_attr._told import told
from temporal_attr.evaluation._case import Case
from temporal_attr.evaluation._metric import MetricTraits, Score
from temporal_attr.evaluation.faithfulness._correlations import pearson
from temporal_attr.evaluation.faithfulness._features import FeatureClips, FeatureMetric, Present


def sensitivity_n(sums: Float[np.ndarray, "subsets"], drops: Float[np.ndarray, "subsets"]) -> float:
    """Pearson's correlation of what subsets of features sum to and what removing them does.

    Sensitivity-n of :cite:t:`ancona2018` (section 4): a method has it if the two are equal for all
    subsets of n features, and their correlation says how nearly it does.

    Args:
        sums: `(subsets,)`, the sum of the scores of each.
        drops: `(subsets,)`, by how much the objective drops without it.

    Returns:
        In [-1, 1]; NaN if one side is constant.

    Raises:
        DataError: If there are not as many of both.

    Example:
        >>> sensitivity_n(np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.2, 0.3]))
        1.0
    """
    return pearson(sums, drops)


def drawn_subsets(features: int, size: int, samples: int, seed: int) -> Present:
    """Which features are in each of some subsets of one size, each as likely as any other.

    Args:
        features: How many there are.
        size: Of a subset.
        samples: How many subsets; where there are no more than so many, each comes once.
        seed: Of the draws.

    Returns:
        `(subsets, features)`.

    Example:
        >>> drawn_subsets(3, 2, samples=100, seed=0).int().tolist()
        [[1, 1, 0], [1, 0, 1], [0, 1, 1]]
    """
    if math.comb(features, size) <= samples:
        chosen = np.array(list(combinations(range(features), size)))
    else:
        draw = np.random.default_rng(seed)
        chosen = np.stack([draw.permutation(features)[:size] for _ in range(samples)])
    found = torch.zeros(len(chosen), features, dtype=torch.bool)
    return found.scatter(1, torch.from_numpy(chosen), True)


@dataclass(frozen=True)
class SensitivityN(FeatureMetric):
    """Do scores of several features add up to what removing all of them does?

    The correlation of `sensitivity_n` over random subsets of n features; where there are no more
    subsets than samples, over all of them. Scores of features of pixels are summed over their
    pixels here, as the definition adds. It is 1 if the model is additive and the scores are what
    each feature adds.

    Args:
        features: As for `Deletion`.
        baselines: As for `Deletion`.
        objective: As for `Deletion`.
        n: How many features are removed together; by default a quarter, at least 1. Of several
            numbers the mean of their correlations is the value.
        samples: Subsets for each n.

    Example:
        >>> from temporal_attr.evaluation._case import Case, Explanation
        >>> clip = torch.tensor([4.0, 2.0, 1.0, 0.0]).reshape(1, 4, 1, 1, 1)
        >>> total = lambda clip: clip.sum((1, 2, 3, 4))[:, None]
        >>> case = Case(total, clip, 0, Explanation(torch.tensor([4.0, 2.0, 1.0, 0.0])))
        >>> round(SensitivityN(n=2, baselines=0.0, objective="logit").score(case).value, 6)
        1.0
    """

    n: int | tuple[int, ...] | None = None
    samples: int = 100

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="sensitivity-n",
        question="Do scores of several features add up to what removing all of them does?",
        family="faithfulness",
        needs=("model",),
        higher_is_better=True,
        lowest=-1.0,
        highest=1.0,
        cost="(M + 1) F for M samples; frames of a framewise model: at most 2 F",
        source="ancona2018",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("samples", self.samples, 2)
        sizes = () if self.n is None else _several(self.n)
        if self.n is not None and not sizes:
            raise OptionError("n to be a number, or several", told(self.n), "Try None.")
        for size in sizes:
            require_count("n", size, 1)

    def score(self, case: Case) -> Score:
        """The correlation, or the mean of those of all n that have one, with its standard error.

        The error is the usual (1 - r^2) / sqrt(subsets - 1) of a correlation; NaN where all subsets
        are seen, as nothing is drawn then.
        """
        clips = self.clips(case)
        sizes = (max(1, clips.count // 4),) if self.n is None else _several(self.n)
        for size in sizes:
            require_count("n", size, 1, clips.count)
        found = [self._of_size(clips, size, case.seed) for size in sizes]
        known = [(value, error) for value, error in found if not math.isnan(value)]
        spent = clips.predictions.spent()
        curves = {"n": tuple(map(float, sizes)), "correlation": tuple(one for one, _ in found)}
        if not known:
            note = "sums of scores or drops of the prediction are constant, so nothing correlates"
            return Score(math.nan, forward_passes=spent, note=note, curves=curves)
        left_out = len(found) - len(known)
        note = f"{left_out} of {len(found)} n left out: a side is constant" if left_out else ""
        values, errors = (np.array(column) for column in zip(*known, strict=True))
        error = float(np.sqrt((errors**2).sum())) / len(known)
        return Score(float(values.mean()), error, spent, note, curves)

    def _of_size(self, clips: FeatureClips, size: int, seed: int) -> tuple[float, float]:
        """The correlation for one n, and its standard error."""
        subsets = drawn_subsets(clips.count, size, self.samples, seed)
        sums = subsets.numpy() @ clips.sums
        values = clips.values(~subsets, self.objective)
        if np.ptp(values) <= clips.predictions.rounding(values):
            return math.nan, math.nan
        value = sensitivity_n(sums, clips.whole(self.objective) - values)
        every = math.comb(clips.count, size) <= self.samples
        error = math.nan if every else (1 - value**2) / math.sqrt(len(subsets) - 1)
        return value, error


def _several(n: int | Sequence[int]) -> tuple[int, ...]:
    return tuple(n) if isinstance(n, Sequence) else (n,)
