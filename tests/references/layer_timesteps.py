"""Logits of a layer's timesteps straight from their definitions, with plain loops in float64.

`tail` maps a layer's output `(batch, ...)` to logits `(batch, classes)`; `time` is the axis of that
output which runs over timesteps. The pieces of a tail below have two passes each, written out:
`value(x)`, which is what the network computes and notes what is held, and `held(x)`, which computes
with what was noted. Chained, the second is affine in `x`.
"""

import torch

# Gradients ----------------------------------------------------------------------------------------


def gradients(tail, features):
    """Derivatives `(classes, *features.shape)` of every class, one backward pass each."""
    read = features.detach().clone().requires_grad_()
    with torch.enable_grad():
        logits = tail(read)
    rows = []
    for k in range(logits.shape[1]):
        (row,) = torch.autograd.grad(
            logits[:, k].sum(), read, retain_graph=True, materialize_grads=True
        )
        rows.append(row)
    return torch.stack(rows), logits.detach()


def _products(tail, features, time):
    """<J_n, h_n> `(batch, steps, classes)`, J by step, and what no timestep adds."""
    rows, logits = gradients(tail, features)
    steps = features.shape[time]
    by_step = [rows.select(time + 1, n) for n in range(steps)]
    read = [features.select(time, n) for n in range(steps)]
    adds = torch.stack([(by_step[n] * read[n]).flatten(2).sum(2).t() for n in range(steps)], 1)
    return adds, by_step, read, logits - adds.sum(1)


def mean_steps(tail, features, time):
    """Of a weighted mean: l_n = W h_n + b `(batch, steps, classes)`, and the weights `(steps,)`.

    The weights are the share of each timestep's derivative in the sum of all of them; a timestep
    without weight is read through that sum, which is W.
    """
    adds, by_step, read, bias = _products(tail, features, time)
    whole = sum(by_step)
    logits, weights = [], []
    for n, row in enumerate(by_step):
        weight = ((row * whole).sum() / (whole * whole).sum()).item()
        if abs(weight) > 1e-12:
            logits.append(adds[:, n] / weight + bias)
        else:
            logits.append((whole * read[n]).flatten(2).sum(2).t() + bias)
        weights.append(weight)
    return torch.stack(logits, 1), torch.tensor(weights, dtype=torch.float64)


def own_steps(tail, features, time):
    """Of an affine tail with weights for every timestep: l_n = N J_n h_n + b, and b."""
    adds, _, _, bias = _products(tail, features, time)
    return features.shape[time] * adds + bias[:, None], bias


def held_steps(piece, features, time):
    """Of a tail that is held at the clip's values: l_n = N A h_n + r, and r `(batch, classes)`."""
    with torch.no_grad():
        logits = piece.value(features)
        rest = piece.held(torch.zeros_like(features))
        steps = []
        for n in range(features.shape[time]):
            alone = torch.zeros_like(features)
            alone.select(time, n).copy_(features.select(time, n))
            steps.append(features.shape[time] * (piece.held(alone) - rest) + rest)
        found = torch.stack(steps, 1)
        torch.testing.assert_close(found.mean(1), logits, rtol=0, atol=1e-11)
    return found, rest


# Pieces of a held tail ----------------------------------------------------------------------------


class Chain:
    """Pieces one after the other."""

    def __init__(self, *pieces):
        self.pieces = pieces

    def value(self, x):
        for piece in self.pieces:
            x = piece.value(x)
        return x

    def held(self, x):
        for piece in self.pieces:
            x = piece.held(x)
        return x


class Affine:
    """What is affine already: linear layers, convolutions, pooling, calibrated batch norm."""

    def __init__(self, function):
        self.value = self.held = function


class Sum:
    """Several readings of the same tensor, added; no piece stands for the tensor itself."""

    def __init__(self, *pieces):
        self.pieces = pieces

    def value(self, x):
        return sum(x if piece is None else piece.value(x) for piece in self.pieces)

    def held(self, x):
        return sum(x if piece is None else piece.held(x) for piece in self.pieces)


class Pointwise:
    """An activation a: the factor (a(z) - a(0)) / z, and a(0)."""

    def __init__(self, activation):
        self.activation = activation

    def value(self, x):
        self.origin = self.activation(torch.zeros_like(x))
        out = self.activation(x.clone())
        # Where z is 0 the factor is the slope there, which the quotient tends to.
        with torch.enable_grad():
            near = torch.zeros_like(x).requires_grad_()
            (slope,) = torch.autograd.grad(self.activation(near.clone()).sum(), near)
        self.factor = torch.where(x == 0, slope, (out - self.origin) / x)
        return out

    def held(self, x):
        return x * self.factor + self.origin


class Norm:
    """(x - mean) / sqrt(var + eps), over axes of a view of the tensor; the deviation is held.

    Args:
        dims: Averaged over.
        eps: Added to the variance.
        weight: Multiplied after; None for 1.
        bias: Added after; None for 0.
        split: From the tensor to a view in which groups have an axis of their own.
        centred: Whether the mean is taken off (not in a root mean square).
    """

    def __init__(self, dims, eps, weight=None, bias=None, split=None, centred=True):
        self.dims, self.eps, self.weight, self.bias = dims, eps, weight, bias
        self.split, self.centred = split or (lambda x: x), centred

    def _centred(self, x):
        view = self.split(x)
        return view - view.mean(self.dims, keepdim=True) if self.centred else view

    def _affine(self, x):
        x = x if self.weight is None else x * self.weight
        return x if self.bias is None else x + self.bias

    def value(self, x):
        centred = self._centred(x)
        self.deviation = (centred.square().mean(self.dims, keepdim=True) + self.eps).sqrt()
        return self._affine((centred / self.deviation).reshape(x.shape))

    def held(self, x):
        return self._affine((self._centred(x) / self.deviation).reshape(x.shape))


class Constant:
    """What is held whole: attention weights, gates, deviations, norms, log-sum-exp."""

    def __init__(self, function):
        self.function = function

    def value(self, x):
        self.noted = self.function(x)
        return self.noted

    def held(self, x):
        return self.noted


class Scaled:
    """A piece times something that is held: `times(piece(x), constant)`, such as `torch.mul`."""

    def __init__(self, piece, constant, times=torch.mul):
        self.piece, self.constant, self.times = piece, Constant(constant), times

    def value(self, x):
        return self.times(self.piece.value(x), self.constant.value(x))

    def held(self, x):
        return self.times(self.piece.held(x), self.constant.held(x))


class Product:
    """k factors that all depend on the tensor: 1/k of it with every one but one held."""

    def __init__(self, times, *pieces):
        self.times, self.pieces = times, pieces

    def value(self, x):
        self.noted = [piece.value(x) for piece in self.pieces]
        return self.times(*self.noted)

    def held(self, x):
        total = 0
        for i, piece in enumerate(self.pieces):
            factors = list(self.noted)
            factors[i] = piece.held(x)
            total = total + self.times(*factors)
        return total / len(self.pieces)


class Winner:
    """The greatest entry along an axis: the one that won keeps winning."""

    def __init__(self, dim):
        self.dim = dim

    def value(self, x):
        best, self.index = x.max(self.dim, keepdim=True)
        return best.squeeze(self.dim)

    def held(self, x):
        return x.gather(self.dim, self.index).squeeze(self.dim)


def attention(queries, keys, values, scale, mask=None):
    """softmax(Q K' scale + mask) V by rows; its weights are held.

    Args:
        queries, keys, values: From the tensor to `(batch, heads, tokens, features)`.
        scale: Of the scores.
        mask: Added to the scores; None for none.
    """

    def weights(x):
        scores = torch.einsum("bhqd,bhkd->bhqk", queries(x), keys(x)) * scale
        scores = scores if mask is None else scores + mask
        powers = (scores - scores.amax(-1, keepdim=True)).exp()
        return powers / powers.sum(-1, keepdim=True)

    def read(value, weight):
        return torch.einsum("bhqk,bhkd->bhqd", weight, value)

    return Scaled(Affine(values), weights, read)
