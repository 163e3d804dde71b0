"""Do measured numbers agree with a human list, or with other numbers?"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import scipy
import torch
from jaxtyping import Float, Int
from torch import Tensor

from temporal_attr._errors import OptionError
from temporal_attr._require import require_count, require_within

# scipy imports its parts when they are first named: those who need no statistics do not wait.


@dataclass(frozen=True)
class Overlap:
    """How many of the top classes are in a list.

    Attributes:
        share: Of the top classes, those in the list; in [0, 1].
        chance: The share to expect of classes drawn at random.
        p_value: The probability of at least this share by chance.

    Example:
        >>> temporal_overlap(torch.tensor([3.0, 9.0, 1.0, 8.0]), [1, 3], k=2).chance
        0.5
    """

    share: float
    chance: float
    p_value: float


@dataclass(frozen=True)
class Correlation:
    """How two measures go together.

    Attributes:
        value: Pearson's r or Spearman's rho, in [-1, 1].
        low: Lower end of its confidence interval.
        high: Upper end of its confidence interval.
        p_value: The probability of a correlation at least as strong, of either sign, if there is
            none.
        count: The number of pairs.

    Example:
        >>> import torch
        >>> found = correlation(torch.arange(10.0), torch.arange(10.0) ** 2)
        >>> round(found.value, 3)
        0.963
    """

    value: float
    low: float
    high: float
    p_value: float
    count: int


def temporal_overlap(
    values: Float[Tensor, "classes"], temporal: Collection[int], k: int
) -> Overlap:
    """How many of the k classes with the largest values people call temporal.

    :cite:t:`fan2022` compare the classes with the longest ranges to a list of classes that people
    cannot tell without motion. They report the share; chance and p-value are ours.

    Args:
        values: `(classes,)`, a number for each class, such as its mean avg-ATR. NaN ranks last,
            and equal values rank by class number.
        temporal: The numbers of the temporal classes.
        k: How many classes are at the top.

    Returns:
        The share, and what chance would give: k classes drawn without putting back, so that the
        hits are hypergeometric.

    Raises:
        OptionError: If k is not from 1 to the number of classes, or a number names no class.

    Example:
        >>> overlap = temporal_overlap(torch.tensor([3.0, 9.0, 1.0, 8.0]), [1, 3], k=2)
        >>> overlap.share, overlap.chance, round(overlap.p_value, 4)
        (1.0, 0.5, 0.1667)
    """
    classes = len(values)
    require_count("k", k, 1, classes)
    listed = set(temporal)
    for number in listed:
        require_count("each temporal class", number, 0, classes - 1)
    hits = len(listed.intersection(falling_order(values)[:k].tolist()))
    p_value = float(hits_p_value(hits, classes, len(listed), k))
    return Overlap(hits / k, len(listed) / classes, p_value)


def falling_order(values: Float[Tensor, "... n"]) -> Int[Tensor, "... n"]:
    """The places from the largest value to the smallest, NaN last and equal values by place.

    Example:
        >>> falling_order(torch.tensor([2.0, torch.nan, 5.0, 2.0]))
        tensor([2, 0, 3, 1])
    """
    # NaN sorts as the largest: negated values rise, so that it comes last.
    return torch.argsort(-values, dim=-1, stable=True)


def hits_p_value(
    hits: int | np.ndarray, among: int, listed: int | np.ndarray, drawn: int | np.ndarray
) -> np.ndarray:
    """The probability of at least so many hits by chance, drawn without putting back.

    Args:
        hits: How many of those drawn are listed.
        among: How many there are to draw from.
        listed: How many of them are listed.
        drawn: How many are drawn.

    Returns:
        The p-value, of the upper tail of the hypergeometric distribution; in [0, 1], and 0 only
        where float64 ends. Of the shape of the numbers.

    Example:
        >>> hits_p_value(np.array([2, 1]), among=4, listed=2, drawn=2).round(4)
        array([0.1667, 0.8333])
    """
    # At least so many: more than one less. What is certain can come out as more than 1 by rounding.
    tail = scipy.stats.hypergeom.sf(np.asarray(hits) - 1, among, listed, drawn)
    return np.asarray(np.minimum(tail, 1.0))


def correlation(
    first: Float[Tensor, "pairs"], second: Float[Tensor, "pairs"], confidence: float = 0.95
) -> Correlation:
    """Pearson's correlation of two measures of the same things, with its confidence interval.

    The interval is Fisher's, which assumes that the pairs are drawn from a normal distribution.

    Args:
        first: `(pairs,)`, such as the avg-ATR of each class or model.
        second: `(pairs,)`, such as its accuracy.
        confidence: Of the interval, in (0, 1).

    Returns:
        The correlation, its interval, and the probability of one as strong by chance.

    Raises:
        OptionError: If there are fewer than 4 pairs (the interval's width is 1 / sqrt(pairs - 3)),
            the numbers differ, one is NaN or infinite, or all of one side are equal.

    Example:
        >>> found = correlation(torch.tensor([1.0, 2, 3, 4, 5]), torch.tensor([2.0, 1, 4, 3, 5]))
        >>> f"{found.value:.2f}, from {found.low:.2f} to {found.high:.2f}"
        '0.80, from -0.28 to 0.99'
    """
    require_confidence(confidence)
    pair = require_pairs(first, second, 4)
    _require_spread(*pair)
    found = scipy.stats.pearsonr(*pair)
    low, high = map(float, found.confidence_interval(confidence))
    return Correlation(float(found.statistic), low, high, float(found.pvalue), len(first))


def rank_correlation(
    first: Float[Tensor, "pairs"], second: Float[Tensor, "pairs"], confidence: float = 0.95
) -> Correlation:
    """Spearman's rank correlation of two measures of the same things, with its interval.

    The interval is that of :cite:t:`bonett2000`: on Fisher's scale, where rho becomes artanh(rho),
    its standard error is sqrt((1 + rho^2 / 2) / (pairs - 3)). A rho of 1 or -1 is infinitely far
    on that scale, and its interval is that one point. The p-value is from Student's t, which is
    rough below about ten pairs: four pairs in one order get 0, though that is 1 chance in 12.

    Args:
        first: `(pairs,)`, such as the avg-ATR of each class or model. Equal numbers share the mean
            of their ranks.
        second: `(pairs,)`, such as its accuracy.
        confidence: Of the interval, in (0, 1).

    Returns:
        The correlation, its interval, and the probability of one as strong by chance.

    Raises:
        OptionError: If there are fewer than 4 pairs, the lengths differ, one is NaN or infinite, or
            all of one side are equal.

    Example:
        >>> ranges, accuracies = torch.tensor([1.0, 2, 3, 4, 9]), torch.tensor([2.0, 1, 4, 3, 5])
        >>> found = rank_correlation(ranges, accuracies)
        >>> f"{found.value:.2f}, from {found.low:.2f} to {found.high:.2f}"
        '0.80, from -0.46 to 0.99'
    """
    require_confidence(confidence)
    pair = require_pairs(first, second, 4)
    _require_spread(*pair)
    found = scipy.stats.spearmanr(*pair)
    value, p_value, count = float(found.statistic), float(found.pvalue), len(first)
    # Ranks in one order, up to rounding: the scale ends here.
    if 1 - abs(value) <= 1e-12:
        end = math.copysign(1.0, value)
        return Correlation(end, end, end, p_value, count)
    error = math.sqrt((1 + value**2 / 2) / (count - 3))
    reach = error * float(scipy.stats.norm.ppf((1 + confidence) / 2))
    low, high = (math.tanh(math.atanh(value) + step) for step in (-reach, reach))
    return Correlation(value, low, high, p_value, count)


def require_confidence(confidence: float) -> None:
    """Raise unless a confidence is in (0, 1).

    Raises:
        OptionError: With the confidence that came.
    """
    require_within("confidence", confidence, 0, 1)
    if confidence in (0, 1):
        raise OptionError("confidence between 0 and 1", f"{confidence}", "Try 0.95.")


def require_pairs(first: Tensor, second: Tensor, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Two measures of the same things in float64, or an error that says why they are not.

    Raises:
        OptionError: If they are not `(pairs,)` of one length, at least so many, and finite.
    """
    if first.ndim != 1 or first.shape != second.shape:
        got = f"shapes {tuple(first.shape)} and {tuple(second.shape)}"
        raise OptionError("two tensors (pairs,) of one length", got, "Give numbers in pairs.")
    if len(first) < least:
        got = str(len(first))
        raise OptionError(f"at least {least} pairs", got, "Measure more classes or models.")
    return _finite("first", first), _finite("second", second)


def _finite(name: str, values: Tensor) -> np.ndarray:
    bad = int((~values.isfinite()).sum())
    if bad:
        got = f"{bad} of {len(values)} NaN or infinite"
        raise OptionError(f"finite numbers in {name}", got, "Leave those pairs out.")
    numbers: np.ndarray = values.detach().cpu().double().numpy()
    return numbers


def _require_spread(first: np.ndarray, second: np.ndarray) -> None:
    for name, values in (("first", first), ("second", second)):
        # What differs by the rounding of float64 only would correlate by chance of that rounding.
        if np.linalg.norm(values - values.mean()) <= 1e-12 * np.abs(values).max():
            raise OptionError(
                f"numbers in {name} that differ",
                f"{values[0]:g} only",
                "A constant has no correlation.",
            )
