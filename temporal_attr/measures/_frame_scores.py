"""One number for each frame of an attribution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from temporal_attr._errors import ClipError, OptionError
from temporal_attr._typing import ClipTensor, FrameScores

Norm: TypeAlias = Literal["l2", "l1", "max", "sum"]

_PIXELS = (2, 3, 4)
_NORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "l2": lambda values: torch.linalg.vector_norm(values, dim=_PIXELS),
    "l1": lambda values: values.abs().sum(_PIXELS),
    "max": lambda values: values.abs().amax(_PIXELS),
    "sum": lambda values: values.sum(_PIXELS),
}


def frame_scores(attribution: ClipTensor, norm: Norm = "l2") -> FrameScores:
    """Reduce an attribution of pixels to one of frames.

    Args:
        attribution: `(batch, time, channel, height, width)`, of this library or Captum's.
        norm: Over channel, height and width of each frame: `"l2"` (G_t of the temporal
            gradient), `"l1"`, `"max"` (the largest magnitude), or `"sum"`, which keeps the sign
            and, for methods that add up to the prediction, adds up over frames as well.

    Returns:
        `(batch, time)`, in the unit of the attribution; 0 or more except for `"sum"`.

    Raises:
        ClipError: If the attribution does not have five axes.
        OptionError: If the norm is unknown.

    Example:
        >>> attribution = torch.zeros(1, 2, 3, 4, 4)
        >>> attribution[0, 1, 0, 0, :2] = torch.tensor([3.0, -4.0])
        >>> frame_scores(attribution), frame_scores(attribution, "sum")
        (tensor([[0., 5.]]), tensor([[ 0., -1.]]))
    """
    if norm not in _NORMS:
        names = ", ".join(f'"{name}"' for name in _NORMS)
        raise OptionError(f"norm to be {names}", repr(norm), "Choose one of them.")
    require_attribution(attribution)
    return _NORMS[norm](attribution)


def require_attribution(attribution: Tensor) -> None:
    """Raise unless an attribution is one of pixels.

    Raises:
        ClipError: With its shape, if it does not have five axes.
    """
    if attribution.ndim != len(_PIXELS) + 2:
        raise ClipError(
            "an attribution (batch, time, channel, height, width)",
            f"shape {tuple(attribution.shape)}",
            "Use a method whose attribution is shaped like its input.",
        )
