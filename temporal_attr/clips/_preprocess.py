"""From decoded frames to a model's input values: resize, centre crop, normalise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from temporal_attr._errors import ClipError, OptionError
from temporal_attr._require import require_finite
from temporal_attr._typing import Frames, RawFrames

LARGEST = 2**15
"""Pixels that a side may have: no video format has more."""

Interpolation = Literal["bilinear", "bicubic", "nearest-exact"]


@dataclass(frozen=True)
class Normalization:
    """Per-channel shift and scale from pixel values in [0, 1] to a model's input values.

    Args:
        mean: One number a channel, subtracted.
        std: One positive number a channel, divided by.

    Example:
        >>> imagenet = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        >>> black = imagenet.apply(torch.zeros(1, 3, 2, 2))
        >>> [round(value, 3) for value in black[0, :, 0, 0].tolist()]
        [-2.118, -2.036, -1.804]
        >>> lower, upper = imagenet.bounds()
        >>> torch.equal(black[0, :, 0, 0], lower)
        True
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean:
            raise OptionError(
                "as many means as standard deviations, one for each channel",
                f"{len(self.mean)} and {len(self.std)}",
                "Give both for every channel, in RGB order.",
            )
        for value in (*self.mean, *self.std):
            require_finite("each mean and standard deviation", value)
        if min(self.std) <= 0:
            raise OptionError("positive standard deviations", str(self.std), "They divide.")

    @property
    def channels(self) -> int:
        """Number of channels."""
        return len(self.mean)

    def apply(
        self, pixels: Float[Tensor, "*any channel height width"]
    ) -> Float[Tensor, "*any channel height width"]:
        """Pixel values in [0, 1] to model values."""
        mean, std = self._columns(pixels)
        return (pixels - mean).div_(std)

    def apply_(
        self, pixels: Float[Tensor, "*any channel height width"]
    ) -> Float[Tensor, "*any channel height width"]:
        """The same in place."""
        mean, std = self._columns(pixels)
        return pixels.sub_(mean).div_(std)

    def invert(
        self, values: Float[Tensor, "*any channel height width"]
    ) -> Float[Tensor, "*any channel height width"]:
        """Model values back to pixel values; not clamped."""
        mean, std = self._columns(values)
        return values * std + mean

    def bounds(self) -> tuple[Float[Tensor, " channel"], Float[Tensor, " channel"]]:
        """The model values of a black and of a white pixel, one a channel."""
        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        return (0 - mean) / std, (1 - mean) / std

    def _columns(self, like: Tensor) -> tuple[Tensor, Tensor]:
        if like.shape[-3] != self.channels:
            raise ClipError(
                f"{self.channels} channels on the third axis from the end",
                f"shape {tuple(like.shape)}",
                "Give (..., channel, height, width) with the channels of the normalization.",
            )
        mean = like.new_tensor(self.mean)[:, None, None]
        return mean, like.new_tensor(self.std)[:, None, None]


IDENTITY = Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
"""Pixel values as they are, in [0, 1]."""


@dataclass(frozen=True)
class Preprocessing:
    """What a model does to frames before it sees them: resize, centre crop, normalise.

    The arithmetic is that of torchvision's presets on tensors: bytes are resized in floating
    point and rounded back to bytes, and only then scaled to [0, 1], so the two agree exactly.

    Args:
        resize: Length of the short side (the long one follows, rounded down), or
            `(height, width)`; None leaves the size.
        crop: `(height, width)` cut from the centre; None keeps everything.
        normalization: From [0, 1] to model values.
        interpolation: How to resize.
        antialias: Low-pass before shrinking; torchvision's image presets do, its video presets
            do not.

    Example:
        >>> preprocess = Preprocessing(resize=8, crop=(6, 6))
        >>> frames = torch.full((4, 3, 16, 20), 51, dtype=torch.uint8)
        >>> values = preprocess(frames)
        >>> tuple(values.shape), round(values.max().item(), 3)
        ((4, 3, 6, 6), 0.2)
    """

    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    normalization: Normalization = IDENTITY
    interpolation: Interpolation = "bilinear"
    antialias: bool = False

    def __post_init__(self) -> None:
        sides = self.resize if isinstance(self.resize, tuple) else (self.resize,)
        for side in (*sides, *(self.crop or ())):
            if side is None:
                continue
            if not 1 <= side <= LARGEST:
                wanted = f"sizes of 1 to {LARGEST} pixels"
                raise OptionError(wanted, str(side), "Use a positive size.")

    @classmethod
    def from_torchvision(cls, transforms: Any) -> Preprocessing:  # noqa: ANN401
        """The same preprocessing as a torchvision classification preset.

        Args:
            transforms: What `weights.transforms()` returns, for image or video weights.

        Raises:
            OptionError: If it is no classification preset.
        """
        names = ("resize_size", "crop_size", "mean", "std", "interpolation")
        if not all(hasattr(transforms, name) for name in names):
            raise OptionError(
                "a classification preset, as weights.transforms() gives",
                type(transforms).__name__,
                "Build a Preprocessing by hand.",
            )
        resize, crop = tuple(transforms.resize_size), tuple(transforms.crop_size)
        return cls(
            resize=resize[0] if len(resize) == 1 else (resize[0], resize[1]),
            crop=(crop[0], crop[-1]),
            normalization=Normalization(tuple(transforms.mean), tuple(transforms.std)),
            interpolation=transforms.interpolation.value,
            antialias=bool(getattr(transforms, "antialias", False)),
        )

    def __call__(self, frames: RawFrames) -> Frames:
        """Frames as decoded to frames as the model wants them, in float32 where bytes came."""
        cropped = self._cropped(frames)
        if cropped.dtype != torch.uint8:
            return self.normalization.apply(cropped)
        return self._values(cropped, cropped.new_empty(cropped.shape, dtype=torch.float32))

    def write(self, frames: UInt8[Tensor, "*frames channel _height _width"], out: Frames) -> None:
        """The same for bytes, written to where they are wanted: no memory is passed over twice.

        Args:
            frames: As decoded.
            out: float32, of the shape that the preprocessed frames have.
        """
        self._values(self._cropped(frames), out)

    def _cropped(self, frames: Tensor) -> Tensor:
        resized = self._resize(frames)
        return resized if self.crop is None else _center_crop(resized, self.crop)

    def _values(self, pixels: Tensor, out: Tensor) -> Tensor:
        torch.div(pixels, 255, out=out)
        return out if self.normalization == IDENTITY else self.normalization.apply_(out)

    def _resize(self, frames: Tensor) -> Tensor:
        if self.resize is None:
            return frames
        size = _output_size(frames.shape[-2], frames.shape[-1], self.resize)
        if size == tuple(frames.shape[-2:]):
            return frames
        is_bytes = frames.dtype == torch.uint8
        values = frames.float() if is_bytes else frames
        # `antialias` is accepted for these two modes only.
        smooth = self.antialias and self.interpolation in ("bilinear", "bicubic")
        align = False if self.interpolation in ("bilinear", "bicubic") else None
        values = F.interpolate(
            values, size, mode=self.interpolation, align_corners=align, antialias=smooth
        )
        # Bicubic overshoots; bytes cannot.
        return values.clamp(0, 255).round().to(torch.uint8) if is_bytes else values


def _output_size(height: int, width: int, resize: int | tuple[int, int]) -> tuple[int, int]:
    if not isinstance(resize, int):
        return resize
    short, long = min(height, width), max(height, width)
    long = int(resize * long / short)
    return (resize, long) if height <= width else (long, resize)


def _center_crop(frames: Tensor, size: tuple[int, int]) -> Tensor:
    height, width = frames.shape[-2:]
    if size[0] > height or size[1] > width:
        raise ClipError(
            f"frames of at least {size[0]}x{size[1]} pixels for the centre crop",
            f"{height}x{width}",
            "Resize to a longer short side first, or crop less; nothing is padded.",
        )
    # Python's round (half to even) is torchvision's choice of the odd pixel.
    top, left = round((height - size[0]) / 2), round((width - size[1]) / 2)
    return frames[..., top : top + size[0], left : left + size[1]]
