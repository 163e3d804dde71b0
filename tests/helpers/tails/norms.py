"""Tails with a norm of the tokens."""

import torch
from torch import nn
from torch.nn import functional

from tests.helpers.tails.parts import MEAN, WIDTH, Function, inner, linear, over_time, pieces_of
from tests.references.layer_timesteps import Affine, Chain, Constant, Norm, Pointwise, Scaled


def norm(module, piece):
    """A norm of every token, then the mean and a classifier."""
    last = linear()
    tail = nn.Sequential(module, Function(lambda _, x: over_time(x)), last)
    return tail, Chain(piece, MEAN, Affine(last))


def layer_norm():
    module = nn.LayerNorm(WIDTH)
    return norm(module, Norm(-1, module.eps, module.weight, module.bias))


def layer_norm_of_the_mean():
    module, last = nn.LayerNorm(WIDTH), linear()
    tail = nn.Sequential(Function(lambda _, x: over_time(x)), module, last)
    return tail, Chain(MEAN, Norm(-1, module.eps, module.weight, module.bias), Affine(last))


def rms_norm():
    module = nn.RMSNorm(WIDTH)
    eps = torch.finfo(torch.float64).eps
    return norm(module, Norm(-1, eps, module.weight, centred=False))


def channels_first(module, dims, split):
    """A norm that takes `(batch, channel, time)`."""
    last = linear()
    tail = Function(
        lambda self, x: self.last(self.norm(x.transpose(1, 2))[..., :3].mean(2)),
        norm=module,
        last=last,
    )
    # Of an instance norm, the mean over all timesteps would be the bias.
    pieces = pieces_of(lambda x: x.transpose(1, 2)), [Norm(dims, module.eps, split=split)]
    scale = Affine(lambda x: x[..., :3].mean(2) * module.weight + module.bias)
    return tail, Chain(*pieces[0], *pieces[1], scale, Affine(last))


def layer_norm_by_hand():
    first, last = inner(), linear()

    def run(self, x):
        x = self.first(x)
        mean = x.mean(-1, keepdim=True)
        var = (x - mean).pow(2).mean(-1, keepdim=True)
        return self.last(((x - mean) * torch.rsqrt(var + 1e-3)).mean(1))

    pieces = (Affine(first), Norm(-1, 1e-3), MEAN, Affine(last))
    return Function(run, first=first, last=last), Chain(*pieces)


def layer_norm_by_moments():
    def run(self, x):
        var, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
        return self.last(((x - mean) / (var + 1e-3).sqrt()).mean(1))

    last = linear()
    return Function(run, last=last), Chain(Norm(-1, 1e-3), MEAN, Affine(last))


def of_length_one(divide, more=0.0):
    last = linear()
    tail = Function(lambda self, x: self.last(divide(x)).mean(1), last=last)
    length = Constant(lambda x: x.square().sum(-1, keepdim=True).sqrt() + more)
    piece = Scaled(Affine(lambda x: x), length.function, torch.div)
    return tail, Chain(piece, Affine(last), MEAN)


def batch_norm():
    module, first, last = nn.BatchNorm1d(WIDTH), inner(), linear()
    tail = nn.Sequential(Function(lambda _, x: over_time(x)), first, module, nn.ReLU(), last)

    def affine(x):
        scale = (module.running_var + module.eps).sqrt()
        return (x - module.running_mean) / scale * module.weight + module.bias

    pieces = (*pieces_of(first, affine), Pointwise(torch.relu), Affine(last))
    return tail, Chain(MEAN, *pieces)


NORMS = {
    "layer_norm": layer_norm,
    "layer_norm_of_the_mean": layer_norm_of_the_mean,
    "rms_norm": rms_norm,
    "group_norm": lambda: channels_first(
        nn.GroupNorm(2, WIDTH), (2, 3), lambda x: x.unflatten(1, (2, -1))
    ),
    "instance_norm": lambda: channels_first(nn.InstanceNorm1d(WIDTH, affine=True), 2, None),
    "layer_norm_by_hand": layer_norm_by_hand,
    "layer_norm_by_moments": layer_norm_by_moments,
    "over_norm": lambda: of_length_one(lambda x: x / x.norm(dim=-1, keepdim=True)),
    "over_vector_norm": lambda: of_length_one(
        lambda x: x / torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    ),
    "over_norm_in_place": lambda: of_length_one(
        lambda x: x.clone().div_(x.norm(dim=-1, keepdim=True))
    ),
    "over_norm_added_to_in_place": lambda: of_length_one(
        lambda x: x / x.norm(dim=-1, keepdim=True).add_(0.5), 0.5
    ),
    "normalize": lambda: of_length_one(lambda x: functional.normalize(x, dim=-1)),
    "batch_norm": batch_norm,
}
