"""Names for the measures of a shuffled clip: categories by thresholds."""

from __future__ import annotations

import math

from temporal_attr._errors import DataError

_UNDEFINED = "not defined"

_NEED = (
    (0.5, "the prediction depends on the order"),
    (0.1, "the prediction partly depends on the order"),
    (-0.1, "the prediction hardly depends on the order"),
    (-math.inf, "the probability is higher when shuffled"),
)
_RELIANCE = (
    (1.1, "order changes the model's sensitivity, but not downwards"),
    (0.9, "very high appearance reliance"),
    (0.7, "high appearance reliance"),
    (0.5, "mixed reliance on appearance and motion"),
    (0.3, "moderate motion reliance"),
    (-math.inf, "high motion reliance"),
)
_CONTEXT = (
    (0.3, "strong temporal context"),
    (0.1, "moderate temporal context"),
    (-0.1, "weak temporal context"),
    (-math.inf, "no drop: the sensitivity rises"),
)
_TRACKING = (
    (0.2, "strongly tracks motion"),
    (0.05, "moderately tracks motion"),
    (-0.05, "weakly tracks motion"),
    (-math.inf, "follows motion less in order than shuffled"),
)


def need_category(probability_drop: float, probability: float) -> str:
    """The category of a drop of the target's probability, by the share of it that is lost.

    More than half: the prediction depends on the order; (0.1, 0.5]: it partly depends on it;
    (-0.1, 0.1]: it hardly depends on it; at -0.1 and below: the probability is higher when
    shuffled. A change of less than 0.01 is in the third category, whatever the share: a class that
    is not predicted has little to lose. These bounds are ours.

    Args:
        probability_drop: The probability in order less its mean over shuffles.
        probability: In order.

    Raises:
        DataError: If the probability is not in [0, 1], or the drop not in [-1, 1].

    Example:
        >>> need_category(0.5, probability=0.9)
        'the prediction depends on the order'
        >>> need_category(0.02, probability=0.9)
        'the prediction hardly depends on the order'
    """
    if not 0 <= probability <= 1:
        raise DataError(
            "a probability from 0 to 1",
            f"{probability}",
            "Apply softmax, or a sigmoid, to logits.",
        )
    # A difference of two probabilities, to rounding; NaN is not defined.
    if abs(probability_drop) > 1 + 1e-6:
        got = f"{probability_drop}"
        raise DataError("a drop of a probability, from -1 to 1", got, "Apply softmax to logits.")
    if abs(probability_drop) < 0.01:
        return _named(0.0, _NEED)
    return _named(probability_drop / probability if probability else -math.inf, _NEED)


def reliance_category(motion_reliance_ratio: float, median_log_ratio: float = 0.0) -> str:
    """The category of a motion reliance ratio.

    Above 0.9 very high appearance reliance, (0.7, 0.9] high appearance, (0.5, 0.7] mixed,
    (0.3, 0.5] moderate motion, up to 0.3 high motion. The published table names appearance in two
    cases where it should not: above 1.1, where shuffling raised the sensitivity, and near 1 where
    scores change both ways. Here these have categories of their own.

    Args:
        motion_reliance_ratio: MRR, 0 or more.
        median_log_ratio: The median `|log R|`; above 0.1 an MRR near 1 hides rises and drops.

    Raises:
        DataError: If the ratio is negative.

    Example:
        >>> reliance_category(0.42), reliance_category(float("nan"))
        ('moderate motion reliance', 'not defined')
        >>> reliance_category(1.0, median_log_ratio=0.3)
        'order raises the sensitivity to some frames and lowers it to others'
    """
    if motion_reliance_ratio < 0:
        raise DataError(
            "a motion reliance ratio of 0 or more",
            f"{motion_reliance_ratio}",
            "Ratios of signed scores have no such median; take their norms.",
        )
    if 0.9 < motion_reliance_ratio <= 1.1 and median_log_ratio > 0.1:
        return "order raises the sensitivity to some frames and lowers it to others"
    return _named(motion_reliance_ratio, _RELIANCE)


def context_category(relative_drop: float) -> str:
    """The category of a relative drop: above 0.3 strong, (0.1, 0.3] moderate, else weak context.

    The published table ends there; at -0.1 and below the sensitivity does not drop but rises, which
    is a category of its own.

    Example:
        >>> context_category(0.3)
        'moderate temporal context'
    """
    return _named(relative_drop, _CONTEXT)


def tracking_category(flow_correlation_drop: float) -> str:
    """The category of a flow correlation drop: strongly (> 0.2), moderately (> 0.05), or weakly.

    The published table ends there; at -0.05 and below, the scores follow the motion less in order
    than shuffled, which is a category of its own.

    Example:
        >>> tracking_category(0.06)
        'moderately tracks motion'
    """
    return _named(flow_correlation_drop, _TRACKING)


def _named(value: float, table: tuple[tuple[float, str], ...]) -> str:
    if math.isnan(value):
        return _UNDEFINED
    return next(name for above, name in table if value > above or above == -math.inf)
