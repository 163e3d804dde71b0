"""What frames go through before the model sees them: as it knows, or as the user says."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from temporal_attr._errors import OptionError
from temporal_attr.cli._settings import Settings
from temporal_attr.clips import Normalization, Preprocessing
from temporal_attr.models import LayerTimesteps, VideoModel, WithoutTimesteps

NAMES = ("resize", "crop", "mean", "std")
NEEDED = ("resize", "mean", "std")
"""What has to be said where nothing is known; without a crop nothing is cut off."""

OWN_SIZE = "none"


def preprocessing_for(model: nn.Module, settings: Settings) -> Preprocessing:
    """The model's own preprocessing, with what was said at the command line in its place.

    A `VideoModel` has it from then on, so that methods know the same normalization.

    Raises:
        OptionError: If the model knows none and it was not said, or it is no preprocessing.
    """
    known = model.preprocessing if isinstance(model, VideoModel) else None
    given = {name: text for name in NAMES if (text := getattr(settings, name)) is not None}
    missing = [] if known is not None else [name for name in NEEDED if name not in given]
    if missing:
        raise OptionError(
            "a model that knows its preprocessing, or --resize, --mean and --std that say it",
            f"{_kind(model)} that knows none, without --{', --'.join(missing)}",
            "Say what it was trained with, such as --resize 128x171 --crop 112 --mean "
            "0.43,0.39,0.38 --std 0.23,0.22,0.22; --resize none --mean 0 --std 1 leaves frames as "
            "they are, in [0, 1].",
        )
    if not given:
        assert known is not None
        return known
    prepare = _changed(known or Preprocessing(), given)
    if isinstance(model, VideoModel):
        model.preprocessing = prepare
    return prepare


def described(prepare: Preprocessing) -> str:
    """A preprocessing in words."""
    size = "their own size" if prepare.resize is None else f"resized to {_size(prepare.resize)}"
    crop = "" if prepare.crop is None else f", {_size(prepare.crop)} of the middle"
    mean, std = prepare.normalization.mean, prepare.normalization.std
    return f"frames {size}{crop}, mean {_row(mean)}, standard deviation {_row(std)}"


def _changed(known: Preprocessing, given: dict[str, str]) -> Preprocessing:
    changes: dict[str, object] = {}
    if "resize" in given:
        size = _sides("resize", given["resize"])
        changes["resize"] = size[0] if size and len(size) == 1 else size
    if "crop" in given:
        size = _sides("crop", given["crop"])
        changes["crop"] = size and (size[0], size[-1])
    mean, std = known.normalization.mean, known.normalization.std
    if "mean" in given:
        mean = _numbers("mean", given["mean"], len(mean))
    if "std" in given:
        std = _numbers("std", given["std"], len(std))
    changes["normalization"] = Normalization(mean, std)
    return replace(known, **changes)  # type: ignore[arg-type]


def _sides(name: str, text: str) -> tuple[int, ...] | None:
    if text == OWN_SIZE:
        return None
    parts = text.split("x")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise OptionError(f"--{name} as SIDE, HEIGHTxWIDTH or none", text, "Try 112 or 128x171.")
    return tuple(int(part) for part in parts)


def _numbers(name: str, text: str, channels: int) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, channels):
        raise OptionError(
            f"--{name} as one number, or {channels} with commas, in the values of pixels in [0, 1]",
            text,
            "Try 0.45,0.45,0.45.",
        )
    return numbers * channels if len(numbers) == 1 else numbers


def _kind(model: nn.Module) -> str:
    # What wrap() found by trying is named by the network, which is what was asked for.
    network = model.model if isinstance(model, (LayerTimesteps, WithoutTimesteps)) else model
    return f"a {type(network).__name__}"


def _size(size: int | tuple[int, int]) -> str:
    return f"{size} on the short side" if isinstance(size, int) else f"{size[0]} x {size[1]}"


def _row(numbers: tuple[float, ...]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)
