"""Gradients of a framewise model, with the encoder graph of one chunk of frames at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from temporal_attr._run import RunContext
from temporal_attr.gradients._halving import DEFAULT_CHUNK, halving
from temporal_attr.gradients._query import (
    GradientQuery,
    Gradients,
    encode_frames,
    frame_graph,
    gradients_by_scalar,
    no_gradient,
    without_graph,
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


def gradients_in_chunks(
    query: GradientQuery, clip: Tensor, size: int, run: RunContext
) -> Gradients:
    """Gradients `(scalars, batch, time, ...)`, with `size` frames encoded at a time."""
    model = query.model
    assert isinstance(model, FramewiseModel)
    chunks = model.to_layout(clip).split(size)
    encoded = []
    with torch.no_grad():
        for chunk in chunks:
            encoded.append(encode_frames(model, chunk.clone()))
            run.ran(forward=len(chunk))
    leaves = tuple(features.detach().requires_grad_() for features in encoded)
    output = query.of_features(torch.cat(leaves).unflatten(0, clip.shape[:2]))
    at_features = _gradients_by_chunk(query.scalars(output), leaves, run)
    # Filled in place: a list of parts and their concatenation would hold everything twice.
    gradients: Tensor | None = None
    with run.progress(len(chunks), "frames", show=len(chunks) > 1) as bar:
        for index, chunk in enumerate(chunks):
            part = _through_encoder(query, chunk, next(at_features), run)
            if gradients is None:
                frames = clip.shape[0] * clip.shape[1]
                gradients = part.new_empty(len(part), frames, *part.shape[2:])
            gradients[:, index * size : index * size + len(chunk)] = part
            bar.update()
    assert gradients is not None
    by_clip = gradients.unflatten(1, clip.shape[:2])
    return Gradients((by_clip,), without_graph(output, clip.dtype))


def _gradients_by_chunk(
    scalars: Tensor, leaves: tuple[Tensor, ...], run: RunContext
) -> Iterator[list[Tensor]]:
    """For each chunk of features, the gradient of every scalar.

    One scalar is differentiated for all chunks at once. Several are differentiated chunk by chunk,
    because all scalars for all frames would outgrow the graph that this path avoids.
    """
    if scalars.shape[1] == 1:
        ((*found,),) = gradients_by_scalar(scalars, leaves, run)
        yield from ([gradient] for gradient in found)
        return
    if not scalars.requires_grad:
        raise no_gradient()
    reached = False
    for place, leaf in enumerate(leaves):
        found = [
            torch.autograd.grad(scalars[:, at].sum(), leaf, retain_graph=True, allow_unused=True)[0]
            for at in range(scalars.shape[1])
        ]
        reached = reached or any(gradient is not None for gradient in found)
        if place == len(leaves) - 1 and not reached:
            raise no_gradient()
        yield [torch.zeros_like(leaf) if gradient is None else gradient for gradient in found]


def _through_encoder(
    query: GradientQuery, chunk: Tensor, at_features: list[Tensor], run: RunContext
) -> Tensor:
    """Reduced gradients `(scalars, frames, ...)` of one chunk from those at its features.

    No frame sees another, so scalars that read different frames share a backward pass: what comes
    out at a frame belongs to the one scalar that reads it.
    """
    model = query.model
    assert isinstance(model, FramewiseModel)
    leaf, encoded = frame_graph(model, chunk)
    run.ran(forward=len(chunk))
    reads = torch.stack([gradient.flatten(1).any(1) for gradient in at_features])
    kept = query.reduction(torch.zeros_like(leaf))
    kept = kept.expand(len(at_features), *kept.shape).clone()
    groups = _disjoint(reads)
    for place, group in enumerate(groups):
        total = torch.stack([at_features[scalar] for scalar in group]).sum(0)
        more = place < len(groups) - 1
        (gradient,) = torch.autograd.grad(encoded, leaf, total, retain_graph=more)
        run.ran(backward=len(chunk))
        reduced = query.reduction(gradient)
        for scalar in group:
            kept[scalar, reads[scalar]] = reduced[reads[scalar]]
    return kept


def _disjoint(reads: Tensor) -> list[list[int]]:
    """Scalars in groups that read no frame in common; scalars that read nothing are in none."""
    groups: list[tuple[list[int], Tensor]] = []
    for scalar, frames in enumerate(reads):
        if not frames.any():
            continue
        for scalars, taken in groups:
            if not (frames & taken).any():
                scalars.append(scalar)
                taken.logical_or_(frames)
                break
        else:
            groups.append(([scalar], frames.clone()))
    return [scalars for scalars, _ in groups]
