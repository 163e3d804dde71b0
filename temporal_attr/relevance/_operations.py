"""Operations: what the torch functions on the way from clip to logits are, to a rule.

A handler takes a call as it came, computes its true output, and says how relevance of that output
is split among the tensors on the data path. It never sees a module, so residual sums, shifts and
functional code are like any other.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from temporal_attr.relevance._composite import Composite
from temporal_attr.relevance._rules import Box, Rule, stabilised

Split: TypeAlias = Callable[[Tensor], Sequence[Tensor | None]]
"""From the relevance of an output to that of each input on the data path."""


Handler: TypeAlias = "Callable[[Call, Composite], Handled]"
"""What is done with a call."""


@dataclass(frozen=True)
class Call:
    """A torch function, its arguments, and what is known of them.

    Attributes:
        name: Of the function, the same for all its forms: `add` for `a + b` and `a += b`.
        func: The function, not in place.
        args: As it was called.
        kwargs: As it was called.
        data: Those of its tensors that hang on the clip.
        gates: Those of them that are gates, between 0 and 1, made to be multiplied by a signal.
        bounds: The smallest and largest values of its input, if that is made of pixels as they are.
    """

    name: str
    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    data: tuple[Tensor, ...]
    gates: tuple[Tensor, ...] = ()
    bounds: tuple[Tensor, Tensor] | None = None

    def argument(self, place: int, name: str, default: Any = None) -> Any:  # noqa: ANN401
        """An argument, given by place or by name."""
        return self.args[place] if len(self.args) > place else self.kwargs.get(name, default)

    def is_data(self, entry: Any) -> bool:  # noqa: ANN401
        """Whether an argument hangs on the clip."""
        return any(entry is tensor for tensor in self.data)

    def run(self) -> Any:  # noqa: ANN401
        """The true output, outside any graph."""
        with torch.no_grad():
            return self.func(*self.args, **self.kwargs)


class NoRuleError(Exception):
    """No rule shares the relevance of this call; the engine says where it was made."""

    def __init__(self, name: str, why: str = "") -> None:
        super().__init__(name, why)
        self.name, self.why = name, why


@dataclass(frozen=True)
class Handled:
    """What a handler found: the output, the inputs on the data path, and how to split."""

    output: Tensor
    inputs: tuple[Tensor, ...]
    split: Split


def linear_map(
    output: Tensor,
    x: Tensor,
    weight: Tensor | None,
    apply: Callable[[Tensor, Tensor | None], Tensor],
    rule: Rule,
) -> Handled:
    """A linear map: the terms of the rule are run once, and each row goes back through them."""
    with torch.enable_grad():
        leaves, outputs, signs = [], [], []
        fixed = None if weight is None else weight.detach()
        given = x.detach()
        for term in rule.terms(given, fixed):
            # A copy, where the rule reads the input itself: the model may overwrite that later.
            leaf = (term.input.clone() if term.input is given else term.input).requires_grad_()
            leaves.append(leaf)
            outputs.append(apply(leaf, term.weight))
            signs.append(term.sign)
    with torch.no_grad():
        total = _sum(sign * part for part, sign in zip(outputs, signs, strict=True))
        denominator = stabilised(total, rule.epsilon)
        nothing = total == 0
        even = _evenly(x, fixed, apply) if nothing.any() else None

    def split(relevance: Tensor) -> tuple[Tensor]:
        share = relevance / denominator
        if even is not None:
            share = share.masked_fill(nothing, 0)
        pulled = torch.autograd.grad(outputs, leaves, [share] * len(outputs), retain_graph=True)
        parts = zip(leaves, pulled, signs, strict=True)
        shared = _sum(sign * leaf.detach() * part for leaf, part, sign in parts)
        if even is not None:
            shared = shared + even(relevance * nothing)
        return (shared,)

    return Handled(output, (x,), split)


def _sum(parts: Iterable[Tensor]) -> Tensor:
    return functools.reduce(torch.add, parts)


def _evenly(
    x: Tensor, weight: Tensor | None, apply: Callable[[Tensor, Tensor | None], Tensor]
) -> Callable[[Tensor], Tensor]:
    """Relevance of outputs that no term reaches, shared evenly among the inputs they read.

    An output may be there by its bias alone; what it is worth would be lost otherwise.
    """
    with torch.enable_grad():
        ones = torch.ones_like(x).requires_grad_()
        reads = apply(ones, None if weight is None else torch.ones_like(weight))

    def split(relevance: Tensor) -> Tensor:
        (shared,) = torch.autograd.grad(
            reads, ones, relevance / reads.detach().clamp(min=1), retain_graph=True
        )
        return shared

    return split


def weighted(call: Call, composite: Composite) -> Handled:
    """Convolutions and `linear`: input, weight, bias, and what else the function takes."""
    x, weight = call.argument(0, "input"), call.argument(1, "weight")
    rest = call.args[3:]
    others = {k: v for k, v in call.kwargs.items() if k not in ("input", "weight", "bias")}
    rule = composite.linear if call.name == "linear" else composite.convolution
    if composite.input is not None and call.bounds is not None:
        rule = composite.input
        rule = rule.within(*call.bounds) if isinstance(rule, Box) else rule

    def apply(x: Tensor, weight: Tensor | None) -> Tensor:
        mapped: Tensor = call.func(x, weight, None, *rest, **others)
        return mapped

    return linear_map(call.run(), x, weight, apply, rule)


def contracted(call: Call, composite: Composite) -> Handled:
    """`matmul` and `einsum` of the data with a constant."""
    operands = [entry for entry in call.args if isinstance(entry, Tensor)]
    places = [place for place, entry in enumerate(call.args) if call.is_data(entry)]
    if len(operands) != 2 or len(places) != 1:
        raise NoRuleError(call.name, "of two operands that both hang on the clip")
    (place,) = places
    other = next(p for p, entry in enumerate(call.args) if isinstance(entry, Tensor) and p != place)

    def apply(x: Tensor, weight: Tensor | None) -> Tensor:
        args = list(call.args)
        args[place], args[other] = x, weight
        mapped: Tensor = call.func(*args, **call.kwargs)
        return mapped

    return linear_map(call.run(), call.args[place], call.args[other], apply, composite.linear)


def averaged(call: Call, composite: Composite) -> Handled:
    """Linear maps without weights: means, sums, average pooling, interpolation."""
    name = "input" if "input" in call.kwargs else "self"
    x, rest = call.argument(0, name), call.args[1:]
    others = {k: v for k, v in call.kwargs.items() if k != name}

    def apply(x: Tensor, weight: Tensor | None) -> Tensor:
        mapped: Tensor = call.func(x, *rest, **others)
        return mapped

    return linear_map(call.run(), x, None, apply, composite.pooling)


def passed(call: Call, composite: Composite) -> Handled:
    """Pointwise operations with one data operand, and norms: relevance passes as it is."""
    if len(call.data) != 1:
        raise NoRuleError(call.name, "of several operands that hang on the clip")
    output, (x,) = call.run(), call.data
    return Handled(output, (x,), lambda relevance: (_to_shape(relevance, x.shape),))


def proportional(call: Call, composite: Composite) -> Handled:
    """`a + b` and `a - b`: in proportion to what each adds; a constant gets nothing."""
    sign = 1 if call.name == "add" else -1
    first, second = call.args[0], call.argument(1, "other")
    output = call.run()
    if not (call.is_data(first) and call.is_data(second)):
        x = first if call.is_data(first) else second
        return Handled(output, (x,), lambda relevance: (_to_shape(relevance, x.shape),))
    a, b = first.detach().clone(), second.detach().clone()
    scale = sign * call.kwargs.get("alpha", 1)
    # Of the sum itself, not of the output, which an in-place form overwrites later.
    denominator = stabilised(a + scale * b, composite.sum_epsilon)

    def split(relevance: Tensor) -> tuple[Tensor, Tensor]:
        share = relevance / denominator
        return _to_shape(share * a, a.shape), _to_shape(share * scale * b, b.shape)

    return Handled(output, (first, second), split)


def product(call: Call, composite: Composite) -> Handled:
    """`a * b`: with one data operand it passes; a gate gets nothing; otherwise half each."""
    first, second = call.args[0], call.argument(1, "other")
    if not (call.is_data(first) and call.is_data(second)):
        return passed(call, composite)
    gates = [any(entry is gate for gate in call.gates) for entry in (first, second)]
    weights = (0.5, 0.5) if gates[0] == gates[1] else (1.0 - gates[0], 1.0 - gates[1])
    shapes = first.shape, second.shape

    def split(relevance: Tensor) -> list[Tensor | None]:
        return [
            _to_shape(relevance * weight, shape) if weight else None
            for weight, shape in zip(weights, shapes, strict=True)
        ]

    return Handled(call.run(), (first, second), split)


def _to_shape(relevance: Tensor, shape: torch.Size) -> Tensor:
    """Sum over what was broadcast."""
    return relevance if relevance.shape == shape else relevance.sum_to_size(shape)


def _named(handler: Handler, *names: str) -> dict[str, Handler]:
    return dict.fromkeys(names, handler)


HANDLERS: dict[str, Handler] = {
    **_named(weighted, "conv1d", "conv2d", "conv3d", "linear"),
    **_named(contracted, "bmm", "einsum", "matmul", "mm"),
    **_named(averaged, "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"),
    **_named(averaged, "avg_pool1d", "avg_pool2d", "avg_pool3d", "interpolate", "mean", "sum"),
    **_named(passed, "batch_norm", "group_norm", "layer_norm"),
    **_named(passed, "dropout", "dropout1d", "dropout2d", "dropout3d"),
    **_named(passed, "elu", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "mish"),
    **_named(passed, "relu", "relu6", "sigmoid", "silu", "softplus", "tanh", "neg", "div"),
    **_named(proportional, "add", "sub", "rsub"),
    **_named(product, "mul"),
}
"""What is done with each torch function, by name; a composite's own handlers come first."""
