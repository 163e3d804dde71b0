"""What a handler is given and what it gives back: the records around one torch function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

Bounds: TypeAlias = tuple[Float[Tensor, "..."], Float[Tensor, "..."]]
"""The smallest and the largest value that each element of a tensor of pixels can have."""

Split: TypeAlias = Callable[[Any], Sequence[Tensor | None]]
"""From the relevance of an output, or the tuple of those of several, to that of each input that
depends on the clip."""


@dataclass(frozen=True)
class Call:
    """A torch function, its arguments, and what is known of them.

    Attributes:
        name: Of the function, the same for all its forms: `add` for `a + b` and `a += b`.
        func: The function, not in place.
        args: As it was called.
        kwargs: As it was called.
        data: Those of its tensors that depend on the clip.
        gates: Those of them that are gates, between 0 and 1, made to be multiplied by a signal.
        bounds: The smallest and largest values of its input, if that is made of pixels as they are.
        held: Those of its other tensors that do depend on the clip, but are held constant, such as
            attention weights.
        held_by: For each of these, the function after which it is held.
        origin: The call of a convolution or `linear` whose output this one reads, as it was.

    Example:
        >>> x = torch.zeros(1, 2)
        >>> call = Call("softmax", torch.softmax, (x, 1), {}, data=(x,))
        >>> call.argument(1, "dim"), call.is_data(x), call.is_data(torch.zeros(1, 2))
        (1, True, False)
        >>> call.run()
        tensor([[0.5000, 0.5000]])
    """

    name: str
    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    data: tuple[Tensor, ...]
    gates: tuple[Tensor, ...] = ()
    bounds: Bounds | None = None
    held: tuple[Tensor, ...] = ()
    held_by: tuple[str, ...] = ()
    origin: Call | None = None

    def argument(self, place: int, name: str, default: Any = None) -> Any:  # noqa: ANN401
        """An argument, given by place or by name."""
        return self.args[place] if len(self.args) > place else self.kwargs.get(name, default)

    def is_data(self, entry: Any) -> bool:  # noqa: ANN401
        """Whether an argument depends on the clip."""
        return any(entry is tensor for tensor in self.data)

    def is_gate(self, entry: Any) -> bool:  # noqa: ANN401
        """Whether an argument is a gate."""
        return any(entry is gate for gate in self.gates)

    def is_held(self, entry: Any) -> bool:  # noqa: ANN401
        """Whether an argument depends on the clip, but is held constant."""
        return any(entry is tensor for tensor in self.held)

    def run(self) -> Any:  # noqa: ANN401
        """The true output, outside any graph."""
        with torch.no_grad():
            return self.func(*self.args, **self.kwargs)


@dataclass(frozen=True)
class Sink:
    """Something other than the clip that takes part of an output's relevance.

    Attributes:
        name: What it is called: text, or the constant itself, which has a name in the model.
        received: From the relevance of the output (or the tuple of several) to the sum of what the
            sink gets of it.

    Example:
        >>> halved = Sink("the other half", lambda relevance: relevance.sum() / 2)
        >>> halved.received(torch.tensor([2.0, 4.0]))
        tensor(3.)
    """

    name: str | Tensor
    received: Callable[[Any], Tensor]


@dataclass(frozen=True)
class Handled:
    """What a handler returns for a call.

    Attributes:
        output: The true output of the call; a tuple of tensors if it has several.
        inputs: Those of its inputs that depend on the clip.
        split: From the relevance of the output to that of each of these inputs; None for one that
            gets nothing.
        opposed: For a layer with weights, makes the split and the sinks for the same weights and
            bias negated.
        sinks: What else relevance of the output goes to. Inputs and sinks together get all of it.
        rule: What the split is called in an audit.

    Example:
        A handler that passes relevance through a softmax as it is.

        >>> from temporal_attr.relevance import Composite, trace
        >>> def passed(call, composite):
        ...     return Handled(call.run(), call.data, lambda relevance: (relevance,))
        >>> composite = Composite(input=None, handlers={"softmax": passed})
        >>> run = trace(lambda x: x.softmax(1), torch.rand(1, 3), None, composite)
        >>> run.relevance(torch.tensor([[2.0, 4.0, 6.0]]))
        tensor([[2., 4., 6.]])
    """

    output: Tensor | tuple[Tensor, ...]
    inputs: tuple[Tensor, ...]
    split: Split
    opposed: Callable[[], tuple[Split, tuple[Sink, ...]]] | None = None
    sinks: tuple[Sink, ...] = ()
    rule: str = ""


class Deferred:
    """A split that is computed once it is known that relevance reaches the call.

    Queries and keys get none where attention weights are held constant, and their splits are never
    computed.

    Args:
        make: Computes it; let go of, with all that it holds, as soon as it has.

    Example:
        >>> split = Deferred(lambda: lambda relevance: (relevance / 2,))
        >>> split(torch.tensor(4.0))
        (tensor(2.),)
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make: Callable[[], Any] | None = make
        self._made: Any = None

    def made(self) -> Any:  # noqa: ANN401 - whatever it is a split of
        """The split itself."""
        if self._make is not None:
            with torch.no_grad():
                self._made, self._make = self._make(), None
        return self._made

    def __call__(self, relevance: Any) -> Sequence[Tensor | None]:  # noqa: ANN401
        """The relevance of each input."""
        split: Sequence[Tensor | None] = self.made()(relevance)
        return split


class NoRuleError(Exception):
    """A handler raises it where no rule covers a call; the engine adds where the call was made.

    Args:
        name: Of the torch function.
        why: What about the call is not covered, to follow the name in a sentence.

    Example:
        >>> from temporal_attr.relevance import Composite, trace
        >>> def last_axis_only(call, composite):
        ...     raise NoRuleError(call.name, "over an axis other than the last")
        >>> composite = Composite(input=None, handlers={"softmax": last_axis_only})
        >>> trace(lambda x: x.softmax(0), torch.rand(1, 3), None, composite)
        Traceback (most recent call last):
        ...
        temporal_attr._errors.ModelError: expected operations with a rule for relevance, got softmax
        over an axis other than the last in the model's function. Give it one:
        Composite(handlers={"softmax": handler}).
    """

    def __init__(self, name: str, why: str = "") -> None:
        super().__init__(name, why)
        self.name, self.why = name, why
