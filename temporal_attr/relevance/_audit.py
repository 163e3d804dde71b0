"""What happens to relevance at every function on the data path, written down as it happens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from temporal_attr._precision import wide
from temporal_attr.relevance._backward import Audited
from temporal_attr.relevance._refusals import module_path


@dataclass(frozen=True)
class AuditedCall:
    """One function on the data path, and what it did with relevance.

    Attributes:
        function: Its name.
        module: The submodule that called it.
        rule: By which relevance was split; "moved" where values are only moved.
        arrived: The sum of the relevance of its output.
        to_data: The sum of what its inputs got that depend on the clip.
        to_sinks: The sum of what constants, biases and losses got.
        magnitude: The sum of the magnitudes of what its inputs got.

    Example:
        >>> AuditedCall("linear", "module 'head'", "ZPlus", 2.0, 1.5, 0.25, 1.5).unexplained
        0.25
    """

    function: str
    module: str
    rule: str
    arrived: float
    to_data: float
    to_sinks: float
    magnitude: float

    @property
    def unexplained(self) -> float:
        """What arrived and went neither to data nor to a sink: a fault of the rule."""
        return self.arrived - self.to_data - self.to_sinks


class AuditLog:
    """Writes down what happens at each call, in a forward pass and one backward pass after it.

    Args:
        model: Whose submodules are named.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401
        self._model = model
        self._notes: list[Callable[[], AuditedCall | None]] = []

    def clear(self) -> None:
        """Forget a forward pass, before another one."""
        self._notes.clear()

    def calls(self) -> tuple[AuditedCall, ...]:
        """The calls that relevance reached, in the order of the forward pass."""
        return tuple(call for note in self._notes if (call := note()) is not None)

    def entry(self, function: str, rule: str) -> Audited:
        """Note a call that splits relevance by a rule; what is to be told of its backward pass."""
        module, rule = module_path(self._model), rule or "handler"
        sums: list[tuple[float, float, float, float]] = []

        def audited(
            relevance: Any,  # noqa: ANN401 - a tensor, or a tuple of them
            parts: Sequence[Tensor | None],
            sinks: Sequence[Tensor],
        ) -> None:
            given = [part for part in parts if part is not None]
            magnitude = sum(_sum(part.abs()) for part in given)
            sums.append((_total(relevance), _total(given), _total(list(sinks)), magnitude))

        def note() -> AuditedCall | None:
            return AuditedCall(function, module, rule, *sums[-1]) if sums else None

        self._notes.append(note)
        return audited

    def moved(self, function: str, output: Any) -> None:  # noqa: ANN401
        """Note a call that moves values about."""
        module = module_path(self._model)
        sums: list[tuple[float, float]] = []

        def arrived(relevance: Tensor | None) -> None:
            # Of several outputs some may reach nothing.
            if relevance is not None:
                sums.append((_sum(relevance), _sum(relevance.abs())))

        for entry in tree_leaves(output):
            if isinstance(entry, Tensor) and entry.requires_grad:
                entry.register_hook(arrived)

        def note() -> AuditedCall | None:
            if not sums:
                return None
            total, magnitude = (sum(column) for column in zip(*sums, strict=True))
            return AuditedCall(function, module, "moved", total, total, 0.0, magnitude)

        self._notes.append(note)


def _sum(tensor: Tensor) -> float:
    return float(tensor.sum(dtype=wide(tensor)))


def _total(tensors: Any) -> float:  # noqa: ANN401
    return sum(_sum(entry) for entry in tree_leaves(tensors) if isinstance(entry, Tensor))
