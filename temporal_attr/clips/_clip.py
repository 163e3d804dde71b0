"""The clip: frames of a video as a model sees them, and where they came from."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from temporal_attr._errors import ClipError, OptionError, VideoError
from temporal_attr._require import require_device, require_finite
from temporal_attr._typing import Frames
from temporal_attr.clips._decode import VideoFile
from temporal_attr.clips._images import ImageSequence, open_source
from temporal_attr.clips._preprocess import IDENTITY, Normalization, Preprocessing
from temporal_attr.clips._sampling import dense_indices, uniform_indices

Sampling = Literal["uniform", "dense"]


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip and its history.

    Attributes:
        tensor: `(1, time, channel, height, width)`, RGB, in the values of the model's own
            preprocessing; ready for any method of this library.
        indices: The frame number of each frame in its video.
        timestamps: The time of each frame in its video, in seconds.
        fps: Frames a second of the video (not of the clip).
        source: Where it came from.
        normalization: What was done to the pixel values, so that it can be undone.
        notes: What was noticed when it was read, such as "interlaced", one sentence each.

    Example:
        >>> clip = Clip.from_tensor(torch.rand(1, 8, 3, 32, 32), fps=4)
        >>> clip.timestamps[:3], clip.images().shape
        ((0.0, 0.25, 0.5), (8, 32, 32, 3))
    """

    tensor: Float[Tensor, "1 time channel height width"]
    indices: tuple[int, ...]
    timestamps: tuple[float, ...]
    fps: float
    source: str
    normalization: Normalization = IDENTITY
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.tensor.ndim != 5 or len(self.tensor) != 1:
            raise ClipError(
                "the frames of one clip, (1, time, channel, height, width)",
                f"shape {tuple(self.tensor.shape)}",
                "Make one Clip for each of a batch, such as tensor[i : i + 1].",
            )
        if not self.tensor.is_floating_point():
            raise ClipError(
                "floating-point values", str(self.tensor.dtype), "For bytes: tensor.float() / 255."
            )
        for seconds in (self.fps, *self.timestamps):
            require_finite("fps and timestamps", seconds)
        if self.fps <= 0:
            raise _no_rate(self.fps)
        frames = {len(self.indices), len(self.timestamps), self.tensor.shape[1]}
        if len(frames) != 1:
            raise ClipError(
                "one index and one timestamp for each frame",
                f"{len(self.indices)} and {len(self.timestamps)} for {self.tensor.shape[1]}",
                "Give both for every frame.",
            )

    @classmethod
    def from_tensor(
        cls,
        tensor: Float[Tensor, "1 time channel height width"],
        fps: float = 1.0,
        normalization: Normalization = IDENTITY,
        source: str = "tensor",
    ) -> Clip:
        """A clip from frames that are in memory already, `fps` frames a second."""
        if not 0 < fps < float("inf"):
            raise _no_rate(fps)
        indices = tuple(range(tensor.shape[1]))
        times = tuple(i / fps for i in indices)
        return cls(tensor, indices, times, fps, source, normalization)

    def to(self, device: torch.device | str) -> Clip:
        """The same clip with its tensor on another device."""
        require_device("device", device)
        return replace(self, tensor=self.tensor.to(device))

    def images(self) -> Float[np.ndarray, "time height width channel"]:
        """The frames as pictures: RGB in [0, 1], the normalization undone and values clamped."""
        pixels = self.normalization.invert(self.tensor[0].detach()).clamp(0, 1)
        images: np.ndarray = pixels.permute(0, 2, 3, 1).cpu().float().numpy()
        return images


def _no_rate(fps: float) -> OptionError:
    return OptionError("a positive number of frames a second", str(fps), "Try fps=1.")


def load_clip(
    source: str | Path,
    frames: int = 16,
    sampling: Sampling = "uniform",
    *,
    stride: int | None = None,
    start: int | None = None,
    indices: Sequence[int] | Int[np.ndarray, " time"] | None = None,
    preprocessing: Preprocessing | None = None,
    total: int | None = None,
    fps: float | None = None,
    show_progress: bool = False,
) -> Clip:
    """Decode chosen frames of a video into a clip.

    Args:
        source: A video file; a folder of pictures; or a pattern of numbered pictures, such as
            `frame_%04d.png`.
        frames: How many frames.
        sampling: `"uniform"`, the centre frame of each of `frames` equal segments of the video;
            or `"dense"`, `frames` frames from `start` on, every `stride`-th.
        stride: For `"dense"`; 1 unless given.
        start: For `"dense"`; 0 unless given.
        indices: Frame numbers to read instead; `frames` and `sampling` are then not used.
        preprocessing: Resize, crop and normalise, usually `model.preprocessing`; None gives pixel
            values in [0, 1] at the video's own size. One with a single channel gets gray frames.
        total: Number of frames in the video, where its header is wrong.
        fps: Pictures a second, for pictures only; 25 unless given.
        show_progress: Show a bar on anything over two seconds.

    Returns:
        A `Clip` of shape `(1, time, channel, height, width)`, float32, RGB. What was noticed about
        the file is in its `notes`; its timestamps are those of the file, which need not start at 0.

    Raises:
        VideoError: If the file is missing, no video, shorter than asked, or damaged; see the
            classes derived from it.
        OptionError: If a count is out of range, or an option is given that `sampling` or `source`
            does not use.

    Example:
        >>> import tempfile
        >>> from temporal_attr.synthetic import Motion
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = Motion(frames=20).sample(0).write(f"{folder.name}/planted.webm", fps=10)
        >>> clip = load_clip(path, frames=4)
        >>> tuple(clip.tensor.shape), clip.indices
        ((1, 4, 3, 48, 48), (2, 7, 12, 17))
        >>> load_clip(path, frames=4, sampling="dense", stride=2, start=5).indices
        (5, 7, 9, 11)
        >>> folder.cleanup()
    """
    prepare = preprocessing or Preprocessing()
    _require_used(sampling, indices is not None, stride, start)
    with open_source(source, fps) as video:
        length = None
        # A second time only if frames had to be counted after all, and there are more or fewer.
        while length != video.frame_count:
            length = video.frame_count
            numbers = (
                [operator.index(i) for i in indices]
                if indices is not None
                else _choose(length if total is None else total, frames, sampling, stride, start)
            )
            try:
                tensors, times = video.read(numbers, gray_or_rgb(prepare), show_progress)
            except VideoError:
                if length == video.frame_count:
                    raise
        return assemble(torch.cat(tensors), numbers, times, video, prepare)


def _require_used(sampling: str, by_number: bool, stride: int | None, start: int | None) -> None:
    if sampling not in ("uniform", "dense"):
        raise OptionError(
            'sampling to be "uniform" or "dense"', repr(sampling), "Choose one of them."
        )
    way = "indices" if by_number else f"sampling {sampling!r}"
    for name, value in (("stride", stride), ("start", start)):
        if value is not None and way != "sampling 'dense'":
            raise OptionError(
                f"{name} with sampling 'dense' only",
                f"{name} {value} with {way}",
                f"Leave {name} out, or choose sampling='dense'.",
            )


def _choose(
    total: int, frames: int, sampling: str, stride: int | None, start: int | None
) -> tuple[int, ...]:
    if sampling == "uniform":
        return uniform_indices(total, frames)
    return dense_indices(
        total, frames, 1 if stride is None else stride, 0 if start is None else start
    )


def gray_or_rgb(prepare: Preprocessing) -> Callable[[Tensor], Frames]:
    """The preprocessing, of gray pictures if it takes one channel."""
    if prepare.normalization.channels != 1:
        return prepare
    return lambda pixels: prepare(gray(pixels))


def gray(
    pixels: UInt8[Tensor, "frames 3 height width"],
) -> UInt8[Tensor, "frames 1 height width"]:
    """Luma by BT.601, in the whole numbers that Pillow and OpenCV take; gray stays as it is."""
    red, green, blue = pixels.int().unbind(-3)
    luma = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
    return luma.unsqueeze(-3).to(torch.uint8)


def assemble(
    tensor: Frames,
    indices: Sequence[int],
    times: Sequence[float],
    video: VideoFile | ImageSequence,
    prepare: Preprocessing,
) -> Clip:
    """A clip of frames of a source."""
    return Clip(
        tensor[None],
        tuple(indices),
        tuple(times),
        video.fps,
        str(video.path),
        prepare.normalization,
        video.notes,
    )
