"""The engine: it intercepts every torch function between clip and output, and gives it its rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from temporal_attr.relevance._audit import AuditLog
from temporal_attr.relevance._backward import (
    Node,
    depends_on,
    is_foreign,
    may_have_hooks,
    propagate,
)
from temporal_attr.relevance._calls import Bounds, Call, Handled, NoRuleError
from temporal_attr.relevance._composite import Composite
from temporal_attr.relevance._decompositions import DECOMPOSED, run_in_parts
from temporal_attr.relevance._functions import (
    CONSTANTS,
    LAYERS,
    PROBABILITIES,
    PRODUCTS,
    SCALES,
    STRUCTURAL,
)
from temporal_attr.relevance._handler_checks import checked_handler
from temporal_attr.relevance._handlers import HANDLERS
from temporal_attr.relevance._interception import Intercepted
from temporal_attr.relevance._refusals import (
    hidden,
    independent_output,
    no_layer_reads_pixels,
    no_rule,
)
from temporal_attr.relevance._sinks import Sinks
from temporal_attr.relevance._structural import run_structural
from temporal_attr.relevance._tensors import TensorTable, bounds_after


class RelevanceMode(TorchFunctionMode):
    """Give every torch function between clip and output its rule.

    Args:
        composite: The rules.
        model: Whose submodules an error can name.
        clip: The leaf that everything explained depends on.
        bounds: The smallest and largest value of each element of the clip.
        sinks: Where relevance is added up that does not go to the clip; None if nobody asks.
        log: Where what happens at each function is written down; None if nobody asks.
    """

    def __init__(
        self,
        composite: Composite,
        model: Any,  # noqa: ANN401
        clip: Tensor,
        bounds: Bounds,
        sinks: Sinks | None = None,
        log: AuditLog | None = None,
    ) -> None:
        super().__init__()
        self.composite = composite
        self.model = model
        self._clip = clip
        self._table = TensorTable(keep=may_have_hooks(model))
        self._table.add(clip)
        self._table.set_bounds(clip, bounds)
        self._sinks = sinks
        self._log = log
        self._layers_seen = False
        self._pixels_read = False
        self.attends = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        met = Intercepted.of(func, args, kwargs or {})
        # Modules look at this attribute of what they hand on, to hang their hooks there.
        if getattr(func, "__self__", None) is torch.Tensor.grad_fn:
            return met.run()
        met = met.with_tensors(self._table.behind_hooks)
        self._refuse_hidden(met.tensors)
        data = self._table.among(met.tensors)
        # Like what is detached, what is computed without gradients is a constant.
        if not data or not torch.is_grad_enabled():
            return self._run_constant(met)
        try:
            return self._run(met, data)
        except NoRuleError as error:
            raise no_rule(error, self.model) from None

    def logits_of(self, output: Any) -> Any:  # noqa: ANN401
        """Of probabilities, the logits that they were computed from; else the output."""
        return self._table.logits_of(output)

    def finish(self, output: Any) -> Any:  # noqa: ANN401
        """The output, if relevance of it can be propagated to the clip by the rules; else raise."""
        if isinstance(output, Tensor):
            output = self._table.behind_hooks(output)
            self._refuse_hidden((output,))
        if output not in self._table:
            raise independent_output(self._table.held_by(output))
        if self.composite.input is not None and self._layers_seen and not self._pixels_read:
            raise no_layer_reads_pixels()
        return output

    def _run_constant(self, met: Intercepted) -> Any:  # noqa: ANN401
        """Run what reads no data; what is made of tensors that are held constant is held too."""
        output = met.run()
        held = self._table.held_among(met.tensors)
        if held and met.name not in CONSTANTS:
            self._hold(output, self._table.held_by(held[0]) or met.name)
        return output

    def _hold(self, output: Any, function: str) -> None:  # noqa: ANN401
        for entry in tree_leaves(output):
            if isinstance(entry, Tensor):
                self._table.hold(entry, function)

    def _run(self, met: Intercepted, data: tuple[Tensor, ...]) -> Any:  # noqa: ANN401
        """Run a function as its kind asks; a composite's own handlers come first."""
        if met.name not in self.composite.handlers:
            if met.name in CONSTANTS:
                return met.run()
            if met.name in DECOMPOSED:
                with self:
                    return run_in_parts(met.name, met.args, met.kwargs)
            if met.name in SCALES or self._holds_attention(met):
                return self._run_held(met)
            if met.name in STRUCTURAL:
                output = run_structural(met, self._table, self._sinks)
                if self._log is not None:
                    self._log.moved(met.name, output)
                return output
        output = self._run_by_rule(met, data)
        own = met.name in self.composite.handlers
        if met.name in PROBABILITIES and not own and not met.overwrites:
            self._table.set_logits(output, data[0])
        return output

    def _holds_attention(self, met: Intercepted) -> bool:
        return met.name in ("softmax", "log_softmax") and self.composite.attention == "value"

    def _run_held(self, met: Intercepted) -> Any:  # noqa: ANN401
        """Run a function whose result is held constant, though it depends on the clip."""
        with torch.no_grad():
            output = met.run()
        self._hold(output, met.name)
        if met.name in PROBABILITIES:
            self._table.set_logits(output, met.args[0] if met.args else met.kwargs["input"])
        return output

    def _run_by_rule(self, met: Intercepted, data: tuple[Tensor, ...]) -> Any:  # noqa: ANN401
        """Compute the output, give it a node that splits relevance, and note what is known."""
        call = self._call(met, data)
        self.attends = self.attends or (met.name in PRODUCTS and bool(call.held))
        handled = self._handled(call)
        output = propagate(self._node(handled, met.name))
        if not isinstance(output, Tensor):
            for entry in output:
                self._table.add(entry)
            return output
        if met.overwrites:
            output = met.args[0].copy_(output)
            self._table.forget(output)
        self._table.add(output, self._table.makes_gate(met.name, met.args, data))
        if met.name == "tanh":
            self._table.set_tanh(output)
        self._table.set_bounds(output, bounds_after(call))
        if met.name in LAYERS and not met.overwrites:
            self._table.set_layer(output, call)
        return output

    def _node(self, handled: Handled, name: str) -> Node:
        """What the graph gets for a call."""
        leaves = () if self._sinks is None else self._sinks.leaves_of(name, handled.sinks)
        audited = None if self._log is None else self._log.entry(name, handled.rule)
        return Node(handled, leaves, audited)

    def _call(self, met: Intercepted, data: tuple[Tensor, ...]) -> Call:
        """The call for a handler, with what is known of its tensors."""
        func, kwargs = met.out_of_place()
        held = self._table.held_among(met.tensors)
        return Call(
            met.name,
            func,
            met.args,
            kwargs,
            data,
            gates=self._table.gates_among(data),
            bounds=self._table.bounds(data[0]),
            held=held,
            held_by=tuple([self._table.held_by(tensor) or "" for tensor in held]),
            origin=self._table.layer(data[0]) if met.name == "batch_norm" else None,
        )

    def _handled(self, call: Call) -> Handled:
        """What the call's handler makes of it."""
        if call.name in LAYERS or call.name in PRODUCTS:
            self._layers_seen = True
            self._pixels_read = self._pixels_read or call.bounds is not None
        own = self.composite.handlers.get(call.name)
        handler = own or HANDLERS.get(call.name)
        if handler is None:
            raise NoRuleError(call.name)
        # Relevance is split in the precision that the values have.
        with torch.autocast(call.data[0].device.type, enabled=False):
            handled = handler(call, self.composite)
        return handled if own is None else checked_handler(handled, call)

    def _refuse_hidden(self, tensors: tuple[Tensor, ...]) -> None:
        """Raise on a tensor that depends on the clip by a function that no mode can see."""
        for tensor in tensors:
            if tensor.grad_fn is None:
                continue
            # What a custom function computes inside is seen, but not its backward.
            if tensor in self._table and not is_foreign(tensor.grad_fn):
                continue
            if depends_on(tensor, self._clip):
                raise hidden(type(tensor.grad_fn).__name__, self.model)
