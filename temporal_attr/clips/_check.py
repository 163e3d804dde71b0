"""Is this tensor a clip?"""

from __future__ import annotations

import torch
from torch import Tensor

from temporal_attr._errors import ClipError

AXES = "(batch, time, channel, height, width)"


def check_layout(clip: Tensor, channels: int | None = 3) -> None:
    """Raise unless a tensor has the axes of a clip, in order, in floating point.

    Args:
        clip: What should be `(batch, time, channel, height, width)`.
        channels: How many channels there should be; None for any number, as long as the clip does
            not look like (batch, channel, time, ...).

    Raises:
        ClipError: With what came and how to mend it.

    Example:
        >>> import torch
        >>> check_layout(torch.rand(1, 8, 3, 32, 32))
        >>> check_layout(torch.rand(8, 3, 32, 32))
        Traceback (most recent call last):
        ...
        temporal_attr._errors.ClipError: expected five axes (batch, time, ...
    """
    if not isinstance(clip, Tensor):
        raise ClipError(
            f"a tensor {AXES}", type(clip).__name__, "A Clip holds one: pass clip.tensor."
        )
    shape = tuple(clip.shape)
    if clip.ndim != 5:
        remedy = "Add the batch axis: clip[None]." if clip.ndim == 4 else "See load_clip."
        raise ClipError(f"five axes {AXES}", f"{clip.ndim} axes, shape {shape}", remedy)
    if 0 in shape:
        raise ClipError(f"at least one element on every axis {AXES}", f"shape {shape}", "Fill it.")
    swapped = shape[1] == (channels or 3) != shape[2]
    if swapped or (channels is not None and shape[2] != channels):
        channels = channels or 3
        raise ClipError(
            f"{channels} channels on axis 2 of {AXES}",
            f"shape {shape}"
            + (", which looks like (batch, channel, time, ...)" if swapped else ""),
            "Use clip.transpose(1, 2)."
            if swapped
            else "Clips are RGB; a wrapper with another Normalization takes its channels.",
        )
    if not clip.is_floating_point():
        raise ClipError(
            "floating-point values, as the model's preprocessing makes them",
            str(clip.dtype),
            "Apply model.preprocessing, or clip.float() / 255 for bytes.",
        )


def check_finite(clip: Tensor) -> None:
    """Raise unless every value is real and finite.

    Example:
        >>> import torch
        >>> check_finite(torch.tensor([1.0, float("nan")]))
        Traceback (most recent call last):
        ...
        temporal_attr._errors.ClipError: expected finite values, got 1 of 2 that are NaN ...
    """
    if clip.is_complex():
        raise ClipError("real values", f"{clip.dtype}", "Take its .real or .abs().")
    bad = (~torch.isfinite(clip)).sum().item()
    if bad:
        raise ClipError(
            "finite values", f"{bad} of {clip.numel()} that are NaN or infinite", "Clean the clip."
        )
