"""What the numbers of a shuffled clip are called in words."""

from __future__ import annotations

import math

from temporal_attr._require import require_within

_UNDEFINED = "not defined"

_NEED = (
    (0.5, "the prediction hangs on the order"),
    (0.1, "the prediction leans on the order"),
    (-0.1, "the prediction hardly needs the order"),
    (-math.inf, "the prediction is surer when shuffled"),
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


def need_category(probability_fall: float, probability: float) -> str:
    """What a fall of the target's probability is called, by the share of it that is lost.

    More than half: the prediction hangs on the order; (0.1, 0.5]: it leans on it; (-0.1, 0.1]: it
    hardly needs it; at -0.1 and below: it is surer when shuffled. So does a change of less than
    0.01, whatever the share: a class that is not predicted has little to lose. These bounds are
    ours.

    Args:
        probability_fall: The probability in order less its mean over shuffles.
        probability: In order.

    Example:
        >>> need_category(0.5, probability=0.9), need_category(0.02, probability=0.9)
        ('the prediction hangs on the order', 'the prediction hardly needs the order')
    """
    require_within("probability", probability, 0, 1)
    if abs(probability_fall) < 0.01:
        return _named(0.0, _NEED)
    return _named(probability_fall / probability if probability else -math.inf, _NEED)


def reliance_category(motion_reliance_ratio: float, median_log_ratio: float = 0.0) -> str:
    """What a motion reliance ratio is called.

    Above 0.9 very high appearance reliance, (0.7, 0.9] high appearance, (0.5, 0.7] mixed,
    (0.3, 0.5] moderate motion, up to 0.3 high motion. The published table speaks of appearance in
    two cases where it should not: above 1.1, where shuffling raised the sensitivity, and near 1
    where scores change both ways. Here these are called what they are.

    Args:
        motion_reliance_ratio: MRR, 0 or more.
        median_log_ratio: The median `|log R|`; above 0.1 an MRR near 1 hides rises and falls.

    Raises:
        OptionError: If the ratio is negative.

    Example:
        >>> reliance_category(0.42), reliance_category(float("nan"))
        ('moderate motion reliance', 'not defined')
        >>> reliance_category(1.0, median_log_ratio=0.3)
        'order raises the sensitivity to some frames and lowers it to others'
    """
    if not math.isnan(motion_reliance_ratio):
        require_within("motion_reliance_ratio", motion_reliance_ratio, 0)
    if 0.9 < motion_reliance_ratio <= 1.1 and median_log_ratio > 0.1:
        return "order raises the sensitivity to some frames and lowers it to others"
    return _named(motion_reliance_ratio, _RELIANCE)


def context_category(relative_drop: float) -> str:
    """What a relative drop is called: above 0.3 strong, (0.1, 0.3] moderate, else weak context.

    The published table ends there; at -0.1 and below the sensitivity does not drop but rises, and
    that is what it is called.

    Example:
        >>> context_category(0.3)
        'moderate temporal context'
    """
    return _named(relative_drop, _CONTEXT)


def tracking_category(flow_correlation_drop: float) -> str:
    """What a flow correlation drop is called: strongly (> 0.2), moderately (> 0.05), or weakly.

    The published table ends there; at -0.05 and below, the scores follow the motion less in order
    than shuffled, and it is called that.

    Example:
        >>> tracking_category(0.06)
        'moderately tracks motion'
    """
    return _named(flow_correlation_drop, _TRACKING)


def _named(value: float, table: tuple[tuple[float, str], ...]) -> str:
    if math.isnan(value):
        return _UNDEFINED
    return next(name for above, name in table if value > above or above == -math.inf)
