"""Readouts over time that several families share."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from temporal_attr._errors import ClipError, OptionError
from temporal_attr._typing import StepWeights

WEIGHTED = ("mean", "last")
"""Readouts that are a fixed weighted sum over time."""


def readout_weights(kind: str, like: Float[Tensor, "batch steps ..."]) -> StepWeights:
    """The weights over time of a readout in `WEIGHTED`, for features `like`."""
    steps = like.shape[1]
    return last_weights(steps if kind == "mean" else 1, like)


def last_weights(count: int, like: Float[Tensor, "batch steps ..."]) -> StepWeights:
    """Equal weights over time for the last timesteps, zero for the others.

    Raises:
        ClipError: If there are fewer timesteps than that.
    """
    steps = like.shape[1]
    if count > steps:
        remedy = "Give a longer clip, or read out fewer timesteps."
        raise ClipError(f"at least {count} timesteps, as the model reads out", f"{steps}", remedy)
    weights = like.new_zeros(steps)
    weights[-count:] = 1 / count
    return weights


def pool_time(
    features: Float[Tensor, "batch steps *shape"], kind: str
) -> Float[Tensor, "batch *shape"]:
    """Mean, elementwise maximum, or last over time."""
    if kind == "mean":
        return features.mean(1)
    return features.max(1).values if kind == "max" else features[:, -1]


def winners(features: Float[Tensor, "batch steps *shape"]) -> Float[Tensor, "batch steps *shape"]:
    """1 where an element is the maximum over time that `pool_time(..., "max")` takes, else 0."""
    chosen = features.detach().max(1, keepdim=True).indices
    return torch.zeros_like(features).scatter_(1, chosen, 1.0)


def require_readout(name: str, kind: object, allowed: tuple[str, ...]) -> None:
    """Raise unless a readout is one of the names, or a function."""
    if not callable(kind) and kind not in allowed:
        names = ", ".join(f'"{option}"' for option in allowed)
        raise OptionError(f"{name} to be {names} or a module", repr(kind), "Choose one of them.")
