"""The engine: an unmodified forward pass whose way back carries relevance instead of gradient."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from temporal_attr._errors import ClipError, ModelError
from temporal_attr.relevance._composite import Composite
from temporal_attr.relevance._functions import GATES, QUERIES, STRUCTURAL, plain_name
from temporal_attr.relevance._operations import (
    HANDLERS,
    LAYERS,
    Call,
    Handled,
    NoRuleError,
    Split,
)
from temporal_attr.relevance._recurrence import CELLS, unroll
from temporal_attr.relevance._rules import Box

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


@dataclass(frozen=True)
class Trace:
    """A forward pass that relevance can travel back through, as often as one likes."""

    output: Tensor
    clip: Tensor

    def relevance(self, at_output: Tensor) -> Tensor:
        """The relevance of the clip's elements, from that of the output's."""
        (shared,) = torch.autograd.grad(self.output, self.clip, at_output, retain_graph=True)
        return shared

    def relevances(self, at_outputs: Tensor) -> Tensor:
        """The same for several `(rows, *output)` at once: `(rows, *clip)`.

        Faster for small networks, and for rows that reach the same parts of the clip.
        """
        shared: Tensor = torch.vmap(self.relevance)(at_outputs)
        return shared

    def contrasted(self) -> Trace:
        """The same pass, whose last layers also subtract what speaks against each output.

        Relevance R goes back from an output through the weights of the last layer, and R' from the
        same output through these weights negated; below that layer both take the same way, which
        is linear in relevance. So one pass of R - R' stands for two.

        The last layers are those from whose outputs no other layer follows.
        """
        for node in self._last_layers():
            node.split = _difference(node.split, node.opposed())
            node.opposed = None
        return self

    def _last_layers(self) -> list[Any]:
        seen: set[Any] = set()
        found, waiting = [], [self.output.grad_fn]
        while waiting:
            node = waiting.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            if getattr(node, "opposed", None) is not None:
                found.append(node)
            else:
                waiting += [parent for parent, _ in node.next_functions]
        return found


def _difference(split: Split, opposed: Split) -> Split:
    def difference(relevance: Tensor) -> list[Tensor]:
        pairs = zip(split(relevance), opposed(relevance), strict=True)
        return [one - other for one, other in pairs if one is not None and other is not None]

    return difference


def trace(
    forward: Callable[[Tensor], Tensor],
    clip: Tensor,
    bounds: tuple[Tensor, Tensor] | None,
    composite: Composite,
    model: Any,  # noqa: ANN401
) -> Trace:
    """Run a forward pass under a composite.

    Every torch function between clip and output is replaced by one with the same value, whose way
    back splits relevance. No module, weight or hook is touched. Functions that only move values
    keep autograd's own way back; what has no rule is an error, never a gradient.

    Args:
        forward: From the clip to an output of any shape, in evaluation mode.
        clip: Any tensor.
        bounds: The smallest and largest value of each of its elements, for `Box` at the input; None
            if they are not known.
        composite: The rules.
        model: Whose submodules an error names; None for a plain function.

    Raises:
        ModelError: If an operation on the way has no rule, with its name and place; if the output
            is not finite; or if the rule at the input needs bounds that are not known.
        ClipError: If the clip lies outside them.

    Example:
        >>> relu = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> x = torch.rand(1, 4)
        >>> run = trace(relu, x, (torch.zeros(1, 4), torch.ones(1, 4)), Composite(), relu)
        >>> torch.equal(run.output, relu(x))
        True
        >>> shared = run.relevance(torch.tensor([[1.0, 0.0]]))
        >>> torch.allclose(shared.sum(), torch.tensor(1.0), atol=1e-4)
        True
    """
    bounds = _pixel_bounds(clip, bounds, composite)
    leaf = clip.detach().requires_grad_()
    with torch.enable_grad(), RelevanceMode(composite, model, leaf, bounds):
        # A copy, so that a model that works in place does not trip over a leaf.
        output = forward(leaf.clone())
    if not torch.isfinite(output).all():
        raise ModelError(
            "finite logits", "NaN or infinite ones", "Relevance has no meaning there; try float64."
        )
    return Trace(output, leaf)


def _pixel_bounds(
    clip: Tensor, bounds: tuple[Tensor, Tensor] | None, composite: Composite
) -> tuple[Tensor, Tensor]:
    """The bounds of each element of the clip; any, where the rule at the input asks for none."""
    rule = composite.input
    if not isinstance(rule, Box):
        return clip.detach(), clip.detach()
    low, high = bounds or (None, None)
    low, high = (
        known if given is None else torch.as_tensor(given, dtype=clip.dtype, device=clip.device)
        for given, known in ((rule.low, low), (rule.high, high))
    )
    if low is None or high is None:
        raise ModelError(
            "the smallest and largest value of a pixel, which the rule z^B at the input needs",
            "a model without a normalization",
            "Give the wrapper its preprocessing, or use Composite(input=Box(low=..., high=...)); "
            "Composite(input=None) treats the first layer like the others.",
        )
    # Room for the rounding of a pixel that is exactly black or white.
    room = 1e-5 * (high - low)
    outside = int(((clip < low - room) | (clip > high + room)).sum())
    if outside:
        raise ClipError(
            f"pixels within the bounds of z^B, {low.min():.4g} to {high.max():.4g}",
            f"{outside} of {clip.numel()} values outside (from {clip.min():.4g} to "
            f"{clip.max():.4g})",
            "Apply the model's preprocessing, clamp the clip, or give Box wider bounds.",
        )
    return low.expand_as(clip).contiguous(), high.expand_as(clip).contiguous()
