"""Frame scores of a clip in many orders: what `ShuffleProbe` computes before any statistics."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from temporal_attr._typing import ClipTensor, Orders
from temporal_attr.attributions._graph import own_graph
from temporal_attr.attributions._memory import DEFAULT_CHUNK, Answer
from temporal_attr.attributions._score_sources import (
    Choose,
    GradientSource,
    OrderScores,
    ScoreSource,
    require_scores,
)
from temporal_attr.attributions._shuffle_framewise import framewise_scores
from temporal_attr.models import FramewiseModel


def scores_of_orders(
    source: ScoreSource,
    clip: ClipTensor,
    choose: Choose,
    orders: Orders,
    arguments: tuple[Any, ...] = (),
    chunk_size: int | None = None,
    show_progress: bool = False,
) -> OrderScores:
    """Scores of every frame in every order, by the cheapest exact path.

    Args:
        source: What scores frames.
        clip: `(batch, time, channel, height, width)`.
        choose: From logits `(batch, classes)` to the class that is explained of each.
        orders: `(orders, time)`.
        arguments: Handed to the model after the clip; tensors as long as the batch go with it.
        chunk_size: Frames that go through the model at a time, and at least one clip unless it is
            a `FramewiseModel`; by default 16, and there fewer if those do not fit.
        show_progress: Show a bar on anything over two seconds.
    """
    orders = orders.to(clip.device)
    if _is_framewise(source):
        assert isinstance(source, GradientSource)
        with own_graph((clip,)) as (own,):
            return framewise_scores(source, own, choose, orders, chunk_size, show_progress)
    return _clip_by_clip(source, clip, choose, orders, arguments, chunk_size, show_progress)


def _is_framewise(source: ScoreSource) -> bool:
    return (
        isinstance(source, GradientSource)
        and isinstance(source.model, FramewiseModel)
        and source.memory in ("auto", "framewise")
    )


def _clip_by_clip(
    source: ScoreSource,
    clip: ClipTensor,
    choose: Choose,
    orders: Orders,
    arguments: tuple[Any, ...],
    chunk_size: int | None,
    show_progress: bool,
) -> OrderScores:
    """Every shuffled clip through the model, a few at a time."""
    batch, frames = clip.shape[:2]
    size = chunk_size or DEFAULT_CHUNK
    jobs = torch.cartesian_prod(torch.arange(batch), torch.arange(len(orders))).to(clip.device)
    chunks = jobs.reshape(-1, 2).split(max(1, size // frames))
    answers, scores = [], []
    for job in tqdm(chunks, "shuffled clips", disable=not show_progress, delay=2):
        example, order = job[:, 0], orders[job[:, 1]]
        chosen = _choose_some(choose, batch, example)
        answer = source.of_clips(
            clip[example[:, None], order], chosen, _go_with(arguments, batch, example)
        )
        answers.append(answer)
        scores.append(align(require_scores(answer.gradients[0][0], order.shape), order))
    first = answers[0]
    logits = torch.cat([_logits(answer) for answer in answers])
    return OrderScores(
        scores=torch.cat(scores).unflatten(0, (batch, len(orders))),
        logits=logits.unflatten(0, (batch, len(orders))),
        path=first.path,
        precision="full" if all(a.precision == "full" for a in answers) else "bfloat16",
        evaluations=len(orders) * first.evaluations,
        chunk_size=size,
        tried=tuple(dict.fromkeys(name for answer in answers for name in answer.tried)),
    )


def align(scores: Tensor, orders: Tensor) -> Tensor:
    """Scores `(clips, time)` of places, in the natural order of the frames shown there."""
    return torch.empty_like(scores).scatter_(1, orders, scores)


def _choose_some(choose: Choose, batch: int, example: Tensor) -> Choose:
    """The classes of some examples' copies, from their logits."""
    return lambda logits: choose(logits.new_empty(batch, logits.shape[1]))[example]


def _go_with(arguments: tuple[Any, ...], batch: int, example: Tensor) -> tuple[Any, ...]:
    """Arguments for copies of examples: a tensor as long as the batch is one for each example."""

    def is_batched(value: object) -> bool:
        return isinstance(value, Tensor) and value.ndim > 0 and len(value) == batch

    return tuple(value[example] if is_batched(value) else value for value in arguments)


def _logits(answer: Answer) -> Tensor:
    assert isinstance(answer.output, Tensor)
    return answer.output
