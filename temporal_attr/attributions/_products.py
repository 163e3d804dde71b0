"""Many vector-Jacobian products through one encoder, in as few backward passes as there can be."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

Rows = Float[Tensor, "rows frames ..."]


def pull_rows(
    encoded: Float[Tensor, "frames ..."], leaf: Float[Tensor, "frames ..."], rows: Rows
) -> Iterator[Tensor]:
    """J_m^T v_rm for every row of vectors at an encoder's output, back at its input.

    No frame sees another, so one backward pass serves a row of all frames. A product is linear in
    its vector: where the vectors of a frame span few dimensions (heads that weigh frames alike,
    pooling by segments), the products of a basis are enough, and each row is a combination of them.

    Args:
        encoded: Features, with the graph from `leaf`; row m depends on frame m only.
        leaf: The frames.
        rows: Vectors at the features.

    Yields:
        For each row, `(frames, ...)`, shaped like `leaf`.
    """
    basis, shares = _basis(rows.flatten(2).transpose(0, 1))
    if 2 * basis.shape[1] > len(rows):
        yield from _products(encoded, leaf, rows)
        return
    vectors = basis.transpose(0, 1).unflatten(2, encoded.shape[1:])
    pulled = torch.stack(list(_products(encoded, leaf, vectors)), 1)
    for row in range(len(rows)):
        yield torch.einsum("mk,mk...->m...", shares[:, row], pulled)


def _products(encoded: Tensor, leaf: Tensor, rows: Tensor) -> Iterator[Tensor]:
    for place, row in enumerate(rows):
        keep = place < len(rows) - 1
        (pulled,) = torch.autograd.grad(encoded, leaf, row, retain_graph=keep, allow_unused=True)
        yield torch.zeros_like(leaf) if pulled is None else pulled


def _basis(
    vectors: Float[Tensor, "frames rows features"],
) -> tuple[Float[Tensor, "frames rank features"], Float[Tensor, "frames rows rank"]]:
    """A basis for each frame, as many vectors as the frame that needs most, and the shares in it.

    Vectors are brought to length 1 first, so that a small one is kept as exactly as a large one.
    What is left out is at the precision of the vectors themselves.
    """
    lengths = torch.linalg.vector_norm(vectors, dim=2, keepdim=True)
    unit = vectors / lengths.clamp_min(torch.finfo(vectors.dtype).tiny)
    left, values, right = torch.linalg.svd(unit, full_matrices=False)
    noise = 8 * torch.finfo(vectors.dtype).eps * values[:, :1]
    rank = max(1, int((values > noise).sum(1).max()))
    shares = lengths * left[..., :rank] * values[:, None, :rank]
    return right[:, :rank], shares
