"""How the objective of masked clips goes with what the masks keep."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from temporal_attr._run import RunContext
from temporal_attr._typing import ClipTensor, Logits, PerExample, Target
from temporal_attr.attributions._estimate import Work
from temporal_attr.attributions._objective_values import (
    ObjectiveValues,
    PerturbationRequest,
    perturbation_work,
)
from temporal_attr.attributions.rise._masks import Masks, Sizes, drawn_masks
from temporal_attr.perturbations import BlendedFrames, ComposedClips, at_least_single, stopping

FRAMES_AT_A_TIME = 256
"""Of masks that are made at a time, unless it is said how many clips go at a time."""


@dataclass(frozen=True)
class RiseRequest:
    """What is asked.

    Attributes:
        asked: Of which model, for which class.
        baseline: What each value becomes where it is masked.
        grid: Cells of a mask along time, height and width.
        keep: The share of cells that is kept.
        n_samples: How many masks.
        seed: Of the masks.
    """

    asked: PerturbationRequest
    baseline: ClipTensor
    grid: Sizes
    keep: float
    n_samples: int
    seed: int


@dataclass(frozen=True)
class FoundRise:
    """What was found.

    Attributes:
        logits: `(batch, classes)`, of the clips as they are.
        target: `(batch,)`.
        attributed: `(batch, time, channel, height, width)`.
        error: `(batch, time, height, width)`, its standard error.
        mean: `(batch,)`, the mean objective of masked clips.
        samples: How many masks.
        complete: Whether no run was stopped.
    """

    logits: Logits
    target: Target
    attributed: ClipTensor
    error: Tensor
    mean: PerExample
    samples: int
    complete: bool


class _Sums:
    """Sums over masks of f, q, and their products, where q = (mask - keep) / keep.

    Of f is taken what lies near its mean first, as differences of large sums would lose digits.
    """

    def __init__(self, near: float, size: Sizes) -> None:
        self.near, self.count = near, 0
        self.f = 0.0
        self.q, self.fq, self.qq, self.fqq, self.ffqq = torch.zeros(5, *size, dtype=torch.float64)

    def add(self, objective: Tensor, q: Tensor) -> None:
        """Add what some masks gave."""
        f, square = (objective - self.near), q * q
        self.count += len(f)
        self.f += float(f.sum())
        self.q += q.sum(0)
        self.qq += square.sum(0)
        self.fq += torch.tensordot(f, q, 1)
        self.fqq += torch.tensordot(f, square, 1)
        self.ffqq += torch.tensordot(f * f, square, 1)

    def estimate(self) -> tuple[float, Tensor, Tensor]:
        """The mean of f, the estimate at each place, and its standard error."""
        mean = self.f / self.count
        products = self.fq - mean * self.q
        squares = self.ffqq - 2 * mean * self.fqq + mean**2 * self.qq
        if self.count == 1:
            unknown = torch.full_like(products, torch.nan)
            return mean + self.near, torch.zeros_like(products), unknown
        spread = (squares - products**2 / self.count) / (self.count - 1)
        error = (spread.clamp_min(0) / self.count).sqrt()
        return mean + self.near, products / (self.count - 1), error


def masked_at_random(request: RiseRequest, run: RunContext) -> FoundRise:
    """The estimate for every clip, all under the same masks."""
    asked, clip = request.asked, request.asked.clip
    size = (clip.shape[1], *clip.shape[-2:])
    values = ObjectiveValues(asked, run)
    sums: list[_Sums] = []
    samples = request.n_samples
    at_a_time = asked.perturbations_per_eval or max(1, FRAMES_AT_A_TIME // clip.shape[1])
    masks = drawn_masks(samples, request.grid, size, request.keep, request.seed, at_a_time)
    with stopping(asked.on_stop), run.progress(samples, "masks") as bar:
        for chunk in masks:
            # Of all clips before any is counted, so that a run that is stopped has the same masks.
            found = [values.of(_masked(request, chunk, row)).cpu() for row in range(len(clip))]
            sums = sums or [_Sums(float(one.mean()), size) for one in found]
            q = (chunk.double() - request.keep) / request.keep
            for one, own in zip(sums, found, strict=True):
                one.add(own, q)
            bar.update(len(chunk))
    if not sums:
        raise KeyboardInterrupt
    means, estimates, errors = zip(*(one.estimate() for one in sums), strict=True)
    precise = at_least_single(clip.dtype)
    attributed = torch.stack(estimates)[:, :, None].to(clip.device, precise)
    return FoundRise(
        logits=values.logits,
        target=values.target,
        attributed=attributed.expand_as(clip).contiguous(),
        error=torch.stack(errors).to(clip.device, precise),
        mean=torch.tensor(means, dtype=torch.float64).to(clip.device, precise),
        samples=sums[0].count,
        complete=sums[0].count == samples,
    )


def _masked(request: RiseRequest, masks: Masks, example: int) -> ComposedClips:
    """One clip under each of some masks; no frame of one comes in another."""
    clip = request.asked.clip
    count, time = masks.shape[:2]
    numbers = torch.arange(count * time, device=clip.device)
    places = torch.stack([torch.full_like(numbers, example), numbers % time], 1)
    kept = masks.flatten(0, 1).to(clip.device)
    table = BlendedFrames(clip, request.baseline, places, kept, numbers, again=False)
    return ComposedClips(
        table, numbers.view(count, time), torch.full_like(numbers[:count], example)
    )


def rise_work(request: RiseRequest) -> Work:
    """What it takes: a clip for each mask."""
    batch, time = request.asked.clip.shape[:2]
    clips = batch * request.n_samples
    return perturbation_work(request.asked, clips, lambda: clips * time)
