"""The one place where work that ran out of memory is tried again in smaller chunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from temporal_attr._memory import is_out_of_memory
from temporal_attr._run import RunContext

Found = TypeVar("Found")

DEFAULT_CHUNK = 16
"""Frames that go through a model at a time, unless a chunk size is given."""


def halving(
    attempt: Callable[[int], Found],
    size: int,
    fixed: bool,
    run: RunContext,
    path: str,
    unit: str = "frames",
) -> tuple[Found, int]:
    """Run work in chunks of a size, and of half that size for as long as memory runs out.

    Args:
        attempt: From a chunk size to what was computed; it is run again from its beginning.
        size: The first chunk size.
        fixed: Whether the caller asked for this size; then memory that runs out is an error.
        run: Where each attempt that ran out of memory is noted.
        path: What the attempt is called there.
        unit: What a chunk is counted in.

    Returns:
        What was computed, and the size that it took.

    Raises:
        torch.OutOfMemoryError: Or what else memory that runs out raises, if the size is fixed or
            even chunks of one do not fit. Any other error is raised as it is.

    Example:
        >>> def attempt(size):
        ...     if size > 5:
        ...         raise torch.OutOfMemoryError("CUDA out of memory.")
        ...     return "done"
        >>> run = RunContext()
        >>> halving(attempt, 16, fixed=False, run=run, path="framewise")
        ('done', 4)
        >>> run.finished(frames=1).tried
        ('framewise with 16 frames', 'framewise with 8 frames')
    """
    while True:
        try:
            return attempt(size), size
        except Exception as error:
            if fixed or size == 1 or not is_out_of_memory(error):
                raise
        # Only here is the error, which holds the graph, gone.
        run.ran_out(f"{path} with {size} {unit}")
        size //= 2
        torch.cuda.empty_cache()
