"""The relevance of every timestep's logit, and what of it reaches each frame."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from temporal_attr._require import require_count
from temporal_attr._run import RunContext
from temporal_attr._typing import (
    ClipTensor,
    Logits,
    StepMatrix,
    StepScores,
    StepWeights,
    Target,
    TargetLike,
)
from temporal_attr.attributions._relevance import traced
from temporal_attr.gradients import isolated_autograd, resolve_target
from temporal_attr.models import FrameLogits, VideoModel
from temporal_attr.relevance import Composite, Trace

VALUES_PER_BACKWARD = 2**20
"""Values of the clip, over all rows, in one backward pass unless a number of rows is given."""


@dataclass(frozen=True)
class TimestepRequest:
    """What is asked: the relevance of every timestep's target logit.

    Attributes:
        model: Whose timesteps add up to its prediction.
        clip: `(batch, time, channel, height, width)`.
        target: In any of Captum's forms.
        composite: The rules.
        contrastive: Whether what opposes the target is subtracted.
        rows: Timesteps whose relevance of pixels is kept.
        rows_per_backward: Timesteps in one backward pass.
    """

    model: VideoModel
    clip: ClipTensor
    target: TargetLike
    composite: Composite
    contrastive: bool
    rows: tuple[int, ...]
    rows_per_backward: int | None


@dataclass(frozen=True)
class TimestepRelevance:
    """What reached the frames; the names are those of `ContrastiveLRPTemporalResult`."""

    logits: Logits
    target: Target
    matrix: StepMatrix
    frame_matrix: Float[Tensor, "batch steps time"]
    step_logits: StepScores
    step_weights: StepWeights
    row_error: StepScores
    row_relevance: Float[Tensor, "batch rows time channel height width"] | None
    frames_per_step: int


@dataclass(frozen=True)
class _Steps:
    """The traced pass to the logits of all timesteps, and what it says of the target.

    Attributes:
        trace: Its output is `(batch, steps, classes)`.
        weights: Of the timesteps.
        clip_logits: Of the clip.
        target: The class of each example.
        logits: `(batch, steps)`, the target's at each timestep.
    """

    trace: Trace
    weights: StepWeights
    clip_logits: Logits
    target: Target
    logits: StepScores


@dataclass(frozen=True)
class _Rows:
    """What reached the frames from each of the model's own timesteps.

    Attributes:
        frame_matrix: `(batch, steps, time)`, relevance of each frame, summed over its pixels.
        error: `(batch, steps)`, the sum of all relevance less what it should be, over the logit.
        pixels: The relevance of pixels of the rows that were to be kept.
    """

    frame_matrix: Float[Tensor, "batch steps time"]
    error: StepScores
    pixels: dict[int, ClipTensor]


def timestep_relevance(request: TimestepRequest, run: RunContext) -> TimestepRelevance:
    """Propagate the target's logit at each timestep back to the pixels.

    Timesteps that make one prediction together (`merged_steps`) are added up in blocks.
    """
    merged = request.model.merged_steps
    with isolated_autograd((request.clip,)) as (clip,):
        steps = _traced_steps(request, clip, run)
        count = steps.logits.shape[1]
        for row in request.rows:
            require_count("each of rows", row, 0, count // merged - 1)
        keep = {row * merged + part for row in request.rows for part in range(merged)}
        together = request.rows_per_backward or max(1, VALUES_PER_BACKWARD // clip.numel())
        found = _propagated(steps, request.contrastive, min(together, count), keep, run)
    pixels = [
        torch.stack([found.pixels[row * merged + part] for part in range(merged)]).sum(0)
        for row in request.rows
    ]
    frame_matrix = found.frame_matrix.unflatten(1, (-1, merged)).sum(2)
    frames_per_step = request.model.frames_per_step * merged
    return TimestepRelevance(
        logits=steps.clip_logits,
        target=steps.target,
        matrix=by_step(frame_matrix, frames_per_step),
        frame_matrix=frame_matrix,
        step_logits=_merged_logits(steps.logits, steps.weights, merged),
        step_weights=steps.weights.unflatten(0, (-1, merged)).sum(1),
        row_error=found.error.unflatten(1, (-1, merged)).abs().amax(2),
        row_relevance=torch.stack(pixels, 1) if pixels else None,
        frames_per_step=frames_per_step,
    )


def _traced_steps(request: TimestepRequest, clip: ClipTensor, run: RunContext) -> _Steps:
    """Trace the pass to the logits of all timesteps."""

    def forward(clip: Tensor) -> tuple[Tensor, Tensor]:
        steps = request.model.frame_logits(clip)
        return steps.logits, steps.weights

    trace = traced(request.model, forward, clip, request.composite, run)
    known = FrameLogits(trace.output.detach(), trace.beside.detach())
    clip_logits = known.clip_logits()
    target = resolve_target(request.target, clip_logits)
    index = target[:, None, None].expand(-1, known.logits.shape[1], 1)
    logits = known.logits.gather(2, index).squeeze(2)
    return _Steps(trace, known.weights, clip_logits, target, logits)


def _propagated(
    steps: _Steps, contrastive: bool, together: int, keep: Collection[int], run: RunContext
) -> _Rows:
    """Propagate the target's logit at each timestep as a row of relevance.

    Contrastive relevance should sum to 0, since R and R' start alike, and loses its negative part,
    pixel by pixel; plain relevance should sum to the logit.
    """
    logits = steps.logits
    frames, sums, pixels = [], [], {}
    with run.progress(logits.shape[1], "rows") as bar:
        for rows in torch.arange(logits.shape[1], device=logits.device).split(together):
            for row, shared in zip(
                rows.tolist(), _relevance(steps, rows, contrastive), strict=True
            ):
                sums.append(shared.flatten(1).sum(1))
                reached = shared.clamp(min=0) if contrastive else shared
                frames.append(reached.sum((2, 3, 4)))
                if row in keep:
                    pixels[row] = reached
                run.ran(backward=reached.shape[0] * reached.shape[1])
                bar.update()
    run.took("whole", together)
    total = torch.stack(sums, 1)
    lost = total if contrastive else total - logits
    error = torch.where(logits == 0, lost, lost / logits.abs())
    return _Rows(torch.stack(frames, 1), error, pixels)


def _relevance(steps: _Steps, rows: Tensor, contrastive: bool) -> Tensor:
    """The relevance `(rows, *clip)` of the target's logit at some timesteps."""
    output = steps.trace.output
    starts = steps.logits.new_zeros(len(rows), *output.shape)
    examples = torch.arange(len(output), device=output.device)
    for place, row in enumerate(rows.tolist()):
        starts[place, examples, row, steps.target] = steps.logits[:, row]
    if len(rows) == 1:
        return steps.trace.relevance(starts[0], contrastive)[None]
    return steps.trace.relevances(starts, contrastive)


def _merged_logits(logits: Tensor, weights: Tensor, merged: int) -> Tensor:
    """The mean of the logits in each block, weighted as the model weighs its timesteps."""
    parts = weights.unflatten(0, (-1, merged))
    total = parts.sum(1, keepdim=True)
    shares = torch.where(total > 0, parts / total, 1 / merged)
    means: Tensor = (logits.unflatten(1, (-1, merged)) * shares).sum(2)
    return means


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
