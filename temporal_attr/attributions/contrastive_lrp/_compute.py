"""The relevance of every timestep's logit, and what of it reaches each frame."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from temporal_attr._errors import OptionError
from temporal_attr._precision import wide
from temporal_attr._require import require_count
from temporal_attr._run import RunContext
from temporal_attr._typing import (
    ClipTensor,
    Logits,
    PerExample,
    StepMatrix,
    StepScores,
    StepWeights,
    Target,
    TargetLike,
)
from temporal_attr.attributions._relevance import relevance_ratio, traced
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
        composite: The rules; None for those found best for models like it.
        contrastive: Whether what opposes the target is subtracted.
        rows: Timesteps whose relevance of pixels is kept.
        rows_per_backward: Timesteps in one backward pass.
    """

    model: VideoModel
    clip: ClipTensor
    target: TargetLike
    composite: Composite | None
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
    relevance_ratio: PerExample
    sink_relevance: StepScores
    row_relevance: Float[Tensor, "batch rows time channel height width"] | None
    frames_per_step: int
    rules: str


PER_EXAMPLE = (
    "logits",
    "target",
    "matrix",
    "frame_matrix",
    "step_logits",
    "row_error",
    "relevance_ratio",
    "sink_relevance",
    "row_relevance",
)
"""Those of these that have one entry for each clip."""


@dataclass(frozen=True)
class Steps:
    """The traced pass to the logits of all timesteps, and what it says of the target.

    Attributes:
        trace: Its output is `(batch, steps, classes)`.
        rules: What the rules are called.
        weights: Of the timesteps.
        clip_logits: Of the clip.
        target: The class of each example.
        logits: `(batch, steps)`, the target's at each timestep.
    """

    trace: Trace
    rules: str
    weights: StepWeights
    clip_logits: Logits
    target: Target
    logits: StepScores


@dataclass(frozen=True)
class Rows:
    """What reached the frames from each of the model's own timesteps, filled in row by row.

    It is made whole at first, and a batch of rows leaves nothing else behind. What is allocated
    between the large tensors of a backward pass, or a row that is still held during the next,
    leaves holes in the process's memory that no later row fits into: it grew by a clip a row.

    Attributes:
        frame_matrix: `(batch, steps, time)`, relevance of each frame, summed over its pixels.
        total: `(batch, steps)`, the sum of all relevance, of either sign.
        magnitude: `(batch, steps)`, the sum of its magnitudes.
        sinks: `(batch, steps)`, what went to anything but the clip.
        pixels: The relevance of pixels of the rows that were to be kept.
        positive: Room for the positive part of a row.
    """

    frame_matrix: Float[Tensor, "batch steps time"]
    total: StepScores
    magnitude: StepScores
    sinks: StepScores
    pixels: dict[int, ClipTensor]
    positive: ClipTensor

    @classmethod
    def empty(cls, like: StepScores, frames: int, clip: ClipTensor, keep: Collection[int]) -> Rows:
        """Room for all rows, and for the pixels of those that are to be kept."""
        return cls(
            like.new_empty(*like.shape, frames),
            torch.empty_like(like),
            torch.empty_like(like),
            torch.zeros_like(like),
            {row: torch.empty_like(clip) for row in keep},
            torch.empty_like(clip),
        )

    def put(self, row: int, relevance: ClipTensor, contrastive: bool) -> None:
        """What is kept of one row; contrastive relevance loses its negative part."""
        self.total[:, row] = relevance.flatten(1).sum(1)
        self.magnitude[:, row] = torch.linalg.vector_norm(relevance.flatten(1), 1, 1)
        reached = torch.clamp(relevance, min=0, out=self.positive) if contrastive else relevance
        self.frame_matrix[:, row] = reached.sum((2, 3, 4))
        if row in self.pixels:
            self.pixels[row].copy_(reached)


def timestep_relevance(request: TimestepRequest, run: RunContext) -> TimestepRelevance:
    """Propagate the target's logit at each timestep back to the pixels.

    Timesteps that make one prediction together (`merged_steps`) are added up in blocks.
    """
    merged = request.model.merged_steps
    with isolated_autograd((request.clip,)) as (clip,):
        steps = traced_steps(request, clip, run)
        if steps.trace.has_sinks and len(clip) > 1:
            return _by_example(request, steps.target, run)
        count = steps.logits.shape[1]
        for row in request.rows:
            require_count("each of rows", row, 0, count // merged - 1)
        keep = {row * merged + part for row in request.rows for part in range(merged)}
        together = min(together_of(request, clip), count)
        found = _propagated(steps, request.contrastive, together, keep, run)
    if request.contrastive:
        _require_contrast(found, steps.logits)
    pixels = [
        torch.stack([found.pixels[row * merged + part] for part in range(merged)]).sum(0)
        for row in request.rows
    ]
    frame_matrix = found.frame_matrix.unflatten(1, (-1, merged)).sum(2)
    frames_per_step = request.model.frames_per_step * merged
    error = _row_error(found, steps.logits, request.contrastive)
    # Contrastive relevance starts twice: as R, and as R'.
    start = steps.logits * (2 if request.contrastive else 1)
    return TimestepRelevance(
        logits=steps.clip_logits,
        target=steps.target,
        matrix=by_step(frame_matrix, frames_per_step),
        frame_matrix=frame_matrix,
        step_logits=_merged_logits(steps.logits, steps.weights, merged),
        step_weights=steps.weights.unflatten(0, (-1, merged)).sum(1),
        row_error=error.unflatten(1, (-1, merged)).abs().amax(2),
        relevance_ratio=relevance_ratio(found.magnitude.sum(1), start.abs().sum(1)),
        sink_relevance=found.sinks.unflatten(1, (-1, merged)).sum(2),
        row_relevance=torch.stack(pixels, 1) if pixels else None,
        frames_per_step=frames_per_step,
        rules=steps.rules,
    )


def together_of(request: TimestepRequest, clip: ClipTensor) -> int:
    """Timesteps in one backward pass."""
    return request.rows_per_backward or max(1, VALUES_PER_BACKWARD // clip.numel())


def _by_example(request: TimestepRequest, target: Target, run: RunContext) -> TimestepRelevance:
    """One clip at a time: what goes to a sink is known for a whole pass only."""
    found = [
        timestep_relevance(replace(request, clip=clip, target=label), run)
        for clip, label in zip(request.clip.split(1), target.split(1), strict=True)
    ]
    joined: dict[str, Any] = {
        name: torch.cat([getattr(one, name) for one in found])
        for name in PER_EXAMPLE
        if getattr(found[0], name) is not None
    }
    return replace(found[0], **joined)


def traced_steps(request: TimestepRequest, clip: ClipTensor, run: RunContext) -> Steps:
    """Trace the pass to the logits of all timesteps."""

    def forward(clip: Tensor) -> tuple[Tensor, Tensor]:
        steps = request.model.frame_logits(clip)
        return steps.logits, steps.weights

    by = traced(request.model, forward, clip, request.composite, run, sinks=True)
    trace = by.trace
    known = FrameLogits(trace.output.detach(), trace.beside.detach())
    clip_logits = known.clip_logits()
    target = resolve_target(request.target, clip_logits)
    index = target[:, None, None].expand(-1, known.logits.shape[1], 1)
    logits = known.logits.gather(2, index).squeeze(2)
    return Steps(trace, by.rules, known.weights, clip_logits, target, logits)


def _propagated(
    steps: Steps, contrastive: bool, together: int, keep: Collection[int], run: RunContext
) -> Rows:
    """Propagate the target's logit at each timestep as a row of relevance."""
    logits, clip = steps.logits, steps.trace.clip.detach()
    found = Rows.empty(logits, clip.shape[1], clip, keep)
    with run.progress(logits.shape[1], "rows") as bar:
        for rows in torch.arange(logits.shape[1], device=logits.device).split(together):
            propagate_rows(steps, rows, contrastive, found)
            run.ran(backward=len(rows) * clip.shape[0] * clip.shape[1])
            bar.update(len(rows))
    run.took("whole", together)
    return found


def propagate_rows(steps: Steps, rows: Tensor, contrastive: bool, found: Rows) -> None:
    """One backward pass; of its own, so that nothing of it lives during the next."""
    shared, sinks = _relevance(steps, rows, contrastive)
    for place, row in enumerate(rows.tolist()):
        found.put(row, shared[place], contrastive)
        if sinks is not None:
            found.sinks[:, row] = sinks[place]


def _require_contrast(found: Rows, logits: StepScores) -> None:
    """Raise where nothing opposes anything: R and R' are alike by the rule of the last layer."""
    if logits.any() and not found.magnitude.any():
        raise OptionError(
            "contrastive=True with a rule for the last layer that tells what supports a class from "
            "what opposes it, such as ZPlus or Gamma",
            "one by which both are alike (Epsilon and Absolute are such), so that R - R' is zero",
            "Pass contrastive=False, or another rule for linear layers.",
        )


def _row_error(found: Rows, logits: StepScores, contrastive: bool) -> StepScores:
    """The sum of each row and its sinks less what it should be, over the logit.

    Contrastive relevance should sum to 0, since R and R' start alike; plain relevance to the logit.
    """
    whole = found.total + found.sinks
    lost = whole if contrastive else whole - logits
    return torch.where(logits == 0, lost, lost / logits.abs())


def _relevance(steps: Steps, rows: Tensor, contrastive: bool) -> tuple[Tensor, Tensor | None]:
    """The relevance `(rows, *clip)` of the target's logit at some timesteps, and of the sinks."""
    output, trace = steps.trace.output, steps.trace
    starts = steps.logits.new_zeros(len(rows), *output.shape)
    examples = torch.arange(len(output), device=output.device)
    for place, row in enumerate(rows.tolist()):
        starts[place, examples, row, steps.target] = steps.logits[:, row]
    if len(rows) == 1:
        if not trace.has_sinks:
            return trace.relevance(starts[0], contrastive)[None], None
        relevance, sinks = trace.relevance_and_sinks(starts[0], contrastive)
        return relevance[None], sum(sinks.values(), starts.new_zeros(1, dtype=wide(starts)))
    if not trace.has_sinks:
        return trace.relevances(starts, contrastive), None
    return trace.relevances_and_sink_sums(starts, contrastive)


def _merged_logits(logits: Tensor, weights: Tensor, merged: int) -> Tensor:
    """The mean of the logits in each block, weighted as the model weighs its timesteps."""
    parts = weights.unflatten(0, (-1, merged))
    total = parts.sum(1, keepdim=True)
    shares = torch.where(total > 0, parts / total, 1 / merged)
    means: Tensor = (logits.unflatten(1, (-1, merged)) * shares).sum(2)
    return means


def by_step(frame_matrix: Float[Tensor, "batch steps time"], frames_per_step: int) -> StepMatrix:
    """Columns of frames added up to columns of timesteps; what is left over joins the last.

    Where there are fewer timesteps than that, as after convolutions without padding, they are in
    the middle of the frames, and what is left over at either end joins the nearest.

    Example:
        >>> by_step(torch.tensor([[[1.0, 2.0, 3.0], [0.0, 0.0, 5.0]]]), frames_per_step=2)
        tensor([[[3., 3.],
                 [0., 5.]]])
    """
    batch, steps, time = frame_matrix.shape
    frames = torch.arange(time, device=frame_matrix.device)
    lacking = max(0, time // frames_per_step - steps)
    places = (frames - lacking * frames_per_step // 2).div(frames_per_step, rounding_mode="floor")
    matrix = frame_matrix.new_zeros(batch, steps, steps)
    return matrix.index_add_(2, places.clamp(0, steps - 1), frame_matrix)
