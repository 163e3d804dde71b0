"""The engine: every torch function on the way to the output gets a way back for relevance."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from temporal_attr._errors import ModelError
from temporal_attr.relevance._composite import Composite
from temporal_attr.relevance._functions import GATES, QUERIES, STRUCTURAL, plain_name
from temporal_attr.relevance._operations import (
    HANDLERS,
    LAYERS,
    Call,
    Handled,
    NoRuleError,
)
from temporal_attr.relevance._recurrence import CELLS, unroll

AFFINE = ("add", "div", "mul", "rsub", "sub")


class _Carry(torch.autograd.Function):
    """An output that is there already; its way back splits relevance."""

    @staticmethod
    def forward(ctx: Any, handled: Handled, *inputs: Tensor) -> Tensor:  # noqa: ANN401
        ctx.split, ctx.opposed = handled.split, handled.opposed
        return handled.output

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> Any:  # noqa: ANN401
        return (None, *ctx.split(relevance))


class RelevanceMode(TorchFunctionMode):
    """Give every torch function between clip and output its rule.

    Args:
        composite: The rules.
        model: Whose submodules an error can name.
        clip: The leaf that everything on the data path hangs on.
        bounds: The smallest and largest value of each element of the clip.
    """

    def __init__(
        self,
        composite: Composite,
        model: Any,  # noqa: ANN401
        clip: Tensor,
        bounds: tuple[Tensor, Tensor],
    ) -> None:
        super().__init__()
        self.composite = composite
        self.model = model
        self._clip = clip
        # Tensors on the data path, kept alive so that an identity is never given out twice.
        self._data: dict[int, Tensor] = {id(clip): clip}
        self._gates: set[int] = set()
        # The bounds of pixels that nothing but structural operations has touched, moved about as
        # the pixels are, so that they fit the operation that reads them whatever the layout.
        self._bounds: dict[int, tuple[Tensor, Tensor]] = {id(clip): bounds}
        # The layers whose outputs are still as they were made, and the version of what they read.
        self._layers: dict[int, tuple[Call, int]] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        self._refuse_hidden(tensors)
        data = [tensor for tensor in tensors if self._is_data(tensor)]
        name, in_place = plain_name(func)
        if not data or name in QUERIES:
            return func(*args, **kwargs)
        if name in CELLS:
            with self:
                return unroll(name, *args, **kwargs)
        if name in STRUCTURAL:
            return self._structural(func, name, args, kwargs, data)
        call = Call(
            name,
            getattr(torch.Tensor, name) if in_place else func,
            args,
            {**kwargs, "inplace": False} if kwargs.get("inplace") else kwargs,
            tuple(data),
            tuple(tensor for tensor in data if id(tensor) in self._gates),
            self._bounds.get(id(data[0])),
            self._origin(data[0]) if name == "batch_norm" else None,
        )
        handled = self._handled(call)
        output = _Carry.apply(handled, *handled.inputs)
        if in_place or kwargs.get("inplace"):
            output = args[0].copy_(output)
            # No longer what a layer put out.
            self._layers.pop(id(output), None)
        elif name in LAYERS:
            self._layers[id(output)] = (call, data[0]._version)
        self._mark(output)
        self._move_bounds(call, output)
        if name in GATES or self._is_turned_gate(name, data):
            self._gates.add(id(output))
        return output

    def _move_bounds(self, call: Call, output: Tensor) -> None:
        """Pixels that a constant is added to or multiplied by lie between other bounds."""
        self._bounds.pop(id(output), None)
        if call.bounds is not None and len(call.data) == 1 and call.name in AFFINE:

            def moved(bound: Tensor) -> Tensor:
                args = [bound if call.is_data(entry) else entry for entry in call.args]
                result: Tensor = call.func(*args, **call.kwargs)
                return result

            one, other = map(moved, call.bounds)
            self._bounds[id(output)] = (torch.minimum(one, other), torch.maximum(one, other))

    def _is_turned_gate(self, name: str, data: list[Tensor]) -> bool:
        """Whether this is one minus a gate, or the like."""
        return name in AFFINE and all(id(entry) in self._gates for entry in data)

    def _origin(self, tensor: Tensor) -> Call | None:
        """The layer that put a tensor out, if what it read has not been overwritten since."""
        call, version = self._layers.get(id(tensor), (None, 0))
        return call if call is not None and call.data[0]._version == version else None

    def _structural(
        self,
        func: Callable[..., Any],
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        data: list[Tensor],
    ) -> Any:  # noqa: ANN401
        output = func(*args, **kwargs)
        moved = args[0] if name == "setitem" else output
        # What is detached, or counts places, is a constant from here on.
        found = [
            leaf for leaf in tree_leaves(moved) if isinstance(leaf, Tensor) and leaf.requires_grad
        ]
        for leaf in found:
            self._mark(leaf)
        if all(id(tensor) in self._gates for tensor in data):
            self._gates.update(map(id, found))
        if name == "setitem":
            self._bounds.pop(id(moved), None)
        elif all(id(tensor) in self._bounds for tensor in data):
            low, high = (self._of_bounds(func, args, kwargs, side) for side in (0, 1))
            for leaf, *sides in zip(*map(tree_leaves, (moved, low, high)), strict=True):
                if self._is_data(leaf):
                    self._bounds[id(leaf)] = (sides[0], sides[1])
        return output

    def _of_bounds(self, func: Any, args: Any, kwargs: Any, side: int) -> Any:  # noqa: ANN401
        """What a structural operation makes of the lower or the upper bounds of pixels."""

        def bound(leaf: Any) -> Any:  # noqa: ANN401
            known = isinstance(leaf, Tensor) and id(leaf) in self._bounds
            return self._bounds[id(leaf)][side] if known else leaf

        with torch.no_grad():
            return func(*tree_map(bound, args), **tree_map(bound, kwargs))

    def _handled(self, call: Call) -> Handled:
        handler = self.composite.handlers.get(call.name) or HANDLERS.get(call.name)
        if handler is None:
            raise self._no_rule(call.name)
        try:
            return handler(call, self.composite)
        except NoRuleError as error:
            raise self._no_rule(f"{error.name} {error.why}") from None

    def _is_data(self, entry: Any) -> bool:  # noqa: ANN401
        return isinstance(entry, Tensor) and id(entry) in self._data

    def _mark(self, tensor: Tensor) -> None:
        self._data[id(tensor)] = tensor

    def _refuse_hidden(self, tensors: list[Tensor]) -> None:
        """Raise on a tensor that hangs on the clip by a function that no mode can see."""
        for tensor in tensors:
            if tensor.grad_fn is None:
                continue
            # What a custom function computes inside is seen, but its own way back is not ours.
            node: Any = tensor.grad_fn
            foreign = (
                isinstance(node, BackwardCFunction) and type(node).__name__ != "_CarryBackward"
            )
            if self._is_data(tensor) and not foreign:
                continue
            for node in _ancestors(tensor.grad_fn):
                if getattr(node, "variable", None) is self._clip:
                    raise self._no_rule(type(tensor.grad_fn).__name__)

    def _no_rule(self, name: str) -> ModelError:
        return ModelError(
            "operations with a rule for relevance",
            f"{name} in {_module_path(self.model)}",
            f'Give it one: Composite(handlers={{"{name}": handler}}); a custom autograd.Function '
            "must be replaced by the torch functions that it stands for.",
        )


def _ancestors(node: Any) -> Iterator[Any]:  # noqa: ANN401
    seen, waiting = set(), [node]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        waiting += [parent for parent, _ in node.next_functions]


def _module_path(model: Any) -> str:  # noqa: ANN401
    """The submodule whose forward is running, found from the call stack."""
    if not isinstance(model, nn.Module):
        return "the model's function"
    names = {id(part): name for name, part in model.named_modules()}
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and id(owner) in names:
            return f"module {names[id(owner)] or type(model).__name__!r}"
        frame = frame.f_back
    return type(model).__name__
