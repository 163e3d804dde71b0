"""Tails with an activation in them."""

import torch
from torch import nn
from torch.nn import functional

from tests.helpers.tails.parts import MEAN, Function, inner, linear, over_time
from tests.references.layer_timesteps import Affine, Chain, Pointwise, Scaled


def activation(function, module=None):
    """An MLP on the mean over time, with an activation in it."""
    first, last = linear(outputs=7), linear(7)
    inside = Function(lambda _, x: function(x)) if module is None else module
    tail = nn.Sequential(Function(lambda _, x: over_time(x)), first, inside, last)
    return tail, Chain(MEAN, Affine(first), Pointwise(function), Affine(last))


def _by_hand_swish():
    first, last = inner(), linear()
    tail = Function(
        lambda self, x: self.last((z := self.first(x)) * torch.sigmoid(z)).mean(1),
        first=first,
        last=last,
    )
    gated = Scaled(Affine(lambda x: x), lambda x: 1 / (1 + (-x).exp()))
    return tail, Chain(Affine(first), gated, Affine(last), MEAN)


def prelu():
    module = nn.PReLU(7)
    return activation(lambda x: torch.where(x > 0, x, module.weight * x), module)


ACTIVATIONS = {
    "relu": lambda: activation(lambda x: x.clamp(min=0), nn.ReLU()),
    "relu_in_place": lambda: activation(lambda x: x.clamp(min=0), nn.ReLU(inplace=True)),
    "relu_method_in_place": lambda: activation(
        lambda x: x.clamp(min=0), Function(lambda _, x: x.relu_())
    ),
    "relu_function_in_place": lambda: activation(
        lambda x: x.clamp(min=0), Function(lambda _, x: functional.relu_(x))
    ),
    "relu_by_mask": lambda: activation(
        lambda x: x.clamp(min=0), Function(lambda _, x: x * (x > 0))
    ),
    "relu_by_where": lambda: activation(
        lambda x: x.clamp(min=0), Function(lambda _, x: torch.where(x > 0, x, torch.zeros_like(x)))
    ),
    "leaky_relu_in_place": lambda: activation(
        lambda x: torch.where(x > 0, x, 0.1 * x), nn.LeakyReLU(0.1, inplace=True)
    ),
    "prelu": prelu,
    "elu_in_place": lambda: activation(
        lambda x: torch.where(x > 0, x, x.exp() - 1), nn.ELU(inplace=True)
    ),
    "gelu": lambda: activation(lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2, nn.GELU()),
    "silu_in_place": lambda: activation(lambda x: x / (1 + (-x).exp()), nn.SiLU(inplace=True)),
    "hardswish": lambda: activation(lambda x: x * (x + 3).clamp(0, 6) / 6, nn.Hardswish()),
    "hardtanh": lambda: activation(lambda x: x.clamp(-1, 1), nn.Hardtanh(inplace=True)),
    "relu6": lambda: activation(lambda x: x.clamp(0, 6), nn.ReLU6(inplace=True)),
    "softplus": lambda: activation(lambda x: (1 + x.exp()).log(), nn.Softplus()),
    "sigmoid": lambda: activation(lambda x: 1 / (1 + (-x).exp()), nn.Sigmoid()),
    "tanh": lambda: activation(lambda x: x.sinh() / x.cosh(), nn.Tanh()),
    "mish": lambda: activation(lambda x: x * (1 + x.exp()).log().tanh(), nn.Mish()),
    "clamp_keywords": lambda: activation(
        lambda x: x.clamp(-0.5, 0.3), Function(lambda _, x: torch.clamp(input=x, min=-0.5, max=0.3))
    ),
    "abs": lambda: activation(torch.abs),
    "cube": lambda: activation(lambda x: x * x * x, Function(lambda _, x: x.pow(3))),
    "square_operator": lambda: activation(lambda x: x * x, Function(lambda _, x: x**2)),
    "ones_like_another": lambda: activation(
        lambda x: x.clamp(min=0), Function(lambda _, x: torch.ones_like(x) * torch.relu(x))
    ),
    "cos": lambda: activation(torch.cos),
    "swish_by_hand": _by_hand_swish,
}
