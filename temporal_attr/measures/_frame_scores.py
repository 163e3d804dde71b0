"""One number for each frame of an attribution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from temporal_attr._errors import ClipError, OptionError
from temporal_attr._typing import ClipTensor, FrameScores

ReductionName: TypeAlias = Literal["l2", "l1", "max", "sum"]

Reduction: TypeAlias = ReductionName | Callable[[Tensor], Tensor]
"""From an attribution to `(batch, time)`: the name of a norm or sum, or a function."""

_PIXELS = (2, 3, 4)


def _norm(values: Tensor) -> Tensor:
    """The Euclidean norm, also where squares would overflow or vanish."""
    found: Tensor = torch.linalg.vector_norm(values, dim=_PIXELS)
    outside = ~found.isfinite() | (found == 0)
    if not values.numel() or not bool(outside.any()):
        return found
    largest = values.abs().amax(_PIXELS, keepdim=True)
    scale = torch.where(largest > 0, largest, 1)
    scaled = torch.linalg.vector_norm(values / scale, dim=_PIXELS) * scale.flatten(1)
    return torch.where(outside & largest.isfinite().flatten(1), scaled, found)


_NAMED: dict[str, Callable[[Tensor], Tensor]] = {
    "l2": _norm,
    "l1": lambda values: values.abs().sum(_PIXELS),
    "max": lambda values: values.abs().amax(_PIXELS),
    "sum": lambda values: values.sum(_PIXELS),
}


def frame_scores(attribution: ClipTensor, reduction: Reduction = "l2") -> FrameScores:
    """Reduce an attribution of pixels to one of frames.

    Args:
        attribution: `(batch, time, channel, height, width)`, of this library or Captum's.
        reduction: Over channel, height and width of each frame: `"l2"` (G_t of the temporal
            gradient), `"l1"`, `"max"` (the largest magnitude), or `"sum"`, which keeps the sign
            and, for methods that add up to the prediction, adds up over frames as well; or a
            function from the attribution to `(batch, time)`.

    Returns:
        `(batch, time)`, in the unit of the attribution; 0 or more for the norms.

    Raises:
        ClipError: If the attribution does not have five axes, or has NaN.
        OptionError: If the reduction has no such name, or gives anything but `(batch, time)`.

    Example:
        >>> attribution = torch.zeros(1, 2, 3, 4, 4)
        >>> attribution[0, 1, 0, 0, :2] = torch.tensor([3.0, -4.0])
        >>> frame_scores(attribution), frame_scores(attribution, "sum")
        (tensor([[0., 5.]]), tensor([[ 0., -1.]]))
        >>> frame_scores(attribution, lambda values: values.amax((2, 3, 4)))
        tensor([[0., 3.]])
    """
    require_reduction(reduction)
    require_attribution(attribution)
    bad = int(attribution.isnan().sum())
    if bad:
        got = f"{bad} of {attribution.numel()} NaN"
        raise ClipError("an attribution without NaN", got, "Look where they come from.")
    return reduced(attribution, reduction)


def reduced(attribution: ClipTensor, reduction: Reduction) -> FrameScores:
    """`frame_scores` of an attribution that the caller checks."""
    scores = reduction(attribution) if callable(reduction) else _NAMED[reduction](attribution)
    if not isinstance(scores, Tensor) or scores.shape != attribution.shape[:2]:
        came = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise OptionError(
            f"a reduction to one number for each frame, {tuple(attribution.shape[:2])}",
            f"{came}",
            "Reduce over channel, height and width, axes 2 to 4, and over nothing else.",
        )
    return scores


def require_reduction(
    reduction: object, names: tuple[ReductionName, ...] = ("l2", "l1", "max", "sum")
) -> None:
    """Raise unless this is the name of a reduction, or a function.

    Args:
        reduction: What was given.
        names: Those that are allowed.

    Raises:
        OptionError: With the names.

    Example:
        >>> require_reduction("sum", names=("l2", "l1"))
        Traceback (most recent call last):
        ...
        temporal_attr._errors.OptionError: expected reduction to be "l2", "l1" or a function, ...
    """
    if not callable(reduction) and not (isinstance(reduction, str) and reduction in names):
        allowed = ", ".join(f'"{name}"' for name in names)
        raise OptionError(
            f"reduction to be {allowed} or a function", repr(reduction), "Choose one of them."
        )


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
