"""What is known of each tensor that depends on the clip."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from temporal_attr.relevance._backward import is_module_hook
from temporal_attr.relevance._calls import Bounds, Call
from temporal_attr.relevance._functions import AFFINE, GATES, MONOTONE

Reference: TypeAlias = Callable[[], "Tensor | None"]
"""Gives a tensor as long as there is one."""


@dataclass(frozen=True)
class PixelBounds:
    """The bounds of a tensor of pixels, and the version of the tensor that they hold for."""

    bounds: Bounds
    version: int


@dataclass(frozen=True)
class LayerOutput:
    """The call of a layer, and the versions of what it read and of what it put out."""

    call: Call
    version_read: int
    version_written: int


@dataclass(frozen=True)
class TensorRecord:
    """What is known of one tensor that depends on the clip.

    Attributes:
        tensor: Gives the tensor, or None once it is gone.
        is_gate: Whether it is a gate, between 0 and 1, made to be multiplied by a signal.
        is_tanh: Whether it is a hyperbolic tangent, a signal which plus 1 is a gate.
        pixels: Its bounds, if nothing but structural operations and constants has touched the
            pixels that it holds; laid out as they are, so that they fit the operation that reads
            them.
        layer: The layer whose output it is.
    """

    tensor: Callable[[], Tensor | None]
    is_gate: bool = False
    is_tanh: bool = False
    pixels: PixelBounds | None = None
    layer: LayerOutput | None = None


class TensorTable:
    """The tensors that depend on the clip, with one record each.

    A tensor can be overwritten through any view of it, which no function call of its own tells. So
    bounds and layers are known for a version of the tensor, and forgotten with it.

    Args:
        keep: Keep all tensors alive. Otherwise what the model lets go of is forgotten; behind the
            backward hooks of modules are tensors that only the table still has.
    """

    def __init__(self, keep: bool) -> None:
        self._keep = keep
        self._records: dict[int, TensorRecord] = {}
        self._handed_on: dict[int, tuple[Tensor, Tensor]] = {}
        self._held: dict[int, tuple[Reference, str]] = {}
        self._logits: dict[int, tuple[Reference, Tensor]] = {}

    def __contains__(self, entry: object) -> bool:
        return isinstance(entry, Tensor) and id(entry) in self._records

    def among(self, tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
        """Those of some tensors that depend on the clip."""
        return tuple([tensor for tensor in tensors if id(tensor) in self._records])

    def behind_hooks(self, tensor: Tensor) -> Tensor:
        """What the full backward hooks of modules handed on as this tensor; else the tensor itself.

        The two share their memory. With the first in place of the second the hooks, which are
        there for gradients, are never called with relevance.
        """
        if id(tensor) in self._handed_on:
            return self._handed_on[id(tensor)][1]
        node: Any = tensor.grad_fn
        place = tensor.output_nr
        if not is_module_hook(node):
            return tensor
        while is_module_hook(node):
            node, place = node.next_functions[place]
        for record in self._records.values():
            known = record.tensor()
            if known is not None and known.grad_fn is node and known.output_nr == place:
                # Noted, since the node of a tensor is another once it is overwritten.
                self._handed_on[id(tensor)] = (tensor, known)
                return known
        return tensor

    def add(self, tensor: Tensor, is_gate: bool = False) -> None:
        """Note that a tensor depends on the clip; what is known of it already stays."""
        record = self._records.get(id(tensor))
        if record is None:
            self._records[id(tensor)] = TensorRecord(self._refer(tensor, self._records), is_gate)
        elif is_gate and not record.is_gate:
            self._records[id(tensor)] = replace(record, is_gate=True)

    def hold(self, tensor: Tensor, function: str) -> None:
        """Note that a tensor is held constant though it depends on the clip: since a function."""
        self._held[id(tensor)] = (self._refer(tensor, self._held), function)

    def held_among(self, tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
        """Those of some tensors that are held constant."""
        return tuple([tensor for tensor in tensors if id(tensor) in self._held])

    def held_by(self, tensor: Any) -> str | None:  # noqa: ANN401
        """The function after which a tensor is held constant; None if it is not."""
        return self._held[id(tensor)][1] if id(tensor) in self._held else None

    def set_logits(self, probabilities: Tensor, logits: Tensor) -> None:
        """Note what a softmax or sigmoid was computed from."""
        self._logits[id(probabilities)] = (self._refer(probabilities, self._logits), logits)

    def logits_of(self, output: Any) -> Any:  # noqa: ANN401
        """What a softmax or sigmoid was computed from; of anything else, itself."""
        return self._logits[id(output)][1] if id(output) in self._logits else output

    def set_tanh(self, tensor: Tensor) -> None:
        """Note that a tensor is a hyperbolic tangent."""
        self._records[id(tensor)] = replace(self._records[id(tensor)], is_tanh=True)

    def makes_gate(self, name: str, args: tuple[Any, ...], data: tuple[Tensor, ...]) -> bool:
        """Whether a function makes a gate: of a GELU written out, `(1 + erf(x)) / 2` or with tanh.

        Args:
            name: Of the function.
            args: As it was called.
            data: Those of them that depend on the clip.
        """
        if name in GATES:
            return True
        if name == "add" and len(args) == 2 and len(data) == 1:
            record = self._records[id(data[0])]
            others = [entry for entry in args if entry is not data[0]]
            if record.is_tanh and not isinstance(others[0], Tensor) and others[0] == 1:
                return True
        return name in AFFINE and self.are_gates(data)

    def forget(self, tensor: Tensor) -> None:
        """Drop what was known of a tensor that is overwritten, but not that it depends."""
        if tensor in self:
            self._records[id(tensor)] = TensorRecord(self._records[id(tensor)].tensor)

    def set_bounds(self, tensor: Tensor, bounds: Bounds | None) -> None:
        """Note the bounds of a tensor of pixels, as it is now."""
        if bounds is not None:
            known = PixelBounds(bounds, tensor._version)
            self._records[id(tensor)] = replace(self._records[id(tensor)], pixels=known)

    def set_layer(self, tensor: Tensor, call: Call) -> None:
        """Note the layer whose output a tensor is, as it and what the layer read are now."""
        made = LayerOutput(call, call.data[0]._version, tensor._version)
        self._records[id(tensor)] = replace(self._records[id(tensor)], layer=made)

    def are_gates(self, tensors: Iterable[Tensor]) -> bool:
        """Whether all of some tensors are gates."""
        return all(self._is_gate(tensor) for tensor in tensors)

    def gates_among(self, tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
        """Those of some tensors that are gates."""
        return tuple([tensor for tensor in tensors if self._is_gate(tensor)])

    def bounds(self, tensor: Tensor) -> Bounds | None:
        """The bounds of pixels, unless they have been changed since, by whatever view of them."""
        record = self._records.get(id(tensor))
        if record is None or record.pixels is None:
            return None
        return record.pixels.bounds if tensor._version == record.pixels.version else None

    def layer(self, tensor: Tensor) -> Call | None:
        """The layer whose output a tensor is, if neither it nor what the layer read has changed."""
        record = self._records.get(id(tensor))
        made = None if record is None else record.layer
        if made is None or tensor._version != made.version_written:
            return None
        return made.call if made.call.data[0]._version == made.version_read else None

    def _refer(self, tensor: Tensor, entries: dict[int, Any]) -> Reference:
        """A reference to a tensor, whose entry goes with it: its identity is given out again."""
        if self._keep:
            return lambda: tensor
        key = id(tensor)
        return weakref.ref(tensor, lambda _: entries.pop(key, None))

    def _is_gate(self, tensor: Tensor) -> bool:
        record = self._records.get(id(tensor))
        return record is not None and record.is_gate


def bounds_after(call: Call) -> Bounds | None:
    """The bounds of pixels that a constant is added to, or the like; None for anything else."""
    if call.bounds is None or len(call.data) != 1 or call.name not in MONOTONE:
        return None

    def moved(bound: Tensor) -> Tensor:
        args: list[Any] = [bound if call.is_data(entry) else entry for entry in call.args]
        result: Tensor = call.func(*args, **call.kwargs)
        return result

    with torch.no_grad():
        one, other = map(moved, call.bounds)
        return torch.minimum(one, other), torch.maximum(one, other)
