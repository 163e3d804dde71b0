"""What is differentiated: one number for each example, from its logits and its target."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from temporal_attr._activation import (
    Activation,
    log_probabilities,
    probabilities,
    require_some,
)
from temporal_attr._errors import ModelError, OptionError, TargetError
from temporal_attr._typing import Logits, PerExample, Target

ObjectiveName: TypeAlias = Literal["logit", "probability", "log_probability", "loss"]
Objective: TypeAlias = Callable[[Tensor, Tensor], Tensor]


def logit(logits: Logits, target: Target) -> PerExample:
    """The target's logit.

    Raises:
        TargetError: If a target is no class, counted from 0.

    Example:
        >>> import torch
        >>> logit(torch.tensor([[1.0, 3.0]]), torch.tensor([1]))
        tensor([3.])
    """
    classes = logits.shape[1]
    if bool(((target < 0) | (target >= classes)).any()):
        got = f"from {int(target.min())} to {int(target.max())}"
        raise TargetError(f"targets from 0 to {classes - 1}", got, "See resolve_target.")
    return logits.gather(1, target.long()[:, None]).squeeze(1)


def probability(logits: Logits, target: Target, activation: Activation | None = None) -> PerExample:
    """The target's probability, in [0, 1]; see `Activation` for how outputs become one.

    Example:
        >>> import torch
        >>> probability(torch.tensor([[0.0]]), torch.tensor([0]))  # of one output, by a sigmoid
        tensor([0.5000])
    """
    return logit(probabilities(logits, activation), target)


def log_probability(
    logits: Logits, target: Target, activation: Activation | None = None
) -> PerExample:
    """The natural logarithm of the target's probability, at most 0.

    Raises:
        ModelError: If the model's outputs are probabilities already, and the target's is 0.
    """
    found = logit(log_probabilities(logits, activation), target)
    if bool((found == -torch.inf).any()):
        raise ModelError(
            "a probability of the target that has a logarithm",
            "0",
            "Explain the model's logits, before it makes them probabilities; or the probability.",
        )
    return found


def loss(logits: Logits, target: Target, activation: Activation | None = None) -> PerExample:
    """The cross-entropy against the target, in nats; rises as the prediction gets worse.

    Where each class is by itself (a sigmoid), the binary cross-entropy against the target being
    right, whatever else is. Either is the target's log-probability with the other sign.
    """
    return -log_probability(logits, target, activation)


_OF_PROBABILITIES: dict[str, Callable[..., Tensor]] = {
    "probability": probability,
    "log_probability": log_probability,
    "loss": loss,
}
OBJECTIVES: dict[str, Objective] = {"logit": logit, **_OF_PROBABILITIES}


def resolve_objective(
    objective: ObjectiveName | Objective, activation: Activation | None = None
) -> Objective:
    """The function of a named objective; a callable is checked at each call.

    Args:
        objective: The name, or a function.
        activation: What turns the model's outputs into probabilities, for the objectives that are
            made of one; None finds it out at each call.

    Raises:
        OptionError: If the name is unknown, or needs a probability where there is none.

    Example:
        >>> import torch
        >>> logits, target = torch.tensor([[0.0, 0.0]]), torch.tensor([1])
        >>> resolve_objective("probability")(logits, target)
        tensor([0.5000])
        >>> resolve_objective(lambda logits, target: logits.sum(1))(logits, target)
        tensor([0.])
    """
    if not callable(objective):
        if objective not in OBJECTIVES:
            names = ", ".join(f'"{name}"' for name in OBJECTIVES)
            raise OptionError(
                f"objective to be {names} or a function (logits, target) -> (batch,)",
                repr(objective),
                "Choose one of them.",
            )
        if objective not in _OF_PROBABILITIES:
            return OBJECTIVES[objective]
        require_some(activation)
        return partial(_OF_PROBABILITIES[objective], activation=activation)
    return lambda logits, target: _per_example(objective(logits, target), logits)


def name_of(objective: ObjectiveName | Objective) -> str:
    """What an objective is called in a result."""
    return getattr(objective, "__name__", "objective") if callable(objective) else objective


def _per_example(values: Any, logits: Tensor) -> Tensor:  # noqa: ANN401 - a user's return value
    if not isinstance(values, Tensor) or values.shape != logits.shape[:1]:
        came = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ModelError(
            f"one number for each of {logits.shape[0]} examples from the objective",
            f"{came}",
            "Return a tensor (batch,), without reducing over the batch.",
        )
    return values
