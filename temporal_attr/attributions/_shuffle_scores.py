"""Frame scores of a clip in many orders: what `ShuffleProbe` computes before any statistics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from captum.attr import Attribution
from torch import Tensor
from tqdm import tqdm

from temporal_attr._errors import ModelError
from temporal_attr._typing import ClipTensor, Logits, Orders, ShuffledLogits, ShuffledScores, Target
from temporal_attr.attributions._graph import own_graph
from temporal_attr.attributions._memory import (
    DEFAULT_CHUNK,
    Answer,
    Memory,
    Question,
    ask,
    cut_graph,
    encode_frames,
    is_out_of_memory,
)
from temporal_attr.attributions._objectives import Objective
from temporal_attr.attributions._products import pull_rows
from temporal_attr.measures import Norm, frame_scores
from temporal_attr.models import FramewiseModel, check_logits

Reduce: TypeAlias = Norm | Callable[[Tensor], Tensor]
"""From an attribution to `(batch, time)`: the name of a norm, or a function."""

Choose: TypeAlias = Callable[[Logits], Target]
"""From logits of the clips at hand to the class of each that is explained."""

HEADS = 64
"""Orders whose features go through a framewise model's head at a time."""


@dataclass(frozen=True)
class OrderScores:
    """Scores of frames in several orders.

    Attributes:
        scores: `(batch, orders, time)`; a column is a frame, wherever it stood.
        logits: `(batch, orders, classes)`, the model's prediction for each order.
        path: How they were computed.
        precision: See `Run`.
        evaluations: How many times the whole clip went forward through the model.
        chunk_size: Frames that went through it at a time.
        tried: What ran out of memory before.
    """

    scores: ShuffledScores
    logits: ShuffledLogits
    path: str
    evaluations: int
    chunk_size: int
    precision: str = "full"
    tried: tuple[str, ...] = ()


class ScoreSource(ABC):
    """Something that scores the frames of clips, and predicts."""

    @abstractmethod
    def of_clips(self, clips: ClipTensor, choose: Choose, arguments: tuple[Any, ...]) -> Answer:
        """Scores `(1, batch, time)` as the answer's one gradient, and logits as its output."""


@dataclass(frozen=True)
class GradientSource(ScoreSource):
    """G_t: the norm of the gradient of an objective with respect to each frame."""

    model: Callable[..., Any]
    objective: Objective
    memory: Memory
    norm: Norm

    def of_clips(self, clips: ClipTensor, choose: Choose, arguments: tuple[Any, ...]) -> Answer:
        """One forward and one backward pass."""
        question = Question(self.model, self.rows(choose), keep=self.of_frames, arguments=arguments)
        return ask(question, (clips,), self.memory)

    def of_frames(self, gradient: Tensor) -> Tensor:
        """Scores of frames, whatever axes stand before channel, height and width."""
        frames = gradient.flatten(0, -4).unsqueeze(0)
        return frame_scores(frames, self.norm).reshape(gradient.shape[:-3])

    def rows(self, choose: Choose) -> Callable[[Tensor], Tensor]:
        """The objective of each clip as its one row."""
        return lambda logits: self.objective(logits, choose(logits)).unsqueeze(1)


@dataclass(frozen=True)
class MethodSource(ScoreSource):
    """The attribution of any method, reduced to frames."""

    method: Attribution
    reduce: Reduce

    def of_clips(self, clips: ClipTensor, choose: Choose, arguments: tuple[Any, ...]) -> Answer:
        """One forward pass, and what the method takes."""
        given = {"additional_forward_args": arguments} if arguments else {}
        with own_graph((clips,)) as (own,):
            with torch.no_grad():
                output = self.method.forward_func(own.clone(), *arguments)
            logits = check_logits(output, len(clips)).detach()
            # A copy that asks for gradients: some of Captum's methods switch them on, and warn.
            leaf = own.clone().requires_grad_()
            found = self.method.attribute(leaf, target=choose(logits), **given)
            scores = self._reduced(found, clips)
        return Answer((scores.unsqueeze(0),), logits, type(self.method).__name__, evaluations=1)

    def _reduced(self, found: Any, clips: Tensor) -> Tensor:  # noqa: ANN401 - the method's
        if callable(self.reduce):
            found = self.reduce(found)
        elif isinstance(found, Tensor) and found.shape == clips.shape:
            found = frame_scores(found, self.reduce)
        elif isinstance(found, Tensor) and found.shape == clips.shape[:2]:
            found = found.abs()
        return _require_scores(found, clips.shape[:2]).detach()


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
            return _framewise(source, own, choose, orders, chunk_size, show_progress)
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
        scores.append(align(_require_scores(answer.gradients[0][0], order.shape), order))
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


def _require_scores(scores: Any, shape: torch.Size) -> Tensor:  # noqa: ANN401
    """The scores themselves, if they are one finite number from 0 for each frame."""
    if not isinstance(scores, Tensor) or scores.shape != shape:
        came = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise ModelError(
            f"scores (clips, time) of shape {tuple(shape)} from the attribution",
            f"{came}",
            "Use a method whose attribution has a time axis, or give reduce=, a function from "
            "its attribution to (batch, time).",
        )
    bad = int((~scores.isfinite()).sum())
    if bad:
        raise ModelError(
            "finite scores of frames",
            f"{bad} of {scores.numel()} that are NaN or infinite",
            "Look at the method's attribution of this clip.",
        )
    if (scores < 0).any():
        raise ModelError(
            "scores of 0 or more, as a ratio of strengths needs",
            f"{scores.min():g}",
            'Reduce the attribution by its size: "l2", "l1" or "max".',
        )
    return scores


def _framewise(
    source: GradientSource,
    clip: ClipTensor,
    choose: Choose,
    orders: Orders,
    chunk_size: int | None,
    show_progress: bool,
) -> OrderScores:
    """Without a chunk size, chunks shrink until one fits."""
    size = chunk_size or DEFAULT_CHUNK
    tried: list[str] = []
    while True:
        try:
            groups = list(_framewise_groups(source, clip, choose, orders, size, show_progress))
        except Exception as error:
            if chunk_size is not None or size == 1 or not is_out_of_memory(error):
                raise
            tried.append(f"framewise with {size} frames")
            size //= 2
            torch.cuda.empty_cache()
        else:
            break
    scores, logits = (torch.cat(parts, 1) for parts in zip(*groups, strict=True))
    chunked = clip.shape[0] * clip.shape[1] > size
    evaluations = len(groups) + int(chunked)
    return OrderScores(scores, logits, "framewise", evaluations, size, tried=tuple(tried))


def _framewise_groups(
    source: GradientSource,
    clip: ClipTensor,
    choose: Choose,
    orders: Orders,
    size: int,
    show_progress: bool,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Scores and logits of some orders at a time: frames are encoded, not shuffled clips."""
    model = source.model
    assert isinstance(model, FramewiseModel)
    chunks = model.to_layout(clip).split(size)
    graphs: list[tuple[Tensor, Tensor]] = []
    if len(chunks) == 1:
        # The graph of the one chunk serves the features and the way back.
        graphs.append(_graph(model, chunks[0]))
        encoded = graphs[0][1].detach()
    else:
        with torch.no_grad():
            encoded = torch.cat([encode_frames(model, chunk.clone()) for chunk in chunks])
    features = encoded.unflatten(0, clip.shape[:2])
    question = Question(model, source.rows(choose))
    total = -(-len(orders) // HEADS) * len(chunks)
    with tqdm(total=total, desc="frames", disable=not show_progress, delay=2) as bar:
        for group in orders.split(HEADS):
            rows, logits = _at_features(question, features, group)
            parts = []
            for chunk, vectors in zip(chunks, rows.flatten(1, 2).split(size, 1), strict=True):
                leaf, graph = graphs.pop() if graphs else _graph(model, chunk)
                products = pull_rows(graph, leaf, vectors)
                parts.append(torch.stack([source.of_frames(product) for product in products]))
                bar.update()
            scores = torch.cat(parts, 1).unflatten(1, clip.shape[:2]).transpose(0, 1)
            yield _require_scores(scores, scores.shape), logits.to(clip.dtype)


def _graph(model: FramewiseModel, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Frames as a leaf, and their features."""
    leaf = frames.detach().requires_grad_()
    encoded = encode_frames(model, leaf.clone())
    if not encoded.requires_grad:
        raise cut_graph()
    return leaf, encoded


def _at_features(question: Question, features: Tensor, orders: Orders) -> tuple[Tensor, Tensor]:
    """The gradient of the objective at each frame's features, `(orders, batch, time, ...)`.

    And logits `(batch, orders, classes)`. The heads of all orders run as one batch.
    """
    batch, count = len(features), len(orders)
    shown = features[:, orders].transpose(0, 1).flatten(0, 1).detach().requires_grad_()
    output = question.of_features(shown)
    assert isinstance(output, Tensor)
    by_order = output.unflatten(0, (count, batch))
    total = torch.stack([question.rows(logits).sum() for logits in by_order]).sum()
    if not total.requires_grad:
        raise cut_graph()
    (found,) = torch.autograd.grad(total, shown)
    rows = torch.empty_like(found).unflatten(0, (count, batch))
    for order, at_frames, at_places in zip(orders, rows, found.split(batch), strict=True):
        at_frames[:, order] = at_places
    return rows, by_order.transpose(0, 1).detach()
