"""Correlations of scores with drops, which do not exist where one side is constant."""

from __future__ import annotations

import math

import numpy as np
import scipy
from jaxtyping import Float

from temporal_attr._errors import DataError

_ROUNDING = 1e-12
"""What differs by no more, relative to its size, differs by rounding of float64."""


def pearson(first: Float[np.ndarray, "pairs"], second: Float[np.ndarray, "pairs"]) -> float:
    """Pearson's correlation in [-1, 1]; NaN if one side is constant.

    Raises:
        DataError: If there are not as many of both.

    Example:
        >>> pearson(np.array([1.0, 2.0]), np.array([3.0, 3.0]))
        nan
    """
    if len(first) != len(second):
        got = f"{len(first)} and {len(second)}"
        raise DataError("as many numbers on both sides", got, "Give them in pairs.")
    deviations = []
    for values in (first, second):
        if len(values) < 2:
            return math.nan
        deviation = values - values.mean()
        length = float(np.linalg.norm(deviation))
        if length <= _ROUNDING * float(np.abs(values).max()):
            return math.nan
        deviations.append(deviation / length)
    value = float(deviations[0] @ deviations[1])
    # The ends of the scale, up to rounding.
    return math.copysign(1.0, value) if 1 - abs(value) <= _ROUNDING else value


def spearman(first: Float[np.ndarray, "pairs"], second: Float[np.ndarray, "pairs"]) -> float:
    """Spearman's rank correlation in [-1, 1]; NaN if one side is constant.

    Equal numbers share the mean of their ranks.

    Raises:
        DataError: If there are not as many of both.

    Example:
        >>> spearman(np.array([1.0, 2.0, 9.0]), np.array([0.1, 0.2, 0.3]))
        1.0
    """
    return pearson(*(scipy.stats.rankdata(values).astype(float) for values in (first, second)))
