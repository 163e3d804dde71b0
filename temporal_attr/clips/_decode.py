"""Video files in and out, one frame at a time."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from tqdm import tqdm

from temporal_attr._errors import (
    NotAVideoError,
    OptionError,
    TooFewFramesError,
    TruncatedVideoError,
    VideoError,
    VideoNotFoundError,
)
from temporal_attr.clips._index import FrameIndex

if TYPE_CHECKING:
    import cv2

Value = TypeVar("Value")
RawFrame = UInt8[Tensor, "1 channel height width"]


class VideoFile:
    """A video file, open for reading; close it or use it in a `with` block.

    Frames are numbered from 0 in the order in which they are shown. Their number and times come
    from the file's packets, which are read without decoding; each decoded frame is known by its
    time, so a frame is never mistaken for its neighbour, whether decoding got there from the
    beginning or from a key frame nearby. (Where packets have no usable times, frames are counted
    from the beginning.)

    Args:
        path: The file.

    Attributes:
        path: The file, as given.
        fps: Frames a second, by the header.
        frame_count: Number of frames that the file claims: by its header, or by its packets where
            the header has no count. Some containers (Matroska) store a length in seconds, and the
            count made from it may be one too high; the packets then decide.

    Raises:
        VideoNotFoundError: If there is no file at `path`.
        NotAVideoError: If the file has no video stream.

    Example:
        >>> import tempfile
        >>> from temporal_attr.synthetic import Motion
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = Motion(frames=20).sample(0).write(f"{folder.name}/planted.webm", fps=10)
        >>> with VideoFile(path) as video:
        ...     video.frame_count, video.fps
        (20, 10.0)
        >>> folder.cleanup()
    """

    def __init__(self, path: str | Path) -> None:
        import cv2  # noqa: PLC0415 - `import temporal_attr` must work without OpenCV's libraries

        self.path = Path(path)
        self._capture = _open(self.path)
        self._time = cv2.CAP_PROP_POS_MSEC
        self._position, self._untouched = -1, True
        self.fps: float = self._capture.get(cv2.CAP_PROP_FPS)
        self._index = FrameIndex.read(self.path)
        header = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        packets = header if self._index is None else len(self._index.seconds)
        self.frame_count = packets if header - 1 <= packets else header
        if self.frame_count <= 0:
            self.frame_count = sum(1 for _ in self.frames())

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the decoder back."""
        self._capture.release()

    def frames(self) -> Iterator[tuple[int, float, Callable[[], RawFrame]]]:
        """All frames in order: number, time in seconds, and a function that fetches the pixels.

        Pixels are RGB bytes `(1, channel, height, width)`, and are to be fetched before the
        iteration goes on.
        """
        self._rewind()
        following = 0
        while self._grab():
            if self._position != following:
                raise self._damaged(following)
            following += 1
            yield self._position, self._seconds, self._pixels

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
            The transformed frames, and their times in seconds.

        Raises:
            OptionError: If no frame is asked for.
            TooFewFramesError: If a number lies outside what the header promises.
            TruncatedVideoError: If the file ends before its header says, or a frame is damaged.
        """
        self._require_inside(indices)
        found: dict[int, tuple[Value, float]] = {}
        wanted = sorted(set(indices))
        for target in tqdm(wanted, "decoding", disable=not show_progress, delay=2):
            self._advance(target)
            found[target] = (transform(self._pixels()), self._seconds)
        return [found[i][0] for i in indices], [found[i][1] for i in indices]

    def truncated(self, request: str) -> TruncatedVideoError:
        """The error for a file that ended where it is now."""
        decoded = self._position + 1
        return TruncatedVideoError(
            f"{self.frame_count} frames in {self.path}, as its header says",
            f"{decoded} that can be decoded, so {request} is missing",
            f"Repair or re-encode the file, or choose among frames 0 to {decoded - 1} "
            f"(total={decoded}).",
        )

    def _advance(self, target: int) -> None:
        """Decode up to a frame: from a key frame nearby where that is shorter, and exact."""
        if target <= self._position:
            self._rewind()
        if self._index is not None and self._index.seeking_pays(self._position, target):
            self._untouched = False
            self._capture.set(self._time, self._index.seconds[target] * 1000)
            if self._grab_until(target):
                return
            self._rewind()
        if not self._grab_until(target):
            raise (
                self._damaged(target)
                if self._position > target
                else self.truncated(f"frame {target}")
            )

    def _damaged(self, missing: int) -> TruncatedVideoError:
        return TruncatedVideoError(
            f"frame {missing} in {self.path}",
            f"frame {self._position} in its place: the file is damaged there",
            "Repair or re-encode the file, or choose other frames.",
        )

    def _grab_until(self, target: int) -> bool:
        while self._grab():
            if self._position >= target:
                return self._position == target
        return False

    def _grab(self) -> bool:
        """Decode the next frame and find out which it is."""
        self._untouched = False
        if not self._capture.grab():
            return False
        self._seconds = self._capture.get(self._time) / 1000
        following = self._position + 1
        self._position = following if self._index is None else self._index.number(self._seconds)
        return True

    def _rewind(self) -> None:
        if not self._untouched:
            self._capture.release()
            self._capture = _open(self.path)
            self._position, self._untouched = -1, True

    def _require_inside(self, indices: Sequence[int]) -> None:
        if not indices:
            raise OptionError("at least one frame number", "none", "Name the frames to read.")
        if min(indices) < 0 or max(indices) >= self.frame_count:
            raise TooFewFramesError(
                f"frame numbers from 0 to {self.frame_count - 1} for {self.path}",
                f"{min(indices)} to {max(indices)}",
                "Ask for frames that the video has; nothing is repeated or padded.",
            )

    def _pixels(self) -> RawFrame:
        ok, image = self._capture.retrieve()
        if not ok:
            raise TruncatedVideoError(
                f"pixels for frame {self._position} of {self.path}",
                "none from the decoder",
                "Repair or re-encode the file, or choose other frames.",
            )
        rgb = np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1))
        return torch.from_numpy(rgb)[None]


def _open(path: Path) -> cv2.VideoCapture:
    import cv2  # noqa: PLC0415

    if not path.is_file():
        raise VideoNotFoundError(
            f"a video file at {path}",
            "a folder" if path.is_dir() else "no file there",
            "Check the path; it is read relative to the current folder.",
        )
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise NotAVideoError(
            f"a video that FFmpeg can decode at {path}",
            f"a file of {path.stat().st_size} bytes without a readable video stream",
            "Check that the file is whole and is a video; re-encode it to H.264 if it is.",
        )
    return capture


def write_video(
    frames: Sequence[UInt8[np.ndarray, "height width channel"]], path: str | Path, fps: float
) -> Path:
    """Write frames as VP9 in WebM, which every browser plays.

    Args:
        frames: RGB bytes, all of one size.
        path: Where to; ends in `.webm`.
        fps: Frames a second.

    Raises:
        OptionError: If there are no frames, the sizes differ or are odd, `fps` is not positive, or
            the name does not end in `.webm`.
        VideoError: If the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     frames = [np.full((32, 32, 3), level, np.uint8) for level in (0, 128, 255)]
        ...     write_video(frames, f"{folder}/grey.webm", fps=4).name
        'grey.webm'
    """
    import cv2  # noqa: PLC0415

    path = Path(path)
    if path.suffix != ".webm":
        raise OptionError("a file name that ends in .webm", str(path), "Rename the output.")
    if not fps > 0:
        raise OptionError("a positive number of frames a second", str(fps), "Try fps=4.")
    if len({frame.shape for frame in frames}) != 1:
        sizes = sorted({frame.shape for frame in frames})
        raise OptionError("frames of one size", str(sizes or "none"), "Give at least one frame.")
    height, width = frames[0].shape[:2]
    if height % 2 or width % 2:
        # OpenCV would leave out the last row or column without a word.
        remedy = "Crop or pad by one; the video's colours are stored at half resolution."
        raise OptionError("frames of even height and width", f"{height} x {width}", remedy)
    with _quiet():
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"VP90"), fps, (width, height))
    if not writer.isOpened():
        raise VideoError(
            f"to write a VP9 video to {path}",
            "no encoder, or a folder that is not there or not writable",
            "Make the folder first; check that this OpenCV has FFmpeg (cv2.videoio_registry).",
        )
    try:
        for frame in frames:
            writer.write(np.ascontiguousarray(frame[..., ::-1]))
    finally:
        writer.release()
    return path


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what C code writes to standard error away from the user.

    OpenCV notes there, past its own log level, that WebM has no four-letter codes, for each video.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
