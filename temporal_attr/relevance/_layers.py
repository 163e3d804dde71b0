"""Handlers of functions with weights: convolutions, linear layers, products with a constant."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from temporal_attr._errors import ModelError
from temporal_attr.relevance._calls import Call, Deferred, Handled, NoRuleError, Sink, Split
from temporal_attr.relevance._composite import Composite
from temporal_attr.relevance._convolution import convolution_of
from temporal_attr.relevance._functions import TRANSPOSED
from temporal_attr.relevance._maps import LinearMap, RuleSplit, dense, recorded, split_by_rule
from temporal_attr.relevance._operations import passed
from temporal_attr.relevance._rules import Box, Rule


@dataclass(frozen=True)
class Layer:
    """A convolution, linear layer or product with a constant, as a rule sees it.

    It holds values only: a tensor of the graph, kept for the backward pass, would keep itself alive
    where it is overwritten in place.

    Attributes:
        x: The input.
        weight: The weight.
        apply: The linear map, without its bias.
        rule: How relevance is distributed.
        channels: The axis of the input that axis 1 of the weight contracts, if there is one.
        bias: What is added to the map, if anything, shaped to broadcast against its output.
        bias_of: The bias as the model has it, whose name it is known by.
    """

    x: Tensor
    weight: Tensor
    apply: LinearMap
    rule: Rule
    channels: int | None
    bias: Tensor | None = None
    bias_of: Tensor | None = None

    def handled(self, call: Call, source: Tensor) -> Handled:
        """The call's output, and the rule's split for the layer and for its weights negated."""
        name, version = call.name, self.x._version

        def opposed() -> tuple[Split, tuple[Sink, ...]]:
            if self.x._version != version:
                raise ModelError(
                    "a last layer whose input stays as it was, for contrastive relevance",
                    f"{name} whose input is overwritten after it",
                    "Do what follows the last layer out of place.",
                )
            bias = None if self.bias is None else -self.bias
            against = Deferred(replace(self, weight=-self.weight, bias=bias).split)
            against.made()
            return against, self._sinks(against)

        # A copy, since the model may overwrite what it has read before the split is computed.
        split = Deferred(replace(self, x=self.x.clone()).split)
        return Handled(
            call.run(),
            (source,),
            split,
            opposed,
            sinks=self._sinks(split),
            rule=type(self.rule).__name__,
        )

    def split(self) -> RuleSplit:
        """How the rule distributes relevance."""
        return split_by_rule(self.x, self.weight, self.apply, self.rule, self.channels, self.bias)

    def _sinks(self, split: Deferred) -> tuple[Sink, ...]:
        sinks = []
        if self.rule.epsilon > 0 and not self.rule.conserve:
            sinks.append(Sink("epsilon", lambda relevance: split.made().lost(relevance)))
        if self.rule.count_bias and self.bias is not None and self.bias_of is not None:
            sinks.append(Sink(self.bias_of, lambda relevance: split.made().for_bias(relevance)))
        return tuple(sinks)


def rule_of(call: Call, composite: Composite, usual: Rule) -> Rule:
    """The rule of a layer: that of the input, if it reads pixels."""
    if composite.input is None or call.bounds is None:
        return usual
    rule = composite.input
    return rule.within(*call.bounds) if isinstance(rule, Box) else rule


def layer_of(call: Call, composite: Composite) -> Layer:
    """The layer behind a call of a convolution or `linear`."""
    x, weight, bias = (
        call.argument(0, "input"),
        call.argument(1, "weight"),
        call.argument(2, "bias"),
    )
    if call.is_data(weight) or call.is_data(bias):
        raise NoRuleError(call.name, "with a weight or bias that depends on the clip")
    function, rest = call.func, call.args[3:]
    others = {k: v for k, v in call.kwargs.items() if k not in ("input", "weight", "bias")}

    def apply(x: Tensor, weight: Tensor | None) -> Tensor:
        mapped: Tensor = function(x, weight, None, *rest, **others)
        return mapped

    values, weight = x.detach(), weight.detach()
    added = None if bias is None else bias.detach()
    if call.name == "linear":
        rule = rule_of(call, composite, composite.linear)
        if weight.ndim == 1:
            return Layer(values, weight, recorded(apply), rule, None, added, bias)
        return Layer(values, weight, dense, rule, -1, added, bias)
    rule = rule_of(call, composite, composite.convolution)
    axes = weight.ndim - 2
    layer = Layer(values, weight, recorded(apply), rule, None, None, bias)
    if added is not None:
        layer = replace(layer, bias=added.reshape(-1, *[1] * axes))
    convolution = None
    if call.name not in TRANSPOSED:
        convolution = convolution_of(values, weight, *rest, **others)
    if convolution is None:
        return layer
    channels = 1 if convolution.groups == 1 else None
    return replace(layer, apply=convolution, channels=channels)


def weighted(call: Call, composite: Composite) -> Handled:
    """Convolutions and `linear`: by the composite's rule for them."""
    return layer_of(call, composite).handled(call, call.argument(0, "input"))


def normalised(call: Call, composite: Composite) -> Handled:
    """Batch norm: identity, or one layer with the convolution or `linear` before it."""
    mean, variance = call.argument(1, "running_mean"), call.argument(2, "running_var")
    if mean is None or call.argument(5, "training", False):
        raise NoRuleError(call.name, "with the statistics of the batch")
    if composite.batch_norm == "identity" or call.origin is None:
        return passed(call, composite)
    layer, source = layer_of(call.origin, composite), call.origin.argument(0, "input")
    # Only with a batch axis are the channels on axis 1 of the output those of the weight.
    if source.ndim != layer.weight.ndim:
        return passed(call, composite)
    scale = (variance + call.argument(7, "eps", 1e-5)).rsqrt()
    gain = call.argument(3, "weight")
    scale = (scale if gain is None else scale * gain).detach()
    merged = replace(layer, weight=_scaled(call.origin, layer.weight, scale))
    if merged.rule.count_bias:
        shift, places = call.argument(4, "bias"), scale.reshape(-1, *[1] * (source.ndim - 2))
        before = 0 if layer.bias is None else layer.bias
        bias = (before - mean.reshape(places.shape)) * places
        bias = bias if shift is None else bias + shift.reshape(places.shape)
        merged = replace(merged, bias=bias.detach(), bias_of=mean if shift is None else shift)
    return merged.handled(call, source)


def _scaled(origin: Call, weight: Tensor, scale: Tensor) -> Tensor:
    """A layer's weight with its output channels scaled."""
    if origin.name not in TRANSPOSED:
        return weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    # Of a transposed convolution axis 0 are the channels it reads, and axis 1 those that each
    # group writes.
    groups = origin.argument(6, "groups", 1)
    by_group = scale.reshape(groups, 1, -1, *[1] * (weight.ndim - 2))
    scaled: Tensor = (weight.unflatten(0, (groups, -1)) * by_group).flatten(0, 1)
    return scaled
