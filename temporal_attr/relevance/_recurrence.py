"""Recurrent layers step by step, sharing their weights, so that every operation has a rule.

`nn.LSTM`, `nn.GRU` and `nn.RNN` are one call each, inside which no rule reaches. In these twins a
gate times a signal is a product like any other, and gives its relevance to the signal
:cite:p:`arras2017`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from temporal_attr.relevance._operations import NoRuleError


@dataclass(frozen=True)
class Weights:
    """Of one layer: for what it reads, for its last output, and for the two together.

    Input and last output are read by one linear layer, so that a rule shares relevance among all
    that it reads; as two layers and a sum, their biases would take part in the split.
    """

    into: Tensor
    over: Tensor
    bias_into: Tensor | None = None
    bias_over: Tensor | None = None

    @cached_property
    def joined(self) -> Tensor:
        """`(output, input + last output)`."""
        return torch.cat([self.into, self.over], 1)

    @cached_property
    def bias(self) -> Tensor | None:
        """Both biases."""
        if self.bias_into is None or self.bias_over is None:
            return None
        return self.bias_into + self.bias_over

    def inputs(self, x: Tensor, hidden: Tensor) -> Tensor:
        """What is read; a memory that is still empty is no input."""
        empty = not hidden.requires_grad and not hidden.any()
        return x if empty else torch.cat([x, hidden], 1)

    def read(self, x: Tensor, hidden: Tensor) -> Tensor:
        """The one linear layer."""
        inputs = self.inputs(x, hidden)
        return F.linear(inputs, self.joined[:, : inputs.shape[1]], self.bias)


Cell: TypeAlias = Callable[[Tensor, tuple[Tensor, ...], Weights], tuple[Tensor, ...]]
"""From input, state (output first) and the weights of a layer to the next state."""


def _lstm_cell(x: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, ...]:
    hidden, cell = state
    enter, keep, candidate, leave = weights.read(x, hidden).chunk(4, -1)
    cell = torch.sigmoid(keep) * cell + torch.sigmoid(enter) * torch.tanh(candidate)
    return torch.sigmoid(leave) * torch.tanh(cell), cell


def _gru_cell(x: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, ...]:
    (hidden,) = state
    size, inputs = hidden.shape[1], weights.inputs(x, hidden)
    width = inputs.shape[1]
    bias = None if weights.bias is None else weights.bias[: 2 * size]
    gates = torch.sigmoid(F.linear(inputs, weights.joined[: 2 * size, :width], bias))
    reset, keep = gates.chunk(2, -1)
    # A gate gets nothing, so it is a constant here: it leaves so much of the last output's weights.
    left = reset.detach()
    into = weights.into[2 * size :].expand(len(x), -1, -1)
    over = left[:, :, None] * weights.over[2 * size :]
    new = torch.einsum("bok,bk->bo", torch.cat([into, over], 2)[:, :, :width], inputs)
    if weights.bias_into is not None and weights.bias_over is not None:
        new = new + (weights.bias_into[2 * size :] + left * weights.bias_over[2 * size :])
    return ((1 - keep) * torch.tanh(new) + keep * hidden,)


def _plain_cell(activation: Callable[[Tensor], Tensor]) -> Cell:
    def cell(x: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, ...]:
        return (activation(weights.read(x, state[0])),)

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
            part = Weights(*weights[place * size : (place + 1) * size])
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
    weights: Weights,
    backwards: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    steps = list(sequence.unbind(1))
    outputs = []
    for step in reversed(steps) if backwards else steps:
        state = cell(step, state, weights)
        outputs.append(state[0])
    return torch.stack(outputs[::-1] if backwards else outputs, 1), state
