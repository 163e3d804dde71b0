"""How far the attribution of a frame moves with the gradient at its features."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from temporal_attr.attributions.frame_masking_tsr._frame_gradient import FrameGradient
from temporal_attr.attributions._memory import frame_graph

TILE = 2**24
"""Numbers of attributions that are made at a time."""

LOST = 0.7
"""The power of the precision to which sums are told: about 5 digits of 7, and 11 of 16."""

Vectors = Float[Tensor, "rows feature"]
Sums = Float[Tensor, "rows"]


class OtherFrame:
    """A frame that is not hidden, under many gradients at its features.

    With `J` the derivative of the frame's features, its attribution is linear in `J^T g`, and where
    g moves by v it moves by `J^T v`. One product takes one pass back through the encoder, so where
    there are more vectors than directions `q_k` in which they lie, the products of these are
    combined: `J^T v = sum_k (v . q_k) J^T q_k`. Nothing of a vector is left out but rounding.
    Where products cancel, digits are lost; such vectors have a product of their own.

    Args:
        gradient: What is attributed.
        frame: `(channel, height, width)`.
        at_features: The gradient at the frame's features, from which others are told.
        flops: What the encoder takes, forward or back.
        count: Products at a time.
        held: Numbers of products with directions that are held.
    """

    def __init__(
        self,
        gradient: FrameGradient,
        frame: Float[Tensor, "channel height width"],
        at_features: Float[Tensor, "..."],
        flops: int,
        count: int,
        held: int,
    ) -> None:
        self.gradient, self.frame, self.at_features = gradient, frame, at_features
        self.size = frame.numel()
        # A product writes each pixel, whatever the counter knows of the operations behind it.
        self.cost = max(flops, self.size)
        self.count, self.held = count, held // self.size
        self.directions = self.copies = 0

    def moved(self, vectors: Vectors, weights: Sums) -> Sums:
        """The sum over pixels of how far the attribution moves under each vector.

        Args:
            vectors: By how much the gradient at the features moves.
            weights: What each sum is added to, of which rounding may take its share.
        """
        directions = self._shared(vectors)
        self._encode(len(vectors) if directions is None else directions.shape[1])
        found = torch.zeros_like(weights)
        left = torch.arange(len(vectors), device=vectors.device)
        if directions is not None:
            left = self._combine(vectors.double(), directions, weights, found)
        for chunk in left.split(self.copies) if len(left) else ():
            found[chunk] = self._apart(self._products(vectors[chunk]))
        return found

    def _encode(self, products: int) -> None:
        """As many copies of the frame as products at a time, and no more than are used."""
        self.copies = min(self.count, products)
        self.frames = self.frame.expand(self.copies, *self.frame.shape)
        self.leaf, self.encoded = frame_graph(self.gradient.model, self.frames)
        base = self.at_features.reshape(1, -1)
        self.was = self._products(base) if self.gradient.absolute else None

    def _shared(self, vectors: Vectors) -> Float[Tensor, "feature directions"] | None:
        """The directions in which all vectors lie, if it is cheaper to take these."""
        rows, length = vectors.shape
        # Roughly what it takes to find the directions.
        search = 4 * rows * length**2 + 10 * length**3
        if rows <= length or rows * self.cost <= search:
            return None
        eps = torch.finfo(vectors.dtype).eps
        # Each counts alike, so that no direction is lost that one of them alone has.
        exact = vectors.double()
        units = exact / exact.norm(dim=1, keepdim=True)
        directions = torch.linalg.eigh(units.T @ units).eigenvectors.flip(1)
        rests = (units @ directions).square().flip(1).cumsum(1).flip(1).amax(0).sqrt()
        taken = int((rests > eps).sum())
        combine = 2 * taken * rows * self.size
        if taken > self.held or taken * self.cost + combine > rows * self.cost:
            return None
        self.directions = taken
        shared: Tensor = directions[:, :taken]
        return shared

    def _combine(
        self,
        vectors: Vectors,
        directions: Float[Tensor, "feature directions"],
        weights: Sums,
        found: Sums,
    ) -> Int[Tensor, "left"]:
        """Write the sums of vectors, and give back those for which too many digits are lost."""
        products = self._products(directions.T)
        parts = vectors @ directions
        coefficients = parts.to(products.dtype)
        every = torch.arange(len(vectors), device=vectors.device)
        for chunk in every.split(max(1, TILE // self.size)):
            found[chunk] = self._apart(coefficients[chunk] @ products)
        eps = torch.finfo(products.dtype).eps
        rounding = eps * (parts.square() @ _lengths(products).square()).sqrt()
        left: Tensor = (rounding > eps**LOST * (found + weights)).nonzero().flatten()
        return left

    def _products(self, vectors: Vectors) -> Float[Tensor, "rows pixels"]:
        """What is linear of the attribution, for vectors at the features."""
        found = self.leaf.new_empty(len(vectors), self.size)
        shaped = vectors.to(self.encoded.dtype).unflatten(1, self.encoded.shape[1:])
        for places in torch.arange(len(vectors)).split(len(self.leaf)):
            given = torch.zeros_like(self.encoded)
            given[: len(places)] = shaped[places]
            (pulled,) = torch.autograd.grad(
                self.encoded, self.leaf, given, retain_graph=True, materialize_grads=True
            )
            found[places] = self.gradient.linear(pulled, self.frames).flatten(1)[: len(places)]
        return found

    def _apart(self, moved: Float[Tensor, "rows pixels"]) -> Sums:
        """The sum over pixels of how far the attribution moves when its linear part moves so."""
        if self.was is not None:
            moved = (moved + self.was).abs() - self.was.abs()
        return _lengths(moved)


def _lengths(rows: Float[Tensor, "rows pixels"]) -> Sums:
    """L1 norms."""
    lengths: Tensor = torch.linalg.vector_norm(rows, 1, dim=1)
    return lengths.double()
