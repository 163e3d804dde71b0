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
        weights: How much each counts, where the tail is a weighted mean over time of what each
            gives by itself; None where it is linear otherwise.
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


def measured(tail: Tail, features: Features) -> Reading | None:
    """How a tail reads timesteps, if what it gives is a sum over them; None if it is none.

    A weighted mean over time of what each timestep gives by itself is found by exchanging one
    timestep after another. Any other tail has to be linear, which is seen by its gradient at two
    values. Both are then tried on the features and on other values.

    Args:
        tail: What follows the layer.
        features: `(1, time, ...)`.

    Raises:
        FrameLogitsError: If the tail reads nothing of the features.
    """
    gradient, change = gradient_and_change(tail, features)
    weights = _exchanged(tail, features.detach())
    if weights is not None:
        reading = Reading(weights, _reads_one(tail, features))
        values = (features.detach(), _others(features))
        if all(_adds_up(reading, tail, value) for value in values):
            return reading
    return Reading(None) if change <= tolerance(gradient) else None


@torch.no_grad()
def _exchanged(tail: Tail, features: Features) -> tuple[float, ...] | None:
    """The weights of a mean over time, by exchanging one timestep of many that are alike.

    With `a` at timestep n and `b` at all others, it gives `w_n` of what it says of `a`, and the
    rest of what it says of `b`.
    """
    steps = features.shape[1]
    first, other = features[:, :1], _others(features)[:, :1]
    of_first, of_other = (tail(one.expand_as(features).clone()) for one in (first, other))
    apart = (of_first - of_other)[0].double()
    size = apart.square().sum()
    if float(size) == 0:
        return None
    weights, error = [], 0.0
    for step in range(steps):
        mixed = other.expand_as(features).clone()
        mixed[:, step] = first[:, 0]
        found = (tail(mixed) - of_other)[0].double()
        weight = float(found @ apart / size)
        error = max(error, float((found - weight * apart).abs().max()))
        weights.append(weight)
    limit = tolerance(of_first)
    if error > limit * float(apart.abs().max()) or abs(sum(weights) - 1) > limit * steps:
        return None
    return tuple(weights)


def _others(features: Features) -> Features:
    """Values unlike the features, of either sign."""
    return -features.detach().flip(1) / 2


@torch.no_grad()
def _adds_up(reading: Reading, tail: Tail, features: Features) -> bool:
    whole = tail(features.clone())
    apart = (reading.predictions(tail, features).clip_logits() - whole).abs().max()
    return float(apart) <= tolerance(whole) * max(float(whole.abs().max()), 1e-30)


def gradient_and_change(tail: Tail, features: Features) -> tuple[Tensor, float]:
    """The gradient of the logits at features, and how far it is from that at other values.

    Both are of one random mixture of the logits; the change is over the largest entry.

    Raises:
        FrameLogitsError: If no gradient comes back.
    """
    other = _others(features)
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
    except (RuntimeError, ValueError, AssertionError, LookupError):
        # A pooling, a view or an index of as many timesteps as there are.
        return False
    apart = (one - many).abs().max().item() if one.shape == many.shape else float("inf")
    return apart <= tolerance(many) * many.abs().max().item()


def _nothing_read() -> FrameLogitsError:
    return FrameLogitsError(
        "layers after the named one that read its output",
        "logits that carry no gradient to it",
        "Name another layer: what follows must not detach it or turn it into whole numbers.",
    )
