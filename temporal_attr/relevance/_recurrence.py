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


@dataclass(frozen=True)
class Weights:
    """Of one layer: for what it reads, for its last output, and for the two together.

    `projection` is what an LSTM with `proj_size` makes its output with, else None.

    Input and last output are read by one linear layer, so that a rule distributes relevance over
    all that it reads; as two layers and a sum, their biases would take part in the split.
    """

    into: Tensor
    over: Tensor
    bias_into: Tensor | None = None
    bias_over: Tensor | None = None
    projection: Tensor | None = None

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


State: TypeAlias = tuple[Tensor, ...]
"""What one step hands to the next, `(sequences, features)` each: the output first."""

Cell: TypeAlias = Callable[[Tensor, State, Weights], State]
"""From input, state (output first) and the weights of a layer to the next state."""


def _lstm_cell(x: Tensor, state: State, weights: Weights) -> State:
    hidden, cell = state
    enter, keep, candidate, leave = weights.read(x, hidden).chunk(4, -1)
    cell = torch.sigmoid(keep) * cell + torch.sigmoid(enter) * torch.tanh(candidate)
    output = torch.sigmoid(leave) * torch.tanh(cell)
    return output if weights.projection is None else F.linear(output, weights.projection), cell


def _gru_cell(x: Tensor, state: State, weights: Weights) -> State:
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
    def cell(x: Tensor, state: State, weights: Weights) -> State:
        return (activation(weights.read(x, state[0])),)

    return cell


CELLS: dict[str, Cell] = {
    "lstm": _lstm_cell,
    "gru": _gru_cell,
    "rnn_tanh": _plain_cell(torch.tanh),
    "rnn_relu": _plain_cell(F.relu),
}
RECURRENT = frozenset([*CELLS, *(f"{name}_cell" for name in CELLS)])
"""The names of what is unrolled: layers over sequences, and single steps of one."""

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

_PACKED_ARGUMENTS = ("input", "batch_sizes", *_ARGUMENTS[1:-1])
"""Of the same for packed sequences, whose steps follow each other on axis 0."""

_CELL_ARGUMENTS = ("input", "hx", "w_ih", "w_hh", "b_ih", "b_hh")
"""Of `torch.lstm_cell` and the like."""


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
        batch_sizes: Of packed sequences, how many each step has, the longest first; None for
            sequences of one length.
    """

    name: str
    x: Tensor
    states: tuple[Tensor, ...]
    weights: tuple[Weights, ...]
    directions: int
    batch_first: bool
    batch_sizes: tuple[int, ...] | None

    @classmethod
    def of(cls, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> RecurrentCall:
        """Read the arguments of the torch function."""
        # In their other form the functions read a packed sequence, with its batch sizes second.
        fourth = args[3] if len(args) > 3 else None
        packed = "batch_sizes" in kwargs or isinstance(fourth, (list, tuple))
        names = _PACKED_ARGUMENTS if packed else _ARGUMENTS
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        states = tuple(given["hx"]) if name == "lstm" else (given["hx"],)
        directions = 2 if given["bidirectional"] else 1
        tensors, count = given["params"], given["num_layers"] * directions
        size = len(tensors) // count
        return cls(
            name,
            given["input"],
            states,
            tuple(
                _weights(tensors[at : at + size], given["has_biases"])
                for at in range(0, len(tensors), size)
            ),
            directions,
            not packed and given["batch_first"],
            tuple(given["batch_sizes"].tolist()) if packed else None,
        )

    def steps(self) -> list[Tensor]:
        """What each timestep reads, `(sequences, features)`."""
        if self.batch_sizes is None:
            return list(self.x.unbind(1 if self.batch_first else 0))
        return list(self.x.split(self.batch_sizes))

    def joined(self, steps: list[Tensor]) -> Tensor:
        """The steps as one tensor, laid out as the input."""
        if self.batch_sizes is None:
            return torch.stack(steps, 1 if self.batch_first else 0)
        return torch.cat(steps)


def _weights(tensors: Sequence[Tensor], has_biases: bool) -> Weights:
    """The weights of one layer and direction, in the order in which torch has them."""
    first, second = tensors[2:4] if has_biases else (None, None)
    # With a projection, which stands last, their number is odd.
    projection = tensors[-1] if len(tensors) % 2 else None
    return Weights(tensors[0], tensors[1], first, second, projection)


def run_recurrent(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """What a function of `RECURRENT` computes, in evaluation mode, one operation at a time."""
    kind = name.removesuffix("_cell")
    if kind == name:
        return unroll(RecurrentCall.of(name, args, kwargs))
    given = {**dict(zip(_CELL_ARGUMENTS, args, strict=False)), **kwargs}
    state = tuple(given["hx"]) if kind == "lstm" else (given["hx"],)
    weights = Weights(given["w_ih"], given["w_hh"], given.get("b_ih"), given.get("b_hh"))
    after = CELLS[kind](given["input"], state, weights)
    return after if kind == "lstm" else after[0]


def unroll(call: RecurrentCall) -> tuple[Tensor, ...]:
    """The outputs, and the last states."""
    steps = call.steps()
    finals: list[tuple[Tensor, ...]] = []
    for layer in range(0, len(call.weights), call.directions):
        outputs = []
        for direction in range(call.directions):
            place = layer + direction
            state = tuple(entry[place] for entry in call.states)
            run = _run_backwards if direction == 1 else _run
            read, state = run(CELLS[call.name], steps, state, call.weights[place])
            outputs.append(read)
            finals.append(state)
        sides = zip(*outputs, strict=True)
        steps = outputs[0] if call.directions == 1 else [torch.cat(parts, 1) for parts in sides]
    ends = tuple(torch.stack(parts) for parts in zip(*finals, strict=True))
    return (call.joined(steps), *ends)


def _run(
    cell: Cell, steps: list[Tensor], state: State, weights: Weights
) -> tuple[list[Tensor], State]:
    """The outputs of one cell over sequences, and the last state of each.

    Of packed sequences the shortest stand last and end first: a step may have fewer than the one
    before it.
    """
    outputs, ended = [], []
    for step in steps:
        if len(step) < len(state[0]):
            ended.append(tuple(entry[len(step) :] for entry in state))
            state = tuple(entry[: len(step)] for entry in state)
        state = cell(step, state, weights)
        outputs.append(state[0])
    return outputs, _side_by_side([state, *reversed(ended)])


def _run_backwards(
    cell: Cell, steps: list[Tensor], initial: State, weights: Weights
) -> tuple[list[Tensor], State]:
    """The same from the end on; of packed sequences the shorter ones begin later."""
    outputs: list[Tensor] = []
    count, state = 0, tuple(entry[:0] for entry in initial)
    for step in reversed(steps):
        parts = [cell(step[:count], state, weights)] if count else []
        if len(step) > count:
            # Apart from the others: a memory that is still empty is no input.
            fresh = tuple(entry[count : len(step)] for entry in initial)
            parts.append(cell(step[count:], fresh, weights))
        count, state = len(step), _side_by_side(parts)
        outputs.append(state[0])
    return outputs[::-1], state


def _side_by_side(states: list[State]) -> State:
    """The states of some sequences and of others as those of all."""
    if len(states) == 1:
        return states[0]
    return tuple(torch.cat(parts) for parts in zip(*states, strict=True))
