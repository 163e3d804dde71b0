"""Clips of which a tube of pixels is masked, for tubes that move over the clip."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from temporal_attr._run import RunContext
from temporal_attr._typing import ClipTensor, Logits, Target
from temporal_attr.attributions._estimate import Work
from temporal_attr.attributions._objective_values import (
    ObjectiveValues,
    PerturbationRequest,
    perturbation_work,
    values_so_far,
)
from temporal_attr.perturbations import BlendedFrames, ComposedClips, at_least_single

Sizes = tuple[int, int, int]


@dataclass(frozen=True)
class OcclusionRequest:
    """What is asked.

    Attributes:
        asked: Of which model, for which class.
        baseline: What each value becomes where it is masked.
        window: Frames, and pixels of the height and width, that are masked together.
        stride: By how much the window moves.
    """

    asked: PerturbationRequest
    baseline: ClipTensor
    window: Sizes
    stride: Sizes

    @property
    def starts(self) -> tuple[list[int], list[int], list[int]]:
        """Where windows begin along each axis."""
        time, _, height, width = self.asked.clip.shape[1:]
        sizes = zip((time, height, width), self.window, self.stride, strict=True)
        times, rows, columns = (starts(*one) for one in sizes)
        return times, rows, columns


@dataclass(frozen=True)
class FoundOcclusion:
    """What was found.

    Attributes:
        logits: `(batch, classes)`, of the clips as they are.
        target: `(batch,)`.
        attributed: `(batch, time, channel, height, width)`, the mean drop over the windows that
            mask each place.
        drops: `(batch, times, rows, columns)`, by how much the objective drops with each window.
        complete: Whether no run was stopped.
    """

    logits: Logits
    target: Target
    attributed: ClipTensor
    drops: Tensor
    complete: bool


def occluded(request: OcclusionRequest, run: RunContext) -> FoundOcclusion:
    """The drop for every window of every clip."""
    asked, clip = request.asked, request.asked.clip
    batch = len(clip)
    values = ObjectiveValues(asked, run)
    composed = _masked(request)
    with run.progress(len(composed), "windows") as bar:
        found = values_so_far(values, composed, bar, asked.on_stop)
    drops = torch.full((len(composed),), torch.nan, dtype=torch.float64)
    drops[: len(found)] = found
    counts = [len(along) for along in request.starts]
    drops = values.of_clips.cpu()[:, None] - drops.view(-1, batch).T
    drops = drops.view(batch, *counts)
    precise = at_least_single(clip.dtype)
    attributed = _mean_over_windows(request, drops.nan_to_num()).to(clip.device, precise)
    return FoundOcclusion(
        logits=values.logits,
        target=values.target,
        attributed=attributed[:, :, None].expand_as(clip).contiguous(),
        drops=drops.to(clip.device, precise),
        complete=len(found) == len(composed),
    )


def starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin along an axis; the last is moved inside, so that all of it is covered.

    Example:
        >>> starts(10, window=4, stride=4)
        [0, 4, 6]
    """
    found = list(range(0, length - window + 1, stride))
    return found if found[-1] == length - window else [*found, length - window]


def _masked(request: OcclusionRequest) -> ComposedClips:
    """A clip for every window, of one clip of the batch after the other.

    A frame that is masked at the same pixels in several windows is the same frame.
    """
    clip, device = request.asked.clip, request.asked.clip.device
    batch, time = clip.shape[:2]
    times, rows, columns = request.starts
    boxes = list(product(rows, columns))
    kept = torch.ones(len(boxes), *clip.shape[-2:], dtype=clip.dtype, device=device)
    for number, (top, left) in enumerate(boxes):
        kept[number, top : top + request.window[1], left : left + request.window[2]] = 0
    # Number of a frame: (example, frame, as it is or by its box).
    variants = len(boxes) + 1
    grid = torch.arange(batch * time * variants, device=device)
    which = grid % variants - 1
    places = torch.stack([grid // variants // time, grid // variants % time], 1)
    table = BlendedFrames(clip, request.baseline, places, kept, which, again=True)
    order = torch.arange(time, device=device).repeat(len(times) * len(boxes), 1) * variants
    for row, (first, number) in enumerate(product(times, range(len(boxes)))):
        order[row, first : first + request.window[0]] += number + 1
    own = torch.arange(batch, device=device)
    whole = (order[:, None] + own[:, None] * time * variants).flatten(0, 1)
    return ComposedClips(table, whole, own.repeat(len(order)))


def _mean_over_windows(request: OcclusionRequest, drops: Tensor) -> Tensor:
    """For each place `(batch, time, height, width)` the mean over the windows that mask it."""
    time, _, height, width = request.asked.clip.shape[1:]
    found = drops
    # Windows are boxes, so the mean is one axis after another.
    axes = zip((time, height, width), request.window, request.starts, strict=True)
    for axis, (length, window, along) in enumerate(axes):
        covers = torch.zeros(len(along), length, dtype=torch.float64)
        for row, first in enumerate(along):
            covers[row, first : first + window] = 1
        shares = covers / covers.sum(0)
        found = torch.tensordot(found, shares, dims=([axis + 1], [0])).movedim(-1, axis + 1)
    return found


def occlusion_work(request: OcclusionRequest) -> Work:
    """What it takes: a clip for each window."""
    clip = request.asked.clip
    batch, time = clip.shape[:2]
    times, rows, columns = request.starts
    windows = len(times) * len(rows) * len(columns)
    return perturbation_work(
        request.asked,
        batch * windows,
        lambda: batch * time * len(rows) * len(columns),
        in_turn=True,
    )
