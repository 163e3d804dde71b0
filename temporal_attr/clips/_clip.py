"""The clip: frames of a video as a model sees them, and where they came from."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from temporal_attr._errors import ClipError, OptionError, TooFewFramesError
from temporal_attr._typing import Frames
from temporal_attr.clips._decode import VideoFile
from temporal_attr.clips._preprocess import IDENTITY, Normalization, Preprocessing
from temporal_attr.clips._sampling import dense_indices, uniform_indices, window_step

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
        if not fps > 0:
            raise OptionError("a positive number of frames a second", str(fps), "Try fps=1.")
        indices = tuple(range(tensor.shape[1]))
        times = tuple(i / fps for i in indices)
        return cls(tensor, indices, times, fps, source, normalization)

    def to(self, device: torch.device | str) -> Clip:
        """The same clip with its tensor on another device."""
        return replace(self, tensor=self.tensor.to(device))

    def images(self) -> Float[np.ndarray, "time height width channel"]:
        """The frames as pictures: RGB in [0, 1], the normalization undone and values clamped."""
        pixels = self.normalization.invert(self.tensor[0].detach()).clamp(0, 1)
        images: np.ndarray = pixels.permute(0, 2, 3, 1).cpu().float().numpy()
        return images


def load_clip(
    source: str | Path,
    frames: int = 16,
    sampling: Sampling = "uniform",
    *,
    stride: int = 1,
    start: int = 0,
    indices: Sequence[int] | Int[np.ndarray, " time"] | None = None,
    preprocessing: Preprocessing | None = None,
    total: int | None = None,
    show_progress: bool = False,
) -> Clip:
    """Decode chosen frames of a video file into a clip.

    Args:
        source: The file.
        frames: How many frames.
        sampling: `"uniform"`, the centre frame of each of `frames` equal segments of the video;
            or `"dense"`, `frames` frames from `start` on, every `stride`-th.
        stride: For `"dense"`.
        start: For `"dense"`.
        indices: Frame numbers to read instead; `frames` and `sampling` are then not used.
        preprocessing: Resize, crop and normalise, usually `model.preprocessing`; None gives pixel
            values in [0, 1] at the video's own size.
        total: Number of frames in the video, where its header is wrong.
        show_progress: Show a bar on anything over two seconds.

    Returns:
        A `Clip` of shape `(1, time, channel, height, width)`, float32, RGB.

    Raises:
        VideoError: If the file is missing, no video, shorter than asked, or damaged; see the
            classes derived from it.
        OptionError: If a count is out of range.

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
    with VideoFile(source) as video:
        if indices is None:
            length = video.frame_count if total is None else total
            indices = _choose(length, frames, sampling, stride, start)
        numbers = [operator.index(i) for i in indices]
        tensors, times = video.read(numbers, prepare, show_progress)
        return _assemble(tensors, numbers, times, video, prepare)


def clip_windows(
    source: str | Path,
    size: int = 12,
    overlap: float = 0.5,
    *,
    preprocessing: Preprocessing | None = None,
) -> Iterator[Clip]:
    """Overlapping windows of consecutive frames over a whole video, in one pass.

    No more than one window is in memory. The windows are those of `window_starts`: the last one
    ends with the video.

    Args:
        source: The file.
        size: Frames in a window.
        overlap: Share of a window that the next one repeats, in [0, 1).
        preprocessing: As for `load_clip`.

    Yields:
        Clips of `size` frames.

    Raises:
        TooFewFramesError: If the video is shorter than one window.
        TruncatedVideoError: If the file ends before its header says; raised after the windows
            before the break.

    Example:
        >>> import tempfile
        >>> from temporal_attr.synthetic import Motion
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = Motion(frames=20).sample(0).write(f"{folder.name}/planted.webm", fps=10)
        >>> [clip.indices[0] for clip in clip_windows(path, size=8, overlap=0.5)]
        [0, 4, 8, 12]
        >>> folder.cleanup()
    """
    step = window_step(size, overlap)
    prepare = preprocessing or Preprocessing()
    return _stream_windows(source, size, step, prepare)


def _stream_windows(
    source: str | Path, size: int, step: int, prepare: Preprocessing
) -> Iterator[Clip]:
    with VideoFile(source) as video:
        kept: deque[tuple[int, float, Frames]] = deque(maxlen=size)
        decoded, covered = 0, 0
        for index, seconds, pixels in video.frames():
            kept.append((index, seconds, prepare(pixels())))
            decoded = index + 1
            if decoded >= size and (decoded - size) % step == 0:
                covered = decoded
                yield _window(kept, video, prepare)
        if decoded < video.frame_count:
            raise video.truncated("the end")
        if decoded < size:
            raise TooFewFramesError(
                f"at least {size} frames for a window",
                f"a video of {decoded}",
                "Use a smaller window, or load_clip for the whole video.",
            )
        if covered < decoded:
            yield _window(kept, video, prepare)


def _window(
    kept: deque[tuple[int, float, Frames]], video: VideoFile, prepare: Preprocessing
) -> Clip:
    indices, times, tensors = zip(*kept, strict=True)
    return _assemble(list(tensors), list(indices), list(times), video, prepare)


def _choose(total: int, frames: int, sampling: str, stride: int, start: int) -> tuple[int, ...]:
    if sampling == "uniform":
        return uniform_indices(total, frames)
    if sampling == "dense":
        return dense_indices(total, frames, stride, start)
    raise OptionError('sampling to be "uniform" or "dense"', repr(sampling), "Choose one of them.")


def _assemble(
    tensors: list[Frames],
    indices: list[int],
    times: list[float],
    video: VideoFile,
    prepare: Preprocessing,
) -> Clip:
    tensor = torch.cat(tensors)[None]
    source = str(video.path)
    return Clip(tensor, tuple(indices), tuple(times), video.fps, source, prepare.normalization)
