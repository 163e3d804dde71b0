"""What no explanation should lose to: scores that know nothing of the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from temporal_attr._typing import ClipTensor

Blind: TypeAlias = Callable[[ClipTensor, int], Float[Tensor, "1 time 1 height width"]]
"""From a clip and a seed to a score of each pixel."""


def random_scores(clip: ClipTensor, seed: int) -> Float[Tensor, "1 time 1 height width"]:
    """Uniform numbers in [0, 1)."""
    drawn = torch.rand(_shape(clip), generator=torch.Generator().manual_seed(seed))
    return drawn.to(clip)


def centre(clip: ClipTensor, seed: int = 0) -> Float[Tensor, "1 time 1 height width"]:
    """The centre of the clip in space and time: where photographers put what matters.

    A Gaussian whose standard deviation is a quarter of each side.
    """
    _, time, _, height, width = _shape(clip)
    axes = [
        torch.exp(-torch.linspace(-2, 2, size, dtype=torch.float64).square() / 2)
        if size > 1
        else torch.ones(1, dtype=torch.float64)
        for size in (time, height, width)
    ]
    found = axes[0][:, None, None] * axes[1][:, None] * axes[2]
    placed: Tensor = found[None, :, None].to(clip)
    return placed


def motion_energy(clip: ClipTensor, seed: int = 0) -> Float[Tensor, "1 time 1 height width"]:
    """How much a pixel changes: the norm over channels of the difference to its neighbours in time.

    Of the frames before and after, the mean.
    """
    if clip.shape[1] == 1:
        return clip.new_zeros(_shape(clip))
    changes = clip.diff(dim=1).norm(dim=2, keepdim=True)
    before = torch.cat([changes[:, :1], changes], 1)
    after = torch.cat([changes, changes[:, -1:]], 1)
    return (before + after) / 2


def edges(clip: ClipTensor, seed: int = 0) -> Float[Tensor, "1 time 1 height width"]:
    """The size of the gradient of brightness in space, by Sobel's filters."""
    grey = clip.mean(2).flatten(0, 1)[:, None]
    sobel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]).to(clip)
    kernels = torch.stack([sobel, sobel.T])[:, None]
    found = F.conv2d(F.pad(grey, (1, 1, 1, 1), "replicate"), kernels).norm(dim=1)
    placed: Tensor = found.unflatten(0, clip.shape[:2])[:, :, None]
    return placed


CHANCE: dict[str, Blind] = {
    "random": random_scores,
    "centre": centre,
    "motion-energy": motion_energy,
    "edges": edges,
}
"""The levels of chance by their names among methods."""


def _shape(clip: ClipTensor) -> tuple[int, int, int, int, int]:
    return (1, clip.shape[1], 1, clip.shape[3], clip.shape[4])
