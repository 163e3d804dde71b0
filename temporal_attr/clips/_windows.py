"""Overlapping windows of consecutive frames over a whole video."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from temporal_attr._errors import TooFewFramesError, VideoError
from temporal_attr._typing import Frames
from temporal_attr.clips._clip import Clip, assemble, gray_or_rgb
from temporal_attr.clips._decode import VideoFile, require_one_size
from temporal_attr.clips._images import ImageSequence, open_source
from temporal_attr.clips._picture import RawFrame
from temporal_attr.clips._preprocess import Preprocessing
from temporal_attr.clips._sampling import window_step

Source = VideoFile | ImageSequence

# Frames that are prepared together.
_BATCH = 8
# Bytes of a block of frames, where that leaves room for more than a window: larger ones are not
# used again by the allocator, and to have them cleared takes longer than to decode the frames.
_ROOM = 24 << 20


def clip_windows(
    source: str | Path,
    size: int = 12,
    overlap: float = 0.5,
    *,
    preprocessing: Preprocessing | None = None,
    fps: float | None = None,
) -> Iterator[Clip]:
    """Overlapping windows of consecutive frames over a whole video, in one pass.

    No more than a few windows are in memory. The windows are those of `window_starts`: the last one
    ends with the video. Windows that overlap share memory: change a copy.

    Args:
        source: As for `load_clip`.
        size: Frames in a window.
        overlap: Share of a window that the next one repeats, in [0, 1).
        preprocessing: As for `load_clip`.
        fps: As for `load_clip`.

    Yields:
        Clips of `size` frames.

    Raises:
        TooFewFramesError: If the video is shorter than one window.
        TruncatedVideoError: If the file ends before its header says; raised after the windows
            before the break.
        DamagedVideoError: At the first window with a damaged frame.
        FrameSizeError: At the first window whose frames differ in size.

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
    return _stream(partial(open_source, source, fps), size, step, prepare)


def _stream(
    open_video: Callable[[], Source], size: int, step: int, prepare: Preprocessing
) -> Iterator[Clip]:
    with open_video() as video:
        reel, first, covered = _Reel(size), 0, 0
        for frame, time in _prepared(video, gray_or_rgb(prepare)):
            reel.append(frame, time)
            if reel.length == first + size:
                yield reel.window(first, video, prepare)
                first, covered = first + step, reel.length
        if reel.length < size:
            raise TooFewFramesError(
                f"at least {size} frames for a window",
                f"a video of {reel.length}",
                "Use a smaller window, or load_clip for the whole video.",
            )
        if covered < reel.length:
            yield reel.window(reel.length - size, video, prepare)


def _prepared(
    video: Source, prepare: Callable[[RawFrame], Frames]
) -> Iterator[tuple[Tensor, float]]:
    """Each frame as the model wants it, and its time; an error comes after the frames before it."""
    raw: list[RawFrame] = []
    times: list[float] = []
    sizes: dict[tuple[int, int], int] = {}
    frames, failure = video.frames(), None
    while failure is None:
        try:
            for number, seconds, pixels in islice(frames, _BATCH):
                picture = pixels()
                require_one_size(sizes, picture, number, video.path)
                raw.append(picture)
                times.append(seconds)
        except VideoError as error:
            failure = error
        if not raw:
            break
        yield from zip(prepare(torch.cat(raw)), times, strict=True)
        raw.clear()
        times.clear()
    if failure is not None:
        raise failure


class _Reel:
    """The latest frames, one behind another in memory, so that windows are views of it.

    Args:
        size: Frames in a window.

    Attributes:
        length: How many frames have come.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._block: Tensor | None = None
        self._start = 0
        self._times: list[float] = []

    @property
    def length(self) -> int:
        return len(self._times)

    def append(self, frame: Tensor, time: float) -> None:
        """Take the next frame; where there is no room, only what a window can need is kept."""
        if self._block is None or self.length - self._start == len(self._block):
            room = _ROOM // max(1, frame.nbytes) - self._size
            more = min(max(room, _BATCH), 4 * self._size)
            fresh = frame.new_empty((self._size + more, *frame.shape))
            kept = min(self._size - 1, self.length)
            if self._block is not None and kept:
                fresh[:kept] = self._block[-kept:]
            self._block, self._start = fresh, self.length - kept
        self._block[self.length - self._start] = frame
        self._times.append(time)

    def window(self, first: int, video: Source, prepare: Preprocessing) -> Clip:
        """The frames from a number on."""
        assert self._block is not None
        numbers = range(first, first + self._size)
        tensor = self._block[first - self._start :][: self._size]
        return assemble(tensor, numbers, self._times[first:][: self._size], video, prepare)
