"""Options of temporal saliency rescaling that belong together."""

from __future__ import annotations

from typing import get_args

from temporal_attr._errors import OptionError
from temporal_attr._require import require_within
from temporal_attr.attributions.frame_masking_tsr._result import Steps


def require_steps(steps: object, feature_mask: object) -> None:
    """Raise unless there is such a number of steps, and features for two."""
    if steps not in get_args(Steps):
        raise OptionError('steps to be "one" or "two"', repr(steps), "Choose one of them.")
    if steps == "one" and feature_mask is not None:
        raise OptionError(
            'a feature_mask with steps="two"', 'steps="one"', "Leave one of them out."
        )


def require_one_threshold(threshold: float | None, quantile: float | None) -> None:
    """Raise unless at most one of them is given, and in its range."""
    if threshold is not None and quantile is not None:
        raise OptionError(
            "a threshold or a quantile",
            f"threshold={threshold} and quantile={quantile}",
            "Leave one of them out.",
        )
    if threshold is not None:
        require_within("threshold", threshold, 0)
    if quantile is not None:
        require_within("quantile", quantile, 0, 1)
