"""Tails that pick the greatest, and what else stands at the end of networks."""

import torch
from torch import nn
from torch.nn import functional

from tests.helpers.tails.parts import MEAN, Function, inner, linear, over_time, two
from tests.references.layer_timesteps import Affine, Chain, Constant, Pointwise, Scaled, Sum, Winner


def greatest(function):
    """The greatest over time of a linear layer's outputs, and a classifier."""
    first, last = linear(outputs=7), linear(7)
    tail = Function(lambda self, x: self.last(function(self.first(x))), first=first, last=last)
    return tail, Chain(Affine(first), Winner(1), Affine(last))


def pooled_windows():
    """The greatest of windows of two timesteps, then their mean."""
    last = linear()
    tail = Function(
        lambda self, x: self.last(functional.max_pool1d(x.transpose(1, 2), 2, 1).mean(2)),
        last=last,
    )
    windows = Affine(lambda x: torch.stack([x[:, :-1], x[:, 1:]], 1))
    return tail, Chain(windows, Winner(1), MEAN, Affine(last))


def greater_of_two():
    return two(
        torch.maximum,
        lambda a, b: Chain(Affine(lambda x: torch.stack([a(x), b(x)], 1)), Winner(1)),
    )


def greatest_of_a_map():
    """The greatest over time and features together, which is one of them."""
    first, last = linear(outputs=8), linear(4)
    tail = Function(
        lambda self, x: self.last(self.first(x).unflatten(2, (4, 2)).amax((1, 3))),
        first=first,
        last=last,
    )
    seen = Affine(lambda x: first(x).unflatten(2, (4, 2)).transpose(2, 3).flatten(1, 2))
    return tail, Chain(seen, Winner(1), Affine(last))


def largest_two():
    """The mean of the two largest over time."""
    first, last = linear(outputs=7), linear(7)
    tail = Function(
        lambda self, x: self.last(self.first(x).topk(2, 1).values.mean(1)), first=first, last=last
    )

    def chosen(x):
        place = first(x).argsort(1, descending=True)[:, :2]
        return torch.zeros_like(first(x)).scatter(1, place, 0.5)

    piece = Scaled(Affine(first), chosen)
    return tail, Chain(piece, Affine(lambda x: x.sum(1)), Affine(last))


def log_softmax():
    last = linear()
    tail = nn.Sequential(Function(lambda _, x: over_time(x)), last, nn.LogSoftmax(1))
    scores = Chain(MEAN, Affine(last))
    lse = Constant(lambda x: -scores.value(x).exp().sum(1, keepdim=True).log())
    return tail, Sum(scores, lse)


def dropout():
    first, last = inner(), linear()
    tail = Function(
        lambda self, x: self.last(
            functional.dropout(torch.relu(self.drop(self.first(x))), 0.4, self.training).mean(1)
        ),
        first=first,
        drop=nn.Dropout(0.5),
        last=last,
    )
    return tail, Chain(Affine(first), Pointwise(torch.relu), MEAN, Affine(last))


ENDS = {
    "max": lambda: greatest(lambda x: x.max(1).values),
    "max_first": lambda: greatest(lambda x: torch.max(x, dim=1)[0]),
    "amax": lambda: greatest(lambda x: x.amax(dim=1)),
    "amax_kept": lambda: greatest(lambda x: torch.amax(x, 1, keepdim=True)[:, 0]),
    "adaptive_max_pool": lambda: greatest(
        lambda x: functional.adaptive_max_pool1d(x.transpose(1, 2), 1).flatten(1)
    ),
    "max_of_a_map": greatest_of_a_map,
    "largest_two": largest_two,
    "max_pool": pooled_windows,
    "maximum": greater_of_two,
    "log_softmax": log_softmax,
    "dropout": dropout,
}
