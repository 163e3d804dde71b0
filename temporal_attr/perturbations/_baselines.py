"""What stands in a clip where a frame, or a part of one, is hidden."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np
import scipy
import torch
from torch import Tensor

from temporal_attr._errors import ClipError, OptionError
from temporal_attr._typing import ClipTensor

HideName: TypeAlias = Literal["mean", "blur", "neighbour"]
Hide: TypeAlias = float | int | HideName | Tensor

BLUR = 0.1
"""Standard deviation of the blur, as a share of the short side."""


def check_hide(hide: object) -> None:
    """Raise unless this says what hides.

    Raises:
        OptionError: With what it may be.
    """
    if isinstance(hide, Tensor):
        return
    if isinstance(hide, int | float | np.number) and not isinstance(hide, bool):
        if not math.isfinite(float(hide)):
            raise OptionError("a finite number to hide with", str(hide), "Try 0.0.")
        return
    if not isinstance(hide, str) or hide not in ("mean", "blur", "neighbour"):
        raise OptionError(
            'hide to be a number, "mean", "blur", "neighbour" or a tensor like the clip',
            repr(hide),
            "Try 0.0, or a neighbour, which is a natural frame.",
        )


def cover(clip: ClipTensor, hide: Hide) -> ClipTensor:
    """What each frame shows where it is hidden by itself, shaped like the clip.

    A number stands for itself, in the model's input values; `"mean"` is the mean of each channel
    over the clip; `"blur"` each frame under a Gaussian a tenth of its short side wide; a tensor is
    taken as it is, and broadcast. `"neighbour"` depends on how many frames are hidden together: see
    `neighbour_of`; here it is the frame before, and for the first one the frame after.

    Raises:
        ClipError: If a tensor does not fit the clip, or a single frame is to have a neighbour.
    """
    if isinstance(hide, Tensor):
        try:
            return hide.detach().to(clip).expand_as(clip)
        except RuntimeError:
            got = f"shape {tuple(hide.shape)}"
            remedy = "Give what hides for every frame, or axes of length 1."
            raise ClipError(f"a tensor that fits {tuple(clip.shape)}", got, remedy) from None
    if hide == "mean":
        return clip.mean((1, 3, 4), keepdim=True).expand_as(clip)
    if hide == "blur":
        width = BLUR * min(clip.shape[3:])
        blurred = scipy.ndimage.gaussian_filter(
            clip.detach().cpu().double().numpy(), (0, 0, 0, width, width), mode="nearest"
        )
        return torch.from_numpy(blurred).to(clip)
    if hide == "neighbour":
        frames = range(clip.shape[1])
        return clip[:, [neighbour_of(frame, frame + 1, len(frames)) for frame in frames]]
    return torch.full_like(clip, float(hide))


def neighbour_of(first: int, end: int, frames: int) -> int:
    """The frame that stands for frames `first` to `end - 1`: the one before, or else after them.

    Raises:
        ClipError: If no frame is left.
    """
    if first > 0:
        return first - 1
    if end < frames:
        return end
    raise ClipError(
        "a frame that is not hidden, to stand for those that are",
        f"{frames} frames, all hidden together",
        "Hide fewer frames at once, or hide them with something else.",
    )
