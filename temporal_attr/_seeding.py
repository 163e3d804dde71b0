"""Random numbers of methods and models that know no seed of their own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from temporal_attr._require import require_seed

_GLOBAL = threading.RLock()
"""Held by whoever draws from the global random streams, of which the process has one each."""


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Draw from a seed, and leave the caller's random states as they were.

    PyTorch and NumPy have one global stream each for all threads, so threads that draw by seed do
    so one after another: each gets the numbers that it would get alone. That holds for what goes
    through this function, as the library's own methods do; a thread of yours that draws from the
    global streams meanwhile takes numbers away.

    Args:
        seed: None leaves everything as it is, and waits for nobody.

    Example:
        >>> with seeded(3):
        ...     first = torch.rand(2)
        >>> with seeded(3):
        ...     torch.equal(torch.rand(2), first)
        True
    """
    if seed is None:
        yield
        return
    require_seed(seed)
    with _GLOBAL, torch.random.fork_rng():
        # Captum draws from NumPy's global state as well.
        state = np.random.get_state()
        torch.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(state)


@contextmanager
def streams_to_itself() -> Iterator[None]:
    """Let no other thread draw by seed meanwhile, where PyTorch sets the global streams itself.

    It does so where it runs a part of a model again (`torch.utils.checkpoint`), so that what the
    model draws is the same.
    """
    with _GLOBAL:
        yield


@contextmanager
def seeded_weights(seed: int) -> Iterator[None]:
    """Draw weights on the CPU from a seed, and leave the caller's random state as it was.

    One thread after another, as for `seeded`.

    Example:
        >>> with seeded_weights(3):
        ...     layer = torch.nn.Linear(2, 2)
        >>> with seeded_weights(3):
        ...     torch.equal(torch.nn.Linear(2, 2).weight, layer.weight)
        True
    """
    require_seed(seed)
    with _GLOBAL, torch.random.fork_rng(devices=[]):
        # Of the CPU only: torch.manual_seed would seed the generators of all devices.
        torch.default_generator.manual_seed(seed)
        yield
