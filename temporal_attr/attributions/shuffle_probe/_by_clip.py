"""Frame scores of a clip in many orders: what `ShuffleProbe` computes before any statistics."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from temporal_attr._typing import ClipTensor, Orders
from temporal_attr.gradients import isolated_autograd
from temporal_attr.attributions._memory import DEFAULT_CHUNK, Answer
from temporal_attr.attributions.shuffle_probe._score_sources import (
    Choose,
    GradientSource,
    OrderScores,
    ScoreSource,
    require_scores,
)
from temporal_attr.attributions.shuffle_probe._by_frame import framewise_scores
from temporal_attr.models import FramewiseModel

SINGLE = 32


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
        arguments: Handed to the model after the clips; then all clips of the batch go at a time.
        chunk_size: Frames that go through the model at a time, and at least one clip unless it is
            a `FramewiseModel`; by default 16, and there fewer if those do not fit.
        show_progress: Show a bar on anything over two seconds.
    """
    orders = orders.to(clip.device)
    if _is_framewise(source):
        assert isinstance(source, GradientSource)
        with isolated_autograd((clip,)) as (own,):
            found = framewise_scores(source, own, choose, orders, chunk_size, show_progress)
    else:
        found = _clip_by_clip(source, clip, choose, orders, arguments, chunk_size, show_progress)
    if torch.finfo(found.scores.dtype).bits < SINGLE:
        # Statistics are of single precision at least.
        return replace(found, scores=found.scores.float(), logits=found.logits.float())
    return found


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
    size = chunk_size or DEFAULT_CHUNK
    kept = _Kept(len(clip) * len(orders), clip.shape[1])
    chunks = _jobs(len(clip), len(orders), size // clip.shape[1], whole_batch=bool(arguments))
    for job in tqdm(chunks, "shuffled clips", disable=not show_progress, delay=2):
        example, place = job.to(clip.device).unbind(1)
        order = orders[place]
        chosen = _choose_some(choose, len(clip), example)
        answer = source.of_clips(clip[example[:, None], order], chosen, arguments)
        scores = require_scores(answer.gradients[0][0], order.shape)
        kept.take(example * len(orders) + place, align(scores, order), answer)
    assert kept.scores is not None and kept.logits is not None  # noqa: PT018
    return OrderScores(
        scores=kept.scores.unflatten(0, (len(clip), len(orders))),
        logits=kept.logits.unflatten(0, (len(clip), len(orders))),
        path=kept.path,
        precision=kept.precision,
        evaluations=kept.evaluations * len(orders),
        chunk_size=size,
        tried=tuple(kept.tried),
    )


def _jobs(batch: int, orders: int, clips: int, whole_batch: bool) -> list[Tensor]:
    """Pairs (example, order) in chunks of some clips, or of the whole batch in one order.

    What a model takes besides clips belongs to the batch as it was given, so with such arguments it
    gets that batch each time.
    """
    if whole_batch:
        jobs = [(example, order) for order in range(orders) for example in range(batch)]
        return list(torch.tensor(jobs).split(batch))
    jobs = [(example, order) for example in range(batch) for order in range(orders)]
    return list(torch.tensor(jobs).split(max(1, clips)))


class _Kept:
    """What stays of each answer, in tensors made once.

    Kept answers would lie between what is freed, and keep the allocator from using it again: memory
    would grow with the number of orders.
    """

    def __init__(self, clips: int, frames: int) -> None:
        self.clips, self.frames = clips, frames
        self.scores: Tensor | None = None
        self.logits: Tensor | None = None
        self.path, self.precision, self.evaluations = "", "full", 0
        self.tried: dict[str, None] = {}

    def take(self, rows: Tensor, scores: Tensor, answer: Answer) -> None:
        """Copy some clips' scores and logits to their rows."""
        assert isinstance(answer.output, Tensor)
        if self.scores is None or self.logits is None:
            self.scores = scores.new_empty(self.clips, self.frames)
            self.logits = answer.output.new_empty(self.clips, answer.output.shape[1])
        self.scores[rows] = scores
        self.logits[rows] = answer.output
        self.path, self.evaluations = answer.path, answer.evaluations
        if answer.precision != "full":
            self.precision = answer.precision
        self.tried.update(dict.fromkeys(answer.tried))


def align(scores: Tensor, orders: Tensor) -> Tensor:
    """Scores `(clips, time)` of places, in the natural order of the frames shown there."""
    return torch.empty_like(scores).scatter_(1, orders, scores)


def _choose_some(choose: Choose, batch: int, example: Tensor) -> Choose:
    """The classes of some examples' copies, from their logits."""
    return lambda logits: choose(logits.new_empty(batch, logits.shape[1]))[example]
