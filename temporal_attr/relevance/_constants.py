"""Constants that structural operations put beside the data, as sinks of relevance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map, tree_map_only

from temporal_attr.relevance._functions import COMBINING, FILLING
from temporal_attr.relevance._interception import Intercepted
from temporal_attr.relevance._sinks import Sinks
from temporal_attr.relevance._tensors import TensorTable


def run_with_constants(met: Intercepted, table: TensorTable, sinks: Sinks) -> Any:  # noqa: ANN401
    """Run a structural operation, and let what is constant in its output have its relevance."""
    if met.name in COMBINING:
        return _combined(met, table, sinks)
    if met.name in FILLING and met.args[0] in table:
        return _filled(met, sinks)
    return met.run()


def _combined(met: Intercepted, table: TensorTable, sinks: Sinks) -> Any:  # noqa: ANN401
    """A function of several tensors, those that are no data as inputs of their own."""

    def taken(entry: Tensor) -> Tensor:
        if entry in table or not entry.is_floating_point():
            return entry
        return sinks.constant(entry, met.name)

    args, kwargs = met.args, met.kwargs
    if met.name == "where" and len(args) == 3:
        args = (args[0], *(_as_tensor(entry, met) for entry in args[1:]))
    if met.name in ("setitem", "copy"):
        _take_base(met, table, sinks)
        if met.name == "setitem":
            args = (*args[:2], _as_tensor(args[2], met))
        args = (args[0], *tree_map_only(Tensor, taken, args[1:]))
    else:
        args, kwargs = tree_map_only(Tensor, taken, (args, kwargs))
    return met.func(*args, **kwargs)


def _as_tensor(entry: Any, met: Intercepted) -> Any:  # noqa: ANN401
    """A number as a tensor like the data."""
    if isinstance(entry, Tensor):
        return entry
    like = next(tensor for tensor in met.tensors if tensor.is_floating_point())
    return like.new_full((), entry)


def _take_base(met: Intercepted, table: TensorTable, sinks: Sinks) -> None:
    """A constant into which data are written: what is left of it takes relevance."""
    base = met.args[0]
    whole = met.name == "copy"
    if whole or base in table or base.requires_grad or not base.is_floating_point():
        return
    base.copy_(sinks.constant(base.detach().clone(), met.name))


def _filled(met: Intercepted, sinks: Sinks) -> Any:  # noqa: ANN401
    """A function that puts a number into its first argument, or at the sides of it."""
    function, kwargs = met.func, met.kwargs
    if met.in_place:
        function = getattr(torch.Tensor, met.name, None) or getattr(torch, met.name)
    output = function(*met.args, **kwargs)
    data = _where_data(met, function)
    if not bool(data.all()):
        output = sinks.beside(output, (data == 0).to(output.dtype), met.name)
    return met.args[0].copy_(output) if met.in_place else output


def _where_data(met: Intercepted, function: Any) -> Tensor:  # noqa: ANN401
    """1 where an output holds data, 0 where it holds the number: of ones, with 0 for the number."""
    place = FILLING[met.name]
    first = tree_map(torch.ones_like, met.args[0])
    args = [first, *met.args[1:]]
    kwargs = dict(met.kwargs)
    if place is not None and len(args) > place:
        args[place] = 0.0
    elif place is not None and "value" in kwargs:
        kwargs["value"] = 0.0
    with torch.no_grad():
        places: Tensor = function(*args, **kwargs)
    return places
