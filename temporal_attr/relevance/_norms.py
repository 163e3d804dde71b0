"""Handlers of norms whose mean and scale are those of the example."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from temporal_attr._precision import wide
from temporal_attr.relevance._calls import Call, Handled, Sink
from temporal_attr.relevance._composite import Composite
from temporal_attr.relevance._maps import stabilised_division
from temporal_attr.relevance._operations import passed

_ARGUMENTS = ("normalized_shape", "weight", "bias")


def layer_normalised(call: Call, composite: Composite) -> Handled:
    """Layer norm: identity, or a linear map whose scale is held at the example's.

    As a map, `y_j = gamma_j / std * (x_j - mean(x)) + beta_j`, it gives by the epsilon rule
    :cite:p:`achtibat2024`; the shift beta is one more input, and takes its share as a sink.
    """
    if composite.norm == "identity" or len(call.data) != 1:
        return passed(call, composite)
    (x,) = call.data
    shape, gain, shift = (
        call.argument(place, name) for place, name in enumerate(_ARGUMENTS, start=1)
    )
    axes = tuple(range(-len(shape), 0))
    with torch.no_grad():
        values = x.detach().clone()
        variance = values.var(axes, correction=0, keepdim=True)
        scale = (variance + call.argument(4, "eps", 1e-5)).rsqrt().expand_as(values)
        scale = scale if gain is None else scale * gain
        beta = torch.zeros_like(values) if shift is None else shift.detach().expand_as(values)
        total = scale * (values - values.mean(axes, keepdim=True)) + beta
        # Of an entry itself, less its part in the mean, and of the others by the mean.
        sizes = values.abs() * (1 - 2 / math.prod(shape)) + values.abs().mean(axes, keepdim=True)
        magnitude = scale.abs() * sizes + beta.abs()
        denominator, absorbed = stabilised_division(total, magnitude, composite.sum_epsilon)

    def split(relevance: Tensor) -> tuple[Tensor]:
        ratio = relevance / denominator * scale
        return (values * (ratio - ratio.mean(axes, keepdim=True)),)

    sinks = [Sink("epsilon", lambda relevance: (relevance * absorbed).sum(dtype=wide(relevance)))]
    if shift is not None:
        sinks.append(
            Sink(
                shift,
                lambda relevance: (relevance / denominator * beta).sum(dtype=wide(relevance)),
            )
        )
    return Handled(call.run(), (x,), split, sinks=tuple(sinks), rule="fixed-std")
