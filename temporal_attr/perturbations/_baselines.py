"""Baselines: what replaces a frame, or a part of one, where it is masked."""

from __future__ import annotations

from numbers import Real
from typing import Literal, TypeAlias, get_args

import scipy
import torch
from torch import Tensor

from temporal_attr._errors import ClipError, OptionError
from temporal_attr._require import require_finite
from temporal_attr._typing import ClipTensor

BaselineName: TypeAlias = Literal["mean", "blur", "neighbour"]
Baselines: TypeAlias = float | int | BaselineName | Tensor
"""A number, in input values; a name; or a tensor that fits the clip."""

BLUR = 0.1
"""Standard deviation of the blur, as a share of the short side."""


def check_baselines(baselines: object) -> None:
    """Raise unless this can replace what is masked.

    Raises:
        OptionError: With what it may be.
        ClipError: If it is a tensor that is not finite.
    """
    if isinstance(baselines, Tensor):
        bad = int((~baselines.isfinite()).sum())
        if bad:
            got = f"{bad} of {baselines.numel()} values that are NaN or infinite"
            raise ClipError("finite baselines", got, "Replace them first.")
        return
    if isinstance(baselines, Real):
        require_finite("baselines", baselines)
        return
    if not isinstance(baselines, str) or baselines not in get_args(BaselineName):
        raise OptionError(
            'baselines to be a number, "mean", "blur", "neighbour" or a tensor like the clip',
            repr(baselines),
            "Try 0.0, or a neighbour, which is a natural frame.",
        )


def baseline_of(clip: ClipTensor, baselines: Baselines) -> ClipTensor | None:
    """What each value of a clip becomes where it is masked, shaped like the clip.

    A number is itself, in the model's input values; `"mean"` is the mean of each channel
    over the clip; `"blur"` each frame under a Gaussian a tenth of its short side wide; a tensor is
    taken as it is, and broadcast.

    Args:
        clip: `(batch, time, channel, height, width)`.
        baselines: As `check_baselines` takes them.

    Returns:
        None for `"neighbour"`, which depends on the frames that are masked together: see
        `neighbour_of`.

    Raises:
        ClipError: If a tensor does not fit the clip.
        OptionError: If a number is beyond those of the clip's precision.

    Example:
        >>> clip = torch.arange(8.0).reshape(1, 2, 1, 2, 2)
        >>> baseline_of(clip, "mean").flatten().unique()
        tensor([3.5000])
    """
    check_baselines(baselines)
    if isinstance(baselines, Tensor):
        try:
            return baselines.detach().to(clip).expand_as(clip)
        except RuntimeError:
            got = f"shape {tuple(baselines.shape)}"
            remedy = "Give baselines for every frame, or axes of length 1."
            raise ClipError(f"baselines that fit {tuple(clip.shape)}", got, remedy) from None
    if baselines == "neighbour":
        return None
    if baselines == "mean":
        return clip.mean((1, 3, 4), keepdim=True).expand_as(clip)
    if baselines == "blur":
        return _blurred(clip)
    most = torch.finfo(clip.dtype).max
    if abs(baselines) > most:
        expected = f"baselines from {-most:.3g} to {most:.3g}, as {clip.dtype} holds them"
        raise OptionError(expected, str(baselines), "Try 0.0.")
    return torch.full_like(clip, float(baselines))


def neighbour_of(first: int, end: int, frames: int) -> int:
    """The frame that replaces frames `first` to `end - 1`: the one before, or else after them.

    Raises:
        ClipError: If no frame is left.

    Example:
        >>> neighbour_of(2, 4, frames=5), neighbour_of(0, 2, frames=5)
        (1, 2)
    """
    if first > 0:
        return first - 1
    if end < frames:
        return end
    raise ClipError(
        "a frame that is not masked, to replace those that are",
        f"{frames} frames, all masked together",
        "Mask fewer frames at once, or take other baselines.",
    )


def _blurred(clip: ClipTensor) -> ClipTensor:
    """Every frame under a Gaussian, with the pixels at the border repeated outwards."""
    width = BLUR * min(clip.shape[3:])
    blurred = scipy.ndimage.gaussian_filter(
        clip.detach().cpu().double().numpy(), (0, 0, 0, width, width), mode="nearest"
    )
    return torch.from_numpy(blurred).to(clip)
