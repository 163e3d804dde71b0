"""Which frames of a video to look at. Pure arithmetic on frame numbers."""

from __future__ import annotations

from temporal_attr._errors import OptionError, TooFewFramesError
from temporal_attr._require import LONGEST, require_count, require_share


def require_positive(name: str, value: int) -> None:
    """Raise unless a count is at least 1.

    Example:
        >>> require_positive("frames", 0)
        Traceback (most recent call last):
        ...
        temporal_attr._errors.OptionError: expected frames to be at least 1, got 0. ...
    """
    if value < 1:
        raise OptionError(f"{name} to be at least 1", str(value), f"Choose a positive {name}.")


def uniform_indices(total: int, frames: int) -> tuple[int, ...]:
    """The centre frame of each of `frames` equal segments of the video.

    Args:
        total: Number of frames in the video.
        frames: How many to choose.

    Returns:
        `frames` increasing frame numbers; the i-th is `floor((i + 1/2) * total / frames)`.

    Raises:
        TooFewFramesError: If `frames > total`; no frame is ever taken twice.
        OptionError: If a count is not positive.

    Example:
        >>> uniform_indices(total=280, frames=4)
        (35, 105, 175, 245)
    """
    require_positive("frames", frames)
    _require_available(total, frames, f"uniform sampling of {frames} frames")
    return tuple((2 * i + 1) * total // (2 * frames) for i in range(frames))


def dense_indices(total: int, frames: int, stride: int = 1, start: int = 0) -> tuple[int, ...]:
    """Every `stride`-th frame from `start` on.

    Args:
        total: Number of frames in the video.
        frames: How many to choose.
        stride: Distance between two chosen frames.
        start: The first one.

    Raises:
        TooFewFramesError: If the last frame would lie past the end.
        OptionError: If a count is not positive, or `start` is negative.

    Example:
        >>> dense_indices(total=280, frames=4, stride=2, start=10)
        (10, 12, 14, 16)
    """
    require_positive("frames", frames)
    require_positive("stride", stride)
    if start < 0:
        raise OptionError("start to be 0 or more", str(start), "Count frames from 0.")
    last = start + (frames - 1) * stride
    request = f"{frames} frames with stride {stride} from frame {start}"
    _require_available(total, last + 1, request)
    return tuple(range(start, last + 1, stride))


def window_step(size: int, overlap: float) -> int:
    """How far one window starts behind the one before it.

    Args:
        size: Frames in a window.
        overlap: Share of a window that the next one repeats, in [0, 1).

    Example:
        >>> window_step(size=12, overlap=0.5)
        6
    """
    require_positive("size", size)
    require_count("size", size, 1, LONGEST)
    require_share("overlap", overlap)
    return max(1, size - round(size * overlap))


def window_starts(total: int, size: int = 12, overlap: float = 0.5) -> tuple[int, ...]:
    """First frames of overlapping windows that together cover the whole video.

    All windows have `size` frames. Where the step does not divide the video, the last window is
    moved back to end with it, so it overlaps more; nothing is padded and no frame is left out.

    Args:
        total: Number of frames in the video.
        size: Frames in a window.
        overlap: Share of a window that the next one repeats, in [0, 1).

    Raises:
        TooFewFramesError: If the video is shorter than one window.
        OptionError: If `size` is not positive or `overlap` is outside [0, 1).

    Example:
        >>> window_starts(total=32, size=12, overlap=0.5)
        (0, 6, 12, 18, 20)
    """
    step = window_step(size, overlap)
    require_count("total", total, 0, LONGEST)
    _require_available(total, size, f"a window of {size} frames")
    starts = list(range(0, total - size + 1, step))
    if starts[-1] != total - size:
        starts.append(total - size)
    return tuple(starts)


def _require_available(total: int, needed: int, request: str) -> None:
    if needed > total:
        raise TooFewFramesError(
            f"at least {needed} frames for {request}",
            f"a video of {total}",
            "Ask for fewer frames or a shorter stride; frames are never repeated or padded.",
        )
