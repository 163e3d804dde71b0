"""Operations: what the torch functions on the way from clip to logits are, to a rule.

A handler takes a call as it came, computes its true output, and says how relevance of that output
is split among the tensors on the data path. It never sees a module, so residual sums, shifts and
functional code are like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from temporal_attr._errors import ModelError
from temporal_attr.relevance._composite import Composite
from temporal_attr.relevance._convolution import convolution_of
from temporal_attr.relevance._maps import LinearMap, recorded, split_by_rule
from temporal_attr.relevance._rules import Box, Rule, stabilised

Split: TypeAlias = Callable[[Tensor], Sequence[Tensor | None]]
"""From the relevance of an output to that of each input on the data path."""


Handler: TypeAlias = "Callable[[Call, Composite], Handled]"
"""What is done with a call."""


@dataclass(frozen=True)
class Call:
    """A torch function, its arguments, and what is known of them.

    Attributes:
        name: Of the function, the same for all its forms: `add` for `a + b` and `a += b`.
        func: The function, not in place.
        args: As it was called.
        kwargs: As it was called.
        data: Those of its tensors that hang on the clip.
        gates: Those of them that are gates, between 0 and 1, made to be multiplied by a signal.
        bounds: The smallest and largest values of its input, if that is made of pixels as they are.
        origin: The call of a convolution or `linear` whose output this one reads, as it was.
    """

    name: str
    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    data: tuple[Tensor, ...]
    gates: tuple[Tensor, ...] = ()
    bounds: tuple[Tensor, Tensor] | None = None
    origin: Call | None = None

    def argument(self, place: int, name: str, default: Any = None) -> Any:  # noqa: ANN401
        """An argument, given by place or by name."""
        return self.args[place] if len(self.args) > place else self.kwargs.get(name, default)

    def is_data(self, entry: Any) -> bool:  # noqa: ANN401
        """Whether an argument hangs on the clip."""
        return any(entry is tensor for tensor in self.data)

    def run(self) -> Any:  # noqa: ANN401
        """The true output, outside any graph."""
        with torch.no_grad():
            return self.func(*self.args, **self.kwargs)


class NoRuleError(Exception):
    """No rule shares the relevance of this call; the engine says where it was made."""

    def __init__(self, name: str, why: str = "") -> None:
        super().__init__(name, why)
        self.name, self.why = name, why


@dataclass(frozen=True)
class Handled:
    """What a handler found.

    Attributes:
        output: The true output of the call.
        inputs: Its inputs on the data path.
        split: From the relevance of the output to that of each of these inputs.
        opposed: For a layer with weights, makes the split for the same weights negated.
    """

    output: Tensor
    inputs: tuple[Tensor, ...]
    split: Split
    opposed: Callable[[], Split] | None = None


@dataclass(frozen=True)
class Layer:
    """A convolution, linear layer or product with a constant, as a rule sees it.

    It holds values only: a tensor of the graph, kept for the way back, would keep itself alive
    where it is overwritten in place.
    """

    x: Tensor
    weight: Tensor
    apply: LinearMap
    rule: Rule
    channels: int | None

    def handled(self, call: Call, source: Tensor) -> Handled:
        """The call's output, and the rule's split for the layer and for its weights negated."""
        name, version = call.name, self.x._version

        def opposed() -> Split:
            if self.x._version != version:
                raise ModelError(
                    "a last layer whose input stays as it was, for contrastive relevance",
                    f"{name} whose input is overwritten after it",
                    "Do what follows the last layer out of place.",
                )
            return self._split(-self.weight)

        return Handled(call.run(), (source,), self._split(self.weight), opposed)

    def _split(self, weight: Tensor) -> Split:
        pull = split_by_rule(self.x, weight, self.apply, self.rule, self.channels)
        return lambda relevance: (pull(relevance),)


def _rule(call: Call, composite: Composite, usual: Rule) -> Rule:
    """The rule of a layer: that of the input, if it reads pixels."""
    if composite.input is None or call.bounds is None:
        return usual
    rule = composite.input
    return rule.within(*call.bounds) if isinstance(rule, Box) else rule


def layer_of(call: Call, composite: Composite) -> Layer:
    """The layer behind a call of a convolution or `linear`."""
    x, weight = call.argument(0, "input"), call.argument(1, "weight")
    if call.is_data(weight) or call.is_data(call.argument(2, "bias")):
        raise NoRuleError(call.name, "with a weight or bias that hangs on the clip")
    function, rest = call.func, call.args[3:]
    others = {k: v for k, v in call.kwargs.items() if k not in ("input", "weight", "bias")}

    def apply(x: Tensor, weight: Tensor | None) -> Tensor:
        mapped: Tensor = function(x, weight, None, *rest, **others)
        return mapped

    values, weight = x.detach(), weight.detach()
    if call.name == "linear":
        rule = _rule(call, composite, composite.linear)
        return Layer(values, weight, recorded(apply), rule, channels=-1)
    rule = _rule(call, composite, composite.convolution)
    convolution = convolution_of(values, weight, *rest, **others)
    if convolution is None:
        return Layer(values, weight, recorded(apply), rule, channels=None)
    channels = 1 if convolution.groups == 1 else None
    return Layer(values, weight, convolution, rule, channels)


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
    # Channels on axis 1 of the output are the rows of the weight.
    if source.ndim != layer.weight.ndim:
        return passed(call, composite)
    scale = (variance + call.argument(7, "eps", 1e-5)).rsqrt()
    gain = call.argument(3, "weight")
    scale = (scale if gain is None else scale * gain).detach()
    merged = layer.weight * scale.reshape(-1, *[1] * (layer.weight.ndim - 1))
    return replace(layer, weight=merged).handled(call, source)


def contracted(call: Call, composite: Composite) -> Handled:
    """`matmul` and `einsum` of the data with a constant."""
    tensors = [place for place, entry in enumerate(call.args) if isinstance(entry, Tensor)]
    places = [place for place in tensors if call.is_data(call.args[place])]
    if len(places) > 1:
        raise NoRuleError(call.name, "of two operands that both hang on the clip")
    if len(tensors) != 2 or not places:
        raise NoRuleError(call.name, "other than of two operands given by place")
    (place,) = places
    (other,) = (entry for entry in tensors if entry != place)
    function, options = call.func, call.kwargs
    constants = [None if at in tensors else entry for at, entry in enumerate(call.args)]

    def apply(x: Tensor, weight: Tensor | None) -> Tensor:
        args = list(constants)
        args[place], args[other] = x, weight
        mapped: Tensor = function(*args, **options)
        return mapped

    source, weight = call.args[place], call.args[other].detach()
    rule = _rule(call, composite, composite.linear)
    return Layer(source.detach(), weight, recorded(apply), rule, None).handled(call, source)


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
    """Pointwise operations with one data operand, and norms: relevance passes as it is."""
    if len(call.data) != 1:
        raise NoRuleError(call.name, "of several operands that hang on the clip")
    (x,) = call.data
    shape = x.shape
    return Handled(call.run(), (x,), lambda relevance: (_to_shape(relevance, shape),))


def proportional(call: Call, composite: Composite) -> Handled:
    """`a + b` and `a - b`: in proportion to what each adds; a constant gets nothing."""
    first, second = call.argument(0, "input"), call.argument(1, "other")
    if not (call.is_data(first) and call.is_data(second)):
        return passed(call, composite)
    alpha = call.argument(2, "alpha", 1)
    scales = {"add": (1, alpha), "sub": (1, -alpha), "rsub": (-alpha, 1)}[call.name]
    with torch.no_grad():
        a, b = first.detach() * scales[0], second.detach() * scales[1]
        total = a + b
        # Half of what pushes the denominator away from zero is each one's own, so nothing is lost.
        denominator = stabilised(total, composite.sum_epsilon)
        share = (a + (denominator - total) / 2) / denominator
    shapes = first.shape, second.shape

    def split(relevance: Tensor) -> tuple[Tensor, Tensor]:
        one = relevance * share
        return _to_shape(one, shapes[0]), _to_shape(relevance - one, shapes[1])

    return Handled(call.run(), (first, second), split)


def product(call: Call, composite: Composite) -> Handled:
    """`a * b`: with one data operand it passes; a gate gets nothing; otherwise half each."""
    first, second = call.argument(0, "input"), call.argument(1, "other")
    if not (call.is_data(first) and call.is_data(second)):
        return passed(call, composite)
    gates = [any(entry is gate for gate in call.gates) for entry in (first, second)]
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
        raise NoRuleError(call.name, "by something that hangs on the clip")
    if call.kwargs.get("rounding_mode") is not None:
        raise NoRuleError(call.name, "that rounds")
    return passed(call, composite)


def _to_shape(relevance: Tensor, shape: torch.Size) -> Tensor:
    """Sum over what was broadcast."""
    return relevance if relevance.shape == shape else relevance.sum_to_size(shape)


def _named(handler: Handler, *names: str) -> dict[str, Handler]:
    return dict.fromkeys(names, handler)


LAYERS = ("conv1d", "conv2d", "conv3d", "linear")
"""Functions of an input and a weight."""

PRODUCTS = ("bmm", "einsum", "matmul", "mm")
"""Functions of two operands, one of which may be a weight."""

HANDLERS: dict[str, Handler] = {
    **_named(weighted, *LAYERS),
    **_named(contracted, *PRODUCTS),
    **_named(averaged, "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"),
    **_named(averaged, "avg_pool1d", "avg_pool2d", "avg_pool3d", "interpolate", "mean", "sum"),
    **_named(normalised, "batch_norm"),
    **_named(passed, "group_norm", "layer_norm"),
    **_named(passed, "dropout", "dropout1d", "dropout2d", "dropout3d"),
    **_named(passed, "elu", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "mish"),
    **_named(passed, "relu", "relu6", "sigmoid", "silu", "softplus", "tanh", "neg", "erf"),
    **_named(divided, "div"),
    **_named(proportional, "add", "sub", "rsub"),
    **_named(product, "mul"),
}
"""What is done with each torch function, by name; a composite's own handlers come first."""
