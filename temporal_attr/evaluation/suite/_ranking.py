"""Which method is better, and by how much: means, intervals and tests over models and clips."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch
from scipy.stats import friedmanchisquare, rankdata, studentized_range

from temporal_attr._errors import DataError
from temporal_attr._require import require_within
from temporal_attr.measures import Interval, hierarchical_bootstrap, paired_permutation_test

Values: TypeAlias = Mapping[str, Sequence[np.ndarray]]
"""By method, an array of clips for each model; clip i of one method is clip i of all.

Whether it is also clip i of all models, the functions are told (`shared`): then clips are drawn
once for all models, as what they have in common does not average out over models.
"""


@dataclass(frozen=True)
class Ranked:
    """A method's place.

    Attributes:
        method: Its name.
        mean: Over models, of the mean over their clips.
        low: Lower end of its interval; NaN of a single clip. Of a single model it is of clips only.
        high: Upper end of its interval.
        mean_rank: The mean over clips of its rank among the methods; 1 is best.
        clips: How many, of all models.
        beats_chance: Whether it is better than every level of chance that was compared, by the
            interval of the difference; None of those themselves, where there is none, of a single
            clip, and of metrics of sanity, robustness and complexity, which ask for something else.
    """

    method: str
    mean: float
    low: float
    high: float
    mean_rank: float
    clips: int
    beats_chance: bool | None

    def __str__(self) -> str:
        said = {True: "", False: ", not better than chance", None: ""}[self.beats_chance]
        interval = "" if np.isnan(self.low) else f" ({self.low:.3g} to {self.high:.3g})"
        place = "no rank" if np.isnan(self.mean_rank) else f"mean rank {self.mean_rank:.1f}"
        return f"{self.method}: {self.mean:.3g}{interval}, {place} on {self.clips} clip(s){said}"


@dataclass(frozen=True)
class Difference:
    """How far two methods are apart.

    Attributes:
        first: One of them.
        second: The other.
        mean: First less second: the mean over models of the mean over clips.
        low: Lower end of its interval.
        high: Upper end of its interval.
        p_value: Of a paired permutation test over clips.
        corrected: The same, after Holm, for all pairs of methods.
    """

    first: str
    second: str
    mean: float
    low: float
    high: float
    p_value: float
    corrected: float


def rank(
    values: Values,
    higher_is_better: bool,
    chance: Sequence[str],
    confidence: float = 0.95,
    seed: int = 0,
    shared: bool = False,
) -> list[Ranked]:
    """Methods, the best first.

    Args:
        values: By method.
        higher_is_better: Of the metric.
        chance: The names of the levels of chance.
        confidence: Of the intervals, in (0, 1).
        seed: Of the bootstrap.
        shared: Whether clips are the same for all models.

    Example:
        >>> good, bad = np.array([0.8, 0.9, 0.7]), np.array([0.2, 0.1, 0.4])
        >>> [one.method for one in rank({"random": [bad], "lrp": [good]}, True, ["random"])]
        ['lrp', 'random']
    """
    sign = 1.0 if higher_is_better else -1.0
    ranks = _mean_ranks(values, higher_is_better)
    levels = [name for name in chance if name in values]
    found = []
    for name, arrays in values.items():
        clips = sum(len(array) for array in arrays)
        interval = _interval(arrays, confidence, seed, shared)
        beats = None
        if levels and name not in levels and clips > 1:
            lows = [
                _interval(_apart(values, name, level, sign), confidence, seed, shared).low
                for level in levels
            ]
            beats = min(lows) > 0
        found.append(
            Ranked(name, interval.value, interval.low, interval.high, ranks[name], clips, beats)
        )
    return sorted(found, key=lambda one: -sign * one.mean)


def differences(
    values: Values, confidence: float = 0.95, seed: int = 0, shared: bool = False
) -> list[Difference]:
    """All pairs of methods, with p-values corrected after Holm (1979).

    Of clips that all models share, a test swaps the methods of a clip for all models together.
    """
    pairs = list(itertools.combinations(values, 2))
    together = {name: torch.from_numpy(_by_clip(own, shared)) for name, own in values.items()}
    chances = [
        paired_permutation_test(together[one], together[other], seed=seed) for one, other in pairs
    ]
    found = []
    for (one, other), chance, corrected in zip(pairs, chances, holm(chances), strict=True):
        interval = _interval(_apart(values, one, other), confidence, seed, shared)
        found.append(
            Difference(one, other, interval.value, interval.low, interval.high, chance, corrected)
        )
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values that hold for all of them together, after Holm (1979): in the given order.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    found = [0.0] * len(p_values)
    largest = 0.0
    for place, number in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[number]))
        found[number] = largest
    return found


def critical_difference(
    values: Values, higher_is_better: bool, significance: float = 0.05, shared: bool = False
) -> tuple[float, float]:
    """The difference of mean ranks that is no chance, after Nemenyi, and Friedman's p-value.

    Section 3.2.2 of :cite:t:`demsar2006`: q sqrt(k (k + 1) / (6 N)), for k methods on N clips,
    which are taken as independent of each other; of clips that models share, the means over models.

    Raises:
        DataError: If there are fewer than 3 methods, or 2 clips.
    """
    require_within("significance", significance, 0, 1)
    table = np.stack([_by_clip(arrays, shared) for arrays in values.values()], 1)
    clips, methods = table.shape
    if methods < 3 or clips < 2:
        raise DataError(
            "at least 3 methods and 2 clips, to test their ranks",
            f"{methods} and {clips}",
            "Look at differences(), which tests pairs.",
        )
    quantile = studentized_range.ppf(1 - significance, methods, np.inf) / np.sqrt(2)
    p_value = float(friedmanchisquare(*table.T).pvalue)
    return float(quantile * np.sqrt(methods * (methods + 1) / (6 * clips))), p_value


def _mean_ranks(values: Values, higher_is_better: bool) -> dict[str, float]:
    table = np.stack([np.concatenate(list(arrays)) for arrays in values.values()], 1)
    ranks = rankdata(-table if higher_is_better else table, axis=1).mean(0)
    return dict(zip(values, ranks.tolist(), strict=True))


def _apart(values: Values, one: str, other: str, sign: float = 1.0) -> list[np.ndarray]:
    return [sign * (a - b) for a, b in zip(values[one], values[other], strict=True)]


def _by_clip(arrays: Sequence[np.ndarray], shared: bool) -> np.ndarray:
    """What is independent of each other: clips of all models, or their means over models."""
    return np.mean(arrays, 0) if shared else np.concatenate(list(arrays))


def _interval(arrays: Sequence[np.ndarray], confidence: float, seed: int, shared: bool) -> Interval:
    found = hierarchical_bootstrap(
        arrays, lambda drawn: drawn.mean(1), confidence, seed=seed, shared=shared
    )
    if sum(len(array) for array in arrays) > 1:
        return found
    return replace(found, low=np.nan, high=np.nan)
