"""Gradients of whole clips: with the whole graph, recomputed, kept in the CPU's memory, or halved.

Every path computes the same numbers, except `half`, which computes them in bfloat16.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from temporal_attr._run import RunContext
from temporal_attr._seeding import streams_to_itself
from temporal_attr.gradients._autograd import native_recurrence
from temporal_attr.gradients._framewise import count_in_chunks, gradients_in_chunks
from temporal_attr.gradients._halving import DEFAULT_CHUNK
from temporal_attr.gradients._query import (
    GradientQuery,
    Gradients,
    Output,
    gradients_by_scalar,
    without_graph,
)
from temporal_attr.models import FramewiseModel

Path: TypeAlias = Callable[[GradientQuery, tuple[Tensor, ...], "int | None", RunContext], Gradients]
"""From a query, clips, a chunk size and a run to gradients."""


Count: TypeAlias = Callable[
    [GradientQuery, tuple[Tensor, ...], "int | None", RunContext, int], None
]
"""What a path would take: from a query, clips, a chunk size, a run that counts and the scalars."""


def whole(
    query: GradientQuery, clips: tuple[Tensor, ...], chunk_size: int | None, run: RunContext
) -> Gradients:
    """Keep the whole graph."""
    if query.of_timesteps and isinstance(query.model, FramewiseModel):
        found = gradients_in_chunks(query, clips[0], _quarter(clips), run)
    else:
        found = _differentiated(query, clips, query.of_clips, run)
    run.took("whole")
    return found


def count_whole(
    query: GradientQuery,
    clips: tuple[Tensor, ...],
    chunk_size: int | None,
    plan: RunContext,
    scalars: int,
) -> None:
    """Count what `whole` takes."""
    if query.of_timesteps and isinstance(query.model, FramewiseModel):
        count_in_chunks(query, clips[0], _quarter(clips), plan)
    else:
        count_differentiated(query, clips, chunk_size, plan, scalars)


def _quarter(clips: tuple[Tensor, ...]) -> int:
    """Frames at a time for timesteps of a framewise model.

    Frames that are read by as many timesteps share their backward passes, and no more of them than
    those: a quarter of the frames at a time spares most of what one chunk would waste.
    """
    return max(DEFAULT_CHUNK, math.ceil(_frames(clips) / 4))


def checkpointed(
    query: GradientQuery, clips: tuple[Tensor, ...], chunk_size: int | None, run: RunContext
) -> Gradients:
    """Keep the stages' borders only, and run each stage again in the backward pass."""
    on_cuda = clips[0].is_cuda

    def again(stage: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        def run_stage(x: Tensor) -> Tensor:
            with native_recurrence(on_cuda):
                # A copy: what is kept for the second run must survive a stage that works in place.
                return stage(x.clone())

        result: Tensor = checkpoint(run_stage, x, use_reentrant=False)
        return result

    def output(leaves: tuple[Tensor, ...]) -> Output:
        return query.of_features(query.wrapper.features(leaves[0], run=again))

    with streams_to_itself():
        found = _differentiated(query, clips, output, run, recomputes=True)
    run.took("checkpoint")
    return found


def count_checkpointed(
    query: GradientQuery,
    clips: tuple[Tensor, ...],
    chunk_size: int | None,
    plan: RunContext,
    scalars: int,
) -> None:
    """Count what `checkpointed` takes: every backward pass runs the stages again."""
    count_differentiated(query, clips, chunk_size, plan, scalars)
    plan.ran(forward=scalars * _frames(clips))


def offloaded(
    query: GradientQuery, clips: tuple[Tensor, ...], chunk_size: int | None, run: RunContext
) -> Gradients:
    """Keep what the backward pass needs in the CPU's memory."""
    with torch.autograd.graph.save_on_cpu(pin_memory=clips[0].is_cuda):
        found = _differentiated(query, clips, query.of_clips, run)
    run.took("offload")
    return found


def count_differentiated(
    query: GradientQuery,
    clips: tuple[Tensor, ...],
    chunk_size: int | None,
    plan: RunContext,
    scalars: int,
) -> None:
    """Count one forward pass of whole clips, and a backward pass for each scalar."""
    plan.ran(forward=_frames(clips), backward=scalars * _frames(clips))


def count_half(leanest: Count) -> Count:
    """Count what the leanest path takes in bfloat16."""

    def halved(
        query: GradientQuery,
        clips: tuple[Tensor, ...],
        chunk_size: int | None,
        plan: RunContext,
        scalars: int,
    ) -> None:
        with torch.autocast(clips[0].device.type, torch.bfloat16):
            leanest(query, clips, chunk_size, plan, scalars)

    return halved


def half(leanest: Path) -> Path:
    """A path in bfloat16, whose range is that of float32."""

    def halved(
        query: GradientQuery, clips: tuple[Tensor, ...], chunk_size: int | None, run: RunContext
    ) -> Gradients:
        part = RunContext(run.show_progress)
        try:
            with torch.autocast(clips[0].device.type, torch.bfloat16):
                return leanest(query, clips, chunk_size, part)
        finally:
            run.merge(part, path="half", precision="bfloat16")

    return halved


def _differentiated(
    query: GradientQuery,
    clips: tuple[Tensor, ...],
    output_of: Callable[[tuple[Tensor, ...]], Output],
    run: RunContext,
    recomputes: bool = False,
) -> Gradients:
    """Gradients of an output; `recomputes` says that each backward pass runs the model again."""
    leaves = tuple(clip.detach().requires_grad_() for clip in clips)
    # Copies, so that a model that works in place neither trips over a leaf nor reaches the user's
    # clip.
    output = output_of(tuple(leaf.clone() for leaf in leaves))
    run.ran(forward=_frames(clips))
    kept = []
    for gradients in gradients_by_scalar(query.scalars(output), leaves, run):
        run.ran(forward=_frames(clips) if recomputes else 0, backward=_frames(clips))
        kept.append(tuple(query.reduction(gradient) for gradient in gradients))
    stacked = tuple(torch.stack(parts) for parts in zip(*kept, strict=True))
    return Gradients(stacked, without_graph(output, clips[0].dtype))


def _frames(clips: tuple[Tensor, ...]) -> int:
    return clips[0].shape[0] * clips[0].shape[1]
