"""Recurrent layers step by step, sharing their weights, so that every operation has a rule.

`nn.LSTM`, `nn.GRU` and `nn.RNN` are one call each, inside which no rule reaches. In these twins a
gate times a signal is a product like any other, and gives its relevance to the signal
:cite:p:`arras2017`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from temporal_attr.relevance._operations import NoRuleError

Cell: TypeAlias = Callable[[Tensor, tuple[Tensor, ...], Sequence[Tensor]], tuple[Tensor, ...]]
"""From input, state (output first) and the weights of a layer to the next state."""


def _affine(x: Tensor, weights: Sequence[Tensor], place: int) -> Tensor:
    bias = weights[2 + place] if len(weights) > 2 else None
    return F.linear(x, weights[place], bias)


def _lstm_cell(
    x: Tensor, state: tuple[Tensor, ...], weights: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    hidden, cell = state
    total = _affine(x, weights, 0) + _affine(hidden, weights, 1)
    enter, keep, candidate, leave = total.chunk(4, -1)
    cell = torch.sigmoid(keep) * cell + torch.sigmoid(enter) * torch.tanh(candidate)
    return torch.sigmoid(leave) * torch.tanh(cell), cell


def _gru_cell(
    x: Tensor, state: tuple[Tensor, ...], weights: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    (hidden,) = state
    read, update, new = _affine(x, weights, 0).chunk(3, -1)
    read_past, update_past, new_past = _affine(hidden, weights, 1).chunk(3, -1)
    candidate = torch.tanh(new + torch.sigmoid(read + read_past) * new_past)
    keep = torch.sigmoid(update + update_past)
    return ((1 - keep) * candidate + keep * hidden,)


def _plain_cell(activation: Callable[[Tensor], Tensor]) -> Cell:
    def cell(x: Tensor, state: tuple[Tensor, ...], weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return (activation(_affine(x, weights, 0) + _affine(state[0], weights, 1)),)

    return cell


CELLS: dict[str, Cell] = {
    "lstm": _lstm_cell,
    "gru": _gru_cell,
    "rnn_tanh": _plain_cell(torch.tanh),
    "rnn_relu": _plain_cell(F.relu),
}


def unroll(
    name: str,
    x: Tensor,
    initial: Any,  # noqa: ANN401
    weights: Sequence[Tensor],
    has_biases: bool,
    layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, ...]:
    """What `torch.lstm`, `torch.gru`, `torch.rnn_tanh` and `torch.rnn_relu` compute."""
    states = tuple(initial) if name == "lstm" else (initial,)
    sequence = x if batch_first else x.transpose(0, 1)
    size, ways = (4 if has_biases else 2), (2 if bidirectional else 1)
    if len(weights) != layers * ways * size:
        raise NoRuleError(name, "with projections")
    finals: list[tuple[Tensor, ...]] = []
    for layer in range(layers):
        outputs = []
        for way in range(ways):
            place = layer * ways + way
            part = weights[place * size : (place + 1) * size]
            state = tuple(entry[place] for entry in states)
            read, state = _run(CELLS[name], sequence, state, part, backwards=way == 1)
            outputs.append(read)
            finals.append(state)
        sequence = outputs[0] if ways == 1 else torch.cat(outputs, 2)
    ends = tuple(torch.stack(parts) for parts in zip(*finals, strict=True))
    return (sequence if batch_first else sequence.transpose(0, 1), *ends)


def _run(
    cell: Cell,
    sequence: Tensor,
    state: tuple[Tensor, ...],
    weights: Sequence[Tensor],
    backwards: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    steps = list(sequence.unbind(1))
    outputs = []
    for step in reversed(steps) if backwards else steps:
        state = cell(step, state, weights)
        outputs.append(state[0])
    return torch.stack(outputs[::-1] if backwards else outputs, 1), state
