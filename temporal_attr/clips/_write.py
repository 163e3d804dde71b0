"""Frames into a video file."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import UInt8

from temporal_attr._errors import OptionError, VideoError
from temporal_attr._require import require_within
from temporal_attr.clips._index import PacketTable

# WebM counts in milliseconds.
_SLOWEST, _FASTEST = 1 / 3600, 1000
# Constant quality, and the encoder's quickest way to it.
_ENCODER = {"deadline": "realtime", "cpu-used": "8", "crf": "24", "b": "0", "g": "12"}
# By their numbers in the standard (ITU-T H.273): BT.601, and values from 16 to 235.
_BT601, _LIMITED = 6, 1


Pictures: TypeAlias = (
    Sequence[UInt8[np.ndarray, "height width channel"]]
    | UInt8[np.ndarray, "time height width channel"]
)


def write_video(frames: Pictures, path: str | Path, fps: float) -> Path:
    """Write frames as VP9 in WebM, which every browser plays.

    The file is written beside its place and takes it when it is whole: what lay there before stays
    until then, and also if writing fails.

    Args:
        frames: RGB bytes, all of one size: a list, or one array of all.
        path: Where to; ends in `.webm`.
        fps: Frames a second, from 1/3600 to 1000.

    Raises:
        OptionError: If there are no frames, they are no RGB bytes, the sizes differ or are odd,
            `fps` is out of range, or the name does not end in `.webm`.
        ClipError: If the frames are neither a list nor an array.
        VideoError: If the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     frames = [np.full((32, 32, 3), level, np.uint8) for level in (0, 128, 255)]
        ...     write_video(frames, f"{folder}/grey.webm", fps=4).name
        'grey.webm'
    """
    import av  # noqa: PLC0415

    path = Path(path)
    if path.suffix != ".webm":
        raise OptionError("a file name that ends in .webm", str(path), "Rename the output.")
    require_within("fps", fps, _SLOWEST, _FASTEST)
    _require_pictures(frames)
    # os.path says no, where Path raises, of a name that is too long for any file.
    if not os.path.isdir(path.parent):  # noqa: PTH112
        raise VideoError(f"a folder at {path.parent}", "none", "Make the folder first.")
    # Its own ending, so that nobody takes a half-written file for a video.
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.part")
    try:
        _encode(frames, beside, Fraction(float(fps)).limit_denominator(60_000))
        beside.replace(path)
    except (OSError, av.FFmpegError) as error:
        # What the file said stands behind what FFmpeg makes of it.
        behind = error.__cause__ or error.__context__
        reason = behind if isinstance(behind, OSError) else error
        raise VideoError(
            f"to write a video to {path}",
            reason.strerror or str(reason) or type(reason).__name__,
            "Check the folder, its permissions and the space on the disk.",
        ) from error
    finally:
        if os.path.lexists(beside):
            beside.unlink()
    return path


def _require_pictures(frames: Pictures) -> None:
    for number, frame in enumerate(frames):
        is_picture = isinstance(frame, np.ndarray) and frame.ndim == 3 and frame.shape[2] == 3
        if not is_picture or frame.dtype != np.uint8:
            found = (
                f"{frame.dtype} of shape {frame.shape}"
                if isinstance(frame, np.ndarray)
                else type(frame).__name__
            )
            raise OptionError(
                "frames of RGB bytes (height, width, 3)",
                f"{found} at frame {number}",
                "Scale to 0 to 255 as np.uint8; repeat a single channel three times.",
            )
    if len({frame.shape for frame in frames}) != 1:
        sizes = sorted({frame.shape for frame in frames})
        raise OptionError("frames of one size", str(sizes or "none"), "Give at least one frame.")
    height, width = frames[0].shape[:2]
    if height % 2 or width % 2 or not height or not width:
        # Players disagree about what half a pixel of colour is.
        remedy = "Crop or pad by one; the video's colours are stored at half resolution."
        raise OptionError("frames of even height and width", f"{height} x {width}", remedy)


def _encode(frames: Pictures, path: Path, rate: Fraction) -> None:
    import av  # noqa: PLC0415

    # Through a file of Python's, which reports what could not be written.
    with path.open("xb") as file:
        with av.open(file, "w", format="webm") as container:
            stream = container.add_stream("libvpx-vp9", rate=rate, options=dict(_ENCODER))
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = "yuv420p"
            context = stream.codec_context
            context.time_base = 1 / rate
            context.colorspace, context.color_range = _BT601, _LIMITED
            for number, picture in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                frame.pts, frame.time_base = number, 1 / rate
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        file.flush()
        os.fsync(file.fileno())
    written = len(PacketTable.read(path).times)
    if written != len(frames):
        raise OSError(f"{written} of {len(frames)} frames could be written")
