"""Random numbers of methods and models that know no seed of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Draw from a seed, and leave the caller's random states as they were.

    Args:
        seed: None leaves everything as it is.

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
    # Captum draws from NumPy's global state as well.
    state = np.random.get_state()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(state)
