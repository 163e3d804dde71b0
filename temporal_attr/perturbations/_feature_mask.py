"""Feature masks: the parts of a frame that are masked together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
from jaxtyping import Integer
from torch import Tensor

from temporal_attr._errors import ClipError, ModelError, OptionError
from temporal_attr._require import require_count
from temporal_attr._typing import ClipTensor
from temporal_attr.clips import Normalization

Labels: TypeAlias = Integer[Tensor, "batch time height width"]
"""The number of the feature that each pixel belongs to.

A number that comes in several frames is one feature to methods of the whole clip, and one in each
frame to those that mask frame by frame."""

_WHOLE_NUMBERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


class FeatureMask(ABC):
    """What the features of a frame are: each is masked by itself, with all of its channels.

    Attributes:
        needs_pixels: Whether they follow from pixels, so that the clip's normalization must be
            known.
    """

    needs_pixels: ClassVar[bool] = False

    @abstractmethod
    def labels(self, clip: ClipTensor, normalization: Normalization | None = None) -> Labels:
        """The number of the feature that each pixel belongs to, `(batch, time, height, width)`.

        Args:
            clip: `(batch, time, channel, height, width)`.
            normalization: How pixel values became input values, if known.

        Raises:
            ClipError: If the features do not fit the clip.
            ModelError: If they follow from pixels, and nothing says what these were.
        """

    def require_pixels(self, normalization: Normalization | None) -> None:
        """Raise where pixels are needed and not known.

        Raises:
            ModelError: With what to do about it.
        """
        if self.needs_pixels and normalization is None:
            raise ModelError(
                f"a normalization, as {type(self).__name__} are found in pixels",
                "a model that does not know its own",
                "Give normalization=, or use Blocks.",
            )


@dataclass(frozen=True)
class Pixels(FeatureMask):
    """Every pixel of a frame is a feature.

    Example:
        >>> Pixels().labels(torch.rand(1, 2, 3, 2, 2))[0, 0]
        tensor([[0, 1],
                [2, 3]])
    """

    def labels(self, clip: ClipTensor, normalization: Normalization | None = None) -> Labels:
        """Pixels numbered row by row."""
        return Blocks(1, 1).labels(clip)


@dataclass(frozen=True)
class Blocks(FeatureMask):
    """Every block of pixels of a frame is a feature.

    At the right and lower edge blocks are smaller where they do not divide the frame.

    Args:
        height: Of a block, in pixels.
        width: Of a block, in pixels.

    Example:
        >>> Blocks(2, 3).labels(torch.rand(1, 2, 3, 3, 4))[0, 0]
        tensor([[0, 0, 0, 1],
                [0, 0, 0, 1],
                [2, 2, 2, 3]])
    """

    height: int
    width: int

    def __post_init__(self) -> None:
        for name, size in (("height", self.height), ("width", self.width)):
            require_count(f"a block's {name}", size, 1)

    def labels(self, clip: ClipTensor, normalization: Normalization | None = None) -> Labels:
        """Blocks numbered row by row.

        Raises:
            OptionError: If a block is larger than the frame.
        """
        batch, time, _, height, width = clip.shape
        require_count("a block's height", self.height, 1, height)
        require_count("a block's width", self.width, 1, width)
        rows = torch.arange(height, device=clip.device) // self.height
        columns = torch.arange(width, device=clip.device) // self.width
        grid = rows[:, None] * (int(columns[-1]) + 1) + columns
        return grid.expand(batch, time, height, width)

    def divide(self, clip: ClipTensor) -> bool:
        """Whether all blocks of a clip's frames are of one size."""
        return not (clip.shape[3] % self.height or clip.shape[4] % self.width)


@dataclass(frozen=True)
class Tubes(FeatureMask):
    """A clip cut into so many parts along each axis: tubes of pixels that last for some frames.

    Parts differ by one frame or pixel where they do not divide the clip; of an axis that is
    shorter there are as many as it has places.

    Args:
        time: Parts along time.
        height: Parts along the height.
        width: Parts along the width.

    Example:
        >>> Tubes(time=2, height=1, width=2).labels(torch.rand(1, 3, 3, 1, 4))[0, :, 0]
        tensor([[0, 0, 1, 1],
                [0, 0, 1, 1],
                [2, 2, 3, 3]])
    """

    time: int = 4
    height: int = 4
    width: int = 4

    def __post_init__(self) -> None:
        for name in ("time", "height", "width"):
            require_count(f"tubes along {name}", getattr(self, name), 1)

    def labels(self, clip: ClipTensor, normalization: Normalization | None = None) -> Labels:
        """Tubes numbered along width, then height, then time."""
        batch, time, _, height, width = clip.shape
        parts = zip((time, height, width), (self.time, self.height, self.width), strict=True)
        along = [
            torch.arange(size, device=clip.device) * min(count, size) // size
            for size, count in parts
        ]
        rows, columns = (int(part[-1]) + 1 for part in along[1:])
        times, down, across = (
            part.view([-1 if axis == place else 1 for axis in range(3)])
            for place, part in enumerate(along)
        )
        return ((times * rows + down) * columns + across).expand(batch, time, height, width)


@dataclass(frozen=True, eq=False)
class TensorMask(FeatureMask):
    """Features by number, as in Captum's `feature_mask`.

    Args:
        mask: Whole numbers from 0 without gaps, `(height, width)` or with axes before that fit
            `(batch, time, channel, height, width)`, a single channel.

    Raises:
        ClipError: If it is no such mask.
    """

    mask: Tensor

    def __post_init__(self) -> None:
        mask = self.mask
        if mask.dtype not in _WHOLE_NUMBERS:
            raise ClipError("a feature mask of whole numbers", str(mask.dtype), "Use mask.long().")
        if mask.ndim == 5 and mask.shape[2] != 1:
            got = f"shape {tuple(mask.shape)}"
            raise ClipError("a feature mask with one channel", got, "A feature has all channels.")
        used = mask.unique().long()
        if not torch.equal(used, torch.arange(len(used), device=used.device)):
            raise ClipError(
                "features numbered from 0 without gaps",
                f"{len(used)} numbers from {int(used[0])} to {int(used[-1])}",
                "Renumber: mask.unique(return_inverse=True)[1].",
            )

    def labels(self, clip: ClipTensor, normalization: Normalization | None = None) -> Labels:
        """The mask itself, for every frame."""
        batch, time, _, height, width = clip.shape
        mask = self.mask[:, :, 0] if self.mask.ndim == 5 else self.mask
        try:
            return mask.to(clip.device).expand(batch, time, height, width)
        except RuntimeError:
            raise ClipError(
                f"a feature mask that fits {(batch, time, height, width)}",
                f"shape {tuple(mask.shape)}",
                "Give (height, width), or the batch and time axes as well.",
            ) from None


def as_feature_mask(feature_mask: object, otherwise: FeatureMask | None = None) -> FeatureMask:
    """A feature mask from what a method takes: one of the kinds, a tensor, or None.

    Args:
        feature_mask: What it takes.
        otherwise: What None stands for; by default pixels.

    Raises:
        OptionError: If it is something else.
        ClipError: If it is a tensor that numbers no features.
    """
    if feature_mask is None:
        return Pixels() if otherwise is None else otherwise
    if isinstance(feature_mask, FeatureMask):
        return feature_mask
    if isinstance(feature_mask, Tensor):
        return TensorMask(feature_mask)
    raise OptionError(
        "feature_mask to be Pixels(), Blocks(height, width), Tubes(), Superpixels(), "
        "Supervoxels(), FlowSegments() or a tensor of whole numbers",
        repr(feature_mask),
        "Choose one of them, such as Blocks(10, 10).",
    )
