"""How what follows a layer reads the timesteps of its output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from temporal_attr._errors import FrameLogitsError
from temporal_attr._typing import Features
from temporal_attr.models._base import FrameLogits
from temporal_attr.models.layers._frozen_pass import FrozenTail
from temporal_attr.models.trials._trials import tolerance

Tail = Callable[[Tensor], Tensor]
"""From features `(batch, time, ...)` to logits `(batch, classes)`."""


@dataclass(frozen=True, eq=False)
class Reading:
    """What a tail does with timesteps.

    Attributes:
        weights: How much each counts, where the tail is a weighted mean over time of something
            linear; None for any other.
        one_at_a_time: Whether the tail takes a single timestep too, and reads it as it reads many
            that are alike.
    """

    weights: tuple[float, ...] | None
    one_at_a_time: bool = False

    def predictions(self, tail: Tail, features: Features) -> FrameLogits:
        """What the tail says of each timestep's features, standing at all timesteps."""
        assert self.weights is not None  # contributions are for the others
        steps = features.shape[1]
        rows = features.unsqueeze(2)
        if not self.one_at_a_time:
            rows = rows.expand(-1, -1, steps, *features.shape[2:])
        logits = tail(rows.flatten(0, 1)).unflatten(0, features.shape[:2])
        weights = torch.tensor(self.weights, dtype=logits.dtype, device=logits.device)
        return FrameLogits(logits, weights)


def measured(tail: Tail, features: Features) -> Reading:
    """How a tail reads timesteps, from its gradient at the features of a clip.

    Args:
        tail: What follows the layer.
        features: `(1, time, ...)`.

    Raises:
        FrameLogitsError: If the tail is not linear, or reads nothing.
    """
    gradient, change = gradient_and_change(tail, features)
    if change > tolerance(gradient):
        raise FrameLogitsError(
            "layers after the named one that are linear in its output",
            f"a gradient at it that changes by {change:.1%} with its values",
            'Say exactness="frozen", which holds what is not linear at the clip\'s values; or name '
            "a later layer.",
        )
    weights = time_weights(gradient)
    if weights is None:
        return Reading(None)
    return Reading(weights, _reads_one(tail, features))


def gradient_and_change(tail: Tail, features: Features) -> tuple[Tensor, float]:
    """The gradient of the logits at features, and how far it is from that at other values.

    Both are of one random mixture of the logits; the change is over the largest entry.

    Raises:
        FrameLogitsError: If no gradient comes back.
    """
    other = -features.flip(1) / 2
    random = torch.Generator().manual_seed(0)
    mixture: Tensor | None = None
    found = []
    for values in (features, other):
        leaf = values.detach().clone().requires_grad_()
        with torch.enable_grad():
            logits = tail(leaf.clone())
            if mixture is None:
                mixture = torch.randn(logits.shape[1:], generator=random).to(logits)
            if not logits.requires_grad:
                raise _nothing_read()
            (gradient,) = torch.autograd.grad((logits * mixture).sum(), leaf, allow_unused=True)
        if gradient is None:
            raise _nothing_read()
        found.append(gradient.detach())
    size = found[0].abs().max().item()
    if size == 0:
        raise _nothing_read()
    return found[0], (found[0] - found[1]).abs().max().item() / size


def time_weights(gradient: Features) -> tuple[float, ...] | None:
    """The weights of a mean over time, from a gradient `(1, time, ...)`; None if it is none.

    Example:
        >>> time_weights(torch.tensor([[[1.0, 2.0], [3.0, 6.0]]]))
        (0.25, 0.75)
        >>> time_weights(torch.tensor([[[1.0, 2.0], [2.0, 1.0]]])) is None
        True
    """
    rows = gradient[0].flatten(1).double()
    total = rows.sum(0)
    size = total.square().sum()
    if float(size) == 0:
        return None
    weights = rows @ total / size
    apart = (rows - weights[:, None] * total).abs().max()
    if float(apart) > tolerance(gradient) * float(rows.abs().max()):
        return None
    return tuple(weights.tolist())


def contributions(tail: Tail, features: Features, frozen: bool) -> FrameLogits:
    """What each timestep's features add to the logits, and the rest, which none of them adds.

    Args:
        tail: What follows the layer.
        features: `(batch, time, ...)`.
        frozen: Whether the tail is not linear, and is held at these features.

    Raises:
        FrameLogitsError: If something is not linear that is not known how to hold.
    """
    steps = features.shape[1]
    # A sum over shares needs what the tail gives for the whole, held or not.
    share = FrozenTail(tail, features) if frozen else tail
    rest = share(features * 0)
    marks = torch.eye(steps, dtype=features.dtype, device=features.device) * steps
    shape = (1, steps, *(1,) * (features.ndim - 2))
    logits = torch.stack([share(features * mark.reshape(shape)) for mark in marks], 1)
    if isinstance(share, FrozenTail):
        _require_whole(logits.detach().mean(1), share.whole)
    return FrameLogits(logits, logits.new_full((steps,), 1 / steps), rest)


def _require_whole(found: Tensor, whole: Tensor) -> None:
    apart = (found - whole).abs().max().item()
    # Written so that a difference that is NaN is refused too.
    if not apart <= tolerance(whole) * max(whole.abs().max().item(), 1e-30):
        raise FrameLogitsError(
            "layers after the named one whose factors can be held at the clip's values",
            f"contributions whose sum is {apart:.3g} off the logits",
            "Name a later layer, or use a method that needs no frame logits.",
        )


def _reads_one(tail: Tail, features: Features) -> bool:
    """Whether a tail gives the same for one timestep as for many that are like it."""
    first = features[:, :1].detach()
    many = tail(first.expand_as(features).clone())
    try:
        one = tail(first.clone())
    except (RuntimeError, ValueError, AssertionError):
        # A pooling or a view of as many timesteps as there are.
        return False
    apart = (one - many).abs().max().item() if one.shape == many.shape else float("inf")
    return apart <= tolerance(many) * many.abs().max().item()


def _nothing_read() -> FrameLogitsError:
    return FrameLogitsError(
        "layers after the named one that read its output",
        "logits that carry no gradient to it",
        "Name another layer: what follows must not detach it or turn it into whole numbers.",
    )
