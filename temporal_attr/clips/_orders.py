"""Orders of the frames of a clip other than the natural one."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from temporal_attr._errors import ClipError, OptionError
from temporal_attr._require import LONGEST, require_count, require_seed

Order = tuple[int, ...]
"""`order[place]` is the frame shown at that place."""


class Shuffling(ABC):
    """A family of orders to draw from; the natural order is never among them.

    Example:
        >>> class Halves(Shuffling):
        ...     def draw(self, frames, random):
        ...         return (*range(frames // 2, frames), *range(frames // 2))
        ...     def enumerate(self, frames):
        ...         yield self.draw(frames, None)
        >>> draw_orders(Halves(), frames=4, count=1)
        tensor([[2, 3, 0, 1]])
    """

    @abstractmethod
    def draw(self, frames: int, random: np.random.Generator) -> Order:
        """One order of the family, which may be the natural one."""

    @abstractmethod
    def enumerate(self, frames: int) -> Iterator[Order]:
        """Every order of the family once, with the natural one if it belongs to it."""


@dataclass(frozen=True)
class FullShuffle(Shuffling):
    """Any order, all equally likely.

    Example:
        >>> draw_orders(FullShuffle(), frames=3, count=2, seed=0)
        tensor([[2, 0, 1],
                [2, 1, 0]])
    """

    def draw(self, frames: int, random: np.random.Generator) -> Order:
        """A random permutation."""
        return tuple(random.permutation(frames).tolist())

    def enumerate(self, frames: int) -> Iterator[Order]:
        """All permutations."""
        return itertools.permutations(range(frames))


@dataclass(frozen=True)
class Reversal(Shuffling):
    """The clip backwards: one order only, in which every frame keeps its neighbours.

    Example:
        >>> draw_orders(Reversal(), frames=4, count=1)
        tensor([[3, 2, 1, 0]])
    """

    def draw(self, frames: int, random: np.random.Generator) -> Order:
        """The frames from last to first."""
        return tuple(reversed(range(frames)))

    def enumerate(self, frames: int) -> Iterator[Order]:
        """The one order."""
        yield tuple(reversed(range(frames)))


@dataclass(frozen=True)
class BlockShuffle(Shuffling):
    """Blocks of consecutive frames in any order, all equally likely; the order inside is kept.

    What a model reads within a block is kept, apart from the borders. Where the length
    does not divide the clip, the last block is shorter.

    Args:
        length: Frames in a block; with 1 this is `FullShuffle`.

    Example:
        >>> draw_orders(BlockShuffle(2), frames=6, count=2, seed=0)
        tensor([[4, 5, 0, 1, 2, 3],
                [4, 5, 2, 3, 0, 1]])
    """

    length: int

    def __post_init__(self) -> None:
        require_count("length", self.length, 1)

    def draw(self, frames: int, random: np.random.Generator) -> Order:
        """The blocks of the clip in random order."""
        blocks = self._blocks(frames)
        return self._joined([blocks[i] for i in random.permutation(len(blocks))])

    def enumerate(self, frames: int) -> Iterator[Order]:
        """The blocks of the clip in every order."""
        return map(self._joined, itertools.permutations(self._blocks(frames)))

    def _blocks(self, frames: int) -> list[range]:
        starts = range(0, frames, self.length)
        return [range(start, min(start + self.length, frames)) for start in starts]

    def _joined(self, blocks: list[range] | tuple[range, ...]) -> Order:
        return tuple(itertools.chain.from_iterable(blocks))


@dataclass(frozen=True)
class LocalShuffle(Shuffling):
    """Orders in which no frame moves by more than `radius` places.

    What a model reads over many frames is kept, and what it reads within the radius is not.
    The places are filled from first to last, each with one of the frames that may stand there, all
    of them equally likely; so every such order can be drawn, but not all equally often.

    Args:
        radius: Places that a frame may move, forward or back.

    Example:
        >>> draw_orders(LocalShuffle(1), frames=4, count=3, seed=1)
        tensor([[1, 0, 2, 3],
                [1, 0, 3, 2],
                [0, 1, 3, 2]])
    """

    radius: int

    def __post_init__(self) -> None:
        require_count("radius", self.radius, 1)

    def draw(self, frames: int, random: np.random.Generator) -> Order:
        """Fill one place after another."""
        order: list[int] = []
        for _ in range(frames):
            allowed = self._allowed(order, frames)
            order.append(allowed[random.integers(len(allowed))])
        return tuple(order)

    def enumerate(self, frames: int) -> Iterator[Order]:
        """Every way to fill the places."""
        unfinished: list[Order] = [()]
        while unfinished:
            order = unfinished.pop()
            if len(order) == frames:
                yield order
            else:
                unfinished += [(*order, frame) for frame in self._allowed(order, frames)]

    def _allowed(self, order: list[int] | Order, frames: int) -> list[int]:
        """The frames that may stand at the next place."""
        place = len(order)
        oldest = place - self.radius
        if oldest >= 0 and oldest not in order:
            return [oldest]  # it may not move any farther
        near = range(max(0, oldest), min(frames, place + self.radius + 1))
        return [frame for frame in near if frame not in order]


def draw_orders(
    shuffling: Shuffling, frames: int, count: int, seed: int = 0
) -> Int[Tensor, "orders time"]:
    """Distinct orders of a family, without the natural one.

    Args:
        shuffling: The family.
        frames: Length of the clip, at least 2.
        count: How many orders.
        seed: The same seed gives the same orders.

    Returns:
        `(orders, time)`: entry p of a row is the frame shown at place p.

    Raises:
        ClipError: If there are fewer than 2 frames.
        OptionError: If the family has fewer orders than are asked for.

    Example:
        >>> draw_orders(FullShuffle(), frames=3, count=6)
        Traceback (most recent call last):
        ...
        temporal_attr._errors.OptionError: expected at most 5 orders of 3 frames from FullShuff...
    """
    require_count("the number of shuffles", count, 1, LONGEST)
    require_seed(seed)
    if frames < 2:
        remedy = "A single frame has no order."
        raise ClipError("at least 2 frames to shuffle", str(frames), remedy)
    random = np.random.default_rng(seed)
    # Where there are few orders, drawing until all differ would take long or never end.
    others = _others(shuffling, frames, 4 * count + 1)
    if len(others) < count:
        raise OptionError(
            f"at most {len(others)} orders of {frames} frames from {shuffling}",
            str(count),
            "Ask for fewer shuffles, or for another shuffling.",
        )
    if len(others) <= 4 * count:
        chosen = [others[i] for i in random.choice(len(others), count, replace=False)]
    else:
        drawn: dict[Order, None] = {}
        while len(drawn) < count:
            order = shuffling.draw(frames, random)
            if order != tuple(range(frames)):
                drawn[order] = None
        chosen = list(drawn)
    return torch.tensor(chosen)


def count_orders(shuffling: Shuffling, frames: int, limit: int) -> int:
    """How many orders of a family there are besides the natural one, counted up to a limit.

    Example:
        >>> count_orders(FullShuffle(), frames=3, limit=20)
        5
    """
    require_count("limit", limit, 0, LONGEST)
    return len(_others(shuffling, frames, limit))


def _others(shuffling: Shuffling, frames: int, limit: int) -> list[Order]:
    require_count("frames", frames, 0, LONGEST)
    natural = tuple(range(frames))
    others = (order for order in shuffling.enumerate(frames) if order != natural)
    return list(itertools.islice(others, limit))
