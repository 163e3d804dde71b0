"""Many clips that are made of those of a batch, a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from temporal_attr._run import RunContext
from temporal_attr._typing import ClipTensor
from temporal_attr.gradients import DEFAULT_CHUNK, halving

Row = tuple[int, int]
"""The number of a clip, and of the example that it is made of."""

Taken = TypeVar("Taken")


@dataclass(frozen=True)
class AtOnce:
    """How many clips go through the model together.

    Attributes:
        clips: The number.
        fixed: Whether there cannot be fewer where memory is short.
    """

    clips: int
    fixed: bool


def at_once(clip: ClipTensor, rows: int, asked: int | None, with_arguments: bool) -> AtOnce:
    """How many of so many clips go through the model together.

    Args:
        clip: The batch that they are made of.
        rows: How many there are.
        asked: How many were asked for; None for as many as have 16 frames, at least one.
        with_arguments: Whether the model takes arguments after the clips: they belong to the whole
            batch, so one clip of each example goes through.

    Example:
        >>> at_once(torch.zeros(2, 4, 3, 8, 8), 50, None, False)
        AtOnce(clips=4, fixed=False)
    """
    if with_arguments:
        return AtOnce(len(clip), fixed=True)
    if asked is not None:
        return AtOnce(min(rows, asked), fixed=True)
    return AtOnce(min(rows, max(1, DEFAULT_CHUNK // clip.shape[1])), fixed=False)


def by_rows(
    rows: Sequence[Row],
    clip_of: Callable[[int, int], Tensor],
    new: Callable[[], Taken],
    each: Callable[[Taken, Sequence[Row], ClipTensor], None],
    size: AtOnce,
    run: RunContext,
    path: str,
    description: str | None = None,
) -> tuple[Taken, int]:
    """Do something with many clips, a few at a time, and with fewer where memory is short.

    Args:
        rows: Which clips.
        clip_of: The clip `(time, channel, height, width)` of a row.
        new: A new record, which is begun again where memory runs out.
        each: Adds to the record what comes of some rows and their clips.
        size: How many go through the model together.
        run: Notes what ran out of memory.
        path: What an attempt is called there.
        description: Of a bar; None for none.

    Returns:
        The record, and how many clips went through together.
    """

    def attempt(count: int) -> Taken:
        taken = new()
        with run.progress(len(rows), description or "", show=description is not None) as bar:
            for start in range(0, len(rows), count):
                chunk = rows[start : start + count]
                each(taken, chunk, torch.stack([clip_of(*row) for row in chunk]))
                bar.update(len(chunk))
        return taken

    return halving(attempt, size.clips, size.fixed, run, path, "clips")
