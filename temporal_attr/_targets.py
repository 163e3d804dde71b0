"""Which class of each example is meant, from any of Captum's forms of a target."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor

from temporal_attr._checked import checked
from temporal_attr._errors import TargetError
from temporal_attr._typing import Logits, Target


@checked
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


def timesteps_of(target: Any, batch: int) -> list[tuple[int, int]] | None:  # noqa: ANN401
    """The timestep and the class of each example, where a target names both.

    Args:
        target: A tuple `(timestep, class)` (for all examples), or a list of such tuples, as Captum
            has them for outputs `(batch, time, classes)`; or any other form of a target.
        batch: The number of examples.

    Returns:
        One pair for each example; None for a target that names classes only.

    Raises:
        TargetError: If it names a timestep for some examples only, or not one for each.

    Example:
        >>> timesteps_of((3, -1), batch=2), timesteps_of([0, 1], batch=2)
        ([(3, -1), (3, -1)], None)
    """
    listed = target if isinstance(target, list) else [target]
    pairs = [entry for entry in listed if isinstance(entry, tuple) and len(entry) == 2]
    if not pairs:
        return None
    if len(pairs) < len(listed):
        raise TargetError(
            "tuples (timestep, class) for all examples, or for none",
            f"{len(pairs)} among {len(listed)} targets",
            "Name a timestep for each, or explain the others by themselves.",
        )
    return [(_class_number(time), _class_number(kind)) for time, kind in _entries(target, batch)]


def _entries(target: Any, batch: int) -> list[Any]:  # noqa: ANN401
    if isinstance(target, Tensor):
        if target.ndim > 1 or target.is_floating_point() or target.is_complex():
            raise TargetError(
                f"an integer tensor (batch,) with {batch} entries",
                f"{target.dtype} of shape {tuple(target.shape)}",
                "Pass class numbers, such as logits.argmax(1); timesteps with them as a list of "
                "tuples.",
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
        "Pass an int, a list of ints, an integer tensor, or one-element tuples; tuples (timestep, "
        "class) for a model with timesteps.",
    )
