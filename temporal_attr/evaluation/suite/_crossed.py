"""Statistics of clips that several models are asked about: which models vary, and which clips.

A clip that is hard is hard for every model, so that what clips have in common does not average out
over models. Clips are therefore drawn, or swapped, by their names, for all models together. A model
can lack clips; those are NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from temporal_attr._require import require_seed
from temporal_attr.measures import Interval
from temporal_attr.measures._correlation import require_confidence

RESAMPLES = 2000
SWAPS = 9999
_EXACT = 13
"""Clips up to which all ways to swap them are tried."""
_MOST = 2**24
"""Numbers that are drawn at a time."""

Crossed = Float[np.ndarray, "models clips"]


def mean_over_models(values: Crossed) -> float:
    """The mean over models of the mean over their clips; a model without clips does not count.

    Example:
        >>> mean_over_models(np.array([[0.0, 1.0], [1.0, np.nan]]))
        0.75
    """
    known = ~np.isnan(values)
    some = known.any(1)
    sums = np.where(known, values, 0.0).sum(1)[some]
    return float((sums / known.sum(1)[some]).mean())


def crossed_bootstrap(values: Crossed, confidence: float = 0.95, seed: int = 0) -> Interval:
    """That mean, with the percentile interval of a bootstrap that draws models and clips.

    Both are drawn with replacement, clips by name for all models, as in section 3 of
    :cite:t:`owen2007`. Of a single model the interval is of clips only, and of a single clip there
    is none.

    Args:
        values: `(models, clips)`.
        confidence: Of the interval, in (0, 1).
        seed: The same seed draws the same resamples.

    Example:
        >>> found = crossed_bootstrap(np.array([[0.0, 1.0, 0.5], [1.0, np.nan, 0.5]]))
        >>> found.value, found.low < 0.6 < found.high
        (0.625, True)
    """
    require_confidence(confidence)
    require_seed(seed)
    models, clips = values.shape
    mean = mean_over_models(values)
    if clips == 1:
        return Interval(mean, np.nan, np.nan, confidence)
    random = np.random.default_rng(seed)
    known = ~np.isnan(values)
    often = random.multinomial(clips, np.full(clips, 1 / clips), RESAMPLES).astype(np.float64)
    sums, counts = often @ np.where(known, values, 0.0).T, often @ known.T.astype(np.float64)
    chosen = random.integers(0, models, (RESAMPLES, models))
    drawn = np.take_along_axis(
        np.where(counts > 0, sums / np.maximum(counts, 1), np.nan), chosen, 1
    )
    some = ~np.isnan(drawn).all(1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.nanmean(drawn[some], 1), (tail, 1 - tail)).tolist()
    return Interval(mean, low, high, confidence)


def swap_p_values(differences: Sequence[Crossed], seed: int = 0, swaps: int = SWAPS) -> list[float]:
    """How likely a mean difference as large is, of either sign, if it is chance who is first.

    Every clip's two methods are swapped or not, for all models together. All ways are tried up to
    13 clips, and random ones beyond; so a p-value is at least 2^(1 - clips), or 1 over the swaps
    and one :cite:p:`phipson2010`. What is compared is the mean over models of the mean over clips.

    Args:
        differences: Each `(models, clips)`, of the same clips.
        seed: The same seed draws the same swaps.
        swaps: How many random ones.

    Example:
        >>> swap_p_values([np.ones((1, 6)), np.array([[1.0, -1.0, 1.0, -1.0, 1.0, -1.0]])])
        [0.03125, 1.0]
    """
    require_seed(seed)
    weights = np.stack([_by_clip(one) for one in differences], 1)
    clips = len(weights)
    found = np.abs(weights.sum(0))
    # Rounding must not make a way to swap differ from its mirror image.
    least = found - 1e-9 * np.abs(weights).sum(0)
    if clips <= _EXACT:
        places = np.arange(2**clips)[:, None] >> np.arange(clips) & 1
        as_large = (np.abs((1.0 - 2.0 * places) @ weights) >= least).sum(0)
        return [float(count) for count in as_large / 2**clips]
    random = np.random.default_rng(seed)
    counts = np.zeros(len(found))
    at_a_time = max(1, _MOST // max(clips, len(found)))
    for start in range(0, swaps, at_a_time):
        size = min(at_a_time, swaps - start)
        signs = random.integers(0, 2, (size, clips)) * 2.0 - 1.0
        counts += (np.abs(signs @ weights) >= least).sum(0)
    return [float(count) for count in (counts + 1) / (swaps + 1)]


def _by_clip(values: Crossed) -> Float[np.ndarray, "clips"]:
    """What each clip adds to the mean over models of the mean over clips."""
    known = ~np.isnan(values)
    some = known.any(1)
    filled = np.where(known, values, 0.0)[some]
    each = filled / known[some].sum(1, keepdims=True) / some.sum()
    added: np.ndarray = each.sum(0)
    return added
