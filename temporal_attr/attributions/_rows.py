"""One timestep after another sent back to the pixels, and what reaches each frame."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from temporal_attr._require import require_count
from temporal_attr._typing import (
    ClipTensor,
    Logits,
    StepMatrix,
    StepScores,
    StepWeights,
    Target,
    TargetLike,
)
from temporal_attr.attributions._lrp import trace_model
from temporal_attr.attributions._objectives import resolve_target
from temporal_attr.models import FrameLogits, VideoModel
from temporal_attr.relevance import Composite, Trace

ROOM = 2**20
"""Values of the clip, over all rows, that go back together unless a chunk size is given."""


@dataclass(frozen=True)
class Settings:
    """How timesteps are sent back; `rows` are those whose pixels are kept."""

    composite: Composite
    contrastive: bool
    chunk_size: int | None
    rows: tuple[int, ...]
    show_progress: bool


@dataclass(frozen=True)
class StepRelevance:
    """What reached the frames; the names are those of `ContrastiveLRPTemporalResult`."""

    logits: Logits
    target: Target
    matrix: StepMatrix
    frame_matrix: Float[Tensor, "batch steps time"]
    step_logits: StepScores
    step_weights: StepWeights
    row_error: StepScores
    row_relevance: Float[Tensor, "batch rows time channel height width"] | None
    rows: tuple[int, ...]
    frames_per_step: int
    chunk_size: int


def relevance_of_steps(
    model: VideoModel, clip: ClipTensor, target: TargetLike, settings: Settings
) -> StepRelevance:
    """Send the target's logit at each timestep back to the pixels.

    Timesteps that make one prediction together (`merged_steps`) are added up in blocks.
    """
    steps, classes, run = _trace_steps(model, clip, target, settings.composite)
    merged, logits = model.merged_steps, run.output.detach()
    for row in settings.rows:
        require_count("each of rows", row, 0, logits.shape[1] // merged - 1)
    keep = {row * merged + part for row in settings.rows for part in range(merged)}
    chunk_size = min(settings.chunk_size or max(1, ROOM // clip.numel()), logits.shape[1])
    sent = _send_back(run, settings.contrastive, chunk_size, keep, settings.show_progress)
    pixels = [
        torch.stack([sent.pixels[row * merged + part] for part in range(merged)]).sum(0)
        for row in settings.rows
    ]
    frame_matrix = sent.frame_matrix.unflatten(1, (-1, merged)).sum(2)
    frames_per_step = model.frames_per_step * merged
    return StepRelevance(
        logits=steps.clip_logits(),
        target=classes,
        matrix=by_step(frame_matrix, frames_per_step),
        frame_matrix=frame_matrix,
        step_logits=_merged_logits(logits, steps.weights, merged),
        step_weights=steps.weights.unflatten(0, (-1, merged)).sum(1),
        row_error=sent.error.unflatten(1, (-1, merged)).abs().amax(2),
        row_relevance=torch.stack(pixels, 1) if pixels else None,
        rows=settings.rows,
        frames_per_step=frames_per_step,
        chunk_size=chunk_size,
    )


def _merged_logits(logits: Tensor, weights: Tensor, merged: int) -> Tensor:
    """The mean of the logits in each block, weighted as the model weighs its timesteps."""
    parts = weights.unflatten(0, (-1, merged))
    total = parts.sum(1, keepdim=True)
    shares = torch.where(total > 0, parts / total, 1 / merged)
    means: Tensor = (logits.unflatten(1, (-1, merged)) * shares).sum(2)
    return means


def _trace_steps(
    model: VideoModel, clip: ClipTensor, target: TargetLike, composite: Composite
) -> tuple[FrameLogits, Target, Trace]:
    """The logits of the timesteps, the classes, and the pass to their own logits there."""
    found: list[tuple[FrameLogits, Target]] = []

    def forward(clip: Tensor) -> Tensor:
        steps = model.frame_logits(clip)
        known = FrameLogits(steps.logits.detach(), steps.weights.detach())
        classes = resolve_target(target, known.clip_logits())
        found.append((known, classes))
        index = classes[:, None, None].expand(-1, steps.logits.shape[1], 1)
        return steps.logits.gather(2, index).squeeze(2)

    run = trace_model(model, forward, clip, composite)
    return *found[0], run


@dataclass(frozen=True)
class _Sent:
    """What reached the frames from each of the model's own timesteps.

    Attributes:
        frame_matrix: `(batch, steps, time)`, relevance of each frame, summed over its pixels.
        error: `(batch, steps)`, the sum of all relevance less what it should be, over the logit.
        pixels: The relevance of pixels of the rows that were to be kept.
    """

    frame_matrix: Float[Tensor, "batch steps time"]
    error: StepScores
    pixels: dict[int, ClipTensor]


def _send_back(
    run: Trace, contrastive: bool, chunk_size: int, keep: Collection[int], show_progress: bool
) -> _Sent:
    """Send each output `(batch, steps)` of a pass back as a row of relevance.

    Contrastive relevance should sum to 0, since R and R' start alike, and loses its negative part,
    pixel by pixel; plain relevance should sum to the logit.
    """
    logits = run.output.detach()
    frames, sums, pixels = [], [], {}
    with tqdm(total=logits.shape[1], desc="rows", delay=2, disable=not show_progress) as bar:
        for rows in torch.arange(logits.shape[1], device=logits.device).split(chunk_size):
            for row, shared in zip(rows.tolist(), _shared(run, rows, contrastive), strict=True):
                sums.append(shared.flatten(1).sum(1))
                reached = shared.clamp(min=0) if contrastive else shared
                frames.append(reached.sum((2, 3, 4)))
                if row in keep:
                    pixels[row] = reached
                bar.update()
    total = torch.stack(sums, 1)
    lost = total if contrastive else total - logits
    error = torch.where(logits == 0, lost, lost / logits.abs())
    return _Sent(torch.stack(frames, 1), error, pixels)


def _shared(run: Trace, rows: Tensor, contrastive: bool) -> Tensor:
    """The relevance `(rows, *clip)` of some timesteps' logits."""
    logits = run.output.detach()
    starts = logits.new_zeros(len(rows), *logits.shape)
    starts[torch.arange(len(rows)), :, rows] = logits[:, rows].T
    if len(rows) == 1:
        return run.relevance(starts[0], contrastive)[None]
    return run.relevances(starts, contrastive)


def by_step(frame_matrix: Float[Tensor, "batch steps time"], frames_per_step: int) -> StepMatrix:
    """Columns of frames added up to columns of timesteps; what is left over joins the last.

    Example:
        >>> by_step(torch.tensor([[[1.0, 2.0, 3.0], [0.0, 0.0, 5.0]]]), frames_per_step=2)
        tensor([[[3., 3.],
                 [0., 5.]]])
    """
    batch, steps, time = frame_matrix.shape
    places = torch.arange(time, device=frame_matrix.device) // frames_per_step
    matrix = frame_matrix.new_zeros(batch, steps, steps)
    return matrix.index_add_(2, places.clamp(max=steps - 1), frame_matrix)
