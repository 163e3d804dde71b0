"""How sure is a measured number? Intervals and p-values by drawing again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import scipy
from jaxtyping import Float, Shaped
from torch import Tensor

from temporal_attr._errors import OptionError
from temporal_attr._require import require_count, require_within
from temporal_attr.measures._correlation import require_confidence, require_pairs

Statistic: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""From `(resamples, samples, *rest)` to `(resamples,)`: one number for each resample."""

# At most so many numbers are drawn at a time, where one resample is not larger: 32 MB of float64.
_BATCH = 4_000_000

# More resamples than anybody needs, and fewer than memory cannot hold.
_MOST = 10**6


@dataclass(frozen=True)
class Interval:
    """A number and how far it may be off.

    Attributes:
        value: The statistic of the data; NaN where it is not defined.
        low: Lower end of its confidence interval, in the unit of the value.
        high: Upper end of its confidence interval.
        confidence: Of the interval, in (0, 1).

    Example:
        >>> print(Interval(0.8214, 0.7071, 0.9, 0.95))
        0.82 (95 % 0.71 to 0.90)
    """

    value: float
    low: float
    high: float
    confidence: float

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "not defined"
        # What rounds to zero has no sign.
        value, low, high = (f"{round(x, 2) + 0.0:.2f}" for x in (self.value, self.low, self.high))
        ends = "no interval" if np.isnan(self.low) else f"{low} to {high}"
        return f"{value} ({100 * self.confidence:.4g} % {ends})"


def bootstrap(
    values: Shaped[np.ndarray, "samples *rest"],
    statistic: Statistic,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """A statistic of samples, with the percentile interval of its bootstrap.

    Each resample draws as many samples as there are, with replacement. Those whose statistic is NaN
    are left out, so that the interval is of the samples for which there is one.

    Args:
        values: `(samples, *rest)`; samples are drawn whole, such as the clips of a class.
        statistic: From `(resamples, samples, *rest)` to `(resamples,)`, such as the mean over all
            axes but the first.
        confidence: Of the interval, in (0, 1).
        resamples: How many resamples to draw.
        seed: The same seed draws the same resamples.

    Returns:
        The statistic of the samples as they are, and its interval, in the statistic's unit. One
        sample, or equal ones, have an interval of no width: it says nothing of how sure they are.
        Where the statistic of the samples is NaN, all three numbers are.

    Raises:
        OptionError: If there is no sample, the statistic is infinite or not `(resamples,)`, or
            an option is out of its range.

    Example:
        >>> hits = np.array([True] * 30 + [False] * 10)
        >>> print(bootstrap(hits, lambda drawn: drawn.mean(1)))
        0.75 (95 % 0.62 to 0.88)
    """
    random = _generator(confidence, resamples, seed)
    value = _of_all("values", values, statistic)
    if len(values) == 1 or np.isnan(value):
        return Interval(value, value, value, confidence)
    return _percentiles(value, _replicates(values, statistic, resamples, random), confidence)


def hierarchical_bootstrap(
    groups: Sequence[Shaped[np.ndarray, "_ ..."]],
    statistic: Statistic,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    shared: bool = False,
) -> Interval:
    """The mean over groups of a statistic of their samples, where groups are drawn as well.

    For numbers that are to hold for other groups too, such as classes or models. Section 3.8 of
    :cite:t:`davison1997`, with replacement at both levels: each resample draws as many groups as
    there are, and for each group drawn, even one drawn before, as many samples as it has.

    Groups already differ by chance of their samples, so drawing those again widens the interval: up
    to sqrt(2) times where groups differ by that chance alone, and little where they differ more.

    Args:
        groups: Each `(samples, *rest)`, of any number of samples and any rest.
        statistic: From `(resamples, samples, *rest)` to `(resamples,)`. Where a group drawn has
            none (NaN), the mean is over the other groups of its resample.
        confidence: Of the interval, in (0, 1).
        resamples: How many resamples to draw.
        seed: The same seed draws the same resamples.
        shared: Whether sample i of one group belongs with sample i of every other, such as one
            order of frames shown for all clips. Then samples are not nested in groups but crossed
            with them, and each resample draws the same ones for all groups, as in section 3 of
            :cite:t:`owen2007`: what they have in common does not average out over groups.

    Returns:
        The mean over the groups as they are, and its interval, in the statistic's unit.

    Raises:
        OptionError: If there is no group or one without a sample, the statistic of a group is NaN,
            infinite or not `(resamples,)`, shared samples differ in number, or an option is out of
            its range.

    Example:
        >>> classes = [np.array([0.9, 0.8, 1.0]), np.array([0.2, 0.4]), np.array([0.6, 0.5])]
        >>> print(hierarchical_bootstrap(classes, lambda drawn: drawn.mean(1)))
        0.58 (95 % 0.30 to 0.89)
    """
    random = _generator(confidence, resamples, seed)
    values = [_of_all(f"group {at}", group, statistic) for at, group in enumerate(groups)]
    if not values:
        raise OptionError("at least 1 group", "none", "Give one array for each group.")
    undefined = [at for at, value in enumerate(values) if np.isnan(value)]
    if undefined:
        got = "NaN of " + ", ".join(f"group {at}" for at in undefined)
        raise OptionError("a statistic of every group", got, "Leave those groups out.")
    chosen = random.integers(0, len(values), (resamples, len(values)))
    if shared:
        drawn = _shared_replicates(groups, statistic, chosen, random)
    else:
        drawn = np.empty(chosen.shape)
        for place, group in enumerate(groups):
            # Every time the group was drawn, in any resample, gets samples of its own.
            here = chosen == place
            drawn[here] = _replicates(group, statistic, int(here.sum()), random)
    known = ~np.isnan(drawn)
    some = known.any(1)
    replicates = np.where(known, drawn, 0)[some].sum(1) / known[some].sum(1)
    return _percentiles(float(np.mean(values)), replicates, confidence)


def _shared_replicates(
    groups: Sequence[np.ndarray],
    statistic: Statistic,
    chosen: np.ndarray,
    random: np.random.Generator,
) -> np.ndarray:
    """The statistic of the groups drawn, all with the same samples in a resample."""
    counts = {len(group) for group in groups}
    if len(counts) != 1:
        raise OptionError(
            "shared samples, as many in each group",
            ", ".join(str(count) for count in sorted(counts)),
            "Draw them for each group: shared=False.",
        )
    (samples,) = counts
    rows = random.integers(0, samples, (len(chosen), samples))
    of_groups = np.stack([_replicates_of(group, statistic, rows) for group in groups], 1)
    drawn: np.ndarray = np.take_along_axis(of_groups, chosen, 1)
    return drawn


def natural_order_p_value(
    levels: Float[Tensor, "*any orders"], tolerance: float = 0.0
) -> Float[Tensor, "*any"]:
    """The probability that an order drawn at random stands out as much as the natural one.

    If the natural order is an order like any other, all of them can change places, and the share
    of orders at least as far from the mean of all as the natural one is an exact p-value. It counts
    the natural order itself, and so is never 0 :cite:p:`phipson2010`.

    Args:
        levels: `(*any, orders)`, a number for each order; the first belongs to the natural order,
            the others to orders drawn at random, independently.
        tolerance: How much closer to the mean an order may be and still count as equally far, in
            the unit of the levels; 0 or more. The rounding of float64 is allowed for in any case.

    Returns:
        `(*any,)`, in [1 / orders, 1], in float64.

    Raises:
        OptionError: If there are fewer than 2 orders, a level is NaN or infinite, or the tolerance
            is negative.

    Example:
        >>> import torch
        >>> natural_order_p_value(torch.tensor([[9.0, 1, 2, 3], [2.0, 1, 2, 3]]))
        tensor([0.2500, 1.0000], dtype=torch.float64)
    """
    require_within("tolerance", tolerance, 0)
    if levels.ndim == 0 or levels.shape[-1] < 2:
        got = f"shape {tuple(levels.shape)}"
        raise OptionError("levels (..., orders) of at least 2 orders", got, "Draw other orders.")
    bad = int((~levels.isfinite()).sum())
    if bad:
        got = f"{bad} of {levels.numel()} NaN or infinite"
        raise OptionError("finite levels", got, "Leave those rows out.")
    numbers = levels.detach().double()
    distances = (numbers - numbers.mean(-1, keepdim=True)).abs()
    # Two levels on either side of the mean are equally far but for the rounding of that mean.
    rounding = 1e-12 * numbers.abs().amax(-1, keepdim=True)
    return (distances >= distances[..., :1] - tolerance - rounding).double().mean(-1)


def paired_permutation_test(
    first: Float[Tensor, "pairs"], second: Float[Tensor, "pairs"], seed: int = 0
) -> float:
    """The probability that pairs differ as much in the mean if it is chance who is first.

    Every pair is swapped or not, and the mean difference compared to the one found, of either sign.
    All swaps are tried up to 13 pairs, and 9999 random ones beyond, so the p-value is at least
    2^(1 - pairs) or 0.0002 :cite:p:`phipson2010`.

    Args:
        first: `(pairs,)`, such as a score of each clip under one condition.
        second: `(pairs,)`, the score of the same clips under the other.
        seed: The same seed draws the same swaps.

    Returns:
        The p-value, two-sided, in (0, 1].

    Raises:
        OptionError: If there are fewer than 2 pairs, the lengths differ, or a number is NaN or
            infinite.

    Example:
        >>> import torch
        >>> paired_permutation_test(torch.tensor([3.0, 5, 4, 6]), torch.tensor([1.0, 2, 3, 4]))
        0.125
    """
    require_count("seed", seed, 0)
    numbers = require_pairs(first, second, 2)
    found = scipy.stats.permutation_test(
        (numbers[0] - numbers[1],),
        lambda difference, axis: difference.mean(axis),
        permutation_type="samples",  # Of one sample, scipy changes the signs.
        vectorized=True,
        n_resamples=9999,
        batch=max(1, _BATCH // len(first)),
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def _generator(confidence: float, resamples: int, seed: int) -> np.random.Generator:
    require_confidence(confidence)
    require_count("resamples", resamples, 1, _MOST)
    require_count("seed", seed, 0)
    return np.random.default_rng(seed)


def _of_all(name: str, values: np.ndarray, statistic: Statistic) -> float:
    """The statistic of the samples as they are."""
    if values.ndim == 0 or len(values) == 0:
        got = f"shape {values.shape}"
        raise OptionError(f"{name} (samples, ...) of at least 1 sample", got, "Leave it out.")
    return float(_measured(statistic, values[None])[0])


def _measured(statistic: Statistic, drawn: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.asarray(statistic(drawn), dtype=np.float64)
    if found.shape != drawn.shape[:1]:
        raise OptionError(
            f"a statistic of shape {drawn.shape[:1]}, from samples drawn of shape {drawn.shape}",
            f"shape {found.shape}",
            "Reduce every axis but the first.",
        )
    if np.isinf(found).any():
        remedy = "Bound it: an infinite number has no place between two others."
        raise OptionError("a statistic that is finite or NaN", "an infinite one", remedy)
    return found


def _replicates(
    values: np.ndarray, statistic: Statistic, resamples: int, random: np.random.Generator
) -> np.ndarray:
    """`(resamples,)`: the statistic of samples drawn with replacement."""
    samples = len(values)
    # scipy.stats.bootstrap draws the same, but warns where the statistic is not always defined.
    return _replicates_of(values, statistic, random.integers(0, samples, (resamples, samples)))


def _replicates_of(values: np.ndarray, statistic: Statistic, rows: np.ndarray) -> np.ndarray:
    """`(resamples,)`: the statistic of the samples that are named, a bounded number at a time."""
    batch = max(1, _BATCH // max(1, values.size))
    parts = [np.empty(0)]
    for done in range(0, len(rows), batch):
        parts.append(_measured(statistic, values[rows[done : done + batch]]))
    return np.concatenate(parts)


def _percentiles(value: float, replicates: np.ndarray, confidence: float) -> Interval:
    known = replicates[~np.isnan(replicates)]
    if not known.size:
        return Interval(value, np.nan, np.nan, confidence)
    tail = (1 - confidence) / 2
    low, high = np.quantile(known, (tail, 1 - tail)).tolist()
    return Interval(value, low, high, confidence)
