"""Run layers on each timestep's share, with all that depends on the data held at the clip's value.

The layers are run once on the clip's features. What is not linear in them is noted on the way: the
factor of an activation, the standard deviation of a norm, attention weights, the winners of a
maximum. Then they are run on each timestep's features alone, and each such operation takes the
factors of the clip. What is left is affine, so the shares add up to what the clip gives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, no_type_check

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from temporal_attr._errors import FrameLogitsError
from temporal_attr.models.layers._followed import Followed
from temporal_attr.models.layers._frozen_operations import hold_of, mixes, values_read
from temporal_attr.models.layers._held import Held


class FrozenTail:
    """What follows a layer, with all that is not linear held at its values on a clip.

    Args:
        tail: From features to logits.
        features: Of the clip.

    Attributes:
        whole: What the tail gives for the clip.

    Raises:
        FrameLogitsError: If nothing of the output is left to timesteps, as after a softmax; or if
            an operation cannot be held.

    Example:
        >>> tail = FrozenTail(lambda x: torch.relu(x.sum(0)), torch.tensor([[3.0], [-1.0]]))
        >>> tail.whole, tail(torch.tensor([[3.0], [0.0]])), tail(torch.tensor([[0.0], [-1.0]]))
        (tensor([2.]), tensor([3.]), tensor([-1.]))
    """

    def __init__(self, tail: Callable[[Tensor], Tensor], features: Tensor) -> None:
        self._tail = tail
        mode = _Freezing(features.detach())
        with torch.no_grad(), mode:
            self.whole = tail(mode.features)
        mode.require_followed(self.whole)
        self._held = tuple(mode.held)

    def __call__(self, share: Tensor) -> Tensor:
        """What the held tail makes of other features."""
        mode = _Held(share, self._held)
        with mode:
            return self._tail(mode.features)


class _Freezing(TorchFunctionMode):
    """While entered, notes how each nonlinear operation on features is held."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = features.clone()
        self._followed = Followed(self.features)
        self.held: list[Held | None] = []

    @no_type_check  # a check of types would stand between a layer and its error
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401 - as PyTorch has it
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Look at a call, and make it."""
        kwargs = kwargs or {}
        operands = self._followed.of(values_read(func, args, kwargs))
        hold = hold_of(func) if operands else None
        operation = None
        if hold is not None:
            operation = hold(func, (args, kwargs), self._followed)
            self.held.append(operation)
        output = func(*args, **kwargs)
        _note(self._followed, func, operation, operands, output)
        return output

    def require_followed(self, output: Tensor) -> None:
        """Raise unless an output depends on the features by more than what is held."""
        if self._followed.has(output):
            return
        last = next(
            (one.name for one in reversed(self.held) if one and one.result == "constant"), ""
        )
        raise FrameLogitsError(
            "logits to which timesteps add",
            f"the result of {last}, which is held whole" if last else "others, without the layer",
            "A network that ends in probabilities is taken without what makes them: "
            "substitutes={path: torch.nn.Identity()} with the path of its softmax. Of another, "
            "name a later layer.",
        )


class _Held(TorchFunctionMode):
    """While entered, each nonlinear operation on features is held as it was noted."""

    def __init__(self, features: Tensor, noted: tuple[Held | None, ...]) -> None:
        super().__init__()
        # A copy, so that a tail that works in place does not reach what it is of.
        self.features = features.clone()
        self._followed = Followed(self.features)
        self._noted = iter(noted)

    @no_type_check
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401 - as PyTorch has it
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Make a call, or what it is held at."""
        kwargs = kwargs or {}
        operands = self._followed.of(values_read(func, args, kwargs))
        operation = None
        if operands and hold_of(func) is not None:
            operation = next(self._noted, None)
        if operation is not None and operation.name != func.__name__:
            raise FrameLogitsError(
                "layers after the named one that do the same for all values",
                f"{func.__name__} in the place of {operation.name}",
                "Name a later layer.",
            )
        output = func(*args, **kwargs) if operation is None else operation.apply(args, kwargs)
        _note(self._followed, func, operation, operands, output)
        return output


def _note(
    followed: Followed,
    func: Callable[..., Any],
    operation: Held | None,
    operands: list[Tensor],
    output: Any,  # noqa: ANN401
) -> None:
    if operation is None:
        followed.through(operands, output, mixes(func))
    elif operation.result != "constant":
        followed.add(output, gate=operation.result == "gate")
