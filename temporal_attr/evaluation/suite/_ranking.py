"""Which method is better, and by how much: means, intervals and tests over models and clips."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy.stats import friedmanchisquare, rankdata, studentized_range

from temporal_attr._errors import DataError
from temporal_attr._require import require_within
from temporal_attr.evaluation.suite._crossed import (
    SWAPS,
    Crossed,
    crossed_bootstrap,
    swap_p_values,
)

Values: TypeAlias = Mapping[str, Crossed]
"""By method `(models, clips)`, all of the same models and clips; NaN where a model lacks a clip."""

SIGNIFICANCE = 0.05
_PER_TEST = 20
"""Swaps for each p-value that could just be significant after Holm."""


@dataclass(frozen=True)
class Ranked:
    """A method's place.

    Attributes:
        method: Its name.
        mean: Over models, of the mean over their clips.
        low: Lower end of its interval; NaN of a single clip. Of a single model it is of clips only.
        high: Upper end of its interval.
        mean_rank: The mean over clips and models of its rank among the methods; 1 is best. NaN of
            one that lacks clips which others have.
        clips: How many, counted once for each model.
        not_beaten: The levels of chance that it is not better than, by a test at 0.05 in which the
            methods of each clip are swapped. None of those themselves, where there is none, of
            fewer than 6 clips, which no test can tell apart, and of metrics of sanity, robustness
            and complexity, which ask for something else.
    """

    method: str
    mean: float
    low: float
    high: float
    mean_rank: float
    clips: int
    not_beaten: tuple[str, ...] | None

    @property
    def beats_chance(self) -> bool | None:
        """Whether it is better than every level of chance that was compared; None if not known."""
        return None if self.not_beaten is None else not self.not_beaten

    def __str__(self) -> str:
        interval = "" if np.isnan(self.low) else f" ({self.low:.3g} to {self.high:.3g})"
        place = "no rank" if np.isnan(self.mean_rank) else f"mean rank {self.mean_rank:.1f}"
        said = f", not better than {' and '.join(self.not_beaten)}" if self.not_beaten else ""
        return f"{self.method}: {self.mean:.3g}{interval}, {place} on {self.clips} clip(s){said}"


@dataclass(frozen=True)
class Difference:
    """How far two methods are apart.

    Attributes:
        first: One of them.
        second: The other.
        mean: First less second: the mean over models of the mean over clips.
        low: Lower end of its interval; NaN of a single clip.
        high: Upper end of its interval.
        p_value: Of a test in which the methods of each clip are swapped, for all models together.
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
    chance: Sequence[str] = (),
    confidence: float = 0.95,
    seed: int = 0,
) -> list[Ranked]:
    """Methods, the best first.

    Args:
        values: By method.
        higher_is_better: Of the metric.
        chance: The names of the levels of chance.
        confidence: Of the intervals, in (0, 1).
        seed: Of the bootstrap and of the swaps.

    Example:
        >>> good, bad = np.array([[0.8, 0.9, 0.7]]), np.array([[0.2, 0.1, 0.4]])
        >>> [one.method for one in rank({"random": bad, "lrp": good}, True, ["random"])]
        ['lrp', 'random']
    """
    sign = 1.0 if higher_is_better else -1.0
    ranks = _mean_ranks(values, higher_is_better)
    levels = [name for name in chance if name in values]
    found = []
    for name, own in values.items():
        interval = crossed_bootstrap(own, confidence, seed)
        beaten = None
        if levels and name not in levels and own.shape[1] >= _fewest():
            apart = [sign * (own - values[level]) for level in levels]
            chances = swap_p_values(apart, seed)
            beaten = tuple(
                level
                for level, one, p_value in zip(levels, apart, chances, strict=True)
                if p_value > SIGNIFICANCE or np.nansum(one) <= 0
            )
        clips = int((~np.isnan(own)).sum())
        found.append(
            Ranked(name, interval.value, interval.low, interval.high, ranks[name], clips, beaten)
        )
    return sorted(found, key=lambda one: -sign * one.mean)


def _fewest() -> int:
    """The fewest clips of which the best result of all is significant."""
    return int(np.ceil(1 - np.log2(SIGNIFICANCE)))


def differences(values: Values, confidence: float = 0.95, seed: int = 0) -> list[Difference]:
    """All pairs of methods, with p-values corrected after Holm (1979).

    There are as many swaps as let the smallest p-value be significant after correction.
    """
    pairs = list(itertools.combinations(values, 2))
    if not pairs:
        return []
    apart = [values[one] - values[other] for one, other in pairs]
    swaps = max(SWAPS, int(_PER_TEST * len(pairs) / SIGNIFICANCE))
    chances = swap_p_values(apart, seed, swaps)
    found = []
    for (one, other), own, chance, corrected in zip(
        pairs, apart, chances, holm(chances), strict=True
    ):
        interval = crossed_bootstrap(own, confidence, seed)
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
    values: Values, higher_is_better: bool, significance: float = SIGNIFICANCE
) -> tuple[float, float]:
    """The difference of mean ranks that is no chance, after Nemenyi, and Friedman's p-value.

    Section 3.2.2 of :cite:t:`demsar2006`: q sqrt(k (k + 1) / (6 N)), for k methods on N clips,
    which are taken as independent of each other; of several models, the means over models.
    Friedman's p-value is NaN where all methods are alike on every clip.

    Raises:
        DataError: If there are fewer than 3 methods, or 2 clips.
    """
    require_within("significance", significance, 0, 1)
    table = np.stack([np.nanmean(own, 0) for own in values.values()], 1)
    clips, methods = table.shape
    if methods < 3 or clips < 2:
        raise DataError(
            "at least 3 methods and 2 clips, to test their ranks",
            f"{methods} and {clips}",
            "Look at differences(), which tests pairs.",
        )
    quantile = studentized_range.ppf(1 - significance, methods, np.inf) / np.sqrt(2)
    alike = bool((table == table[:, :1]).all())
    p_value = np.nan if alike else float(friedmanchisquare(*table.T).pvalue)
    return float(quantile * np.sqrt(methods * (methods + 1) / (6 * clips))), p_value


def _mean_ranks(values: Values, higher_is_better: bool) -> dict[str, float]:
    table = np.stack([own[~np.isnan(own)] for own in values.values()], 1)
    ranks = rankdata(-table if higher_is_better else table, axis=1).mean(0)
    return dict(zip(values, ranks.tolist(), strict=True))
