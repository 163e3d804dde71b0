"""What is differentiated: one number for each example, from its logits and its target."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from temporal_attr._errors import ModelError, OptionError, TargetError
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


def resolve_target(target: Any, logits: Logits) -> Target:  # noqa: ANN401 - Captum's many forms
    """One class for each example, from any of Captum's forms of a target.

    Args:
        target: An int (for all examples), a one-element tuple (the same), a list of ints or of
            one-element tuples, or an integer tensor of one element or of `batch`; negative numbers
            count from the last class. None stands for the only class of a one-class model.
        logits: `(batch, classes)`.

    Raises:
        TargetError: If it names no class, or not one for each example.

    Example:
        >>> resolve_target([(0,), (-1,)], torch.zeros(2, 5))
        tensor([0, 4])
    """
    batch, classes = logits.shape
    if target is None:
        if classes != 1:
            raise TargetError(
                f"a target among {classes} classes",
                "None",
                "Pass an int, or model(clip).argmax(1) for the predicted class.",
            )
        target = 0
    chosen = [_class_number(entry) for entry in _entries(target, batch)]
    for number in chosen:
        if not -classes <= number < classes:
            raise TargetError(
                f"a target from 0 to {classes - 1}", str(number), "The model has no such class."
            )
    return torch.tensor([number % classes for number in chosen], device=logits.device)


def _entries(target: Any, batch: int) -> list[Any]:  # noqa: ANN401
    if isinstance(target, Tensor):
        if target.ndim > 1 or target.is_floating_point() or target.is_complex():
            raise TargetError(
                f"an integer tensor (batch,) with {batch} entries",
                f"{target.dtype} of shape {tuple(target.shape)}",
                "Pass class numbers, such as logits.argmax(1).",
            )
        target = target.reshape(-1).tolist()
        target = target[0] if len(target) == 1 else target
    if not isinstance(target, list):
        return [target] * batch
    if len(target) not in (1, batch):
        raise TargetError(
            f"one target, or one for each of {batch} examples",
            f"{len(target)}",
            "Pass an int, or a list or tensor as long as the batch.",
        )
    return target * batch if len(target) == 1 else target


def _class_number(entry: Any) -> int:  # noqa: ANN401
    if isinstance(entry, tuple) and len(entry) == 1:
        entry = entry[0]
    if not isinstance(entry, bool):
        try:
            return operator.index(entry)
        except TypeError:
            pass
    raise TargetError(
        "class numbers, as the output is (batch, classes)",
        repr(entry),
        "Pass an int, a list of ints, an integer tensor, or one-element tuples.",
    )
