"""Which handler each torch function gets."""

from __future__ import annotations

from temporal_attr.relevance._attention import softmax_split
from temporal_attr.relevance._composite import Handler
from temporal_attr.relevance._differences import class_differences
from temporal_attr.relevance._functions import LAYERS, PRODUCTS
from temporal_attr.relevance._layers import normalised, weighted
from temporal_attr.relevance._norms import layer_normalised
from temporal_attr.relevance._operations import (
    averaged,
    divided,
    passed,
    product,
    proportional,
    raised,
)
from temporal_attr.relevance._products import contracted


def _named(handler: Handler, *names: str) -> dict[str, Handler]:
    return dict.fromkeys(names, handler)


HANDLERS: dict[str, Handler] = {
    **_named(weighted, *LAYERS),
    **_named(contracted, *PRODUCTS),
    **_named(averaged, "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"),
    **_named(averaged, "avg_pool1d", "avg_pool2d", "avg_pool3d", "interpolate", "mean", "sum"),
    **_named(averaged, "cumsum", "fold"),
    **_named(normalised, "batch_norm"),
    **_named(layer_normalised, "layer_norm"),
    **_named(passed, "group_norm", "instance_norm", "rms_norm"),
    **_named(raised, "pow", "square"),
    **_named(softmax_split, "softmax"),
    **_named(passed, "dropout", "dropout1d", "dropout2d", "dropout3d"),
    **_named(passed, "clamp", "clamp_max", "clamp_min", "celu", "hardshrink", "prelu", "selu"),
    **_named(passed, "softshrink", "softsign", "tanhshrink", "threshold"),
    **_named(passed, "elu", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "mish"),
    **_named(passed, "relu", "relu6", "sigmoid", "silu", "softplus", "tanh", "neg", "erf"),
    **_named(divided, "div"),
    **_named(proportional, "add", "sub", "rsub"),
    **_named(product, "mul"),
    **_named(class_differences, "class_difference"),
}
"""What is done with each torch function, by name; a composite's own handlers come first."""
