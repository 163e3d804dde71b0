"""Video files, one frame at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from temporal_attr._errors import (
    DamagedVideoError,
    FrameSizeError,
    OptionError,
    TooFewFramesError,
    TruncatedVideoError,
)
from temporal_attr.clips._closing import Closing
from temporal_attr.clips._container import open_video
from temporal_attr.clips._cursor import Cursor
from temporal_attr.clips._passes import Shown
from temporal_attr.clips._picture import Painter, RawFrame
from temporal_attr.clips._timeline import Timeline

Value = TypeVar("Value")

# More keep more frames in memory and are hardly quicker.
_MOST_THREADS = 4


class VideoFile(Closing):
    """A video file, open for reading; close it or use it in a `with` block.

    Frames are what a player shows, numbered from 0 in the order in which it shows them: without
    those that an edit list cuts off, turned as the file asks for, in the colours that it is tagged
    with, over black where it is transparent. (Only pixels that are not square are left so, and
    `notes` says it.) Their number and times come from the file's packets, which are read without
    decoding; each decoded frame is known by its time, so a frame is never mistaken for its
    neighbour. Where packets and decoded frames disagree, or the times do not tell frames apart, the
    whole file is decoded once and frames are counted.

    A frame counts as damaged if the decoder met a fault in it or in any frame since the last key
    frame, for it may be made from them. Sound frames of a damaged file can be read.

    Args:
        path: The file.

    Attributes:
        path: The file, as given.
        fps: Frames a second, by the header.

    Raises:
        VideoNotFoundError: If there is no file at `path`.
        NotAVideoError: If the file has no video stream.

    Example:
        >>> import tempfile
        >>> from temporal_attr.synthetic import Motion
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = Motion(frames=20).sample(0).write(f"{folder.name}/planted.webm", fps=10)
        >>> with VideoFile(path) as video:
        ...     video.frame_count, video.fps, video.notes
        (20, 10.0, ())
        >>> folder.cleanup()
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        video = open_video(self.path)
        try:
            self._timeline = Timeline(self.path, video)
            self._cursor = Cursor(self._timeline, video=video)
        except BaseException:
            video.close()
            raise
        self._painter = Painter()
        self.fps: float = self._timeline.fps

    @property
    def frame_count(self) -> int:
        """How many frames the whole video has, or its header promises, whichever is more.

        Where frames have to be counted, the first use decodes the file once.
        """
        return max(self._timeline.length, self._timeline.promised)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was noticed about the file and the frames read so far, one sentence each."""
        return (*self._timeline.notes, *self._painter.notes)

    def close(self) -> None:
        """Give the decoder back."""
        self._cursor.close()

    def frames(self) -> Iterator[tuple[int, float, Callable[[], RawFrame]]]:
        """All frames in order: number, time in seconds, and a function that fetches the pixels.

        Pixels are RGB bytes `(1, channel, height, width)`.

        Raises:
            DamagedVideoError: At the first frame that is damaged.
            TruncatedVideoError: After the last frame, if the header promises more.
        """
        cursor = Cursor(self._timeline, _threads())
        try:
            following = 0
            while (shown := cursor.following(following)) is not None:
                self._require_sound(shown, following)
                yield following, self._timeline.seconds(shown), partial(self._painter, shown.frame)
                following += 1
        finally:
            cursor.close()
        if following < self.frame_count:
            raise self._missing(following)

    def read(
        self,
        indices: Sequence[int],
        transform: Callable[[RawFrame], Value],
        show_progress: bool = False,
    ) -> tuple[list[Value], list[float]]:
        """The frames asked for, in the order asked for.

        Args:
            indices: Frame numbers.
            transform: Applied to each frame as it comes, so that only its result is kept.
            show_progress: Show a bar on anything over two seconds.

        Returns:
            The transformed frames, and their times in seconds, as the file gives them.

        Raises:
            OptionError: If no frame is asked for.
            TooFewFramesError: If a number lies outside what the header promises.
            TruncatedVideoError: If the file ends before its header says.
            DamagedVideoError: If a frame asked for is damaged.
            FrameSizeError: If the frames asked for differ in size.
        """
        require_inside(indices, self.frame_count, self.path)
        found: dict[int, tuple[Value, float]] = {}
        sizes: dict[tuple[int, int], int] = {}
        wanted = sorted(set(indices))
        for target in tqdm(wanted, "decoding", disable=not show_progress, delay=2):
            shown = self._cursor.following(target)
            if shown is None:
                raise self._missing(target)
            self._require_sound(shown, target)
            pixels = self._painter(shown.frame)
            require_one_size(sizes, pixels, target, self.path)
            found[target] = (transform(pixels), self._timeline.seconds(shown))
        return [found[i][0] for i in indices], [found[i][1] for i in indices]

    def truncated(self, request: str) -> TruncatedVideoError:
        """The error for a file that ends before its header says."""
        decoded = self._timeline.sound_length()
        return TruncatedVideoError(
            f"{self.frame_count} frames in {self.path}, as its header says",
            f"{decoded} that can be decoded, so {request} is missing",
            f"Repair or re-encode the file, or choose among frames 0 to {decoded - 1} "
            f"(total={decoded})."
            if decoded
            else "Get the file anew: nothing of it can be read.",
        )

    def _require_sound(self, shown: Shown, target: int) -> None:
        if shown.number == target and shown.sound:
            return
        got = (
            "one that the decoder made up in part, or made from such"
            if shown.number == target
            else f"none; the next that can be decoded is frame {shown.number}"
        )
        raise self._damaged(target, got)

    def _missing(self, target: int) -> TruncatedVideoError | DamagedVideoError:
        if self._timeline.promised > self._timeline.length:
            return self.truncated(f"frame {target}" if target < self.frame_count else "the end")
        return self._damaged(target, "none, and none after it")

    def _damaged(self, target: int, got: str) -> DamagedVideoError:
        return DamagedVideoError(
            f"frame {target} of {self.frame_count} in {self.path} undamaged",
            got,
            "Repair or re-encode the file, or choose other frames: those before the damage, or "
            "from the next key frame on.",
        )


def _threads() -> int:
    return min(_MOST_THREADS, os.cpu_count() or 1)


def require_inside(indices: Sequence[int], count: int, path: Path) -> None:
    """Raise unless there are frame numbers, all of them below a count.

    Raises:
        OptionError: If there is none.
        TooFewFramesError: If a number lies outside.
    """
    if not len(indices):
        raise OptionError("at least one frame number", "none", "Name the frames to read.")
    if min(indices) < 0 or max(indices) >= count:
        raise TooFewFramesError(
            f"frame numbers from 0 to {count - 1} for {path}",
            f"{min(indices)} to {max(indices)}",
            "Ask for frames that are there; nothing is repeated or padded.",
        )


def require_one_size(
    sizes: dict[tuple[int, int], int], pixels: RawFrame, number: int, path: Path
) -> None:
    """Raise unless a frame has the size of those before it.

    Raises:
        FrameSizeError: With both sizes and the frames that have them.
    """
    height, width = pixels.shape[-2:]
    sizes.setdefault((height, width), number)
    if len(sizes) > 1:
        (first, early), (second, late) = [
            (f"{height} x {width}", number) for (height, width), number in sizes.items()
        ][:2]
        raise FrameSizeError(
            f"frames of one size in {path}",
            f"{first} at frame {early} and {second} at frame {late}",
            "Read the parts one by one, each with its own range of frames; none is resized to fit "
            "another.",
        )
