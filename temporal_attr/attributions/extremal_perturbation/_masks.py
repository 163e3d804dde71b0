"""Masks of clips: smooth in space, from few numbers, and what is asked of their area and time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from temporal_attr._typing import PerExample

TEMPERATURE = 0.05
"""Of the smooth maximum: values that differ by more than a few of these hardly mix."""

REACH_IN_TIME, REACH_IN_SPACE = 1.0, 1.5
"""How far a cell reaches from its middle, in cells. In time, cells of one frame do not overlap."""

TIE = 1e-6
"""Places whose values are the same in steps of this have the same rank, whatever rounding says."""

Grid = Float[Tensor, "batch frames rows columns"]
Masks = Float[Tensor, "batch time height width"]


@dataclass(frozen=True)
class Axis:
    """The cells around each place of an axis.

    Attributes:
        cells: `(places, near)`, the numbers of the cells that are near.
        kernel: `(places, near)`, the kernel at their distance, in [0, 1].
        inside: `(places, near)`, whether there is such a cell within reach.
    """

    cells: Int[Tensor, "places near"]
    kernel: Float[Tensor, "places near"]
    inside: Bool[Tensor, "places near"]

    @classmethod
    def of(cls, places: int, cells: int, reach: float, like: Tensor) -> Axis:
        """Cells of equal length along an axis, on the device and in the precision of a tensor.

        Args:
            places: How many frames, rows or columns the axis has.
            cells: How many cells share them.
            reach: How far from its middle a cell reaches, in cells, at least 1.
            like: Says where and how precisely.
        """
        # Places in units of cells, so that cell j has its middle at j.
        at = (torch.arange(places, dtype=torch.float64) + 0.5) * (cells / places) - 0.5
        steps = torch.arange(-1, 3)
        near = at.floor().long()[:, None] + steps
        kernel = kernel_at((at[:, None] - near).abs(), reach)
        inside = (near >= 0) & (near < cells) & (kernel > 0)
        return cls(
            near.clamp(0, cells - 1).to(like.device),
            (kernel * inside).to(like),
            inside.to(like.device),
        )


def kernel_at(distance: Tensor, reach: float) -> Tensor:
    """1 up to half a cell, and from there down to 0 at the reach, like half a cosine wave.

    Example:
        >>> kernel_at(torch.tensor([0.0, 0.5, 1.0, 1.5]), 1.5)
        tensor([1.0000, 1.0000, 0.5000, 0.0000])
    """
    beyond = ((distance - 0.5) / (reach - 0.5)).clamp(0, 1)
    return 0.5 + 0.5 * torch.cos(torch.pi * beyond)


@dataclass(frozen=True)
class MaskShape:
    """From cells to a mask: the smooth maximum, along each axis, of the kernels of the cells.

    Attributes:
        axes: Of time, height and width; None where each frame has one number.
        size: `(time, height, width)`, of the mask.
        cells: `(time, height, width)`, of the grid.
    """

    axes: tuple[Axis, Axis, Axis] | None
    size: tuple[int, int, int]
    cells: tuple[int, int, int]

    @classmethod
    def of_frames(cls, size: tuple[int, int, int]) -> MaskShape:
        """One number for each frame."""
        return cls(None, size, (size[0], 1, 1))

    @classmethod
    def of_grid(
        cls, size: tuple[int, int, int], cells: tuple[int, int, int], like: Tensor
    ) -> MaskShape:
        """One number for each cell of a grid in space and time."""
        reach = (REACH_IN_TIME, REACH_IN_SPACE, REACH_IN_SPACE)
        time, height, width = (
            Axis.of(*along, like) for along in zip(size, cells, reach, strict=True)
        )
        return cls((time, height, width), size, cells)

    @property
    def smallest(self) -> float:
        """The mean of the mask of a single cell, in the middle: no mask that is 1 has less."""
        if self.axes is None:
            return 0.0
        grid = torch.zeros(1, *self.cells).to(self.axes[0].kernel)
        time, height, width = (count // 2 for count in self.cells)
        grid[0, time, height, width] = 1
        return float(self.mask(grid).mean())

    def mask(self, grid: Grid) -> Masks:
        """The mask of a grid, in [0, 1] where the grid is."""
        if self.axes is None:
            return grid.expand(-1, *self.size)
        for place, axis in enumerate(self.axes, start=1):
            grid = smooth_maximum(grid, axis, place)
        return grid


def smooth_maximum(grid: Tensor, axis: Axis, place: int) -> Tensor:
    """The largest product of kernel and cell at each place of one axis, smoothly.

    The smooth maximum of values v is sum(v exp(v / T)) / sum(exp(v / T)), over the cells in reach.

    Args:
        grid: What has cells on that axis.
        axis: The cells around each place.
        place: Which axis it is.
    """
    shape = [1] * (grid.ndim + 1)
    shape[place : place + 2] = axis.cells.shape
    near = grid.index_select(place, axis.cells.flatten()).unflatten(place, axis.cells.shape)
    values = near * axis.kernel.reshape(shape)
    scores = (values / TEMPERATURE).masked_fill(~axis.inside.reshape(shape), -torch.inf)
    largest: Tensor = (values * scores.softmax(place + 1)).sum(place + 1)
    return largest


def wanted_mask(mask: Masks, area: float) -> Masks:
    """The mask of the wanted area that keeps the order of a mask's places.

    Places are sorted; the largest `area` of them get 1, the rest 0, and the one at the border what
    is missing. Places that are as good as equal get the same, the mean over their ranks.
    """
    batch, places = len(mask), mask[0].numel()
    values, order = mask.flatten(1).sort(dim=1, descending=True, stable=True)
    # Of 12 frames 0.25 is 3, whatever rounding says.
    count = round(area * places, 6)
    ranked = (count - torch.arange(places, dtype=torch.float64, device=mask.device)).clamp(0, 1)
    # In steps, as a chain of small differences could join all places of a large mask.
    lower = (values / TIE).round().diff(dim=1) != 0
    group = torch.nn.functional.pad(lower.long(), (1, 0)).cumsum(1)
    granted = ranked.new_zeros(batch, places).scatter_add(1, group, ranked.expand(batch, -1))
    ones = torch.ones(batch, places, dtype=torch.float64, device=mask.device)
    shared = (granted / torch.zeros_like(ones).scatter_add(1, group, ones)).gather(1, group)
    return torch.zeros_like(values).scatter(1, order, shared.to(values)).view_as(mask)


def area_penalty(mask: Masks, area: float) -> PerExample:
    """The mean squared distance of a mask from the `wanted_mask` of that area.

    Example:
        >>> mask = torch.tensor([1.0, 0.5, 0.0, 0.0]).reshape(1, 4, 1, 1)
        >>> area_penalty(mask, 0.25), area_penalty(mask, 0.375)
        (tensor([0.0625]), tensor([0.]))
    """
    return (mask - wanted_mask(mask.detach(), area)).square().flatten(1).mean(1)


def jump_penalty(mask: Masks) -> PerExample:
    """The mean absolute change of a mask from frame to frame; 0 of a single frame.

    Example:
        >>> jump_penalty(torch.tensor([1.0, 0.0, 0.5]).reshape(1, 3, 1, 1))
        tensor([0.7500])
    """
    if mask.shape[1] == 1:
        return torch.zeros_like(mask[:, 0, 0, 0])
    return mask.diff(dim=1).abs().flatten(1).mean(1)
