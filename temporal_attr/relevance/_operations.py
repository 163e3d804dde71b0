"""Handlers of functions without weights: sums, products, means, pointwise operations.

A handler takes a call as it came, computes its true output, and says how relevance of that output
is split among the tensors that depend on the clip. It never sees a module, so residual sums, shifts
and functional code are like any other.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from temporal_attr._precision import wide
from temporal_attr.relevance._calls import Call, Deferred, Handled, NoRuleError, Sink
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

    values, rule = x.detach().clone(), composite.pooling
    split = Deferred(lambda: split_by_rule(values, None, recorded(apply), rule))
    sinks: tuple[Sink, ...] = ()
    if rule.epsilon > 0 and not rule.conserve:
        sinks = (Sink("epsilon", lambda relevance: split.made().lost(relevance)),)
    return Handled(call.run(), (x,), split, sinks=sinks, rule=type(rule).__name__)


def passed(call: Call, composite: Composite) -> Handled:
    """Pointwise operations with one data operand, and norms: relevance passes unchanged."""
    if len(call.data) != 1:
        raise NoRuleError(call.name, "of several operands that depend on the clip")
    (x,) = call.data
    shape = x.shape

    def split(relevance: Tensor) -> tuple[Tensor]:
        return (_to_shape(relevance, shape),)

    return Handled(call.run(), (x,), split, rule="identity")


def proportional(call: Call, composite: Composite) -> Handled:
    """`a + b` and `a - b`: in proportion to each contribution, or to its magnitude.

    A constant gets nothing, or its share, by the composite.
    """
    entries = (call.argument(0, "input"), call.argument(1, "other"))
    data = [at for at, entry in enumerate(entries) if call.is_data(entry)]
    shared = composite.constants == "share" and all(
        isinstance(entry, Tensor) and entry.ndim for entry in entries
    )
    if len(data) < 2 and not shared:
        return passed(call, composite)
    alpha = call.argument(2, "alpha", 1)
    scales = {"add": (1, alpha), "sub": (1, -alpha), "rsub": (-alpha, 1)}[call.name]
    with torch.no_grad():
        a, b = (entry.detach() * scale for entry, scale in zip(entries, scales, strict=True))
        if len(data) < 2:
            a, b = _within_range(a), _within_range(b)
        part = first_part(a, b, composite)
    # Shapes only: an input that is held by its own node keeps itself alive if it is overwritten.
    shapes = [entry.shape for entry in entries]

    def parts(relevance: Tensor) -> tuple[Tensor, Tensor]:
        one = relevance * part
        return one, relevance - one

    def split(relevance: Tensor) -> list[Tensor]:
        both = parts(relevance)
        return [_to_shape(both[at], shapes[at]) for at in data]

    def constant_at(place: int) -> Sink:
        def received(relevance: Tensor) -> Tensor:
            return parts(relevance)[place].sum(dtype=wide(relevance))

        return Sink(entries[place], received)

    sinks = tuple(constant_at(at) for at in range(2) if at not in data)
    inputs = tuple(entries[at] for at in data)
    return Handled(call.run(), inputs, split, sinks=sinks, rule=composite.sums)


def first_part(a: Tensor, b: Tensor, composite: Composite) -> Tensor:
    """The part of a sum's relevance that its first term gets."""
    if composite.sums == "magnitude":
        size, whole = a.abs(), a.abs() + b.abs()
        return (size / whole).masked_fill(is_nothing(whole), 0.5)
    total = a + b
    # Half of what pushes the denominator away from zero is each one's own, so nothing is lost.
    denominator = stabilised(total, a.abs() + b.abs(), composite.sum_epsilon)
    part = (a + (denominator - total) / 2) / denominator
    return part.masked_fill(is_nothing(denominator), 0.5)


def _within_range(term: Tensor) -> Tensor:
    """A mask of -inf, or of the least number there is, as one with which can be calculated."""
    bound = torch.finfo(term.dtype).max / 4 if term.is_floating_point() else math.inf
    return term.clamp(-bound, bound)


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

    rule = "half each" if gates[0] == gates[1] else "gate"
    return Handled(call.run(), (first, second), split, rule=rule)


def divided(call: Call, composite: Composite) -> Handled:
    """`a / b` by a constant: it passes."""
    if call.is_data(call.argument(1, "other")):
        raise NoRuleError(call.name, "by something that depends on the clip")
    if call.kwargs.get("rounding_mode") is not None:
        raise NoRuleError(call.name, "that rounds")
    return passed(call, composite)


def raised(call: Call, composite: Composite) -> Handled:
    """A power with a constant exponent: a product of like factors, so it passes."""
    if call.is_data(call.argument(1, "exponent")):
        raise NoRuleError(call.name, "with an exponent that depends on the clip")
    return passed(call, composite)


def _to_shape(relevance: Tensor, shape: torch.Size) -> Tensor:
    """Sum over what was broadcast."""
    return relevance if relevance.shape == shape else relevance.sum_to_size(shape)
