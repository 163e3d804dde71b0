"""How any attribution changes under masks, by clip: every masked clip is given to the method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from temporal_attr._run import RunContext
from temporal_attr._typing import ClipTensor, Logits, Target
from temporal_attr.attributions._nested import NestedMethod, require_shaped
from temporal_attr.gradients import halving
from temporal_attr.perturbations import (
    ChunkEffects,
    Effects,
    EffectsSoFar,
    Mask,
    MaskQuery,
    at_least_single,
    masked_clips,
    seeded,
    stopping,
)

BY_CLIP = "by clip"

Copies: TypeAlias = Float[Tensor, "copies time channel height width"]
"""Clips of the batch, each as often as it is masked."""

Rows: TypeAlias = Int[Tensor, "rows"]
"""Places in the batch."""


@dataclass(frozen=True)
class ClipRequest:
    """A method, the clips that are given to it, and how many at a time.

    Attributes:
        nested: The method, whose attribution is shaped like the clip.
        clip: `(batch, time, channel, height, width)`.
        target: The class of each clip that is explained.
        baseline: What each value becomes where it is masked; None for the neighbouring frame.
        seed: Of the method's random numbers; then one clip is given at a time, and all see the
            same.
        whole_at_a_time: Clips as they are that go through the model at a time.
        masked_at_a_time: Masked clips that do.
        fixed: Whether that was asked for; otherwise there are fewer where memory is short.
    """

    nested: NestedMethod
    clip: ClipTensor
    target: Target
    baseline: ClipTensor | None
    seed: int | None
    whole_at_a_time: int
    masked_at_a_time: int
    fixed: bool

    @property
    def one_by_one(self) -> bool:
        """Whether masked clips cannot share a pass."""
        return self.seed is not None or bool(self.nested.arguments)


def predicted(
    nested: NestedMethod,
    clip: ClipTensor,
    at_a_time: int,
    fixed: bool,
    seed: int | None,
    run: RunContext,
) -> Logits:
    """The logits of the clips as they are."""

    def logits(rows: Rows) -> Logits:
        return nested.logits(clip[rows], run)

    if nested.arguments:
        with seeded(seed):
            return nested.logits(clip, run)
    return _in_chunks(logits, len(clip), at_a_time, fixed, run, "logits", seed)


def attributed(request: ClipRequest, run: RunContext) -> ClipTensor:
    """R(X): the attribution of the clips as they are."""
    clip = request.clip

    def attribution(rows: Rows) -> ClipTensor:
        return _attribution(request, clip[rows], rows, run)

    every = torch.arange(len(clip), device=clip.device)
    if request.nested.arguments:
        return attribution(every)
    at_a_time = 1 if request.one_by_one else request.whole_at_a_time
    return _in_chunks(attribution, len(clip), at_a_time, request.fixed, run, "attribution")


def effects_by_clip(
    request: ClipRequest, base: ClipTensor, query: MaskQuery, run: RunContext
) -> Effects:
    """What masks do to an attribution: each masked clip is attributed anew, a few at a time.

    Args:
        request: The method and the clips.
        base: R(X).
        query: The masks.
        run: Shows a bar, and notes the path.
    """
    found = EffectsSoFar(len(query.masks), request.clip)
    size = 1 if request.one_by_one else min(request.masked_at_a_time, len(query.masks))
    with stopping(query.on_stop), run.progress(len(query.masks), query.description) as bar:
        while found.count < len(query.masks):
            chunk, size = _next_chunk(request, base, query, found.count, size, run)
            found.add(chunk)
            run.took(BY_CLIP, size)
            bar.update(len(chunk.change))
    return found.effects()


def _next_chunk(
    request: ClipRequest, base: ClipTensor, query: MaskQuery, start: int, size: int, run: RunContext
) -> tuple[ChunkEffects, int]:
    """The effects of the masks from one on, of fewer where memory is short, and of how many."""

    def attempt(size: int) -> ChunkEffects:
        return _chunk_effects(request, base, query.masks[start : start + size], query.predict, run)

    return halving(attempt, size, request.fixed, run, BY_CLIP, "clips")


def _chunk_effects(
    request: ClipRequest, base: ClipTensor, masks: Sequence[Mask], predict: bool, run: RunContext
) -> ChunkEffects:
    rows = torch.tensor([mask.example for mask in masks], device=request.clip.device)
    masked = masked_clips(request.clip, masks, request.baseline)
    found = _attribution(request, masked, rows, run)
    precise = at_least_single(found.dtype)
    change = (found.to(precise) - base[rows]).abs().sum((1, 2, 3, 4))
    return ChunkEffects(change, _logits(request, masked, rows, run) if predict else None)


def _attribution(request: ClipRequest, copies: Copies, rows: Rows, run: RunContext) -> Copies:
    """The attribution of copies of some of the clips."""
    clips, places = _passed(request, copies, rows)
    target = request.target if request.nested.arguments else request.target[rows]
    fewer = len(copies) > 1 and not request.fixed and not request.nested.arguments
    with seeded(request.seed):
        found = request.nested.attribute(clips, target, run, spare=fewer)
    return require_shaped(found, clips)[places]


def _logits(
    request: ClipRequest, copies: Copies, rows: Rows, run: RunContext
) -> Float[Tensor, "copies classes"]:
    """The logits of copies of some of the clips."""
    clips, places = _passed(request, copies, rows)
    with seeded(request.seed):
        return request.nested.logits(clips, run)[places]


def _passed(request: ClipRequest, copies: Copies, rows: Rows) -> tuple[ClipTensor, Rows]:
    """The clips that go through the model together, and where among them the copies are."""
    if not request.nested.arguments:
        return copies, torch.arange(len(copies), device=copies.device)
    # What is handed to the model with the clips belongs to the whole batch, so all of it goes.
    whole = request.clip.clone()
    whole[rows] = copies
    return whole, rows


def _in_chunks(
    of_rows: Callable[[Rows], Tensor],
    batch: int,
    at_a_time: int,
    fixed: bool,
    run: RunContext,
    path: str,
    seed: int | None = None,
) -> Tensor:
    """Something of all clips, computed for a few at a time, and for fewer where memory is short."""

    def attempt(size: int) -> Tensor:
        with seeded(seed):
            return torch.cat([of_rows(rows) for rows in torch.arange(batch).split(size)])

    found, _ = halving(attempt, min(at_a_time, batch), fixed, run, path, "clips")
    return found
