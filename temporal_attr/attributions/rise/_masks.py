"""Random smooth masks of space and time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

Sizes = tuple[int, int, int]
Masks = Float[Tensor, "masks time height width"]


def drawn_masks(
    samples: int, grid: Sizes, size: Sizes, keep: float, seed: int, at_a_time: int
) -> Iterator[Masks]:
    """Masks in [0, 1], some at a time; the same ones however many go at a time.

    Args:
        samples: How many.
        grid: Cells along time, height and width.
        size: Of the masks.
        keep: The share of cells that is kept.
        seed: Of the draws.
        at_a_time: How many are made at a time.
    """
    random = torch.Generator().manual_seed(seed)
    points = [count + 1 for count in grid]
    cells = torch.tensor([-(-length // count) for length, count in zip(size, grid, strict=True)])
    for start in range(0, samples, at_a_time):
        kept, shifts = [], []
        for _ in range(min(at_a_time, samples - start)):
            kept.append(torch.rand(points, generator=random, dtype=torch.float64) < keep)
            shifts.append((torch.rand(3, generator=random, dtype=torch.float64) * cells).long())
        yield smooth_masks(torch.stack(kept), torch.stack(shifts), size)


def smooth_masks(
    kept: Bool[Tensor, "masks times rows columns"], shifts: Int[Tensor, "masks three"], size: Sizes
) -> Masks:
    """Grids of cells, interpolated between their middles and cut to size at their shifts.

    The last point of a grid along each axis is there for the shifts.

    Example:
        >>> kept = torch.tensor([[[[True, False, True]]]]).expand(1, 2, 2, 3)
        >>> smooth_masks(kept, torch.tensor([[0, 0, 1]]), (1, 1, 4))[0, 0, 0]
        tensor([0.7500, 0.2500, 0.2500, 0.7500])
    """
    # A cell is rounded up, and there are as many as points.
    whole = [
        -(-length // (points - 1)) * points
        for length, points in zip(size, kept.shape[1:], strict=True)
    ]
    smooth = F.interpolate(kept[:, None].float(), whole, mode="trilinear", align_corners=False)
    cut = [
        mask[tuple(slice(at, at + length) for at, length in zip(shift, size, strict=True))]
        for mask, shift in zip(smooth[:, 0], shifts.tolist(), strict=True)
    ]
    return torch.stack(cut)
