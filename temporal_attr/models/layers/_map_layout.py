"""The layouts in which networks keep maps of space and time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

from jaxtyping import Float
from torch import Tensor

from temporal_attr._precision import wide

Maps: TypeAlias = Float[Tensor, "batch feature steps rows columns"]
"""The output of a layer, with its channels first, then time, height and width."""

Rows: TypeAlias = Literal["clips", "frames"]
"""In a first axis of clips and frames, whether the frames of a clip stand together, or those of one
moment."""

Channels: TypeAlias = Literal["first", "last"] | None
"""Whether the channels stand before the places or after them; None where it is not known."""

MOST_EXTRA = 8
"""Tokens that are no places, such as class tokens and registers."""


@dataclass(frozen=True)
class MapLayout:
    """Where channels, time, height and width are in a layer's output.

    Attributes:
        rows: The order in the first axis.
        names: What each further axis is, after the first was split into clips and entries of a
            clip: `c`, `t`, `h`, `w`; `n` for tokens; nothing for a single entry.
        order: Which of time, height and width tokens run through, the last of them fastest.
        grid: How many of each of these there are.
        extra: How many tokens before those are no places.

    Example:
        >>> import torch
        >>> tokens = MapLayout("clips", ("", "n", "c"), ("t", "h", "w"), (2, 4, 4), extra=1)
        >>> tokens.to_maps(torch.rand(3, 33, 5), batch=3).shape
        torch.Size([3, 5, 2, 4, 4])
    """

    rows: Rows
    names: tuple[str, ...]
    order: tuple[str, ...] = ()
    grid: tuple[int, ...] = ()
    extra: int = 0

    def to_maps(self, output: Tensor, batch: int) -> Maps:
        """An output, or its gradient, of so many clips."""
        return self._placed(self._split(output, batch), self.names, ("c", "t", "h", "w"))

    def changes(self, output: Tensor, batch: int) -> Tensor:
        """By how much each entry differs from that of the first clip, squared, over all channels.

        It is the same for all layouts of the same `rows` and `names`.
        """
        split = self._split(output, batch)
        apart = (split[1:] - split[:1]).to(wide(output)).square()
        changes: Tensor = apart.sum(self.names.index("c") + 1)
        return changes

    def changes_same_in_channels(self, changes: Tensor) -> Tensor:
        """Those of places `(clip, steps, rows, columns)`."""
        names = tuple(name for name in self.names if name != "c")
        return self._placed(changes, names, ("t", "h", "w"))

    def changes_of_others(self, changes: Tensor) -> Tensor:
        """Those of tokens that are no places `(clip, token)`."""
        if not self.extra:
            return changes.new_zeros(len(changes), 0)
        names = [name for name in self.names if name != "c"]
        return changes.narrow(names.index("n") + 1, 0, self.extra).flatten(1)

    def _split(self, output: Tensor, batch: int) -> Tensor:
        """An output with an axis for clips, and one for what each has in the first."""
        by_clips = self.rows == "clips"
        split: Tensor = output.unflatten(0, (batch, -1) if by_clips else (-1, batch))
        return split if by_clips else split.transpose(0, 1)

    def _placed(self, split: Tensor, known: tuple[str, ...], wanted: tuple[str, ...]) -> Tensor:
        """What is left of places, with its axes in an order."""
        names = list(known)
        if "n" in names:
            axis = names.index("n") + 1
            tokens = split.narrow(axis, self.extra, split.shape[axis] - self.extra)
            split = tokens.unflatten(axis, self.grid)
            names[axis - 1 : axis] = self.order
        for axis in reversed(range(len(names))):
            if not names[axis]:
                split = split.squeeze(axis + 1)
                del names[axis]
        for name in ("t", "h", "w"):
            if name not in names:
                split = split.unsqueeze(-1)
                names.append(name)
        placed: Tensor = split.permute(0, *(names.index(name) + 1 for name in wanted))
        return placed

    @property
    def channels(self) -> Channels:
        """Whether the channels stand before all places or after them; None for between them."""
        place = self.names.index("c")
        return "first" if place == 1 else "last" if place == len(self.names) - 1 else None

    def is_map(self, shape: tuple[int, ...], batch: int) -> bool:
        """Whether outputs of a shape have more than one place."""
        sizes = dict(zip(self.names, (shape[0] // batch, *shape[1:]), strict=True))
        sizes |= dict(zip(self.order, self.grid, strict=True))
        return sizes.get("h", 1) * sizes.get("w", 1) > 1

    def places(self, output: Tensor, batch: int) -> tuple[int, int, int]:
        """How many steps, rows and columns it has."""
        steps, rows, columns = self.to_maps(output, batch).shape[2:]
        return steps, rows, columns

    def steps_of(self, output: Tensor, batch: int) -> int:
        """How many steps another output of the layer has, of clips of another length."""
        for axis, name in enumerate(self.names):
            size = output.shape[axis] if axis else output.shape[0] // batch
            if name == "t":
                return size
            if name == "n" and "t" in self.order:
                area = 1
                for part, count in zip(self.order, self.grid, strict=True):
                    area *= 1 if part == "t" else count
                return (size - self.extra) // area
        return 1

    def told(self) -> str:
        """The layout in words."""
        words = {"c": "channels", "t": "time", "h": "height", "w": "width"}
        parts = []
        for name in self.names:
            if name == "n":
                grid = " x ".join(f"{count}" for count in self.grid)
                through = ", ".join(words[part] for part in self.order)
                parts.append(f"tokens ({grid}: {through}; {self.extra} more)")
            elif name:
                parts.append(words[name])
        return ", ".join(parts)


@lru_cache(maxsize=256)
def layouts_of(
    shape: tuple[int, ...], batch: int, frames: int, size: tuple[int, int]
) -> tuple[MapLayout, ...]:
    """Layouts that an output of so many clips could have, by its sizes alone.

    Args:
        shape: Of the output.
        batch: How many clips.
        frames: Of a clip; no map has more steps.
        size: Height and width of a clip; no map has more rows and columns.

    Example:
        >>> [layout.told() for layout in layouts_of((2, 5, 4, 2, 2), 2, 4, (16, 16))]
        ['channels, time, height, width']
    """
    return tuple(_layouts(shape, batch, frames, size))


def could_be_map(shape: tuple[int, ...], batch: int, frames: int, size: tuple[int, int]) -> bool:
    """Whether an output of so many clips could be a map of more than one place, by its sizes.

    Example:
        >>> could_be_map((2, 5, 4, 8, 8), 2, 4, (16, 16)), could_be_map((2, 5), 2, 4, (16, 16))
        (True, False)
    """
    return any(layout.is_map(shape, batch) for layout in layouts_of(shape, batch, frames, size))


def _layouts(
    shape: tuple[int, ...], batch: int, frames: int, size: tuple[int, int]
) -> Iterator[MapLayout]:
    if not shape or shape[0] % batch:
        return
    each, rest = shape[0] // batch, shape[1:]
    orders: tuple[Rows, ...] = ("clips", "frames") if each > 1 else ("clips",)
    for rows in orders:
        for names in _NAMES.get((len(rest), each > 1), ()):
            sizes = dict(zip(names, (each, *rest), strict=True))
            if sizes.get("t", 1) > frames:
                continue
            if "n" in names:
                timed = "t" not in names
                for order, grid, extra in _grids(sizes["n"], frames if timed else 1, size, timed):
                    yield MapLayout(rows, names, order, grid, extra)
            elif sizes["h"] <= size[0] and sizes["w"] <= size[1]:
                yield MapLayout(rows, names)


# By how many axes there are after the first, and whether a clip has several entries in that.
_NAMES: dict[tuple[int, bool], tuple[tuple[str, ...], ...]] = {
    (4, False): (("", "c", "t", "h", "w"), ("", "t", "h", "w", "c"), ("", "t", "c", "h", "w")),
    (3, False): (("", "c", "h", "w"), ("", "h", "w", "c"), ("", "t", "n", "c")),
    (3, True): (("t", "c", "h", "w"), ("t", "h", "w", "c")),
    (2, False): (("", "n", "c"), ("", "c", "n")),
    (2, True): (("t", "n", "c"), ("t", "c", "n")),
}


def _grids(
    tokens: int, frames: int, size: tuple[int, int], timed: bool
) -> Iterator[tuple[tuple[str, ...], tuple[int, ...], int]]:
    """Orders, sizes and further tokens of the grids that so many tokens could be."""
    for extra in range(min(MOST_EXTRA, tokens - 1) + 1):
        places = tokens - extra
        for steps in _divisors(places, frames):
            for rows in _divisors(places // steps, size[0]):
                columns = places // steps // rows
                if columns > size[1] or not _patches(rows, columns, size):
                    continue
                if not timed:
                    yield ("h", "w"), (rows, columns), extra
                    continue
                yield ("t", "h", "w"), (steps, rows, columns), extra
                if steps > 1:
                    yield ("h", "w", "t"), (rows, columns, steps), extra


def _divisors(count: int, most: int) -> Iterator[int]:
    return (one for one in range(1, min(count, most) + 1) if count % one == 0)


def _patches(rows: int, columns: int, size: tuple[int, int]) -> bool:
    """Whether square patches cover a frame in so many rows and columns, or all but an edge."""
    patches = (size[0] // rows, size[0] // rows + 1, size[1] // columns, size[1] // columns + 1)
    return any(
        all(
            side // patch == count or -(-side // patch) == count
            for side, count in zip(size, (rows, columns), strict=True)
        )
        for patch in patches
        if patch > 0
    )
