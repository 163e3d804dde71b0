"""The options by which a method takes about as many evaluations as it may."""

from __future__ import annotations

import inspect
import math
from typing import Any

from temporal_attr.attributions import FrameShapley, ShuffleProbe, VideoMethod
from temporal_attr.perturbations import Tubes

BACKWARD = 2
"""Forward passes that a backward pass is counted as."""


def options_within(kind: type[VideoMethod], budget: int, frames: int) -> dict[str, Any]:
    """Options of a method whose explanation of a clip takes about so many evaluations.

    An evaluation is a forward pass of a clip, and a backward pass counts as two. Methods whose cost
    has no option for it get none: what they took stands in the table.

    Args:
        kind: The method.
        budget: Evaluations for each clip.
        frames: Of a clip.

    Example:
        >>> from temporal_attr import RISE, FrameShapley, GradCAM, IntegratedGradients
        >>> options_within(RISE, 500, 8), options_within(IntegratedGradients, 500, 8)
        ({'n_samples': 499}, {'n_steps': 166})
        >>> options_within(FrameShapley, 500, 8), options_within(GradCAM, 500, 8)
        ({}, {})
        >>> options_within(FrameShapley, 100, 16)
        {'n_samples': 6}
        >>> from temporal_attr import KernelSHAP
        >>> options_within(KernelSHAP, 50, 8)
        {'n_samples': 49, 'feature_mask': Tubes(time=4, height=2, width=2)}
    """
    gradient = 1 + BACKWARD
    if kind is FrameShapley:
        # All coalitions of frames, if they can be paid, give the exact values.
        permutations = max(2, (budget - 2) // max(1, frames - 1))
        return {} if 2**frames <= budget else {"n_samples": permutations - permutations % 2}
    if kind is ShuffleProbe:
        return {"shuffles": max(2, budget // gradient - 1)}
    known = inspect.signature(kind).parameters
    found = {
        "n_samples": max(2, budget - 1),
        "n_steps": max(1, (budget - 2) // gradient),
        "max_iterations": max(1, budget // gradient),
    }
    if kind.traits.needs == ("gradients",):
        found["n_samples"] = max(1, budget // gradient)
    options: dict[str, Any] = {name: value for name, value in found.items() if name in known}
    if "feature_mask" in known and "n_samples" in known:
        options["feature_mask"] = _tubes(budget)
    return options


def _tubes(budget: int) -> Tubes:
    """As fine as leaves three coalitions for each of them."""
    sizes = [(8, 4, 4), (4, 4, 4), (4, 2, 2), (2, 2, 2)]
    return Tubes(*next((size for size in sizes if 3 * math.prod(size) <= budget), (2, 1, 1)))
