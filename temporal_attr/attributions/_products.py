"""Many vector-Jacobian products through one encoder, none of them twice."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


def pull_rows(
    encoded: Float[Tensor, "frames ..."],
    leaf: Float[Tensor, "frames ..."],
    rows: Float[Tensor, "rows frames ..."],
    keep: Callable[[Tensor], Tensor],
) -> Tensor:
    """What is kept of J_m^T v_rm for every row r of vectors at an encoder's output.

    No frame sees another, so one backward pass serves a row of all frames. Where several rows have
    the same vector at a frame, bit for bit, it goes back once: that is so for heads that weigh
    frames alike in any order (a mean, a maximum), or by segments. Vectors that are merely close, or
    depend on each other, go back on their own: a combination of products has the rounding of its
    largest part, which is more than its own where these cancel.

    Args:
        encoded: Features, with the graph from `leaf`, which is freed; row m is of frame m only.
        leaf: The frames.
        rows: Vectors at the features.
        keep: Applied to each product `(frames, ...)`, shaped like `leaf`; acts on each frame alone.

    Returns:
        `(rows, frames, ...)`.
    """
    distinct = [torch.unique(vectors, dim=0, return_inverse=True) for vectors in rows.unbind(1)]
    passes = max(len(vectors) for vectors, _ in distinct)
    kept: Tensor | None = None
    for place in range(passes):
        # A frame that has fewer distinct vectors goes along with its first one again.
        vectors = torch.stack([own[place if place < len(own) else 0] for own, _ in distinct])
        more = place < passes - 1
        (pulled,) = torch.autograd.grad(
            encoded, leaf, vectors, retain_graph=more, allow_unused=True
        )
        found = keep(torch.zeros_like(leaf) if pulled is None else pulled)
        if kept is None:
            # Made once: small results lying between what is freed would fragment the heap.
            kept = found.new_empty(passes, *found.shape)
        kept[place] = found
    assert kept is not None
    which = torch.stack([inverse for _, inverse in distinct], 1)
    return kept[which, torch.arange(len(leaf), device=leaf.device)]
