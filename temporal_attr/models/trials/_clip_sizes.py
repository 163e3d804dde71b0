"""How many frames, and of what size, a network may take, from what it says of others."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from torch import nn

Size = tuple[int, int]
"""Frames, and pixels a side."""

_FRAME_NAMES = ("num_frames", "num_segments", "n_frames", "n_segment", "clip_len", "duration")
_SIDE_NAMES = ("image_size", "img_size", "crop_size")
"""What networks and their configurations call the number of frames, and the pixels a side."""

_SMALLEST, _LARGEST, _MOST_VALUES = 8, 512, 64 * 224 * 224
"""Pixels a side, and pixels of all frames, of clips that are cheap enough to try."""


def declared_size(module: nn.Module) -> tuple[int | None, int | None]:
    """Frames and pixels a side that a network says it takes, as far as it does.

    Example:
        >>> network = nn.Flatten()
        >>> network.num_segments = 8
        >>> declared_size(network)
        (8, None)
    """
    holders = [holder for holder in (module, getattr(module, "config", None)) if holder is not None]
    return _declared(holders, _FRAME_NAMES), _declared(holders, _SIDE_NAMES)


def _declared(holders: list[Any], names: tuple[str, ...]) -> int | None:
    for holder in holders:
        for name in names:
            value = getattr(holder, name, None)
            if isinstance(value, (tuple, list)) and value:
                value = value[-1]
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None


def sizes_to_try(frames: int, side: int, errors: Iterable[str]) -> list[Size]:
    """Other sizes of a clip that may fit, the likeliest first.

    Of two numbers that do not fit each other, such as tokens that came and positions that there
    are, one comes of the clip: its frames, or its area, in proportion to the other may fit, where
    that makes a whole number. Then come the sizes that networks are usually trained with.

    Args:
        frames: That did not fit.
        side: Pixels a side that did not fit.
        errors: What the network said of it.

    Example:
        >>> sizes_to_try(12, 32, ["size of tensor a (96) must match the size of tensor b (64)"])[0]
        (8, 32)
        >>> sizes_to_try(8, 32, ["Input image size (32*32) doesn't match model (224*224)."])[0]
        (8, 224)
    """
    scaled: dict[Size, None] = {}
    named: dict[Size, None] = {}
    for error in errors:
        numbers = [int(text) for text in _NUMBER.findall(error)[:8] if len(text) < 7]
        for pair in pairwise(dict.fromkeys(numbers)):
            for came, wanted in (pair, pair[::-1]):
                scaled |= dict.fromkeys(_in_proportion(frames, side, came, wanted))
                # A class token is counted too, and is none of the clip's.
                scaled |= dict.fromkeys(_in_proportion(frames, side, came - 1, wanted - 1))
        named |= {(number, side): None for number in numbers if number > 1}
    likely = [size for found in (scaled, named) for size in list(filter(_is_sane, found))[:_MOST]]
    every = (*likely, *((frames, usual) for usual in (112, 224)), *_USUAL)
    every += tuple((usual, side) for usual in _USUAL_FRAMES)
    return [size for size in dict.fromkeys(every) if size != (frames, side)]


_NUMBER = re.compile(r"(?<![a-wyzA-WYZ\d])\d+")
"""A number by itself, or after an x between two; not one of a name, such as that of mat1."""

_MOST = 4
"""Sizes of each kind that are read from errors."""

_USUAL = ((16, 112), (16, 224), (32, 224))
_USUAL_FRAMES = (16, 8, 32, 4, 10, 12, 6, 5, 20, 24, 30, 64)


def _in_proportion(frames: int, side: int, came: int, wanted: int) -> list[Size]:
    """The sizes with frames, or area, as much more as one number is of another."""
    if came < 1 or wanted < 1 or came == wanted:
        return []
    longer, larger = frames * wanted / came, side * math.sqrt(wanted / came)
    # A number that is the side itself stands for the side.
    found = [(frames, wanted)] if came == side else []
    # Few networks are trained with so few pixels, so the area comes first.
    found += [(frames, round(larger))] if larger.is_integer() else []
    return found + ([(round(longer), side)] if longer.is_integer() else [])


def _is_sane(size: Size) -> bool:
    frames, side = size
    return frames > 0 and _SMALLEST <= side <= _LARGEST and frames * side**2 <= _MOST_VALUES
