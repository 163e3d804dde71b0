"""Parts of a frame that are hidden together: pixels, blocks, superpixels, or any mask."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from temporal_attr._errors import ClipError, ModelError, OptionError
from temporal_attr._require import require_count
from temporal_attr._typing import ClipTensor
from temporal_attr.clips import Normalization

FeatureName: TypeAlias = Literal["pixel", "superpixel", "supervoxel"]
Features: TypeAlias = FeatureName | Tensor
Labels: TypeAlias = Int[Tensor, "batch time height width"]
"""The number of the part that each pixel belongs to; a part is of one frame only."""


def feature_labels(
    features: Features,
    clip: ClipTensor,
    block: tuple[int, int] | None = None,
    segments: int = 100,
    normalization: Normalization | None = None,
) -> Labels:
    """Number the parts of every frame.

    Args:
        features: `"pixel"`, each with all of its channels; `"superpixel"`, SLIC on each frame;
            `"supervoxel"`, SLIC on the whole clip, whose parts are then hidden frame by frame; or a
            mask of whole numbers from 0 without gaps, as Captum's `feature_mask`, `(height, width)`
            or with axes before that fit `(batch, time, channel, height, width)`, a single channel.
        clip: `(batch, time, channel, height, width)`.
        block: Height and width of blocks, in place of pixels. At the right and lower edge blocks
            are smaller where they do not divide the frame.
        segments: About how many superpixels a frame has.
        normalization: How pixel values became input values; superpixels need it.

    Raises:
        ClipError: If a mask does not fit the clip, or has gaps.
        OptionError: If the features are unknown, or blocks are asked for beside them or larger than
            the frame.
        ModelError: If superpixels are asked for and nothing says what the pixels were.
    """
    batch, time, _, height, width = clip.shape
    if block is not None and features != "pixel":
        raise OptionError('blocks of features="pixel"', repr(features), "Choose one of the two.")
    if isinstance(features, Tensor):
        return _mask_labels(features, clip)
    if features in ("superpixel", "supervoxel"):
        if normalization is None:
            raise ModelError(
                "a way back from input values to pixels, for superpixels",
                "a model that does not know its normalization",
                "Give normalization=, or use blocks.",
            )
        return _segments(clip, features == "supervoxel", segments, normalization)
    if features != "pixel":
        raise OptionError(
            'features to be "pixel", "superpixel", "supervoxel" or a mask',
            repr(features),
            "Choose one of them.",
        )
    sizes = (1, 1) if block is None else block
    if not isinstance(sizes, tuple | list) or len(sizes) != 2:
        raise OptionError("a block as (height, width)", repr(block), "Try (10, 10).")
    for name, size, side in zip(("height", "width"), sizes, (height, width), strict=True):
        require_count(f"a block's {name}", size, 1, side)
    rows = torch.arange(height, device=clip.device) // sizes[0]
    columns = torch.arange(width, device=clip.device) // sizes[1]
    grid = rows[:, None] * (int(columns[-1]) + 1) + columns
    return grid.expand(batch, time, height, width)


def _mask_labels(mask: Tensor, clip: Tensor) -> Labels:
    batch, time, _, height, width = clip.shape
    if mask.dtype not in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64):
        raise ClipError("a feature mask of whole numbers", str(mask.dtype), "Use mask.long().")
    if mask.ndim == 5:
        if mask.shape[2] != 1:
            got = f"shape {tuple(mask.shape)}"
            raise ClipError("a feature mask with one channel", got, "A part has all channels.")
        mask = mask[:, :, 0]
    try:
        labels = mask.to(clip.device).expand(batch, time, height, width)
    except RuntimeError:
        raise ClipError(
            f"a feature mask that fits {(batch, time, height, width)}",
            f"shape {tuple(mask.shape)}",
            "Give (height, width), or the batch and time axes as well.",
        ) from None
    used = labels.unique()
    if not torch.equal(used, torch.arange(len(used), device=used.device)):
        raise ClipError(
            "features numbered from 0 without gaps",
            f"{len(used)} numbers from {int(used[0])} to {int(used[-1])}",
            "Renumber: mask.unique(return_inverse=True)[1].",
        )
    return labels


def _segments(
    clip: Tensor, through_time: bool, segments: int, normalization: Normalization
) -> Labels:
    from skimage.segmentation import slic  # noqa: PLC0415 - an extra

    require_count("segments", segments, 1)
    pixels = normalization.invert(clip.detach()).clamp(0, 1).cpu().double()
    labels = []
    for frames in pixels.permute(0, 1, 3, 4, 2).numpy():
        if through_time:
            found = slic(frames, segments * len(frames), channel_axis=-1, start_label=0)
        else:
            found = np.stack(
                [slic(frame, segments, channel_axis=-1, start_label=0) for frame in frames]
            )
        labels.append(torch.from_numpy(found))
    return torch.stack(labels).to(clip.device)
