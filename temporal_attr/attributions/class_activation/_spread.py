"""From the map of a layer to the frames and pixels of a clip."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from temporal_attr._typing import LayerMap

Steps = tuple[int, ...]
"""Which step of a map each frame belongs to."""


def by_frame(of_steps: LayerMap, step_of_frame: Steps) -> Tensor:
    """`(batch, time, rows, columns)`: for each frame the map of its step."""
    places = torch.tensor(step_of_frame, device=of_steps.device)
    return of_steps.index_select(1, places)


def resized(of_frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps of frames `(batch, time, rows, columns)` at another height and width, bilinear."""
    if tuple(of_frames.shape[2:]) == size:
        return of_frames
    return F.interpolate(of_frames, size, mode="bilinear", align_corners=False)


def merged(maps: Sequence[LayerMap], step_of_frame: Sequence[Steps], extensive: bool) -> Tensor:
    """The sum of the maps of several pathways `(batch, time, rows, columns)`, on the finest grid.

    Args:
        maps: One for each pathway.
        step_of_frame: Of each.
        extensive: Whether the values of a map are parts of a sum over its places, so that on a
            finer grid each stands for fewer of them. Then the sum over places, and over frames one
            for each step of the finest map, is kept.
    """
    steps, rows, columns = (max(one.shape[axis] for one in maps) for axis in (1, 2, 3))
    total: Tensor | None = None
    for one, frames in zip(maps, step_of_frame, strict=True):
        share = one[0].numel() / (steps * rows * columns) if extensive else 1.0
        part = resized(by_frame(one, frames), (rows, columns)) * share
        total = part if total is None else total + part
    assert total is not None  # there is at least one
    return total


def on_pixels(of_frames: Tensor, channels: int, size: tuple[int, int]) -> Tensor:
    """Maps of frames on all values of a clip: each channel of a pixel has the map there."""
    large = resized(of_frames, size)
    return large.unsqueeze(2).repeat(1, 1, channels, 1, 1)
