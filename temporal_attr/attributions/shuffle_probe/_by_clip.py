"""Scores by clip: every shuffled clip goes through the model, a few at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from temporal_attr._run import RunContext
from temporal_attr._typing import ClipTensor, FrameScores, Logits, Target
from temporal_attr.attributions.shuffle_probe._scores import (
    GradientScorer,
    MethodScorer,
    OrderScores,
    ScoreRequest,
    gradient_scores,
    require_scores,
    target_of_copies,
)
from temporal_attr.gradients import (
    DEFAULT_CHUNK,
    GradientQuery,
    gradients_of,
    halving,
)
from temporal_attr.gradients._memory_ladder import count_gradients
from temporal_attr.measures import Reduction
from temporal_attr.measures._frame_scores import reduced

TargetOf: TypeAlias = Callable[[Logits], Target]
"""From the logits of some clips to the class of each that is explained."""


@dataclass(frozen=True)
class _Chunk:
    """Some shuffled clips: scores `(clips, time)` of the frames at each place, and logits."""

    scores: FrameScores
    logits: Logits


def scores_by_clip(request: ScoreRequest, run: RunContext) -> OrderScores:
    """Scores of every frame in every order.

    Without a chunk size, fewer clips go at a time where memory runs out; what is done is kept.
    """
    batch, frames = request.clip.shape[:2]
    count = len(request.orders)
    pairs = _pairs(request)
    size = batch if request.scorer.arguments else max(1, _chunk(request) // frames)
    scores: Tensor | None = None
    logits: Tensor | None = None
    done = 0
    run.took("by clip")
    with run.progress(len(pairs), "shuffled clips") as bar:
        while done < len(pairs):
            found, size = _next_chunk(request, pairs[done:], size, run)
            examples, places = pairs[done : done + size].to(request.clip.device).unbind(1)
            if scores is None or logits is None:
                # Made once: small results lying between what is freed would fragment the heap.
                scores = found.scores.new_empty(len(pairs), frames)
                logits = found.logits.new_empty(len(pairs), found.logits.shape[1])
            scores[examples * count + places] = aligned(found.scores, request.orders[places])
            logits[examples * count + places] = found.logits
            done += len(examples)
            bar.update(len(examples))
    run.took("by clip", size * frames)
    assert scores is not None and logits is not None  # noqa: PT018
    return OrderScores(scores.unflatten(0, (batch, count)), logits.unflatten(0, (batch, count)))


def aligned(scores: FrameScores, orders: Tensor) -> FrameScores:
    """Scores of places as scores of the frames shown there, in the frames' own order.

    Example:
        >>> aligned(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[2, 0, 1]]))
        tensor([[2., 3., 1.]])
    """
    return torch.empty_like(scores).scatter_(1, orders, scores)


def _chunk(request: ScoreRequest) -> int:
    return request.chunk_size or DEFAULT_CHUNK


def _pairs(request: ScoreRequest) -> Tensor:
    """Pairs (example, order) in the order in which they go through the model.

    What a model takes after the clips belongs to the batch as it was given, so with such arguments
    the whole batch goes through in one order after another.
    """
    examples, orders = range(len(request.clip)), range(len(request.orders))
    if request.scorer.arguments:
        return torch.tensor([(example, order) for order in orders for example in examples])
    return torch.tensor([(example, order) for example in examples for order in orders])


def _next_chunk(
    request: ScoreRequest, pairs: Tensor, size: int, run: RunContext
) -> tuple[_Chunk, int]:
    """The first of the pairs, and how many of them went through at a time."""
    fixed = request.chunk_size is not None or bool(request.scorer.arguments)
    return halving(
        lambda size: _scored(request, pairs[:size], not fixed and size > 1, run),
        size,
        fixed,
        run,
        "by clip",
        unit="clips",
    )


def _scored(request: ScoreRequest, pairs: Tensor, spare: bool, run: RunContext) -> _Chunk:
    """Score some pairs; `spare` says that fewer can be tried where memory runs out."""
    examples, places = pairs.to(request.clip.device).unbind(1)
    clips = request.clip[examples[:, None], request.orders[places]]
    target_of = partial(target_of_copies, request, examples)
    if isinstance(request.scorer, MethodScorer):
        return _by_method(request.scorer, clips, target_of, spare, run)
    return _by_gradient(request.scorer, clips, target_of, spare, run)


def _by_gradient(
    scorer: GradientScorer,
    clips: ClipTensor,
    target_of: TargetOf,
    spare: bool,
    run: RunContext,
) -> _Chunk:
    """One forward and one backward pass."""
    query = _query(scorer, target_of)
    # Fewer clips at a time cost nothing; the other paths cost passes or precision.
    memory = "whole" if spare and scorer.memory == "auto" else scorer.memory
    found = gradients_of(query, (clips,), run, memory)
    assert isinstance(found.output, Tensor)
    return _Chunk(require_scores(found.of_clips[0][0], clips.shape[:2]), found.output)


def _query(scorer: GradientScorer, target_of: TargetOf) -> GradientQuery:
    return GradientQuery(
        scorer.model,
        lambda logits: scorer.objective(logits, target_of(logits)).unsqueeze(1),
        reduction=partial(gradient_scores, reduction=scorer.reduction),
        arguments=scorer.arguments,
    )


def count_by_gradient(request: ScoreRequest, scorer: GradientScorer, plan: RunContext) -> None:
    """Count what `scores_by_clip` takes of a `GradientScorer`: a gradient for each order."""
    examples = torch.arange(len(request.clip), device=request.clip.device)
    query, once = _query(scorer, partial(target_of_copies, request, examples)), RunContext()
    memory = "whole" if scorer.memory == "auto" else scorer.memory
    count_gradients(query, (request.clip,), once, 1, memory)
    plan.repeat(once, len(request.orders))


def _by_method(
    scorer: MethodScorer,
    clips: ClipTensor,
    target_of: TargetOf,
    spare: bool,
    run: RunContext,
) -> _Chunk:
    """One forward pass for the logits, and those of the method."""
    logits = scorer.nested.logits(clips, run)
    found = scorer.nested.attribute(clips, target_of(logits), run, spare)
    return _Chunk(_reduced(found, clips, scorer.reduction), logits)


def _reduced(found: Any, clips: ClipTensor, reduction: Reduction) -> FrameScores:  # noqa: ANN401
    """Scores of frames from what a method gives; what is `(batch, time)` is their magnitude."""
    if callable(reduction):
        found = reduction(found)
    elif isinstance(found, Tensor) and found.shape == clips.shape:
        found = reduced(found, reduction)
    elif isinstance(found, Tensor) and found.shape == clips.shape[:2]:
        found = found.abs()
    return require_scores(found, clips.shape[:2]).detach()
