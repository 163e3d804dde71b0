r"""What the values of a layer count for in its map: one function for each method.

All take the layer's values :math:`A` and the gradient :math:`G = \partial S / \partial A` of the
target's logit, both `(batch, feature, steps, rows, columns)`, and give a map
`(batch, steps, rows, columns)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from torch import Tensor

from temporal_attr._errors import ModelError
from temporal_attr._typing import LayerMap, LayerValues

Pool: TypeAlias = Literal["clip", "timestep"]
"""Over what the gradient of a channel is averaged or summed to its weight."""

Weighting: TypeAlias = Callable[[LayerValues, LayerValues], LayerMap]

CANCELLED = 1e-4
"""Of the size of products: what is left of their sum before a norm, and rounding, is below it."""

_OVER = {"clip": (2, 3, 4), "timestep": (3, 4)}


def grad_cam(values: LayerValues, gradient: LayerValues, pool: Pool) -> LayerMap:
    """The channels, weighted by the mean of their gradient."""
    weights = gradient.mean(_OVER[pool], keepdim=True)
    return (weights * values).sum(1)


def grad_cam_plus_plus(values: LayerValues, gradient: LayerValues, pool: Pool) -> LayerMap:
    r"""The channels, weighted by the sum of their positive gradient, place by place.

    With all three derivatives of :math:`\exp(S)` in it, their factor
    :math:`G^2 / (2 G^2 + G^3 \sum A)` is :math:`1 / (2 + G \sum A)`, or 0 where G is.
    """
    below = 2 + gradient * values.sum(_OVER[pool], keepdim=True)
    share = (gradient != 0) / below.where(below != 0, below.new_ones(()))
    weights = (share * gradient.relu()).sum(_OVER[pool], keepdim=True)
    return (weights * values).sum(1)


def hi_res_cam(values: LayerValues, gradient: LayerValues) -> LayerMap:
    """The values, each by its own gradient."""
    return (gradient * values).sum(1)


def require_map(found: LayerMap, values: LayerValues, gradient: LayerValues) -> None:
    r"""Raise if value times gradient cancels at every place of a clip.

    A norm over the features of a place gives the same for a multiple of them, so by Euler's theorem
    on homogeneous functions :math:`\sum_k G_k A_k = 0` wherever all paths on go through one: what
    is left is of the norm's epsilon, and rounding (of half precision too much to tell it by).
    """
    size = (gradient * values).abs().sum(1).flatten(1).amax(1)
    left = found.abs().flatten(1).amax(1)
    cancels = (size > 0) & (left <= CANCELLED * size)
    if cancels.any():
        raise ModelError(
            "a layer where value times gradient does not cancel",
            f"one where the sum over features is at most {(left / size)[cancels].amax():.0e} of "
            "their size, as before a norm",
            "Name the norm that follows as layer=, or take GradCAM or LayerCAM.",
        )


def layer_cam(values: LayerValues, gradient: LayerValues) -> LayerMap:
    """The values, each by its own gradient where that is positive."""
    return (gradient.relu() * values).sum(1)


def channel_masks(values: LayerValues) -> Tensor:
    """Each channel of a clip brought to 0 at its least value and 1 at its largest.

    A channel that is the same everywhere is 0.
    """
    low = values.amin((2, 3, 4), keepdim=True)
    span = values.amax((2, 3, 4), keepdim=True) - low
    return (values - low) / span.where(span > 0, span.new_ones(()))
