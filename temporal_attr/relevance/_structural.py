"""Structural operations: they move values about, and what is known of tensors along with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from temporal_attr.relevance._calls import NoRuleError
from temporal_attr.relevance._constants import run_with_constants
from temporal_attr.relevance._functions import COMBINING
from temporal_attr.relevance._interception import Intercepted
from temporal_attr.relevance._sinks import Sinks
from temporal_attr.relevance._tensors import TensorTable


def run_structural(met: Intercepted, table: TensorTable, sinks: Sinks | None) -> Any:  # noqa: ANN401
    """Run the function as it is, and note what is known of its outputs, of which it may have many.

    Autograd's own backward pass moves relevance to where the values came from.
    """
    if met.name in ("max", "min") and len(met.tensors) > 1:
        raise NoRuleError(met.name, "of two tensors")
    sources = _sources(met, table)
    if not sources:
        return met.run()
    pixels = all(table.bounds(source) is not None for source in sources)
    gates = table.are_gates(sources)
    output = met.run() if sinks is None else run_with_constants(met, table, sinks)
    if met.in_place or met.name == "setitem":
        table.forget(met.args[0])
        _note(table, tree_leaves(met.args[0]))
        return output
    _note(table, tree_leaves(output), gates)
    if pixels:
        _move_bounds(met, output, table)
    return output


def _sources(met: Intercepted, table: TensorTable) -> Sequence[Tensor]:
    """The tensors that are moved; others than the first are templates or places, mostly."""
    moved = met.tensors if met.name in COMBINING else met.tensors[:1]
    return table.among(moved)


def _note(table: TensorTable, outputs: list[Any], gates: bool = False) -> None:
    """Note the outputs that depend on the clip."""
    for output in outputs:
        # What is detached, or counts places, is a constant from here on.
        if isinstance(output, Tensor) and output.requires_grad:
            table.add(output, gates)


def _move_bounds(met: Intercepted, output: Any, table: TensorTable) -> None:  # noqa: ANN401
    """Give what became of pixels the bounds that became of theirs."""
    low, high = (_of_bounds(met, table, side) for side in (0, 1))
    for leaf, *sides in zip(*map(tree_leaves, (output, low, high)), strict=True):
        if leaf in table:
            table.set_bounds(leaf, (sides[0], sides[1]))


def _of_bounds(met: Intercepted, table: TensorTable, side: int) -> Any:  # noqa: ANN401
    """What the function makes of the lower (0) or the upper (1) bounds of pixels."""

    def bound(leaf: Any) -> Any:  # noqa: ANN401
        known = table.bounds(leaf) if isinstance(leaf, Tensor) else None
        return leaf if known is None else known[side]

    with torch.no_grad():
        return met.func(*tree_map(bound, met.args), **tree_map(bound, met.kwargs))
