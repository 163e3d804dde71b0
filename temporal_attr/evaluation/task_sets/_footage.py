"""Windows of real videos, small enough to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import UInt8

from temporal_attr._errors import OptionError, TooFewFramesError
from temporal_attr._files import digest
from temporal_attr.clips import IDENTITY, VIDEO_SUFFIXES, Preprocessing, load_clip, open_source
from temporal_attr.evaluation.robustness import recompressed

Half: TypeAlias = Literal["first", "second"]
Pictures: TypeAlias = UInt8[np.ndarray, "time height width channel"]

WINDOWS = 12
"""Of each half of a video."""
LONGEST_STRIDE = 3
"""Frames between two of a window, where the video is long enough: a camera then moves visibly."""
MARGIN = 1.5
"""The short side of what is kept, in sides of what is cut from it."""


@dataclass(frozen=True)
class Footage:
    """Real videos that others are planted on.

    The first half of each video is for training, and the second for what is explained. Both show
    the same scenes, so a model that knows them by heart is not found out.

    Args:
        videos: A folder, of which all files with the name of a video count; or the files
            themselves.

    Raises:
        OptionError: If there is none, or the same one twice.

    Example:
        >>> import tempfile
        >>> from temporal_attr.synthetic import Motion
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Motion(frames=24).sample(0).write(f"{folder}/planted.webm")
        ...     footage = Footage(folder)
        ...     footage.scenery(np.random.default_rng(0), frames=8, size=32, half="first").shape
        (8, 32, 32, 3)
    """

    videos: str | Path | Sequence[str | Path]

    def __post_init__(self) -> None:
        paths = self.paths
        same = len(set(map(_digest, paths))) < len(paths)
        if not paths or same:
            raise OptionError(
                "videos, each once, in a folder or as files",
                f"the same one twice: {', '.join(path.name for path in paths)}"
                if same
                else f"none in {self.videos}",
                f"Name files that end in {', '.join(VIDEO_SUFFIXES[:4])} or the like.",
            )

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files."""
        if isinstance(self.videos, str | Path):
            folder = Path(self.videos)
            found = folder.iterdir() if folder.is_dir() else ()
            return tuple(sorted(path for path in found if path.suffix.lower() in VIDEO_SUFFIXES))
        return tuple(map(Path, self.videos))

    @property
    def checksums(self) -> dict[str, Path]:
        """The files by their SHA-256, in the order of these, whatever the files are called."""
        return dict(sorted((_digest(path), path) for path in self.paths))

    def scenery(self, random: np.random.Generator, frames: int, size: int, half: Half) -> Pictures:
        """A square cut from some window of some video, or its mirror image.

        Args:
            random: Of which the choice is drawn.
            frames: Of the window.
            size: Height and width.
            half: Of the videos.

        Raises:
            VideoError: If a video cannot be read, or half of it has fewer frames than a window.
        """
        paths = list(self.checksums.values())
        kept = _windows(paths[int(random.integers(len(paths)))], frames, round(MARGIN * size), half)
        window = kept[int(random.integers(len(kept)))]
        down = int(random.integers(window.shape[1] - size + 1))
        across = int(random.integers(window.shape[2] - size + 1))
        cut = window[:, down : down + size, across : across + size]
        found: Pictures = (cut[:, :, ::-1] if random.uniform() < 0.5 else cut).copy()
        return found


@lru_cache
def _digest(path: Path) -> str:
    return digest(path)


@lru_cache(maxsize=64)
def _windows(path: Path, frames: int, side: int, half: Half) -> UInt8[np.ndarray, "..."]:
    """Windows `(window, time, height, width, channel)` whose short side is `side`."""
    with open_source(path) as video:
        total = video.frame_count
    length = total // 2
    if length < frames:
        raise TooFewFramesError(
            f"{2 * frames} frames, as half of a video holds a window of {frames}",
            f"{total} in {path}",
            "Leave this video out.",
        )
    stride = max(1, min(LONGEST_STRIDE, (length - 1) // (frames - 1)))
    span = (frames - 1) * stride + 1
    first = 0 if half == "first" else total - length
    # By the content alone, so that another name or order of the files changes nothing.
    drawn = np.random.default_rng(int(_digest(path)[:16], 16))
    starts = first + drawn.integers(length - span + 1, size=WINDOWS)
    indices = (starts[:, None] + stride * np.arange(frames)).ravel()
    clip = load_clip(path, indices=indices.tolist(), preprocessing=Preprocessing(resize=side))
    pixels = (255 * clip.tensor[0]).round().byte().permute(0, 2, 3, 1).numpy()
    found: np.ndarray = pixels.reshape(WINDOWS, frames, *pixels.shape[1:])
    return found


def through_jpeg(frames: Pictures, quality: int) -> Pictures:
    """Each frame after lossy coding by itself, so that nothing of one comes into another."""
    values = torch.from_numpy(frames).permute(0, 3, 1, 2)[None].float() / 255
    coded = recompressed(values, IDENTITY, quality)[0]
    found: np.ndarray = (255 * coded).round().byte().permute(0, 2, 3, 1).numpy()
    return found
