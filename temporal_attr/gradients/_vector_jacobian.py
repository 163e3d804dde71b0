"""Many vector-Jacobian products through one encoder, in as few backward passes as give them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from temporal_attr._errors import DataError
from temporal_attr._run import RunContext

TILE = 2**24
"""Numbers of products that are combined at a time."""

HELD = 2**26
"""Numbers of Jacobians that are held at most, and of vectors."""

WORTH = 0.75
"""The share of passes that a Jacobian may take at most, since its rows are then to be combined."""


@dataclass(frozen=True)
class DistinctVectors:
    """The vectors at the features of one frame, each once, and none that is zero.

    Attributes:
        rows: `(distinct, ...)`.
        places: `(vectors,)`, which of them each vector is; -1 where it is zero.
    """

    rows: Tensor
    places: Tensor


def distinct_vectors(vectors: Float[Tensor, "vectors frames ..."]) -> list[DistinctVectors]:
    """For each frame, its vectors without those that are the same, bit for bit, or zero.

    Example:
        >>> vectors = torch.tensor([[[1.0, 2.0]], [[0.0, 0.0]], [[1.0, 2.0]], [[3.0, 4.0]]])
        >>> (found,) = distinct_vectors(vectors)
        >>> found.rows.tolist(), found.places.tolist()
        ([[1.0, 2.0], [3.0, 4.0]], [0, -1, 0, 1])
    """
    read = vectors.flatten(2).any(2) if vectors.ndim > 2 else vectors != 0
    found = []
    for own, reads in zip(vectors.unbind(1), read.unbind(1), strict=True):
        places = torch.full((len(own),), -1, device=own.device)
        rows = own[reads]
        if len(rows) > 1:
            rows, places[reads] = torch.unique(rows, dim=0, return_inverse=True)
        else:
            places[reads] = 0
        found.append(DistinctVectors(rows, places))
    return found


@dataclass(frozen=True)
class FrameGroup:
    """Frames that share backward passes through the encoder, and what these compute.

    Attributes:
        frames: `(frames,)`, their places.
        passes: Backward passes that serve all their vectors.
        jacobian: Whether these give the Jacobian, whose rows are then combined; otherwise each
            gives the product of one vector a frame.
    """

    frames: Tensor
    passes: int
    jacobian: bool


def frame_groups(
    distinct: Sequence[DistinctVectors], size: int, features: int, pixels: int
) -> list[FrameGroup]:
    """Frames in groups of a size, those that need about as many passes together.

    A frame needs a backward pass for each of its vectors or, where these are clearly more, for each
    of its features: the Jacobian has a row for each, and every product is a combination of those.

    Args:
        distinct: The vectors of each frame.
        size: Frames of a group at most; fewer where their Jacobians would not fit.
        features: Numbers of a frame's features.
        pixels: Values of a frame.

    Example:
        >>> distinct = distinct_vectors(torch.rand(9, 3, 4))
        >>> groups = frame_groups(distinct, size=2, features=4, pixels=27)
        >>> [(group.frames.tolist(), group.passes, group.jacobian) for group in groups]
        [([0, 1], 4, True), ([2], 4, True)]
        >>> [group.passes for group in frame_groups(distinct, size=2, features=8, pixels=27)]
        [9, 9]
    """
    counts = torch.tensor([len(own.rows) for own in distinct])
    left = counts.argsort(descending=True, stable=True)
    fitting = HELD // (features * pixels)
    groups = []
    while len(left):
        needed = int(counts[left[0]])
        jacobian = fitting > 0 and features <= WORTH * needed
        taken = min(size, fitting) if jacobian else size
        groups.append(FrameGroup(left[:taken], features if jacobian else needed, jacobian))
        left = left[taken:]
    return groups


def group_products(
    encoded: Float[Tensor, "frames ..."],
    leaf: Float[Tensor, "frames ..."],
    distinct: Sequence[DistinctVectors],
    group: FrameGroup,
    reduction: Callable[[Tensor], Tensor],
    run: RunContext,
) -> Tensor:
    """Reduced products of the vectors of a group's frames, `(vectors, frames, ...)`.

    A Jacobian is combined by the vectors as they are, so a product has the rounding that a backward
    pass through one more linear layer would have.

    Args:
        encoded: Features of these frames, with the graph from `leaf`, which is freed.
        leaf: The frames.
        distinct: The vectors of each of these frames.
        group: How the products are computed.
        reduction: Applied to each product `(frames, ...)`, shaped like `leaf`; acts on each frame
            alone.
        run: Counts the backward passes.
    """
    count = len(distinct[0].places)
    zero = reduction(torch.zeros_like(leaf))
    kept = zero.expand(count, *zero.shape).clone()
    if not group.passes:
        return kept
    if group.jacobian:
        rows = _combined(_jacobian(encoded, leaf, run), distinct, reduction)
    else:
        rows = _one_by_one(encoded, leaf, distinct, group.passes, reduction, run)
    for frame, (own, found) in enumerate(zip(distinct, rows, strict=True)):
        reads = own.places >= 0
        kept[reads, frame] = found[own.places[reads]]
    return kept


def _one_by_one(
    encoded: Tensor,
    leaf: Tensor,
    distinct: Sequence[DistinctVectors],
    passes: int,
    reduction: Callable[[Tensor], Tensor],
    run: RunContext,
) -> list[Tensor]:
    """For each frame the reduced products of its vectors: of one vector a frame with each pass."""
    kept: Tensor | None = None
    for place in range(passes):
        at_frames = torch.zeros_like(encoded)
        for frame, own in enumerate(distinct):
            if place < len(own.rows):
                at_frames[frame] = own.rows[place]
        found = reduction(_product(encoded, leaf, at_frames, place < passes - 1, run))
        if kept is None:
            # Made once: small results lying between what is freed would fragment the heap.
            kept = found.new_empty(passes, *found.shape)
        kept[place] = found
    assert kept is not None
    return list(kept.unbind(1))


def _jacobian(encoded: Tensor, leaf: Tensor, run: RunContext) -> Tensor:
    """`(frames, features, pixels)`: for each frame the derivative of its features by its pixels."""
    length = encoded[0].numel()
    found = leaf.new_empty(len(leaf), length, leaf[0].numel())
    for feature in range(length):
        unit = torch.zeros_like(encoded)
        unit.view(len(encoded), -1)[:, feature] = 1
        found[:, feature] = _product(encoded, leaf, unit, feature < length - 1, run).flatten(1)
    shaped: Tensor = found.unflatten(2, leaf.shape[1:])
    return shaped


def _product(encoded: Tensor, leaf: Tensor, vectors: Tensor, more: bool, run: RunContext) -> Tensor:
    """The product of one vector a frame, by one backward pass; `more` keeps the graph for another.

    Shaped like `leaf`.
    """
    (product,) = torch.autograd.grad(encoded, leaf, vectors, retain_graph=more, allow_unused=True)
    run.ran(backward=len(leaf))
    return torch.zeros_like(leaf) if product is None else product


def _combined(
    jacobian: Tensor, distinct: Sequence[DistinctVectors], reduction: Callable[[Tensor], Tensor]
) -> list[Tensor]:
    """For each frame the reduced products of its vectors, as combinations of its Jacobian's rows.

    So many at a time that they take no more room than a tile.
    """
    found = []
    for frame, own in zip(jacobian, distinct, strict=True):
        vectors = own.rows.flatten(1).to(frame.dtype)
        tile = max(1, TILE // frame[0].numel())
        parts = [
            reduction((some @ frame.flatten(1)).unflatten(1, frame.shape[1:]))
            for some in vectors.split(tile)
        ]
        found.append(torch.cat(parts) if parts else reduction(frame[:0]))
    return found


def _require_graph(encoded: Tensor, leaf: Tensor, vectors: Tensor) -> None:
    if not encoded.requires_grad or not leaf.requires_grad or len(encoded) != len(leaf):
        raise DataError(
            "features with a graph from frames that require a gradient, a row for each",
            f"{len(encoded)} features and {len(leaf)} frames, of which one or both have none",
            "Make both with frame_graph.",
        )
    if not vectors.numel() or vectors.shape[1:] != encoded.shape:
        raise DataError(
            f"vectors at the features, (vectors, {', '.join(map(str, encoded.shape))})",
            f"shape {tuple(vectors.shape)}",
            "Give one entry for each of the features.",
        )


def vector_jacobian_products(
    encoded: Float[Tensor, "frames ..."],
    leaf: Float[Tensor, "frames ..."],
    vectors: Float[Tensor, "vectors frames ..."],
    reduction: Callable[[Tensor], Tensor],
    run: RunContext,
) -> Tensor:
    """Reduced products v_nm^T J_m for every vector n at the features of every frame m.

    No frame sees another, so one backward pass serves a vector of all frames. Where several vectors
    are the same at a frame, bit for bit, it takes one product: that is so for heads that weigh
    frames alike in any order (a mean, a maximum), or by segments; a vector of zeros takes none.
    Vectors that are merely close, or depend on each other, have products of their own: a
    combination of products has the rounding of its largest part, which is more than its own where
    these cancel.

    Args:
        encoded: Features, with the graph from `leaf`, which is freed; row m is of frame m only.
        leaf: The frames.
        vectors: At the features.
        reduction: Applied to each product `(frames, ...)`, shaped like `leaf`; acts on each frame
            alone.
        run: Counts the backward passes.

    Returns:
        `(vectors, frames, ...)`.

    Raises:
        DataError: If there is no graph between the two, or the vectors are of another shape.

    Example:
        >>> frames = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
        >>> doubled = 2 * frames
        >>> vectors = torch.ones(3, 2, 2)  # all the same, so one backward pass serves them
        >>> run = RunContext()
        >>> products = vector_jacobian_products(doubled, frames, vectors, torch.clone, run)
        >>> products.unique(), run.finished(frames=2).backward_passes
        (tensor([2.]), 1.0)
    """
    _require_graph(encoded, leaf, vectors)
    distinct = distinct_vectors(vectors)
    passes = max(len(own.rows) for own in distinct)
    group = FrameGroup(torch.arange(len(leaf)), passes, jacobian=False)
    return group_products(encoded, leaf, distinct, group, reduction, run)
