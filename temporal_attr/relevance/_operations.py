"""Handlers of functions without weights: sums, products, means, pointwise operations.

A handler takes a call as it came, computes its true output, and says how relevance of that output
is split among the tensors that depend on the clip. It never sees a module, so residual sums, shifts
and functional code are like any other.
"""

from __future__ import annotations

import torch
from torch import Tensor

from temporal_attr.relevance._calls import Call, Handled, NoRuleError
from temporal_attr.relevance._composite import Composite
from temporal_attr.relevance._maps import recorded, split_by_rule
from temporal_attr.relevance._rules import is_nothing, stabilised


def averaged(call: Call, composite: Composite) -> Handled:
    """Linear maps without weights: means, sums, average pooling, interpolation."""
    name = "input" if "input" in call.kwargs else "self"
    x, rest, function = call.argument(0, name), call.args[1:], call.func
    others = {k: v for k, v in call.kwargs.items() if k != name}

    def apply(x: Tensor, weight: Tensor | None) -> Tensor:
        mapped: Tensor = function(x, *rest, **others)
        return mapped

    split = split_by_rule(x, None, recorded(apply), composite.pooling)
    return Handled(call.run(), (x,), lambda relevance: (split(relevance),))


def passed(call: Call, composite: Composite) -> Handled:
    """Pointwise operations with one data operand, and norms: relevance passes unchanged."""
    if len(call.data) != 1:
        raise NoRuleError(call.name, "of several operands that depend on the clip")
    (x,) = call.data
    shape = x.shape
    return Handled(call.run(), (x,), lambda relevance: (_to_shape(relevance, shape),))


def proportional(call: Call, composite: Composite) -> Handled:
    """`a + b` and `a - b`: in proportion to each contribution; a constant gets nothing."""
    first, second = call.argument(0, "input"), call.argument(1, "other")
    if not (call.is_data(first) and call.is_data(second)):
        return passed(call, composite)
    alpha = call.argument(2, "alpha", 1)
    scales = {"add": (1, alpha), "sub": (1, -alpha), "rsub": (-alpha, 1)}[call.name]
    with torch.no_grad():
        a, b = first.detach() * scales[0], second.detach() * scales[1]
        total = a + b
        # Half of what pushes the denominator away from zero is each one's own, so nothing is lost.
        denominator = stabilised(total, a.abs() + b.abs(), composite.sum_epsilon)
        part = (a + (denominator - total) / 2) / denominator
        part = part.masked_fill(is_nothing(denominator), 0.5)
    shapes = first.shape, second.shape

    def split(relevance: Tensor) -> tuple[Tensor, Tensor]:
        one = relevance * part
        return _to_shape(one, shapes[0]), _to_shape(relevance - one, shapes[1])

    return Handled(call.run(), (first, second), split)


def product(call: Call, composite: Composite) -> Handled:
    """`a * b`: with one data operand it passes; a gate gets nothing; otherwise half each."""
    first, second = call.argument(0, "input"), call.argument(1, "other")
    if not (call.is_data(first) and call.is_data(second)):
        return passed(call, composite)
    gates = [call.is_gate(first), call.is_gate(second)]
    weights = (0.5, 0.5) if gates[0] == gates[1] else (1.0 - gates[0], 1.0 - gates[1])
    shapes = first.shape, second.shape

    def split(relevance: Tensor) -> list[Tensor | None]:
        return [
            _to_shape(relevance * weight, shape) if weight else None
            for weight, shape in zip(weights, shapes, strict=True)
        ]

    return Handled(call.run(), (first, second), split)


def divided(call: Call, composite: Composite) -> Handled:
    """`a / b` by a constant: it passes."""
    if not call.is_data(call.argument(0, "input")):
        raise NoRuleError(call.name, "by something that depends on the clip")
    if call.kwargs.get("rounding_mode") is not None:
        raise NoRuleError(call.name, "that rounds")
    return passed(call, composite)


def _to_shape(relevance: Tensor, shape: torch.Size) -> Tensor:
    """Sum over what was broadcast."""
    return relevance if relevance.shape == shape else relevance.sum_to_size(shape)
