"""Which rule for which operation: data that can be read, copied and changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from temporal_attr._errors import OptionError
from temporal_attr._require import INFINITE, require_within
from temporal_attr.relevance._calls import Call, Handled
from temporal_attr.relevance._handler_names import require_function_names
from temporal_attr.relevance._rules import Box, Epsilon, Rule, ZPlus

Handler: TypeAlias = "Callable[[Call, Composite], Handled]"
"""Computes the true output of a call, and says how its relevance is split among its inputs."""


_CHOICES = {
    "sums": ("signed", "magnitude"),
    "constants": ("none", "share"),
    "attention": ("value", "full"),
    "norm": ("identity", "fixed-std"),
    "batch_norm": ("identity", "merge"),
}


@dataclass(frozen=True)
class Composite:
    """The rule of each kind of operation; without arguments those of the ATR paper.

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
        sums: How the relevance of `a + b` is split: `"signed"`, in proportion to a and b, of which
            one can get more than there is where they cancel; or `"magnitude"`, in proportion to
            their magnitudes.
        constants: What a constant tensor that is added to data gets, such as a position embedding:
            `"none"`, or its `"share"`, as if it were data. (A number gets nothing.)
        attention: `"value"` holds attention weights constant, so that all relevance goes to the
            values :cite:p:`ali2022`; `"full"` propagates it through the softmax, by its Taylor
            expansion, to queries and keys too, and splits products of two operands in halves
            :cite:p:`achtibat2024`. Softmax anywhere else in a model is treated alike.
        attention_rule: With `"value"`, for the product of attention weights with the values.
        norm: `"identity"` passes relevance through a layer norm; `"fixed-std"` treats it as a
            linear map whose scale is held, and gives its shift a share, which is then a sink.
        batch_norm: `"identity"` passes relevance through; `"merge"` makes a batch norm that reads
            the output of a convolution or linear layer one layer with it, whose weights carry its
            scale (its shift is a bias, and in no rule). The two differ where a scale is negative.
            One that reads anything else passes relevance through.
        handlers: By the name of a torch function, what to do with it: `(call, composite) ->
            Handled`. They come before all that the library does of its own; so an operation without
            a rule gets one, and any other gets another. A name of no function is an error.

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
    sums: Literal["signed", "magnitude"] = "signed"
    constants: Literal["none", "share"] = "none"
    attention: Literal["value", "full"] = "value"
    attention_rule: Rule = field(default_factory=ZPlus)
    norm: Literal["identity", "fixed-std"] = "identity"
    batch_norm: Literal["identity", "merge"] = "identity"
    handlers: Mapping[str, Handler] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_function_names(self.handlers)
        require_within("sum_epsilon", self.sum_epsilon, 0, INFINITE)
        for name in ("convolution", "linear", "pooling", "attention_rule"):
            if isinstance(getattr(self, name), Box):
                raise OptionError(
                    f"a rule for {name} that needs no pixel bounds", "Box", "Give it as input."
                )
        for name, choices in _CHOICES.items():
            given = getattr(self, name)
            if given not in choices:
                known = " or ".join(f'"{choice}"' for choice in choices)
                raise OptionError(f"{name} to be {known}", repr(given), "Choose one.")
