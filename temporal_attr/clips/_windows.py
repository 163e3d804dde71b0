"""Overlapping windows of consecutive frames over a whole video."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from torch import Tensor

from temporal_attr._errors import TooFewFramesError
from temporal_attr._typing import Frames
from temporal_attr.clips._clip import Clip, assemble, gray
from temporal_attr.clips._decode import VideoFile, require_one_size
from temporal_attr.clips._images import ImageSequence, open_source
from temporal_attr.clips._picture import RawFrame
from temporal_attr.clips._preprocess import Preprocessing
from temporal_attr.clips._sampling import window_step

Source = VideoFile | ImageSequence

# Frames that are added to a block at least.
_FEWEST = 8
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
        reel, first, covered = _Reel(size, prepare), 0, 0
        sizes: dict[tuple[int, int], int] = {}
        for number, time, fetch in video.frames():
            pixels = fetch()
            require_one_size(sizes, pixels, number, video.path)
            reel.append(pixels, time)
            if reel.length == first + size:
                yield reel.window(first, video)
                first, covered = first + step, reel.length
        if reel.length < size:
            raise TooFewFramesError(
                f"at least {size} frames for a window",
                f"a video of {reel.length}",
                "Use a smaller window, or load_clip for the whole video.",
            )
        if covered < reel.length:
            yield reel.window(reel.length - size, video)


class _Reel:
    """The latest frames, one behind another in memory, so that windows are views of it.

    Args:
        size: Frames in a window.
        prepare: What is done to the pixels.

    Attributes:
        length: How many frames have come.
    """

    def __init__(self, size: int, prepare: Preprocessing) -> None:
        self._size, self._prepare = size, prepare
        self._block: Tensor | None = None
        self._start = 0
        self._times: list[float] = []

    @property
    def length(self) -> int:
        return len(self._times)

    def append(self, pixels: RawFrame, time: float) -> None:
        """Take the next frame, prepared right into its place."""
        if self._prepare.normalization.channels == 1:
            pixels = gray(pixels)
        if self._block is None:
            self._block = self._fresh(self._prepare(pixels))
        elif self.length - self._start == len(self._block):
            self._wind()
        place = self.length - self._start
        self._prepare.write(pixels, self._block[place : place + 1])
        self._times.append(time)

    def window(self, first: int, video: Source) -> Clip:
        """The frames from a number on."""
        assert self._block is not None
        numbers = range(first, first + self._size)
        tensor = self._block[first - self._start :][: self._size]
        return assemble(
            tensor, numbers, self._times[first : first + self._size], video, self._prepare
        )

    def _wind(self) -> None:
        """Make room, and keep only what a window can need: windows given out lie in the old."""
        assert self._block is not None
        kept = self._size - 1
        fresh = self._fresh(self._block)
        if kept:
            fresh[:kept] = self._block[-kept:]
        self._block, self._start = fresh, self.length - kept

    def _fresh(self, like: Frames) -> Tensor:
        room = _ROOM // max(1, like[0].nbytes) - self._size
        more = min(max(room, _FEWEST), 4 * self._size)
        return like.new_empty((self._size + more, *like.shape[1:]))
