"""Folders of pictures and numbered patterns, read as a video is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from tqdm import tqdm

from temporal_attr._errors import (
    DamagedVideoError,
    NotAVideoError,
    OptionError,
    VideoNotFoundError,
    printable,
)
from temporal_attr._require import require_within
from temporal_attr.clips._closing import Closing
from temporal_attr.clips._decode import VideoFile, require_inside, require_one_size
from temporal_attr.clips._picture import OVER_BLACK, RawFrame, over_black

if TYPE_CHECKING:
    from PIL.Image import Image

Value = TypeVar("Value")

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
IMAGES_A_SECOND = 25.0
"""The rate of pictures for which none is given, as FFmpeg takes it."""

_LAST_NUMBER = re.compile(r"(.*?)(\d*)(\D*)", re.DOTALL)
# Tags of TIFF, and what they say.
_BITS, _BLACK_OR_WHITE, _SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO, _UNSIGNED = 0, 1
_SAMPLE_FORMATS = {1: "unsigned", 2: "signed", 3: "floating-point"}

_NUMBER = re.compile(r"%0?(\d*)d")


class ImageSequence(Closing):
    """Pictures in files of their own, read as the frames of a video.

    Args:
        path: A folder, of which all pictures are frames, in the order of the numbers in their
            names; or a pattern such as `frame_%04d.png`, whose numbers must follow one another.
        fps: Pictures a second, for their times; None for 25.

    Attributes:
        path: As given.
        fps: Pictures a second.
        frame_count: How many there are.

    Raises:
        VideoNotFoundError: If there is no such folder or picture.
        NotAVideoError: If the folder has no pictures.
        DamagedVideoError: If a number is left out of a pattern.
        OptionError: If `fps` is out of range.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> folder = tempfile.TemporaryDirectory()
        >>> for number in range(3):
        ...     Image.new("RGB", (8, 6), (number, 0, 0)).save(f"{folder.name}/{number:02d}.png")
        >>> with ImageSequence(f"{folder.name}/%02d.png", fps=5) as pictures:
        ...     pictures.frame_count, pictures.read([2], lambda pixels: int(pixels.max()))
        (3, ([2], [0.4]))
        >>> folder.cleanup()
    """

    def __init__(self, path: str | Path, fps: float | None = None) -> None:
        self.path = Path(path)
        if fps is not None:
            require_within("fps", fps, 1e-4, 1e6)
        self.fps = IMAGES_A_SECOND if fps is None else float(fps)
        folder = self.path.is_dir()
        self._files = _in_folder(self.path) if folder else _of_pattern(self.path)
        self.frame_count = len(self._files)
        self._notes = dict.fromkeys(
            [f"pictures without times: {self.fps:g} a second are taken"] if fps is None else []
        )
        self._notes |= dict.fromkeys(_unevenness(self._files))

    @property
    def notes(self) -> tuple[str, ...]:
        """What was noticed about the pictures read so far, one sentence each."""
        return tuple(self._notes)

    def close(self) -> None:
        """Nothing is held open between two pictures."""

    def frames(self) -> Iterator[tuple[int, float, Callable[[], RawFrame]]]:
        """All pictures in order: number, time in seconds, and a function that reads the pixels."""
        for number in range(self.frame_count):
            yield number, number / self.fps, lambda number=number: self._picture(number)  # type: ignore[misc]

    def read(
        self,
        indices: Sequence[int],
        transform: Callable[[RawFrame], Value],
        show_progress: bool = False,
    ) -> tuple[list[Value], list[float]]:
        """The pictures asked for, in the order asked for; as `VideoFile.read`.

        Raises:
            OptionError: If none is asked for.
            TooFewFramesError: If there are fewer.
            DamagedVideoError: If a picture cannot be read to its end.
            NotAVideoError: If its values are not unsigned, of 8 or 16 bits, with black as 0.
            FrameSizeError: If the pictures asked for differ in size.
        """
        require_inside(indices, self.frame_count, self.path)
        found: dict[int, Value] = {}
        sizes: dict[tuple[int, int], int] = {}
        for number in tqdm(sorted(set(indices)), "reading", disable=not show_progress, delay=2):
            pixels = self._picture(number)
            require_one_size(sizes, pixels, number, self.path)
            found[number] = transform(pixels)
        return [found[i] for i in indices], [i / self.fps for i in indices]

    def _picture(self, number: int) -> RawFrame:
        from PIL import Image, ImageOps, UnidentifiedImageError  # noqa: PLC0415

        file = self._files[number]
        try:
            with Image.open(file) as image:
                _require_bytes(image, file)
                # Turned as the camera was held, as every viewer does.
                pixels = self._colours(ImageOps.exif_transpose(image))
        except NotAVideoError:
            raise
        except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:
            raise DamagedVideoError(
                f"a whole picture at {file}", str(error), "Write the file anew, or leave it out."
            ) from error
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]

    def _colours(self, image: Image) -> np.ndarray:
        if image.mode.startswith("I"):
            # 16 bits of gray, of which Pillow would keep the lower eight.
            gray = (np.asarray(image).astype(np.uint32) * 255 + 32767) // 65535
            return np.repeat(gray.astype(np.uint8)[..., None], 3, 2)
        if not (image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info):
            return np.array(image.convert("RGB"))
        picture = np.array(image.convert("RGBA"))
        if picture[..., 3].min() < 255:
            self._notes.setdefault(OVER_BLACK)
        return over_black(picture)


def _require_bytes(image: Image, file: Path) -> None:
    """Raise where Pillow would make other colours of the values of a picture.

    Raises:
        NotAVideoError: With what they are.
    """
    tags = getattr(image, "tag_v2", {})
    kinds = tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))
    # PNG has no more than 16 bits, also where Pillow gives 32.
    deep = image.mode == "F" or (image.mode == "I" and image.format != "PNG")
    if deep or set(kinds) != {_UNSIGNED}:
        bits = max(tags.get(_BITS, (32,)))
        found = f"{_SAMPLE_FORMATS.get(kinds[0], 'other')} values of {bits} bits"
    elif image.mode.startswith("I") and tags.get(_BLACK_OR_WHITE) == _WHITE_IS_ZERO:
        found = "values of 16 bits in which white is 0"
    else:
        return
    raise NotAVideoError(
        f"a picture of unsigned values of 8 or 16 bits, black as 0, at {file}",
        found,
        "Only you know which value is white: scale black to 0 and white to 255, and save "
        "values.astype(numpy.uint8) with PIL.Image.fromarray.",
    )


def _unevenness(files: Sequence[Path]) -> Iterator[str]:
    """What is odd in the names of pictures that follow one another."""
    series: dict[str, list[int]] = {}
    for file in files:
        before, number, after = _LAST_NUMBER.fullmatch(file.stem).groups()  # type: ignore[union-attr]
        series.setdefault(f"{before}{'#' if number else ''}{after}", []).append(int(number or 0))
    if len(series) > 1:
        first, second = (printable(name, keep="") for name in list(series)[:2])
        yield (
            f"the names of its pictures are of {len(series)} kinds, such as {first} and {second}: "
            "they follow one another by name"
        )
        return
    [numbers] = series.values()
    steps = np.diff(numbers)
    if (steps == 0).any():
        number = numbers[int((steps == 0).argmax())]
        yield f"numbers of its pictures come more than once, such as {number}"
    step = int(np.gcd.reduce(steps)) if len(steps) else 0
    missing = int((steps // step - 1).clip(0).sum()) if step else 0
    if missing:
        after = numbers[int((steps > step).argmax())]
        yield (
            f"{missing} numbers of its pictures are missing, the first after {after}: times are as "
            "if none were"
        )


def open_source(source: str | Path, fps: float | None = None) -> VideoFile | ImageSequence:
    """A video file, a folder of pictures or a pattern, open for reading.

    Raises:
        VideoError: If there is none, or it cannot be read; see the classes derived from it.
        OptionError: If `fps` is given for a video, which has its own.
    """
    path = Path(source)
    if path.is_dir() or (_NUMBER.search(path.name) and not path.exists()):
        return ImageSequence(path, fps)
    if fps is not None:
        raise OptionError(
            "fps for pictures only", f"{fps} for {path}", "A video says itself when it is shown."
        )
    return VideoFile(path)


def _in_folder(folder: Path) -> list[Path]:
    files = [
        file
        for file in folder.iterdir()
        if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file() and file.name[0] != "."
    ]
    if not files:
        raise NotAVideoError(
            f"pictures ({', '.join(IMAGE_SUFFIXES)}) in {folder}",
            "a folder without any",
            "Name a video file or a folder of pictures.",
        )
    return sorted(files, key=_natural)


def _natural(file: Path) -> tuple[list[tuple[int, str]], str]:
    """By the numbers in a name, so that 10 comes after 9."""
    parts = re.split(r"(\d+)", file.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], file.name


def _of_pattern(path: Path) -> list[Path]:
    found = _NUMBER.search(path.name)
    if found is None or not path.parent.is_dir():
        raise VideoNotFoundError(
            f"pictures at {path}", "no such folder", "Check the path and its %d."
        )
    before, after = path.name[: found.start()], path.name[found.end() :]
    width = int(found.group(1) or 0)
    name = re.compile(f"{re.escape(before)}(\\d+){re.escape(after)}")
    numbered = {}
    for file in path.parent.iterdir():
        match = name.fullmatch(file.name)
        if match and match.group(1) == f"{int(match.group(1)):0{width}d}":
            numbered[int(match.group(1))] = file
    if not numbered:
        raise VideoNotFoundError(f"pictures at {path}", "none", "Check the path and its %d.")
    first, last = min(numbered), max(numbered)
    missing = [number for number in range(first, last + 1) if number not in numbered]
    if missing:
        raise DamagedVideoError(
            f"every number from {first} to {last} for {path}",
            f"{len(missing)} missing, the first {missing[0]}",
            "Name the folder instead to read what is there.",
        )
    return [numbered[number] for number in sorted(numbered)]
