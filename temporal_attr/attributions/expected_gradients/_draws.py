"""Which points of which paths are drawn, and how far the mean over them can be relied on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from temporal_attr._require import require_count

FEWEST_GROUPS = 8
"""From how many groups on a standard error is taken, if there are as many samples."""


@dataclass(frozen=True)
class Draws:
    """Points on paths, in groups that know nothing of each other.

    Attributes:
        alphas: How far along its path each point is, from 0 to 1.
        references: The number of the clip where each path begins.
        groups: How many groups these are, one after another.
    """

    alphas: tuple[float, ...]
    references: tuple[int, ...]
    groups: int

    @property
    def count(self) -> int:
        """How many points there are."""
        return len(self.alphas)


def groups_of(n_samples: int) -> int:
    """How many groups of one size so many samples are divided into.

    The fewest from 8 on that divide them, or else one for each sample.

    Example:
        >>> [groups_of(count) for count in (50, 64, 26, 7)]
        [10, 8, 13, 7]
    """
    require_count("n_samples", n_samples, 2, 2**20)
    return next(
        (count for count in range(FEWEST_GROUPS, n_samples) if n_samples % count == 0), n_samples
    )


def drawn(n_samples: int, references: int | None, random: np.random.Generator) -> Draws:
    """Draw points and references.

    A group of m points has one in each m-th of the path, at a random place of it and in a random
    order, and no reference twice before it had all: each point by itself is equally likely
    anywhere, with each reference, but together they cover both. Groups are independent.

    Args:
        n_samples: How many points.
        references: How many clips paths can begin at; None if each point has one of its own.
        random: Where random numbers come from.

    Example:
        >>> found = drawn(16, 3, np.random.default_rng(0))
        >>> found.count, found.groups, sorted(int(2 * alpha) for alpha in found.alphas[:2])
        (16, 8, [0, 1])
    """
    groups = groups_of(n_samples)
    size = n_samples // groups
    alphas: list[float] = []
    chosen: list[int] = []
    for _ in range(groups):
        places = (random.permutation(size) + random.random(size)) / size
        alphas += places.tolist()
        if references is not None:
            rounds = [random.permutation(references) for _ in range(-(-size // references))]
            chosen += np.concatenate(rounds)[:size].tolist()
    return Draws(tuple(alphas), tuple(chosen or range(n_samples)), groups)


def standard_error(
    samples: Float[Tensor, "batch samples time"], groups: int
) -> Float[Tensor, "batch time"]:
    """The standard error of the mean over samples, from how much the means of groups differ.

    Args:
        samples: A number of each frame by each sample; the samples of a group one after another.
        groups: How many groups there are, at least 2.

    Example:
        >>> import torch
        >>> standard_error(torch.tensor([[[1.0], [3.0], [3.0], [5.0]]]), 2)  # means 2 and 4
        tensor([[1.]])
    """
    means = samples.unflatten(1, (groups, -1)).mean(2)
    found: Tensor = means.std(1) / groups**0.5
    return found
