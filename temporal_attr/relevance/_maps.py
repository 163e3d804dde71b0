"""Linear maps: their values once, and relevance back through them as often as there are rows."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from temporal_attr.relevance._rules import Rule, Term, stabilised

Pull: TypeAlias = Callable[[Tensor], Tensor]
"""The transposed map: from what every output passes back to what every input receives."""

LinearMap: TypeAlias = Callable[[Tensor, Tensor | None], tuple[Tensor, Pull]]
"""From an input and a weight to the output, and the way back."""


def split_by_rule(
    x: Tensor, weight: Tensor | None, apply: LinearMap, rule: Rule, channels: int | None = None
) -> Pull:
    """How a rule shares the relevance of a linear map's outputs among its inputs.

    Args:
        x: The input.
        weight: Of the map; None where it has none.
        apply: The map.
        rule: The rule.
        channels: The axis of the input that axis 1 of the weight contracts; several terms are then
            one map of that many times the channels. None where they cannot be joined.
    """
    with torch.no_grad():
        given, fixed = x.detach(), None if weight is None else weight.detach()
        terms = rule.terms(given, fixed)
        parts = len(terms)
        if channels is not None and parts > 1:
            terms = [_joined(terms, channels)]
        inputs, outputs, pulls = [], [], []
        for term in terms:
            # A copy, where the rule reads the input itself: the model may overwrite that later.
            inputs.append(term.input.clone() if term.input is given else term.input)
            output, pull = apply(inputs[-1], term.weight)
            outputs.append(output)
            pulls.append(pull)
        denominator, kept = _denominator(functools.reduce(torch.add, outputs), rule)
        evenly = None if kept is None else _shared_evenly(given, fixed, apply)

    def split(relevance: Tensor) -> Tensor:
        share = relevance / denominator
        shares = [entry * pull(share) for entry, pull in zip(inputs, pulls, strict=True)]
        if len(shares) < parts:
            assert channels is not None
            shares = list(shares[0].chunk(parts, channels))
        shared = functools.reduce(torch.add, shares)
        if kept is None or evenly is None:
            return shared
        left = relevance * kept
        return shared + evenly(left) if is_batched(left) or left.any() else shared

    return split


def _joined(terms: list[Term], channels: int) -> Term:
    """Several terms as one, their channels side by side."""
    weights = [term.weight for term in terms if term.weight is not None]
    return Term(torch.cat([term.input for term in terms], channels), torch.cat(weights, 1))


def _denominator(total: Tensor, rule: Rule) -> tuple[Tensor, Tensor | None]:
    """What relevance is divided by, and the share of it that no term takes, if any."""
    if rule.epsilon > 0:
        denominator = stabilised(total, rule.epsilon)
        return denominator, (denominator - total) / denominator if rule.conserve else None
    # Dividing by less than the smallest normal number gives infinity.
    nothing = total.abs() < torch.finfo(total.dtype).tiny
    if not nothing.any():
        return total, None
    return total.masked_fill(nothing, float("inf")), nothing.to(total.dtype)


def _shared_evenly(x: Tensor, weight: Tensor | None, apply: LinearMap) -> Pull:
    """The way back of relevance that no term takes: in even parts to the inputs that were read."""
    # A weight of zero reads nothing.
    ones = None if weight is None else (weight != 0).to(weight.dtype)
    reads, pull = apply(torch.ones_like(x), ones)
    reads = reads.masked_fill(reads == 0, 1)
    return lambda left: pull(left / reads)


def recorded(apply: Callable[[Tensor, Tensor | None], Tensor]) -> LinearMap:
    """Any linear map: autograd knows its way back."""

    def mapped(x: Tensor, weight: Tensor | None) -> tuple[Tensor, Pull]:
        leaf = x.detach().requires_grad_()
        with torch.enable_grad():
            output = apply(leaf, weight)

        def pull(share: Tensor) -> Tensor:
            (pulled,) = torch.autograd.grad(output, leaf, share, retain_graph=True)
            return pulled

        return output.detach(), pull

    return mapped


def is_batched(tensor: Tensor) -> bool:
    """Whether vmap stands for many tensors here, whose values cannot be asked one by one."""
    batched: bool = torch._C._functorch.is_batchedtensor(tensor)
    return batched
