"""The engine: it intercepts every torch function between clip and output, and gives it its rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from temporal_attr.relevance._backward import depends_on, is_foreign, propagate
from temporal_attr.relevance._calls import Bounds, Call, Handled, NoRuleError
from temporal_attr.relevance._composite import Composite
from temporal_attr.relevance._functions import (
    AFFINE,
    CONSTANTS,
    GATES,
    LAYERS,
    PRODUCTS,
    STRUCTURAL,
)
from temporal_attr.relevance._handler_checks import checked_handler
from temporal_attr.relevance._handlers import HANDLERS
from temporal_attr.relevance._interception import Intercepted
from temporal_attr.relevance._recurrence import RECURRENT, run_recurrent
from temporal_attr.relevance._refusals import (
    hidden,
    independent_output,
    no_layer_reads_pixels,
    no_rule,
)
from temporal_attr.relevance._structural import run_structural
from temporal_attr.relevance._tensors import TensorTable, bounds_after


class RelevanceMode(TorchFunctionMode):
    """Give every torch function between clip and output its rule.

    Args:
        composite: The rules.
        model: Whose submodules an error can name.
        clip: The leaf that everything explained depends on.
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
        self._table = TensorTable()
        self._table.add(clip)
        self._table.set_bounds(clip, bounds)
        self._layers_seen = False
        self._pixels_read = False

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
            return met.run()
        try:
            return self._run(met, data)
        except NoRuleError as error:
            raise no_rule(error, self.model) from None

    def finish(self, output: Any) -> Any:  # noqa: ANN401
        """The output, if relevance of it can be propagated to the clip by the rules; else raise."""
        if isinstance(output, Tensor):
            output = self._table.behind_hooks(output)
            self._refuse_hidden((output,))
        if output not in self._table:
            raise independent_output()
        if self.composite.input is not None and self._layers_seen and not self._pixels_read:
            raise no_layer_reads_pixels()
        return output

    def _run(self, met: Intercepted, data: tuple[Tensor, ...]) -> Any:  # noqa: ANN401
        """Run a function as its kind asks; a composite's own handlers come first."""
        if met.name not in self.composite.handlers:
            if met.name in CONSTANTS:
                return met.run()
            if met.name in RECURRENT:
                with self:
                    return run_recurrent(met.name, met.args, met.kwargs)
            if met.name in STRUCTURAL:
                return run_structural(met, self._table)
        return self._run_by_rule(met, data)

    def _run_by_rule(self, met: Intercepted, data: tuple[Tensor, ...]) -> Tensor:
        """Compute the output, give it a node that splits relevance, and note what is known."""
        call = self._call(met, data)
        output = propagate(self._handled(call))
        is_gate = met.name in GATES or (met.name in AFFINE and self._table.are_gates(data))
        if met.overwrites:
            output = met.args[0].copy_(output)
            self._table.forget(output)
        self._table.add(output, is_gate)
        self._table.set_bounds(output, bounds_after(call))
        if met.name in LAYERS and not met.overwrites:
            self._table.set_layer(output, call)
        return output

    def _call(self, met: Intercepted, data: tuple[Tensor, ...]) -> Call:
        """The call for a handler, with what is known of its tensors."""
        func, kwargs = met.out_of_place()
        return Call(
            met.name,
            func,
            met.args,
            kwargs,
            data,
            gates=self._table.gates_among(data),
            bounds=self._table.bounds(data[0]),
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
