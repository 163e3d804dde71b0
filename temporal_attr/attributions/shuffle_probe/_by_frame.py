"""Scores by frame: a framewise model encodes each frame once, whatever orders it is shown in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from temporal_attr._run import RunContext
from temporal_attr._typing import ClipTensor, Orders
from temporal_attr.attributions.shuffle_probe._scores import (
    GradientScorer,
    OrderScores,
    ScoreRequest,
    gradient_scores,
    require_scores,
)
from temporal_attr.gradients import (
    DEFAULT_CHUNK,
    encode_frames,
    frame_graph,
    gradient_at_features,
    halving,
    isolated_autograd,
    resolve_target,
    vector_jacobian_products,
)
from temporal_attr.gradients._vector_jacobian import distinct_vectors
from temporal_attr.models import FramewiseModel

HEADS = 64
"""Clips, each in an order of its own, whose features go through the head at a time."""


def scores_by_frame(request: ScoreRequest, run: RunContext) -> OrderScores:
    """Scores of every frame in every order, of a `GradientScorer` with a `FramewiseModel`.

    Without a chunk size, fewer frames, and fewer heads, go at a time where memory runs out.
    """
    heads = _heads(request)
    fixed = request.chunk_size is not None
    with isolated_autograd((request.clip,)) as (clip,):
        found, size = halving(
            lambda size: _scored(
                request, clip, size, heads if fixed else max(1, heads * size // DEFAULT_CHUNK), run
            ),
            request.chunk_size or DEFAULT_CHUNK,
            fixed,
            run,
            "by frame",
        )
    run.took("by frame", size)
    return found


def _heads(request: ScoreRequest) -> int:
    """Orders whose heads run at a time."""
    return max(1, HEADS // len(request.clip))


def count_by_frame(request: ScoreRequest, plan: RunContext) -> None:
    """Count what `scores_by_frame` takes, from the features and the gradients of the heads."""
    size = request.chunk_size or DEFAULT_CHUNK
    _, model = _framewise(request)
    with isolated_autograd((request.clip,)) as (clip,):
        frames = model.to_layout(clip)
        chunks = frames.split(size)
        features = _encoded(model, chunks, RunContext()).unflatten(0, clip.shape[:2])
        groups = request.orders.split(_heads(request))
        # The graph of a single chunk serves the features and the first backward passes.
        encoded = len(groups) if len(chunks) == 1 else len(groups) + 1
        plan.ran(forward=encoded * len(frames))
        for orders in groups:
            vectors, _ = _at_features(request, features, orders)
            for own in vectors.flatten(1, 2).split(size, 1):
                passes = max(len(one.rows) for one in distinct_vectors(own))
                plan.ran(backward=passes * own.shape[1])


def _scored(
    request: ScoreRequest, clip: ClipTensor, size: int, heads: int, run: RunContext
) -> OrderScores:
    """Encode `size` frames, and run the heads of `heads` orders, at a time."""
    groups = list(_groups(request, clip, request.orders.split(heads), size, run))
    scores, logits = (torch.cat(parts, 1) for parts in zip(*groups, strict=True))
    return OrderScores(scores, logits)


def _groups(
    request: ScoreRequest, clip: ClipTensor, groups: Sequence[Tensor], size: int, run: RunContext
) -> Iterator[tuple[Tensor, Tensor]]:
    """Scores `(batch, orders, time)` and logits `(batch, orders, classes)` of a group of orders."""
    scorer, model = _framewise(request)
    reduction = partial(gradient_scores, reduction=scorer.reduction)
    chunks = model.to_layout(clip).split(size)
    # The graph of a single chunk serves the features and the first backward passes.
    graphs = [_graph(model, chunks[0], run)] if len(chunks) == 1 else []
    encoded = graphs[0][1].detach() if graphs else _encoded(model, chunks, run)
    features = encoded.unflatten(0, clip.shape[:2])
    with run.progress(len(groups) * len(chunks), "frames") as bar:
        for orders in groups:
            vectors, logits = _at_features(request, features, orders)
            parts = []
            for chunk, own in zip(chunks, vectors.flatten(1, 2).split(size, 1), strict=True):
                leaf, graph = graphs.pop() if graphs else _graph(model, chunk, run)
                parts.append(vector_jacobian_products(graph, leaf, own, reduction, run))
                # Freed before the next chunk makes its own.
                del leaf, graph
                bar.update()
            scores = torch.cat(parts, 1).unflatten(1, clip.shape[:2]).transpose(0, 1)
            yield require_scores(scores, scores.shape), logits.to(clip.dtype)


def _graph(model: FramewiseModel, chunk: Tensor, run: RunContext) -> tuple[Tensor, Tensor]:
    """Frames as a leaf, and their features with the graph from it."""
    found = frame_graph(model, chunk)
    run.ran(forward=len(chunk))
    return found


def _encoded(model: FramewiseModel, chunks: Sequence[Tensor], run: RunContext) -> Tensor:
    """Features of all frames, without a graph."""
    parts = []
    with torch.no_grad():
        for chunk in chunks:
            parts.append(encode_frames(model, chunk.clone()))
            run.ran(forward=len(chunk))
    return torch.cat(parts)


def _at_features(request: ScoreRequest, features: Tensor, orders: Orders) -> tuple[Tensor, Tensor]:
    """The gradient of the objective at each frame's features, `(orders, batch, time, ...)`.

    And logits `(batch, orders, classes)`. The heads of all orders run as one batch.
    """
    scorer, model = _framewise(request)
    batch, count = len(features), len(orders)

    def objective(logits: Tensor) -> Tensor:
        parts = logits.split(batch)
        return torch.cat([scorer.objective(p, resolve_target(request.target, p)) for p in parts])

    shown = features[:, orders].transpose(0, 1).flatten(0, 1)
    found, logits = gradient_at_features(model, shown, objective)
    vectors = torch.empty_like(found).unflatten(0, (count, batch))
    for order, at_frames, at_places in zip(orders, vectors, found.split(batch), strict=True):
        at_frames[:, order] = at_places
    return vectors, logits.unflatten(0, (count, batch)).transpose(0, 1)


def _framewise(request: ScoreRequest) -> tuple[GradientScorer, FramewiseModel]:
    """The scorer and its model, which the path is open to."""
    scorer = request.scorer
    assert isinstance(scorer, GradientScorer)
    assert isinstance(scorer.model, FramewiseModel)
    return scorer, scorer.model
