"""The engine: every torch function on the way to the output gets a way back for relevance."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator
from types import FrameType
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from temporal_attr._errors import ModelError
from temporal_attr.relevance._composite import Composite
from temporal_attr.relevance._functions import COMBINING, GATES, QUERIES, STRUCTURAL, plain_name
from temporal_attr.relevance._operations import (
    HANDLERS,
    LAYERS,
    PRODUCTS,
    Call,
    Handled,
    NoRuleError,
)
from temporal_attr.relevance._recurrence import CELLS, unroll

Bounds: TypeAlias = tuple[Tensor, Tensor]

AFFINE = frozenset({"add", "div", "mul", "rsub", "sub"})
MONOTONE = AFFINE | {"batch_norm", "dropout", "hardtanh", "leaky_relu", "neg", "relu", "relu6"}
"""Functions of one data operand that rise or fall with every value of it, in any one place."""


class _Carry(torch.autograd.Function):
    """An output that is there already; its way back splits relevance."""

    @staticmethod
    def forward(ctx: Any, handled: Handled, *inputs: Tensor) -> Tensor:  # noqa: ANN401
        ctx.split, ctx.opposed = handled.split, handled.opposed
        # Dropout in evaluation mode returns its input, of which autograd would make a view.
        storage = handled.output.untyped_storage().data_ptr()
        shared = any(entry.untyped_storage().data_ptr() == storage for entry in inputs)
        return handled.output.clone() if shared else handled.output

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
        bounds: Bounds,
    ) -> None:
        super().__init__()
        self.composite = composite
        self.model = model
        self._clip = clip
        # Tensors on the data path, kept alive so that an identity is never given out twice.
        self._data: dict[int, Tensor] = {id(clip): clip}
        self._gates: set[int] = set()
        # The bounds of pixels that nothing but structural operations and constants has touched,
        # moved about as the pixels are, so that they fit the operation that reads them whatever
        # the layout; and the version of the pixels that they hold for.
        self._bounds: dict[int, tuple[Bounds, int]] = {}
        self._set_bounds(clip, bounds)
        # The layers whose outputs are still as they were made, by versions of input and output.
        self._layers: dict[int, tuple[Call, int, int]] = {}
        self._layers_seen = self._pixels_read = False

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
        own = name in self.composite.handlers
        # Like what is detached, what is computed without gradients is a constant.
        if not data or not torch.is_grad_enabled() or (name in QUERIES and not own):
            return func(*args, **kwargs)
        if name in CELLS and not own:
            return self._unrolled(name, args, kwargs)
        if name in STRUCTURAL and not own:
            return self._structural(func, name, in_place, args, kwargs)
        call = Call(
            name,
            self._out_of_place(name) if in_place else func,
            args,
            {**kwargs, "inplace": False} if kwargs.get("inplace") else kwargs,
            tuple(data),
            tuple(tensor for tensor in data if id(tensor) in self._gates),
            self._bounds_of(data[0]),
            self._origin(data[0]) if name == "batch_norm" else None,
        )
        output = self._carried(call)
        is_gate = name in GATES or self._is_turned_gate(name, data)
        if in_place or kwargs.get("inplace"):
            output = args[0].copy_(output)
            self._forget(output)
        elif name in LAYERS:
            self._layers[id(output)] = (call, data[0]._version, output._version)
        self._mark(output)
        self._move_bounds(call, output)
        if is_gate:
            self._gates.add(id(output))
        return output

    def finish(self, output: Any) -> None:  # noqa: ANN401
        """Raise unless relevance of the output can travel all the way back by the rules."""
        if isinstance(output, Tensor):
            self._refuse_hidden([output])
        if not self._is_data(output):
            raise ModelError(
                "an output that hangs on the clip",
                "one that does not",
                "Look for torch.no_grad, detach or numpy on the way; relevance stops there.",
            )
        if self.composite.input is not None and self._layers_seen and not self._pixels_read:
            raise ModelError(
                "a convolution, linear layer or matrix product that reads pixels, for the rule at "
                "the input",
                "a model whose first layer reads something else",
                "Change pixels by constants, and not in place through a view; "
                "Composite(input=None) treats the first layer like the others.",
            )

    def _carried(self, call: Call) -> Tensor:
        """The output of a call by the rules, and its way back."""
        if call.name in LAYERS or call.name in PRODUCTS:
            self._layers_seen = True
            self._pixels_read = self._pixels_read or call.bounds is not None
        handler = self.composite.handlers.get(call.name) or HANDLERS.get(call.name)
        if handler is None:
            raise self._no_rule(call.name)
        try:
            # Values are shared in the precision that they have.
            with torch.autocast(call.data[0].device.type, enabled=False):
                handled = handler(call, self.composite)
        except NoRuleError as error:
            raise self._no_rule(error.name, error.why) from None
        output: Tensor = _Carry.apply(handled, *handled.inputs)
        return output

    def _unrolled(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
        try:
            with self:
                return unroll(name, *args, **kwargs)
        except NoRuleError as error:
            raise self._no_rule(error.name, error.why) from None

    def _out_of_place(self, name: str) -> Callable[..., Any]:
        """What a function in place computes, as a function of its own."""
        for home in (torch.Tensor, torch, torch.nn.functional):
            if hasattr(home, name):
                found: Callable[..., Any] = getattr(home, name)
                return found
        raise self._no_rule(f"{name}_")

    def _forget(self, tensor: Tensor) -> None:
        """What was known of a tensor that is overwritten."""
        self._gates.discard(id(tensor))
        self._layers.pop(id(tensor), None)
        self._bounds.pop(id(tensor), None)

    def _set_bounds(self, tensor: Tensor, bounds: Bounds) -> None:
        self._bounds[id(tensor)] = (bounds, tensor._version)

    def _bounds_of(self, tensor: Tensor) -> Bounds | None:
        """The bounds of pixels, unless they have been changed since, by whatever view of them."""
        bounds, version = self._bounds.get(id(tensor), (None, 0))
        return bounds if tensor._version == version else None

    def _move_bounds(self, call: Call, output: Tensor) -> None:
        """Pixels that a constant is added to, or the like, lie between other bounds."""
        if call.bounds is None or len(call.data) != 1 or call.name not in MONOTONE:
            return

        def moved(bound: Tensor) -> Tensor:
            args = [bound if call.is_data(entry) else entry for entry in call.args]
            result: Tensor = call.func(*args, **call.kwargs)
            return result

        one, other = map(moved, call.bounds)
        self._set_bounds(output, (torch.minimum(one, other), torch.maximum(one, other)))

    def _is_turned_gate(self, name: str, data: list[Tensor]) -> bool:
        """Whether this is one minus a gate, or the like."""
        return name in AFFINE and all(id(entry) in self._gates for entry in data)

    def _origin(self, tensor: Tensor) -> Call | None:
        """The layer that put a tensor out, if neither it nor what it read has been overwritten."""
        call, read, written = self._layers.get(id(tensor), (None, 0, 0))
        if call is None or tensor._version != written:
            return None
        return call if call.data[0]._version == read else None

    def _structural(
        self,
        func: Callable[..., Any],
        name: str,
        in_place: bool,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:  # noqa: ANN401
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if name == "max" and len(given) > 1:
            raise self._no_rule(name, "of two tensors")
        # Others than the first are templates, for a shape or type, or places.
        sources = [leaf for leaf in given if self._is_data(leaf)]
        if name not in COMBINING:
            sources = [given[0]] if self._is_data(given[0]) else []
        known = [self._bounds_of(leaf) for leaf in sources]
        gates = bool(sources) and all(id(leaf) in self._gates for leaf in sources)
        output = func(*args, **kwargs)
        if not sources:
            return output
        overwrites = in_place or name == "setitem"
        moved = args[0] if overwrites else output
        if overwrites:
            self._forget(moved)
        # What is detached, or counts places, is a constant from here on.
        found = [
            leaf for leaf in tree_leaves(moved) if isinstance(leaf, Tensor) and leaf.requires_grad
        ]
        for leaf in found:
            self._mark(leaf)
        if gates and not overwrites:
            self._gates.update(map(id, found))
        if all(known) and not overwrites:
            low, high = (self._of_bounds(func, args, kwargs, side) for side in (0, 1))
            for leaf, *sides in zip(*map(tree_leaves, (moved, low, high)), strict=True):
                if self._is_data(leaf):
                    self._set_bounds(leaf, (sides[0], sides[1]))
        return output

    def _of_bounds(self, func: Any, args: Any, kwargs: Any, side: int) -> Any:  # noqa: ANN401
        """What a structural operation makes of the lower or the upper bounds of pixels."""

        def bound(leaf: Any) -> Any:  # noqa: ANN401
            known = self._bounds_of(leaf) if isinstance(leaf, Tensor) else None
            return leaf if known is None else known[side]

        with torch.no_grad():
            return func(*tree_map(bound, args), **tree_map(bound, kwargs))

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
            for node in ancestors(tensor.grad_fn):
                if getattr(node, "variable", None) is self._clip:
                    raise self._hidden(type(tensor.grad_fn).__name__)

    def _no_rule(self, name: str, why: str = "") -> ModelError:
        return ModelError(
            "operations with a rule for relevance",
            f"{name} {why}".strip() + f" in {_module_path(self.model)}",
            f'Give it one: Composite(handlers={{"{name}": handler}}).',
        )

    def _hidden(self, name: str) -> ModelError:
        return ModelError(
            "operations with a rule for relevance",
            f"one that cannot be seen into, {name}, before {_module_path(self.model)}",
            "Write a custom autograd.Function, or scripted code, as the torch functions that it "
            "stands for, and leave out checkpointing.",
        )


def ancestors(node: Any, known: Collection[Any] = ()) -> Iterator[Any]:  # noqa: ANN401
    """A node of a graph and all that it hangs on, but for what is known already."""
    seen, waiting = set(known), [node]
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
