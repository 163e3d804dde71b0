"""Many vector-Jacobian products through one encoder, none of them twice."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from temporal_attr._errors import DataError
from temporal_attr._run import RunContext


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
    frames alike in any order (a mean, a maximum), or by segments. Vectors that are merely close, or
    depend on each other, have products of their own: a combination of products has the rounding of
    its largest part, which is more than its own where these cancel.

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
    distinct = [torch.unique(own, dim=0, return_inverse=True) for own in vectors.unbind(1)]
    passes = max(len(own) for own, _ in distinct)
    kept: Tensor | None = None
    for place in range(passes):
        # A frame that has fewer distinct vectors goes along with its first one again.
        at_frames = torch.stack([own[place if place < len(own) else 0] for own, _ in distinct])
        more = place < passes - 1
        (product,) = torch.autograd.grad(
            encoded, leaf, at_frames, retain_graph=more, allow_unused=True
        )
        run.ran(backward=len(leaf))
        found = reduction(torch.zeros_like(leaf) if product is None else product)
        if kept is None:
            # Made once: small results lying between what is freed would fragment the heap.
            kept = found.new_empty(passes, *found.shape)
        kept[place] = found
    assert kept is not None
    which = torch.stack([inverse for _, inverse in distinct], 1)
    return kept[which, torch.arange(len(leaf), device=leaf.device)]
