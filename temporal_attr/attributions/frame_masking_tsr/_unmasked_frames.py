"""How the attribution of a frame that is not masked changes with the gradient at its features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from temporal_attr._run import RunContext
from temporal_attr.attributions.frame_masking_tsr._frame_gradient import FrameGradient
from temporal_attr.gradients import frame_graph

TILE = 2**24
"""Numbers of attributions that are made at a time."""

KEPT_DIGITS = 0.7
"""The power of the precision to which sums are told: about 5 digits of 7, and 11 of 16."""

Vectors = Float[Tensor, "rows feature"]
Directions = Float[Tensor, "feature directions"]
Products = Float[Tensor, "rows pixels"]
Before = Float[Tensor, "1 pixels"]
Sums = Float[Tensor, "rows"]


@dataclass(frozen=True)
class UnmaskedFrame:
    """A frame that is not masked, whose gradient at the features changes with masks of others.

    Attributes:
        gradient: What is attributed.
        frame: `(channel, height, width)`.
        at_features: The gradient at its features in the clip as it is.
        flops: Floating point operations of the encoder, forward or back.
        at_a_time: Products in one backward pass, at most.
        held: Numbers of products with directions that are held, at most.
    """

    gradient: FrameGradient
    frame: Float[Tensor, "channel height width"]
    at_features: Float[Tensor, "..."]
    flops: int
    at_a_time: int
    held: int

    @property
    def pixels(self) -> int:
        """Values of the frame."""
        return self.frame.numel()

    @property
    def cost(self) -> int:
        """Operations of one product."""
        # It writes each pixel, whatever the counter knows of the operations behind it.
        return max(self.flops, self.pixels)


@dataclass(frozen=True)
class FrameChanges:
    """How far the attribution of a frame changes.

    Attributes:
        sums: `(rows,)`, over its pixels, under each vector.
        directions: How many directions served all vectors; 0 where each had its own product.
    """

    sums: Sums
    directions: int


@dataclass(frozen=True)
class _Encoded:
    """Copies of a frame that are encoded with a graph, one for each product of a backward pass."""

    given: UnmaskedFrame
    copies: Float[Tensor, "copies channel height width"]
    leaf: Float[Tensor, "copies channel height width"]
    features: Float[Tensor, "copies ..."]


@dataclass(frozen=True)
class _Combined:
    """Sums from combined products, and the rows for which these are not precise enough."""

    sums: Sums
    imprecise: Int[Tensor, "imprecise"]


def frame_changes(
    given: UnmaskedFrame, vectors: Vectors, weights: Sums, run: RunContext
) -> FrameChanges:
    """The sum over pixels of how far the attribution changes under each vector.

    With `J` the derivative of the frame's features, its attribution is linear in `J^T g`, and where
    g changes by v it changes by `J^T v`. A vector-Jacobian product takes one backward pass through
    the encoder, so where there are more vectors than directions `q_k` in which they lie, the
    products of these are combined: `J^T v = sum_k (v . q_k) J^T q_k`. Nothing of a vector is left
    out but rounding. Where products cancel, digits are lost; such vectors have a product of their
    own.

    Args:
        given: The frame.
        vectors: By how much the gradient at the features changes.
        weights: What each sum is added to, of which rounding may take its share.
        run: Counts the passes.
    """
    directions = _shared_directions(given, vectors)
    products = len(vectors) if directions is None else directions.shape[1]
    encoded = _encoded(given, min(given.at_a_time, products), run)
    before: Before | None = None
    if given.gradient.absolute:
        before = _products(encoded, given.at_features.reshape(1, -1), run)
    sums = torch.zeros_like(weights)
    left = torch.arange(len(vectors), device=vectors.device)
    if directions is not None:
        combined = _combined(encoded, vectors.double(), directions, weights, before, run)
        sums, left = combined.sums, combined.imprecise
    for chunk in left.split(len(encoded.copies)) if len(left) else ():
        sums[chunk] = _summed(_products(encoded, vectors[chunk], run), before)
    return FrameChanges(sums, 0 if directions is None else directions.shape[1])


def _encoded(given: UnmaskedFrame, copies: int, run: RunContext) -> _Encoded:
    """As many copies of the frame as products at a time, and no more than are used."""
    frames = given.frame.expand(copies, *given.frame.shape)
    leaf, features = frame_graph(given.gradient.model, frames)
    run.ran(forward=copies)
    return _Encoded(given, frames, leaf, features)


def _shared_directions(given: UnmaskedFrame, vectors: Vectors) -> Directions | None:
    """The directions in which all vectors lie, if it is cheaper to take these."""
    rows, length = vectors.shape
    # Roughly what it takes to find the directions.
    search = 4 * rows * length**2 + 10 * length**3
    if rows <= length or rows * given.cost <= search:
        return None
    eps = torch.finfo(vectors.dtype).eps
    # Each counts alike, so that no direction is lost that one of them alone has.
    exact = vectors.double()
    units = exact / exact.norm(dim=1, keepdim=True)
    directions = torch.linalg.eigh(units.T @ units).eigenvectors.flip(1)
    rests = (units @ directions).square().flip(1).cumsum(1).flip(1).amax(0).sqrt()
    taken = int((rests > eps).sum())
    combine = 2 * taken * rows * given.pixels
    affordable = taken * given.cost + combine <= rows * given.cost
    if taken > given.held // given.pixels or not affordable:
        return None
    shared: Tensor = directions[:, :taken]
    return shared


def _combined(
    encoded: _Encoded,
    vectors: Vectors,
    directions: Directions,
    weights: Sums,
    before: Before | None,
    run: RunContext,
) -> _Combined:
    """The sums of vectors from the products of directions."""
    products = _products(encoded, directions.T, run)
    parts = vectors @ directions
    coefficients = parts.to(products.dtype)
    sums = torch.zeros_like(weights)
    every = torch.arange(len(vectors), device=vectors.device)
    for chunk in every.split(max(1, TILE // encoded.given.pixels)):
        sums[chunk] = _summed(coefficients[chunk] @ products, before)
    eps = torch.finfo(products.dtype).eps
    rounding = eps * (parts.square() @ _lengths(products).square()).sqrt()
    lost = rounding > eps**KEPT_DIGITS * (sums + weights)
    return _Combined(sums, lost.nonzero().flatten())


def _products(encoded: _Encoded, vectors: Vectors, run: RunContext) -> Products:
    """What is linear of the attribution, for vectors at the features."""
    found = encoded.leaf.new_empty(len(vectors), encoded.given.pixels)
    shaped = vectors.to(encoded.features.dtype).unflatten(1, encoded.features.shape[1:])
    for places in torch.arange(len(vectors)).split(len(encoded.leaf)):
        at_copies = torch.zeros_like(encoded.features)
        at_copies[: len(places)] = shaped[places]
        (product,) = torch.autograd.grad(
            encoded.features, encoded.leaf, at_copies, retain_graph=True, materialize_grads=True
        )
        run.ran(backward=len(encoded.leaf))
        linear = encoded.given.gradient.linear(product, encoded.copies)
        found[places] = linear.flatten(1)[: len(places)]
    return found


def _summed(change: Products, before: Before | None) -> Sums:
    """The sum over pixels of how far the attribution changes where its linear part changes so.

    Args:
        change: Of the linear part.
        before: The linear part itself, where the attribution is its absolute value.
    """
    if before is not None:
        change = (change + before).abs() - before.abs()
    return _lengths(change)


def _lengths(rows: Products) -> Sums:
    """L1 norms."""
    lengths: Tensor = torch.linalg.vector_norm(rows, 1, dim=1)
    return lengths.double()
