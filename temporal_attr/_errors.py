"""The errors of this library: each says what was expected, what came, and what to do."""

from __future__ import annotations

import unicodedata


class TemporalAttrError(ValueError):
    """Base of every error that this library raises on purpose.

    The three parts are required, so no message can leave one out. What of them comes from files (a
    name, a key) may hold anything, so a message has escape codes written out.

    Args:
        expected: What the library needs, as a noun phrase.
        got: What it found instead.
        remedy: What the reader can do about it, as a sentence.

    Example:
        >>> str(TemporalAttrError("2 frames", "1", "Ask for fewer."))
        'expected 2 frames, got 1. Ask for fewer.'
    """

    def __init__(self, expected: str, got: str, remedy: str) -> None:
        super().__init__(expected, got, remedy)
        self.expected = expected
        self.got = got
        self.remedy = remedy

    def __str__(self) -> str:
        return printable(f"expected {self.expected}, got {self.got}. {self.remedy}")


class OptionError(TemporalAttrError):
    """An option has a value outside its range."""


class VideoError(TemporalAttrError):
    """A video file cannot be read as asked."""


class VideoNotFoundError(VideoError, FileNotFoundError):
    """No file lies at the path."""

    # FileNotFoundError, an OSError, would print the parts as errno, text and file name.
    __str__ = TemporalAttrError.__str__


class NotAVideoError(VideoError):
    """The file is there, but holds no video stream that can be decoded."""


class TruncatedVideoError(VideoError):
    """The file ends before its header says."""


class DamagedVideoError(VideoError):
    """A frame asked for cannot be decoded, or only with parts that the decoder made up."""


class FrameSizeError(VideoError):
    """The frames asked for are not of one size."""


class TooFewFramesError(VideoError):
    """More frames were asked for than the video has."""


class ClipError(TemporalAttrError):
    """A tensor is not a clip (batch, time, channel, height, width) of finite floats."""


class DataError(TemporalAttrError):
    """Results or numbers that do not fit together, or cannot be what they are given as."""


class TargetError(TemporalAttrError):
    """The target does not name one class for each example."""


class ModelError(TemporalAttrError):
    """The model does not do what a video classifier must."""


class UnsupportedModelError(ModelError):
    """`wrap` does not recognise the model."""


class FrameLogitsError(ModelError):
    """The model has no prediction for each timestep."""


class HalfPrecisionWarning(UserWarning):
    """A gradient was computed in half precision, as memory ran out on every other path."""


class ResultError(TemporalAttrError):
    """A folder does not hold a result as it should, or a result cannot be written to it."""


class ToleranceWarning(UserWarning):
    """An integral was not approximated as closely as was asked."""


class WeightsWarning(UserWarning):
    """Weights were loaded, but not by the names that the file has for them."""


_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Categories of characters that a terminal acts on or cannot show: controls, and half surrogates
(bytes of a file name that are no text); line and paragraph separators."""

_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""What changes the direction of the text after it, and so what a line seems to say."""


def printable(text: str, keep: str = "\n") -> str:
    r"""Text in which whatever a terminal would act on is written out as its escape.

    Escape codes in the name of a file or a class could clear the screen, forge lines, or set the
    window's title.

    Args:
        text: Any.
        keep: Characters that stay as they are.

    Example:
        >>> print(printable("walk\x1b[2J\x07"))
        walk\x1b[2J\x07
        >>> printable("Laufen, 走る")
        'Laufen, 走る'
    """
    return "".join(
        character if character in keep or not _acts(character) else _escaped(character)
        for character in text
    )


def _acts(character: str) -> bool:
    return character in _TURNING or unicodedata.category(character) in _UNPRINTABLE


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
