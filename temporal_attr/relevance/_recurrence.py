"""Recurrent layers step by step, with the same weights, so that every operation has a rule.

`nn.LSTM`, `nn.GRU` and `nn.RNN` are one call each, inside which no rule reaches. Unrolled, a gate
times a signal is a product like any other, and gives its relevance to the signal
:cite:p:`arras2017`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from temporal_attr.relevance._calls import NoRuleError


@dataclass(frozen=True)
class Weights:
    """Of one layer: for what it reads, for its last output, and for the two together.

    Input and last output are read by one linear layer, so that a rule distributes relevance over
    all that it reads; as two layers and a sum, their biases would take part in the split.
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
    # A gate gets nothing, so it is a constant here: it scales the weights of the last output.
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


_ARGUMENTS = (
    "input",
    "hx",
    "params",
    "has_biases",
    "num_layers",
    "dropout",
    "train",
    "bidirectional",
    "batch_first",
)
"""Of `torch.lstm`, `torch.gru`, `torch.rnn_tanh` and `torch.rnn_relu`, for a batch of sequences."""


@dataclass(frozen=True)
class RecurrentCall:
    """A call of `torch.lstm`, `torch.gru`, `torch.rnn_tanh` or `torch.rnn_relu`.

    Attributes:
        name: Of the function.
        x: The sequences.
        states: What the first step finds (output first), for all layers and directions.
        weights: One entry a layer and direction, the directions of a layer side by side.
        directions: 2 where a second cell reads the sequence from its end, otherwise 1.
        batch_first: Whether time is axis 1 of the sequences, not axis 0.
    """

    name: str
    x: Tensor
    states: tuple[Tensor, ...]
    weights: tuple[Weights, ...]
    directions: int
    batch_first: bool

    @classmethod
    def of(cls, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> RecurrentCall:
        """Read the arguments of the torch function.

        Raises:
            NoRuleError: If the sequences are packed, or the layers have projections.
        """
        given = {**dict(zip(_ARGUMENTS, args, strict=False)), **kwargs}
        # In their other form the functions read a packed sequence, with its batch sizes second.
        if isinstance(given["has_biases"], (list, tuple)):
            raise NoRuleError(name, "of packed sequences")
        size, directions = (4 if given["has_biases"] else 2), (2 if given["bidirectional"] else 1)
        tensors, count = given["params"], given["num_layers"] * directions
        if len(tensors) != count * size:
            raise NoRuleError(name, "with projections")
        return cls(
            name,
            given["input"],
            tuple(given["hx"]) if name == "lstm" else (given["hx"],),
            tuple(Weights(*tensors[at : at + size]) for at in range(0, len(tensors), size)),
            directions,
            given["batch_first"],
        )


def unroll(call: RecurrentCall) -> tuple[Tensor, ...]:
    """What the call computes, in evaluation mode: the outputs, and the last states."""
    sequence = call.x if call.batch_first else call.x.transpose(0, 1)
    finals: list[tuple[Tensor, ...]] = []
    for layer in range(0, len(call.weights), call.directions):
        outputs = []
        for direction in range(call.directions):
            place = layer + direction
            state = tuple(entry[place] for entry in call.states)
            read, state = _run(
                CELLS[call.name], sequence, state, call.weights[place], backwards=direction == 1
            )
            outputs.append(read)
            finals.append(state)
        sequence = outputs[0] if call.directions == 1 else torch.cat(outputs, 2)
    ends = tuple(torch.stack(parts) for parts in zip(*finals, strict=True))
    return (sequence if call.batch_first else sequence.transpose(0, 1), *ends)


def _run(
    cell: Cell,
    sequence: Tensor,
    state: tuple[Tensor, ...],
    weights: Weights,
    backwards: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The outputs of one cell over a sequence, and its last state."""
    steps = list(sequence.unbind(1))
    outputs = []
    for step in reversed(steps) if backwards else steps:
        state = cell(step, state, weights)
        outputs.append(state[0])
    return torch.stack(outputs[::-1] if backwards else outputs, 1), state
