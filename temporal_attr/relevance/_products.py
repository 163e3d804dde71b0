"""Handlers of matrix products: of the data with a constant, and of two operands that are data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from temporal_attr._precision import wide
from temporal_attr.relevance._calls import Call, Deferred, Handled, NoRuleError, Sink
from temporal_attr.relevance._composite import Composite
from temporal_attr.relevance._layers import Layer, rule_of
from temporal_attr.relevance._maps import recorded, stabilised_division

BilinearMap = Callable[[Tensor, Tensor], Tensor]
"""From two operands to a product that is linear in each."""


def contracted(call: Call, composite: Composite) -> Handled:
    """`matmul`, `bmm`, `mm` and `einsum`: of two operands, one or both of which are data."""
    places = [at for at, entry in enumerate(call.args) if isinstance(entry, Tensor)]
    data = [at for at in places if call.is_data(call.args[at])]
    if len(places) != 2 or not data:
        raise NoRuleError(call.name, "other than of two operands given by place")
    # A gate is a weight that the signal sets for itself: relevance goes to what it weighs.
    gates = [at for at in data if call.is_gate(call.args[at])]
    if len(data) == 2 and len(gates) == 1:
        data.remove(gates[0])
    if len(data) == 2:
        return _of_two(call, composite, places[0], places[1])
    (place,) = data
    (other,) = (at for at in places if at != place)
    product = with_operands(call, place, other)

    def apply(x: Tensor, weight: Tensor | None) -> Tensor:
        assert weight is not None
        return product(x, weight)

    source, weight = call.args[place], call.args[other]
    usual = composite.attention_rule if call.is_held(weight) else composite.linear
    rule = rule_of(call, composite, usual)
    layer = Layer(source.detach(), weight.detach(), recorded(apply), rule, None)
    return layer.handled(call, source)


def with_operands(call: Call, first: int, second: int) -> BilinearMap:
    """The function of what stands at two places, the rest as it was called."""
    function, options = call.func, call.kwargs
    constants = [None if at in (first, second) else entry for at, entry in enumerate(call.args)]

    def product(a: Tensor, b: Tensor) -> Tensor:
        args = list(constants)
        args[first], args[second] = a, b
        mapped: Tensor = function(*args, **options)
        return mapped

    return product


def _of_two(call: Call, composite: Composite, first: int, second: int) -> Handled:
    """Half of the relevance for each operand, by the epsilon rule in the other as its weight.

    :cite:t:`achtibat2024`, proposition 3.3.
    """
    product = with_operands(call, first, second)
    a, b = call.args[first], call.args[second]
    copies, epsilon = (a.detach().clone(), b.detach().clone()), composite.sum_epsilon
    split = Deferred(lambda: product_split(product, *copies, epsilon))
    absorbed = Sink("epsilon", lambda relevance: split.made().lost(relevance))
    return Handled(call.run(), (a, b), split, sinks=(absorbed,), rule="half each, epsilon")


@dataclass(frozen=True)
class ProductSplit:
    """Gives each operand of a product half of its relevance, in proportion to its contributions.

    Attributes:
        a: The first operand.
        b: The second.
        transposed: From a value for each output to one for each entry of both operands.
        denominator: Twice the output, pushed away from zero.
        absorbed: The part of each output's relevance that neither operand gets.
    """

    a: Tensor
    b: Tensor
    transposed: Callable[[Tensor], tuple[Tensor, ...]]
    denominator: Tensor
    absorbed: Tensor

    def __call__(self, relevance: Tensor) -> tuple[Tensor, Tensor]:
        """The relevance of both operands."""
        of_a, of_b = self.transposed(relevance / self.denominator)
        return self.a * of_a, self.b * of_b

    def lost(self, relevance: Tensor) -> Tensor:
        """The sum of what epsilon absorbs."""
        return (relevance * self.absorbed).sum(dtype=wide(relevance))


def product_split(product: BilinearMap, a: Tensor, b: Tensor, epsilon: float) -> ProductSplit:
    """How the relevance of a product of two operands is split between them."""
    leaves = (a.detach().requires_grad_(), b.detach().requires_grad_())
    with torch.enable_grad():
        output = product(*leaves)

    def transposed(values: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(output, leaves, values, retain_graph=True)

    total = output.detach()
    denominator, absorbed = stabilised_division(total, product(a.abs(), b.abs()), epsilon)
    return ProductSplit(a, b, transposed, 2 * denominator, absorbed)
