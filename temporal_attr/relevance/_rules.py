"""Rules: how the relevance of an output is distributed over the inputs of a linear map.

Each rule names terms, `z = sum_k L(a_k, w_k)`, and distributes relevance in proportion to the
contribution of each input to them: `R_in = sum_k a_k * L^T(R / z, w_k)`. Biases are in no term, so
all relevance of an output goes to its inputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from temporal_attr._errors import OptionError
from temporal_attr._require import INFINITE, require_finite, require_within

Input: TypeAlias = Float[Tensor, "*input"]
"""What a linear map reads."""

Weight: TypeAlias = Float[Tensor, "*weight"]
"""What a convolution, linear layer or product weighs its input with."""

Bound: TypeAlias = Float[Tensor, "..."]
"""The smallest or largest value of each element of an input, or a tensor that broadcasts."""


@dataclass(frozen=True)
class Term:
    """One linear map among those that make up a rule: of an input, by a weight.

    Attributes:
        input: What the map is applied to, shaped as the input that the rule was given.
        weight: Its weight; None for a map without weights, such as a mean.

    Example:
        >>> Term(torch.ones(1, 2), torch.eye(2)).weight.shape
        torch.Size([2, 2])
    """

    input: Input
    weight: Weight | None


@dataclass(frozen=True)
class Rule(ABC):
    """A rule for linear maps.

    Relevance of an output to which no term contributes (it is there by its bias alone) is
    distributed evenly over the inputs that it reads, so that nothing is lost.

    Args:
        epsilon: The part of what the magnitudes of an output's contributions add up to that is
            added to its denominator, away from zero. It absorbs relevance where the contributions
            cancel. Being relative, it does not depend on the unit of the input: a network without
            biases gives an input a thousand times smaller the same shares.
        conserve: Distribute what epsilon absorbs evenly over the inputs :cite:p:`arras2017`.
        count_bias: Let the bias take its part of the relevance, as one more input whose value is 1.
            It is no part of the clip: `LRPResult.sinks` has what it gets.

    Example:
        A rule of your own names its terms; this one distributes by the magnitude of the weights.

        >>> from temporal_attr.relevance import Composite, trace
        >>> class Magnitude(Rule):
        ...     def terms(self, x, weight):
        ...         return [Term(torch.ones_like(x), None if weight is None else weight.abs())]
        >>> weight = torch.tensor([[3.0, -1.0]])
        >>> run = trace(
        ...     lambda x: torch.nn.functional.linear(x, weight),
        ...     torch.ones(1, 2),
        ...     None,
        ...     Composite(linear=Magnitude(), input=None),
        ... )
        >>> run.relevance(torch.tensor([[8.0]]))
        tensor([[6., 2.]])
    """

    epsilon: float = field(default=0.0, kw_only=True)
    conserve: bool = field(default=False, kw_only=True)
    count_bias: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        require_within("epsilon", self.epsilon, 0, INFINITE)

    @abstractmethod
    def terms(self, x: Input, weight: Weight | None) -> list[Term]:
        """The terms for an input; a map without weights (a mean) has `weight=None`."""

    def of_bias(self, bias: Weight) -> Weight:
        """What a bias contributes: as the weight of an input of 1.

        Example:
            >>> ZPlus().of_bias(torch.tensor([2.0, -2.0]))
            tensor([2., 0.])
        """
        terms = self.terms(torch.ones_like(bias), bias)
        parts = [term.input * term.weight for term in terms if term.weight is not None]
        return torch.stack(parts).sum(0)


@dataclass(frozen=True)
class Epsilon(Rule):
    """In proportion to `a_i w_ij`, of either sign :cite:p:`bach2015`, equation 58.

    Example:
        What three inputs contribute to one output:

        >>> a, w = torch.tensor([[1.0, 2.0, 2.0]]), torch.tensor([[2.0, 2.0, -1.0]])
        >>> [term] = Epsilon().terms(a, w)
        >>> term.input * term.weight
        tensor([[ 2.,  4., -2.]])
    """

    epsilon: float = field(default=1e-9, kw_only=False)

    def terms(self, x: Input, weight: Weight | None) -> list[Term]:
        """The map itself."""
        return [Term(x, weight)]


@dataclass(frozen=True)
class ZPlus(Rule):
    """In proportion to the positive part of `a_i w_ij` :cite:p:`montavon2017`, equation 11.

    For inputs of either sign, as alpha-beta with alpha 1 and beta 0: `a+ w+ + a- w-`. No term is
    negative, so the denominator needs no epsilon.

    Example:
        What three inputs contribute to one output:

        >>> a, w = torch.tensor([[1.0, 2.0, 2.0]]), torch.tensor([[2.0, 2.0, -1.0]])
        >>> [term] = ZPlus().terms(a, w)
        >>> term.input * term.weight
        tensor([[2., 4., 0.]])
    """

    def terms(self, x: Input, weight: Weight | None) -> list[Term]:
        """Positive inputs by positive weights, and negative ones by negative weights."""
        if weight is None:
            return [Term(x.clamp(min=0), None)]
        # Attention weights are large and not negative: no copies of them.
        opposing = bool((weight < 0).any())
        terms = [Term(x.clamp(min=0), weight.clamp(min=0) if opposing else weight)]
        if opposing and (x < 0).any():
            terms.append(Term(x.clamp(max=0), weight.clamp(max=0)))
        return terms


@dataclass(frozen=True)
class Gamma(Rule):
    """In proportion to `a_i (w_ij + gamma w_ij+)` :cite:p:`montavon2019`, for inputs from zero up.

    Args:
        gamma: 0 is `Epsilon`; the larger, the nearer to `ZPlus`.

    Example:
        What three inputs contribute to one output:

        >>> a, w = torch.tensor([[1.0, 2.0, 2.0]]), torch.tensor([[2.0, 2.0, -1.0]])
        >>> [term] = Gamma(0.5).terms(a, w)
        >>> term.input * term.weight
        tensor([[ 3.,  6., -2.]])
    """

    epsilon: float = field(default=1e-9, kw_only=True)
    gamma: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        require_within("gamma", self.gamma, 0, INFINITE)

    def terms(self, x: Input, weight: Weight | None) -> list[Term]:
        """The map with its positive weights made larger."""
        return [Term(x, None if weight is None else weight + self.gamma * weight.clamp(min=0))]


@dataclass(frozen=True)
class Absolute(Rule):
    """In proportion to the magnitude of `a_i w_ij`.

    No part is larger than the whole, whatever cancels in the output: the magnitudes of relevance
    never grow on the way to the pixels. What it gives up is the sign: an input that opposes the
    output counts as one that supports it.

    Example:
        What three inputs contribute to one output:

        >>> a, w = torch.tensor([[1.0, 2.0, 2.0]]), torch.tensor([[2.0, 2.0, -1.0]])
        >>> [term] = Absolute().terms(a, w)
        >>> term.input * term.weight
        tensor([[2., 4., 2.]])
    """

    def terms(self, x: Input, weight: Weight | None) -> list[Term]:
        """Magnitudes of inputs by magnitudes of weights."""
        return [Term(x.abs(), None if weight is None else weight.abs())]


@dataclass(frozen=True)
class WSquare(Rule):
    """In proportion to `w_ij^2`, whatever the input :cite:p:`montavon2017`, equation 9.

    Example:
        What three inputs contribute to one output:

        >>> a, w = torch.tensor([[1.0, 2.0, 2.0]]), torch.tensor([[2.0, 2.0, -1.0]])
        >>> [term] = WSquare().terms(a, w)
        >>> term.input * term.weight
        tensor([[4., 4., 1.]])
    """

    def terms(self, x: Input, weight: Weight | None) -> list[Term]:
        """Squared weights of ones."""
        return [Term(torch.ones_like(x), None if weight is None else weight**2)]


@dataclass(frozen=True)
class Flat(Rule):
    """In equal parts to the inputs that an output reads :cite:p:`lapuschkin2019`.

    Example:
        What three inputs contribute to one output:

        >>> a, w = torch.tensor([[1.0, 2.0, 2.0]]), torch.tensor([[2.0, 2.0, -1.0]])
        >>> [term] = Flat().terms(a, w)
        >>> term.input * term.weight
        tensor([[1., 1., 1.]])
    """

    def terms(self, x: Input, weight: Weight | None) -> list[Term]:
        """Ones by ones."""
        return [Term(torch.ones_like(x), None if weight is None else torch.ones_like(weight))]


@dataclass(frozen=True)
class Box(Rule):
    """For inputs between bounds, z^B: `a_i w_ij - low_i w_ij+ - high_i w_ij-`.

    :cite:t:`montavon2017`, equation 13.

    Args:
        low: The smallest value that an input can have, a number or a tensor that broadcasts
            against the clip; by default what the model's normalization makes of a black pixel.
        high: The largest, by default of a white pixel.

    Example:
        Against the smallest value where a weight is positive, and the largest where it is negative:

        >>> a, w = torch.tensor([[0.75, 0.75, 1.0]]), torch.tensor([[2.0, -2.0, -2.0]])
        >>> terms = Box(low=0.0, high=1.0).terms(a, w)
        >>> sum(term.input * term.weight for term in terms)
        tensor([[1.5000, 0.5000, 0.0000]])
    """

    low: Bound | float | None = None
    high: Bound | float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.count_bias:
            raise OptionError(
                "a rule that counts the bias as an input",
                "Box, in which an input is counted from its bounds",
                "Leave out count_bias at the input.",
            )
        bounds = {"low": self.low, "high": self.high}
        numbers = {
            name: value
            for name, value in bounds.items()
            if value is not None and not isinstance(value, Tensor)
        }
        for name, value in numbers.items():
            require_finite(name, value)
        if len(numbers) == 2 and numbers["low"] > numbers["high"]:
            raise OptionError("low to be at most high", f"{self.low} and {self.high}", "Swap them.")

    def within(self, low: Bound, high: Bound) -> Box:
        """The same rule between these bounds."""
        return replace(self, low=low, high=high)

    def terms(self, x: Input, weight: Weight | None) -> list[Term]:
        """`(a - low) w+` and `(a - high) w-`: the same sum, without a term that is negative."""
        assert self.low is not None
        assert self.high is not None
        assert weight is not None
        return [Term(x - self.low, weight.clamp(min=0)), Term(x - self.high, weight.clamp(max=0))]


def stabilised(denominator: Tensor, magnitude: Tensor, epsilon: float) -> Tensor:
    """A denominator pushed away from zero, zero itself upwards.

    By a part of what its terms' magnitudes add up to: so relevance does not depend on the unit of
    the values, nor on what else is in the batch. Zero where there is nothing to divide.
    """
    # Of the denominator's own precision: where() on two numbers gives single.
    sign = torch.where(denominator < 0, -torch.ones_like(denominator), 1)
    # In half precision 1e-9 would be zero.
    return denominator + max(epsilon, torch.finfo(denominator.dtype).tiny) * sign * magnitude


def is_nothing(denominator: Tensor) -> Tensor:
    """Where a denominator is zero, or so small that dividing by it gives infinity."""
    return denominator.abs() < torch.finfo(denominator.dtype).tiny
