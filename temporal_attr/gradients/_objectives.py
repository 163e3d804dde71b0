"""What is differentiated: one number for each example, from its logits and its target."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import torch.nn.functional as F
from torch import Tensor

from temporal_attr._errors import ModelError, OptionError
from temporal_attr._typing import Logits, PerExample, Target

ObjectiveName: TypeAlias = Literal["logit", "probability", "log_probability", "loss"]
Objective: TypeAlias = Callable[[Tensor, Tensor], Tensor]


def logit(logits: Logits, target: Target) -> PerExample:
    """The target's logit.

    Example:
        >>> import torch
        >>> logit(torch.tensor([[1.0, 3.0]]), torch.tensor([1]))
        tensor([3.])
    """
    return logits.gather(1, target[:, None]).squeeze(1)


def probability(logits: Logits, target: Target) -> PerExample:
    """The target's softmax probability, in [0, 1]."""
    return logit(logits.softmax(1), target)


def log_probability(logits: Logits, target: Target) -> PerExample:
    """The natural logarithm of the target's softmax probability, at most 0."""
    return logit(logits.log_softmax(1), target)


def loss(logits: Logits, target: Target) -> PerExample:
    """The cross-entropy against the target, in nats; rises as the prediction gets worse."""
    return F.cross_entropy(logits, target, reduction="none")


OBJECTIVES: dict[str, Objective] = {
    "logit": logit,
    "probability": probability,
    "log_probability": log_probability,
    "loss": loss,
}


def resolve_objective(objective: ObjectiveName | Objective) -> Objective:
    """The function of a named objective; a callable is checked at each call.

    Raises:
        OptionError: If the name is unknown.

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
        return OBJECTIVES[objective]
    return lambda logits, target: _per_example(objective(logits, target), logits)


def _per_example(values: Any, logits: Tensor) -> Tensor:  # noqa: ANN401 - a user's return value
    if not isinstance(values, Tensor) or values.shape != logits.shape[:1]:
        came = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ModelError(
            f"one number for each of {logits.shape[0]} examples from the objective",
            f"{came}",
            "Return a tensor (batch,), without reducing over the batch.",
        )
    return values
