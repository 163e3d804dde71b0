"""Frame scores of a clip in many orders for a framewise model, which encodes no frame twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from temporal_attr._run import RunContext

from temporal_attr._typing import ClipTensor, Orders
from temporal_attr.attributions._memory import (
    DEFAULT_CHUNK,
    Question,
    cut_graph,
    encode_frames,
    frame_graph,
    is_out_of_memory,
)
from temporal_attr.gradients import vector_jacobian_products
from temporal_attr.attributions.shuffle_probe._score_sources import (
    Choose,
    GradientSource,
    OrderScores,
    require_scores,
)
from temporal_attr.models import FramewiseModel

HEADS = 64
"""Clips, each in an order of its own, whose features go through the head at a time."""


def framewise_scores(
    source: GradientSource,
    clip: ClipTensor,
    choose: Choose,
    orders: Orders,
    chunk_size: int | None,
    show_progress: bool,
) -> OrderScores:
    """Without a chunk size, chunks shrink until one fits."""
    size, heads = chunk_size or DEFAULT_CHUNK, max(1, HEADS // len(clip))
    tried: list[str] = []
    while True:
        try:
            found = _framewise_groups(
                source, clip, choose, orders.split(heads), size, show_progress
            )
            groups = list(found)
        except Exception as error:
            if chunk_size is not None or size == 1 or not is_out_of_memory(error):
                raise
        else:
            break
        # Only here is the error, which holds the graph, gone.
        tried.append(f"framewise with {size} frames")
        size, heads = size // 2, max(1, heads // 2)
        torch.cuda.empty_cache()
    scores, logits = (torch.cat(parts, 1) for parts in zip(*groups, strict=True))
    chunked = clip.shape[0] * clip.shape[1] > size
    evaluations = len(groups) + int(chunked)
    return OrderScores(scores, logits, "framewise", evaluations, size, tried=tuple(tried))


def _framewise_groups(
    source: GradientSource,
    clip: ClipTensor,
    choose: Choose,
    groups: Sequence[Tensor],
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
        graphs.append(frame_graph(model, chunks[0]))
        encoded = graphs[0][1].detach()
    else:
        with torch.no_grad():
            encoded = torch.cat([encode_frames(model, chunk.clone()) for chunk in chunks])
    features = encoded.unflatten(0, clip.shape[:2])
    question = Question(model, source.rows(choose))
    total = len(groups) * len(chunks)
    with tqdm(total=total, desc="frames", disable=not show_progress, delay=2) as bar:
        for group in groups:
            rows, logits = _at_features(question, features, group)
            parts = []
            for chunk, vectors in zip(chunks, rows.flatten(1, 2).split(size, 1), strict=True):
                leaf, graph = graphs.pop() if graphs else frame_graph(model, chunk)
                parts.append(vector_jacobian_products(graph, leaf, vectors, source.of_frames, RunContext()))
                bar.update()
            scores = torch.cat(parts, 1).unflatten(1, clip.shape[:2]).transpose(0, 1)
            yield require_scores(scores, scores.shape), logits.to(clip.dtype)


def _at_features(question: Question, features: Tensor, orders: Orders) -> tuple[Tensor, Tensor]:
    """The gradient of the objective at each frame's features, `(orders, batch, time, ...)`.

    And logits `(batch, orders, classes)`. The heads of all orders run as one batch.
    """
    batch, count = len(features), len(orders)
    shown = features[:, orders].transpose(0, 1).flatten(0, 1).detach().requires_grad_()
    # A copy, so that a head that works in place does not trip over a leaf.
    output = question.of_features(shown.clone())
    assert isinstance(output, Tensor)
    by_order = output.unflatten(0, (count, batch))
    total = torch.stack([question.rows(logits).sum() for logits in by_order]).sum()
    if not total.requires_grad:
        raise cut_graph()
    (found,) = torch.autograd.grad(total, shown, allow_unused=True)
    if found is None:
        raise cut_graph()
    rows = torch.empty_like(found).unflatten(0, (count, batch))
    for order, at_frames, at_places in zip(orders, rows, found.split(batch), strict=True):
        at_frames[:, order] = at_places
    return rows, by_order.transpose(0, 1).detach()
