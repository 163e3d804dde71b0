"""The network that every tail is part of, and what tails are made of."""

import torch
from torch import nn

from tests.helpers.families import CLASSES
from tests.references.layer_timesteps import Affine, Chain

WIDTH, HEADS, STEPS = 6, 2, 5


class Function(nn.Module):
    """A function with the modules that it calls."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)


class Network(nn.Module):
    """A convolution over time, tokens, and a tail that reads them; the layer is `read`."""

    def __init__(self, tail, width=WIDTH):
        super().__init__()
        self.conv = nn.Conv3d(3, width, 3, padding=1)
        self.read = Function(lambda self, x: 2 * torch.tanh(x).mean((3, 4)).transpose(1, 2))
        self.tail = tail

    def forward(self, video):
        return self.tail(self.read(self.conv(video)))


@torch.no_grad()
def lively(module):
    """Every weight random, and none of the affines of a norm 1 and 0."""
    for part in module.modules():
        for parameter in part.parameters(recurse=False):
            parameter.normal_(std=0.6)
        if isinstance(getattr(part, "running_var", None), torch.Tensor):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    return module.eval()


def linear(features=WIDTH, outputs=CLASSES):
    return nn.Linear(features, outputs)


def inner():
    """From tokens to tokens."""
    return linear(outputs=WIDTH)


def over_time(x):
    return x.mean(1)


MEAN = Affine(over_time)


def pieces_of(*modules):
    """Modules that are affine, as pieces."""
    return [Affine(module) for module in modules]


def two(function, piece):
    """Of two linear layers of the tokens, then the mean over time and a classifier."""
    a, b, last = inner(), inner(), linear()
    tail = Function(
        lambda self, x: self.last(function(self.a(x), self.b(x))).mean(1), a=a, b=b, last=last
    )
    return tail, Chain(piece(a, b), Affine(last), MEAN)
