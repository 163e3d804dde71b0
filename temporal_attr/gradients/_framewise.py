"""Gradients of a framewise model, with the encoder graph of one chunk of frames at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from temporal_attr._run import RunContext
from temporal_attr.gradients._halving import DEFAULT_CHUNK, halving
from temporal_attr.gradients._query import (
    GradientQuery,
    Gradients,
    encode_frames,
    frame_graph,
    no_gradient,
    without_graph,
)
from temporal_attr.gradients._vector_jacobian import (
    HELD,
    DistinctVectors,
    FrameGroup,
    distinct_vectors,
    frame_groups,
    group_products,
)
from temporal_attr.models import FramewiseModel


def framewise(
    query: GradientQuery, clips: tuple[Tensor, ...], chunk_size: int | None, run: RunContext
) -> Gradients:
    """Features first, then the gradient through the encoder for one chunk of frames at a time.

    Without a chunk size, chunks shrink until one fits.
    """
    (clip,) = clips
    found, size = halving(
        lambda size: gradients_in_chunks(query, clip, size, run),
        chunk_size or DEFAULT_CHUNK,
        fixed=chunk_size is not None,
        run=run,
        path="framewise",
    )
    run.took("framewise", size)
    return found


def count_framewise(
    query: GradientQuery,
    clips: tuple[Tensor, ...],
    chunk_size: int | None,
    plan: RunContext,
    scalars: int,
) -> None:
    """Count what `framewise` takes with the chunks that it tries first."""
    (clip,) = clips
    count_in_chunks(query, clip, chunk_size or DEFAULT_CHUNK, plan)


def gradients_in_chunks(
    query: GradientQuery, clip: Tensor, size: int, run: RunContext
) -> Gradients:
    """Gradients `(scalars, batch, time, ...)`, with `size` frames encoded at a time."""
    model = query.model
    assert isinstance(model, FramewiseModel)
    frames = model.to_layout(clip)
    features = encoded_without_graph(model, frames, size, run)
    output = query.of_features(features.requires_grad_().unflatten(0, clip.shape[:2]))
    scalars = query.scalars(output)
    # Filled in place: a list of parts and their concatenation would hold everything twice.
    gradients: Tensor | None = None
    with run.progress(len(frames), "frames", show=len(frames) > size) as bar:
        for places, distinct in _at_features(scalars, features):
            for group in frame_groups(distinct, size, features[0].numel(), frames[0].numel()):
                own = [distinct[place] for place in group.frames.tolist()]
                at = places[group.frames.to(places.device)]
                part = _through_encoder(query, frames[at], own, group, run)
                if group.jacobian:
                    run.took("frame Jacobians")
                if gradients is None:
                    gradients = part.new_empty(len(part), len(frames), *part.shape[2:])
                gradients[:, at] = part
                bar.update(len(at))
    assert gradients is not None
    by_clip = gradients.unflatten(1, clip.shape[:2])
    return Gradients((by_clip,), without_graph(output, clip.dtype))


def count_in_chunks(query: GradientQuery, clip: Tensor, size: int, plan: RunContext) -> None:
    """Count what `gradients_in_chunks` takes, by one pass without a graph and the head's gradients.

    Args:
        query: The scalar outputs.
        clip: `(batch, time, channel, height, width)`.
        size: Frames encoded at a time.
        plan: Counts the passes that would be made.
    """
    model = query.model
    assert isinstance(model, FramewiseModel)
    frames = model.to_layout(clip)
    features = encoded_without_graph(model, frames, size, RunContext())
    output = query.of_features(features.requires_grad_().unflatten(0, clip.shape[:2]))
    scalars = query.scalars(output)
    # Once for the features, and once with a graph.
    plan.ran(forward=2 * len(frames))
    for _, distinct in _at_features(scalars, features):
        for group in frame_groups(distinct, size, features[0].numel(), frames[0].numel()):
            plan.ran(backward=group.passes * len(group.frames))


def encoded_without_graph(
    model: FramewiseModel, frames: Tensor, size: int, run: RunContext
) -> Tensor:
    """Features of frames, `size` of them at a time."""
    encoded = []
    with torch.no_grad():
        for chunk in frames.split(size):
            encoded.append(encode_frames(model, chunk.clone()))
            run.ran(forward=len(chunk))
    return torch.cat(encoded)


def _at_features(
    scalars: Tensor, features: Tensor
) -> Iterator[tuple[Tensor, list[DistinctVectors]]]:
    """Places of frames, and for each of them the gradients of the scalars at its features.

    Of all frames at once, unless those gradients would take more room than `HELD`: a head over time
    takes as long for the gradient at one frame as for that at all.
    """
    if not scalars.requires_grad:
        raise no_gradient()
    count = scalars.shape[1]
    at_a_time = len(features) if count == 1 else max(1, HELD // (count * features[0].numel()))
    reached = False
    every = torch.arange(len(features), device=features.device).split(at_a_time)
    for turn, places in enumerate(every):
        vectors = features.new_zeros(count, len(places), *features.shape[1:])
        for scalar in range(count):
            more = scalar < count - 1 or turn < len(every) - 1
            total = scalars[:, scalar].sum()
            (found,) = torch.autograd.grad(total, features, retain_graph=more, allow_unused=True)
            if found is not None:
                reached = True
                vectors[scalar] = found[places]
        if not reached:
            raise no_gradient()
        yield places, distinct_vectors(vectors)


def _through_encoder(
    query: GradientQuery,
    frames: Tensor,
    distinct: Sequence[DistinctVectors],
    group: FrameGroup,
    run: RunContext,
) -> Tensor:
    """Reduced gradients `(scalars, frames, ...)` of a group of frames."""
    model = query.model
    assert isinstance(model, FramewiseModel)
    leaf, encoded = frame_graph(model, frames)
    run.ran(forward=len(frames))
    return group_products(encoded, leaf, distinct, group, query.reduction, run)
