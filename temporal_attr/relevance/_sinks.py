"""Where relevance goes that does not reach the clip: constants, biases, and what a rule loses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from temporal_attr._precision import wide
from temporal_attr.relevance._audit import AuditLog
from temporal_attr.relevance._backward import Node, propagate
from temporal_attr.relevance._calls import Handled, Sink
from temporal_attr.relevance._refusals import module_path


class Sinks:
    """A scalar for each sink of a forward pass, whose "gradient" is the relevance that it gets.

    Args:
        model: Whose parameters and buffers give constants their names.
        clip: On whose device they are.
        log: Where what they get is written down too.
    """

    def __init__(self, model: Any, clip: Tensor, log: AuditLog | None = None) -> None:  # noqa: ANN401
        self._log = log
        self.leaves: dict[str, Tensor] = {}
        self._model = model
        self._dtype = wide(clip)
        self._device = clip.device
        self._names = _names_by_storage(model)

    def leaves_of(self, function: str, sinks: tuple[Sink, ...]) -> tuple[Tensor, ...]:
        """A leaf for each sink of a call of a function."""
        return tuple(self._leaf(self._name(sink.name, function)) for sink in sinks)

    def constant(self, tensor: Tensor, function: str) -> Tensor:
        """A constant that a function puts beside data, as an input that gets relevance."""
        sinks = (Sink(tensor, lambda relevance: relevance.sum(dtype=self._dtype)),)
        return self._taken(Handled(tensor.detach(), (), lambda _: (), sinks=sinks), function)

    def beside(self, output: Tensor, constant: Tensor, function: str) -> Tensor:
        """An output, some values of which are constants.

        Args:
            output: It.
            constant: Where it has them.
            function: That put them there.
        """

        def received(relevance: Tensor) -> Tensor:
            return (relevance * constant).sum(dtype=self._dtype)

        def split(relevance: Tensor) -> tuple[Tensor]:
            return (relevance * (1 - constant),)

        sinks = (Sink(function, received),)
        return self._taken(Handled(output.detach(), (output,), split, sinks=sinks), function)

    def _taken(self, handled: Handled, function: str) -> Tensor:
        audited = None if self._log is None else self._log.entry(function, "constant")
        node = Node(handled, self.leaves_of(function, handled.sinks), audited)
        taken: Tensor = propagate(node)
        return taken

    def _leaf(self, name: str) -> Tensor:
        if name not in self.leaves:
            zero = torch.zeros((), dtype=self._dtype, device=self._device)
            self.leaves[name] = zero.requires_grad_()
        return self.leaves[name]

    def _name(self, entry: str | Tensor, function: str) -> str:
        """The name in the model of a constant, or of what shares its memory; else where it is."""
        if isinstance(entry, Tensor):
            known = self._names.get(entry.untyped_storage().data_ptr())
            return known or f"constant in {function} of {module_path(self._model)}"
        return f"{entry} in {module_path(self._model)}"


def _names_by_storage(model: Any) -> dict[int, str]:  # noqa: ANN401
    if not isinstance(model, nn.Module):
        return {}
    named = [*model.named_buffers(), *model.named_parameters()]
    return {entry.untyped_storage().data_ptr(): name for name, entry in named}
