"""Which rule for which operation: data that can be read, copied and changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from temporal_attr._errors import OptionError
from temporal_attr._require import INFINITE, require_within
from temporal_attr.relevance._calls import Call, Handled
from temporal_attr.relevance._rules import Box, Epsilon, Rule, ZPlus

Handler: TypeAlias = "Callable[[Call, Composite], Handled]"
"""Computes the true output of a call, and says how its relevance is split among its inputs."""


@dataclass(frozen=True)
class Composite:
    """The rule of each kind of operation; the default is that of the ATR paper.

    :cite:t:`fan2022`, section 3.1: z+ in convolutions and linear layers, z^B at the input, epsilon
    in pooling, identity for batch norm and activations. With it all relevance is propagated: what
    an epsilon would absorb is distributed evenly. (Constants that a model puts beside its data,
    such as a border other than zero, take their part.) Where large parts cancel in a sum, a mean or
    an epsilon rule, their relevance is large and of both signs. Change it with
    `dataclasses.replace`.

    Args:
        convolution: For convolutions.
        linear: For linear layers.
        pooling: For means, sums, average pooling and interpolation. Maximum pooling gives all to
            the winner.
        input: For the convolution, linear layer or matrix product that reads the pixels; None
            treats it like the others.
        sum_epsilon: Keeps the denominator of the proportional split of sums away from zero, by this
            part of what the magnitudes of the two add up to; half of it counts as each one's own,
            so nothing is absorbed.
        batch_norm: `"identity"` passes relevance through; `"merge"` makes a batch norm that reads
            the output of a convolution or linear layer one layer with it, whose weights carry its
            scale (its shift is a bias, and in no rule). The two differ where a scale is negative.
            One that reads anything else passes relevance through.
        handlers: By the name of a torch function, what to do with it: `(call, composite) ->
            Handled`. They come before all that the library does of its own; so an operation without
            a rule gets one, and any other gets another.

    Example:
        >>> from dataclasses import replace
        >>> replace(Composite(), convolution=Epsilon(1e-6)).convolution.epsilon
        1e-06
    """

    convolution: Rule = field(default_factory=ZPlus)
    linear: Rule = field(default_factory=ZPlus)
    pooling: Rule = field(default_factory=lambda: Epsilon(conserve=True))
    input: Rule | None = field(default_factory=Box)
    sum_epsilon: float = 1e-9
    batch_norm: Literal["identity", "merge"] = "identity"
    handlers: Mapping[str, Handler] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_within("sum_epsilon", self.sum_epsilon, 0, INFINITE)
        for name in ("convolution", "linear", "pooling"):
            if isinstance(getattr(self, name), Box):
                raise OptionError(
                    f"a rule for {name} that needs no pixel bounds", "Box", "Give it as input."
                )
        if self.batch_norm not in ("identity", "merge"):
            raise OptionError(
                'batch_norm to be "identity" or "merge"', repr(self.batch_norm), "Choose one."
            )
