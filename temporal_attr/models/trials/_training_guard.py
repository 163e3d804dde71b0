"""Stops batch norm in training mode before it runs, wherever its layer hides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, no_type_check

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from temporal_attr._errors import ModelError

_STATISTICS: dict[Callable[..., Any], tuple[str, int, str, int]] = {
    functional.batch_norm: ("running_mean", 1, "training", 5),
    torch.batch_norm: ("running_mean", 3, "training", 5),
    functional.instance_norm: ("running_mean", 1, "use_input_stats", 5),
    torch.instance_norm: ("running_mean", 3, "use_input_stats", 5),
}
"""By name and place: the statistics that would move, and the flag that moves them."""


class StopsTraining(TorchFunctionMode):
    """While entered, what would move running statistics raises instead.

    Layers count their passes before they normalize; those counts are put back.

    Example:
        >>> layer = torch.nn.BatchNorm1d(2)
        >>> with StopsTraining():
        ...     layer(torch.rand(3, 2))
        Traceback (most recent call last):
        ...
        temporal_attr._errors.ModelError: expected a model in evaluation mode, got batch_norm ...
        >>> layer.num_batches_tracked
        tensor(0)
    """

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[int, tuple[Tensor, Tensor]] = {}

    @no_type_check  # a check of types would stand between a layer and its error
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401 - as PyTorch has it
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Look at a call before it is made."""
        kwargs = kwargs or {}
        if func in (Tensor.add_, Tensor.__iadd__) and _is_count(args[0]):
            self._counts.setdefault(id(args[0]), (args[0], args[0].clone()))
        if func in _STATISTICS and _moves(_STATISTICS[func], args, kwargs):
            for count, before in self._counts.values():
                count.copy_(before)
            raise ModelError(
                "a model in evaluation mode",
                f"{func.__name__} in training mode, in a layer that the function hides",
                "Call model.eval(): in training mode batch norm mixes the examples and changes "
                "its statistics, and dropout draws random numbers.",
            )
        return func(*args, **kwargs)


def _is_count(value: object) -> bool:
    return isinstance(value, Tensor) and value.ndim == 0 and not value.dtype.is_floating_point


def _moves(
    places: tuple[str, int, str, int], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> bool:
    statistics, first, flag, second = places
    held = args[first] if len(args) > first else kwargs.get(statistics)
    # The functions' own defaults of the flag: instance norm reads its input's statistics.
    usual = flag == "use_input_stats"
    return held is not None and bool(
        args[second] if len(args) > second else kwargs.get(flag, usual)
    )
