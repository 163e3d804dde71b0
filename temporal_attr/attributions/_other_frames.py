"""How far the attribution of a frame moves with the gradient at its features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from temporal_attr.attributions._frame_gradients import FrameGradient
from temporal_attr.attributions._memory import frame_graph

TILE = 2**24
"""Numbers of attributions that are made at a time."""

Vectors = Float[Tensor, "rows feature"]
Sums = Float[Tensor, "rows"]


class OtherFrame:
    """A frame that is not hidden, under many gradients at its features.

    With `J` the derivative of the frame's features, its attribution is linear in `J^T g`, and where
    g moves by v it moves by `J^T v`. One product takes one pass back through the encoder, so it
    pays to take the directions in which most of many vectors lie, and to combine their products:
    `J^T v = sum_k (v . q_k) J^T q_k`. As many directions are taken as make the whole cheapest;
    vectors that are not told well enough by them have a product of their own.

    How much a vector's rest may add is bounded by its length times the largest gain seen, which is
    the L1 norm of a product with a unit vector: of the directions taken, and of a random sum of
    the rests themselves. Where products cancel, digits are lost; such vectors go by themselves too.

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
        self.gradient = gradient
        self.frames = frame.expand(count, *frame.shape)
        self.leaf, self.encoded = frame_graph(gradient.model, self.frames)
        self.size = frame.numel()
        # A product writes each pixel, whatever the counter knows of the operations behind it.
        self.cost = max(flops, self.size)
        self.held = held // self.size
        self.was = self._products(at_features.reshape(1, -1)) if gradient.absolute else None
        self.directions = 0

    def moved(self, vectors: Vectors, allowed: Sums) -> Sums:
        """The sum over pixels of how far the attribution moves under each vector.

        Args:
            vectors: By how much the gradient at the features moves.
            allowed: By how much each sum may be off.
        """
        found = torch.zeros_like(allowed)
        left = torch.arange(len(vectors), device=vectors.device)
        rows, length = vectors.shape
        # Roughly what it takes to find the directions in which vectors lie.
        search = 4 * rows * length**2 + 10 * length**3
        if rows > length and rows * self.cost > search:
            left = self._by_directions(vectors.double(), allowed, found)
        for chunk in left.split(len(self.leaf)):
            found[chunk] = self._apart(self._products(vectors[chunk]))
        return found

    def _by_directions(self, vectors: Vectors, allowed: Sums, found: Sums) -> Int[Tensor, "left"]:
        """Write sums of those vectors that directions tell well enough; the others are left."""
        # Vectors weigh by how little they may be off; those that may not at all go by themselves.
        usable = allowed > 0
        if not usable.any():
            return torch.arange(len(vectors), device=vectors.device)
        scale = torch.where(usable, allowed[usable].min() / allowed, 0)[:, None]
        scaled = vectors * scale
        directions = torch.linalg.eigh(scaled.T @ scaled).eigenvectors.flip(1)
        parts = vectors @ directions
        rests = F.pad(parts.square().flip(1).cumsum(1).flip(1).sqrt(), (0, 1))
        most = min(self.held, len(directions))
        products = self.leaf.new_empty(most, self.size)
        shares = _shares(scale)
        gain, taken = 0.0, 0
        while taken < most:
            rest = (shares * parts[:, taken:]).sum(0) @ directions[:, taken:].T
            if not rest.any():
                break
            # The pass that measures the rest has room for more directions.
            more = slice(taken, min(most, taken + len(self.leaf) - 1))
            measured = self._products(torch.stack([rest / rest.norm(), *directions[:, more].T]))
            gain = max(gain, _lengths(measured).max().item())
            products[more], taken = measured[1:], more.stop
            wanted = self._cheapest(gain * rests[:, : most + 1], allowed)
            if wanted <= taken:
                break
            more = slice(taken, wanted)
            products[more] = self._products(directions[:, more].T)
            gain, taken = max(gain, _lengths(products[more]).max().item()), wanted
        self.directions = taken
        combined = parts[:, :taken]
        eps = torch.finfo(products.dtype).eps
        rounding = eps * (combined.square() @ _lengths(products[:taken]).square()).sqrt()
        told = (gain * rests[:, taken] <= allowed) & (rounding <= allowed) & usable
        for chunk in told.nonzero().flatten().split(max(1, TILE // self.size)):
            found[chunk] = self._apart(combined[chunk].to(products.dtype) @ products[:taken])
        left: Tensor = (~told).nonzero().flatten()
        return left

    def _cheapest(self, bounds: Float[Tensor, "rows counts"], allowed: Sums) -> int:
        """How many directions to take, if so much is left out of each vector by 0, 1, 2, ..."""
        alone = (bounds > allowed[:, None]).sum(0)
        taken = torch.arange(bounds.shape[1], device=bounds.device)
        combine = 2 * taken * (len(bounds) - alone) * self.size
        return int(((taken + alone) * self.cost + combine).argmin())

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


def _shares(like: Float[Tensor, "rows one"]) -> Float[Tensor, "rows one"]:
    """Random numbers of either sign, always the same ones, times the rows' weights."""
    drawn = torch.randn(len(like), 1, generator=torch.Generator().manual_seed(0))
    return drawn.to(like) * like
