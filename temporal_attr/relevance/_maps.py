"""Linear maps: their values once, and relevance through their transpose as often as asked."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from temporal_attr._precision import wide
from temporal_attr.relevance._rules import Rule, Term, is_nothing, stabilised

TransposedMap: TypeAlias = Callable[[Tensor], Tensor]
"""The transpose of a linear map: from a value for each output to a value for each input."""

LinearMap: TypeAlias = Callable[[Tensor, Tensor | None], tuple[Tensor, TransposedMap]]
"""From an input and a weight to the output, and the transposed map for this weight."""


@dataclass(frozen=True)
class RuleSplit:
    """Distributes the relevance of a linear map's outputs over its inputs, by a rule.

    For terms k with inputs a_k, transposed maps L_k^T and the denominator z it computes
    `R_in = sum_k a_k * L_k^T(R / z)`, and adds what the rule would absorb, evenly distributed.

    Attributes:
        inputs: a_k.
        transposed: L_k^T.
        denominator: z.
        absorbed: The part of each output's relevance that no term takes, from 0 to 1; None where
            there is none.
        evenly: Distributes that part; None where it is lost.
        bias: What the bias contributes to z; None where the rule leaves it out.
        joined: None, or the number of terms that stand side by side in one, and their axis.
    """

    inputs: tuple[Tensor, ...]
    transposed: tuple[TransposedMap, ...]
    denominator: Tensor
    absorbed: Tensor | None
    evenly: TransposedMap | None
    bias: Tensor | None
    joined: tuple[int, int] | None

    def __call__(self, relevance: Tensor) -> tuple[Tensor]:
        """The relevance of the input."""
        ratio = relevance / self.denominator
        terms = zip(self.inputs, self.transposed, strict=True)
        parts = [entry * transposed(ratio) for entry, transposed in terms]
        if self.joined is not None:
            parts = list(parts[0].chunk(*self.joined))
        total = functools.reduce(torch.add, parts)
        if self.absorbed is None or self.evenly is None:
            return (total,)
        left = relevance * self.absorbed
        return (total + self.evenly(left),) if is_batched(left) or left.any() else (total,)

    def lost(self, relevance: Tensor) -> Tensor:
        """The sum of what no input gets because epsilon, or a sum of nothing, absorbs it."""
        if self.absorbed is None or self.evenly is not None:
            return relevance.new_zeros(())
        return (relevance * self.absorbed).sum(dtype=wide(relevance))

    def for_bias(self, relevance: Tensor) -> Tensor:
        """The sum of what the bias gets."""
        if self.bias is None:
            return relevance.new_zeros(())
        return (relevance / self.denominator * self.bias).sum(dtype=wide(relevance))


def split_by_rule(
    x: Tensor,
    weight: Tensor | None,
    apply: LinearMap,
    rule: Rule,
    channels: int | None = None,
    bias: Tensor | None = None,
) -> RuleSplit:
    """How a rule distributes the relevance of a linear map's outputs over its inputs.

    Args:
        x: The input.
        weight: Of the map; None where it has none.
        apply: The map.
        rule: The rule.
        channels: The axis of the input that axis 1 of the weight contracts; several terms are then
            one map of that many times the channels. None where they cannot be joined.
        bias: What is added to the map, shaped to broadcast; counted only by rules that do.
    """
    with torch.no_grad():
        given, fixed = x.detach(), None if weight is None else weight.detach()
        terms, joined = rule.terms(given, fixed), None
        if channels is not None and len(terms) > 1:
            joined = (len(terms), channels)
            terms = [_joined(terms, channels)]
        # A copy, where the rule reads the input itself: the model may overwrite that later.
        inputs = [term.input.clone() if term.input is given else term.input for term in terms]
        mapped = [apply(a, term.weight) for a, term in zip(inputs, terms, strict=True)]
        total = functools.reduce(torch.add, [output for output, _ in mapped])
        magnitude = _magnitude(terms, apply) if rule.epsilon > 0 else None
        counted = rule.of_bias(bias) if rule.count_bias and bias is not None else None
        if counted is not None:
            total = total + counted
            magnitude = None if magnitude is None else magnitude + counted.abs()
        denominator, absorbed, spread = _denominator(total, magnitude, rule)
        evenly = _even_split(given, fixed, apply) if spread else None
    transposed = tuple(transposed for _, transposed in mapped)
    return RuleSplit(tuple(inputs), transposed, denominator, absorbed, evenly, counted, joined)


def _joined(terms: list[Term], channels: int) -> Term:
    """Several terms as one, their channels side by side."""
    weights = [term.weight for term in terms if term.weight is not None]
    return Term(torch.cat([term.input for term in terms], channels), torch.cat(weights, 1))


def _magnitude(terms: list[Term], apply: LinearMap) -> Tensor:
    """What the magnitudes of all contributions add up to, for each output."""
    sums = [
        apply(term.input.abs(), None if term.weight is None else term.weight.abs())[0]
        for term in terms
    ]
    # A map without weights of its own may have negative ones: of a difference, or of a bicubic.
    return functools.reduce(torch.add, sums).abs()


def _denominator(
    total: Tensor, magnitude: Tensor | None, rule: Rule
) -> tuple[Tensor, Tensor | None, bool]:
    """What relevance is divided by, the part that no term takes, and whether that is spread."""
    if magnitude is not None:
        denominator, absorbed = stabilised_division(total, magnitude, rule.epsilon)
        return denominator, absorbed, rule.conserve
    nothing = is_nothing(total)
    if not nothing.any():
        return total, None, False
    absorbed = torch.zeros_like(total).masked_fill(nothing, 1.0)
    return total.masked_fill(nothing, float("inf")), absorbed, True


def stabilised_division(total: Tensor, magnitude: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """What relevance is divided by, and the part of it that epsilon, or a sum of nothing, absorbs.

    Args:
        total: What the contributions add up to.
        magnitude: What their magnitudes add up to.
        epsilon: The part of the magnitudes that is added to the total.
    """
    denominator = stabilised(total, magnitude, epsilon)
    absorbed = (denominator - total) / denominator
    nothing = is_nothing(denominator)
    if nothing.any():
        absorbed = absorbed.masked_fill(nothing, 1.0)
        denominator = denominator.masked_fill(nothing, float("inf"))
    return denominator, absorbed


def _even_split(x: Tensor, weight: Tensor | None, apply: LinearMap) -> TransposedMap:
    """Distributes relevance in even parts over the inputs that an output reads."""
    # A weight of zero reads nothing.
    ones = None
    if weight is not None:
        reads = weight != 0
        whole = torch.ones((), dtype=weight.dtype, device=weight.device)
        ones = whole.expand_as(weight) if reads.all() else reads.to(weight.dtype)
    reads, transposed = apply(torch.ones_like(x), ones)
    reads = reads.masked_fill(reads == 0, 1)
    return lambda relevance: transposed(relevance / reads)


def recorded(apply: Callable[[Tensor, Tensor | None], Tensor]) -> LinearMap:
    """Any linear map: its vector-Jacobian product is the transposed map."""

    def mapped(x: Tensor, weight: Tensor | None) -> tuple[Tensor, TransposedMap]:
        leaf = x.detach().requires_grad_()
        with torch.enable_grad():
            output = apply(leaf, weight)

        def transposed(values: Tensor) -> Tensor:
            # Under a graph of the backward pass itself, this map is part of it.
            (product,) = torch.autograd.grad(
                output, leaf, values, retain_graph=True, create_graph=torch.is_grad_enabled()
            )
            return product

        return output.detach(), transposed

    return mapped


def dense(x: Tensor, weight: Tensor | None) -> tuple[Tensor, TransposedMap]:
    """A linear layer, whose transposed map leaves out outputs without relevance.

    Where queries, keys and values are one layer and attention weights are held constant, these are
    two thirds of its outputs.
    """
    assert weight is not None

    def transposed(values: Tensor) -> Tensor:
        if is_batched(values):
            return values @ weight
        rows = values.reshape(-1, values.shape[-1])
        busy = rows.any(0)
        product = rows @ weight if busy.all() else rows[:, busy] @ weight[busy]
        return product.reshape(*values.shape[:-1], weight.shape[1])

    return F.linear(x, weight), transposed


def is_batched(tensor: Tensor) -> bool:
    """Whether vmap stands for many tensors here, whose values cannot be asked one by one."""
    batched: bool = torch._C._functorch.is_batchedtensor(tensor)
    return batched
