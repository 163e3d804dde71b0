"""Slow float64 references of relevance propagation over time, written from the definitions alone.

They share no code with the package and use no autograd: every layer is a dense matrix, a loop, or a
move of values, and relevance is sent back through it by hand, one row and one example at a time.
Volumes are (C, T, H, W), features (N, D), clips (T, C, H, W); all are numpy arrays. A layer has
`forward(values)`, which remembers what it read, and `back(relevance)`. What the definitions leave
open is said where it is settled."""

from types import SimpleNamespace

import numpy as np
from torch import nn

from tests.references.definitions import _array

EPSILON = 1e-9


def split(first, second, relevance):
    """Return the two parts of the relevance of a sum, in proportion to what each adds. Epsilon
    times the magnitudes of both keeps the denominator from zero, and half of it counts as each
    part's own; two parts of nothing get half each."""
    total = first + second
    pushed = np.where(total < 0, -EPSILON, EPSILON) * (abs(first) + abs(second))
    nothing = total + pushed == 0
    whole = np.where(nothing, 1.0, total + pushed)
    halves = [np.where(nothing, 0.5, (part + pushed / 2) / whole) for part in (first, second)]
    return halves[0] * relevance, halves[1] * relevance


def shares(parts, read):
    """Return c_ij / sum_i' c_i'j, a row for each output j. An output to which nothing adds (it is
    there by its bias alone) is shared alike among the inputs that it reads."""
    result = np.zeros_like(parts)
    for j, part in enumerate(parts):
        total = part.sum()
        result[j] = part / total if total else read[j] / read[j].sum()
    return result


def positive_parts(values, matrix):
    """Return c_ij of z+: what of a_i w_ij is positive. Biases are in no part."""
    return np.maximum(matrix * values, 0)


def boxed_parts(values, matrix, low, high):
    """Return c_ij of z^B: a_i w_ij - low_i w_ij+ - high_i w_ij-."""
    return matrix * values - low * np.maximum(matrix, 0) - high * np.minimum(matrix, 0)


class Weighted:
    """A linear map as its dense matrix (output, input), plus a bias: z+, or z^B within bounds.
    `read` is 1 where an output reads an input."""

    def __init__(self, matrix, bias, read, shape):
        self.matrix, self.bias, self.read, self.shape = matrix, bias, read, shape
        self.bounds = None

    def forward(self, values):
        flat = values.ravel()
        if self.bounds is None:
            parts = positive_parts(flat, self.matrix)
        else:
            parts = boxed_parts(flat, self.matrix, *(bound.ravel() for bound in self.bounds))
        self.shares, self.input_shape = shares(parts, self.read), values.shape
        return (self.matrix @ flat + self.bias).reshape(self.shape)

    def back(self, relevance):
        return (relevance.ravel() @ self.shares).reshape(self.input_shape)


def convolution(module, shape):
    """Return a convolution of a volume of this shape as its matrix; one of images reads frame by
    frame, and what lies outside is no input."""
    weight, padding, stride = _array(module.weight), module.padding, module.stride
    if weight.ndim == 4:
        weight, padding, stride = weight[:, :, None], (0, *padding), (1, *stride)
    outside, inside = weight.shape[0], shape[0]
    full = np.zeros((outside, inside, *weight.shape[2:]))
    known = np.zeros(full.shape)
    for o, c in np.ndindex(*weight.shape[:2]):
        channel = o // (outside // module.groups) * weight.shape[1] + c
        full[o, channel], known[o, channel] = weight[o, c], 1.0
    sizes = [
        (n + 2 * p - k) // s + 1
        for n, p, k, s in zip(shape[1:], padding, weight.shape[2:], stride, strict=True)
    ]
    matrix = np.zeros((outside, *sizes, inside, *shape[1:]))
    read, every = np.zeros(matrix.shape), slice(None)
    for place in np.ndindex(*sizes):
        for tap in np.ndindex(*weight.shape[2:]):
            met = [s * o + k - p for s, o, k, p in zip(stride, place, tap, padding, strict=True)]
            if all(0 <= at < n for at, n in zip(met, shape[1:], strict=True)):
                matrix[(every, *place, every, *met)] = full[(every, every, *tap)]
                read[(every, *place, every, *met)] = known[(every, every, *tap)]
    rows = outside * int(np.prod(sizes))
    bias = np.zeros(outside) if module.bias is None else _array(module.bias)
    bias = np.repeat(bias, rows // outside)
    return Weighted(matrix.reshape(rows, -1), bias, read.reshape(rows, -1), (outside, *sizes))


class Pointwise:
    """A batch norm or an activation: relevance passes as it is."""

    def __init__(self, function):
        self.forward = function

    def back(self, relevance):
        return relevance


def batch_norm(module):
    """Return a batch norm of evaluation mode over the first axis."""
    names = ("running_mean", "running_var", "weight", "bias")
    mean, variance, scale, shift = (
        _array(getattr(module, name))[:, None, None, None] for name in names
    )
    return Pointwise(lambda a: (a - mean) / np.sqrt(variance + module.eps) * scale + shift)


class Residual:
    """main(x) + shortcut(x): in proportion, value by value."""

    def __init__(self, main, shortcut):
        self.main, self.shortcut = main, shortcut

    def forward(self, values):
        self.parts = run(self.main, values), run(self.shortcut, values)
        return self.parts[0] + self.parts[1]

    def back(self, relevance):
        main, shortcut = split(*self.parts, relevance)
        return send(self.main, main) + send(self.shortcut, shortcut)


def mean_shares(values):
    """Return how the relevance of the mean of all values is shared: in proportion to a_i w, w one
    over their number. Epsilon times the mean magnitude keeps the denominator from zero; what it
    takes is shared alike, and so is all of it where every value is zero."""
    mean = values.sum() / values.size
    if not values.any():
        return np.full(values.shape, 1 / values.size)
    pushed = (-EPSILON if mean < 0 else EPSILON) * abs(values).sum() / values.size
    return (values + pushed) / values.size / (mean + pushed)


def winner_shares(values):
    """Return 1 for the first of the largest values."""
    result = np.zeros(values.size)
    result[values.argmax()] = 1
    return result.reshape(values.shape)


class Pooled:
    """A mean, or the maximum, of every one of `windows(shape)`: pairs of where the result goes and
    which values it is of."""

    def __init__(self, windows, kind="mean"):
        self.windows, self.kind = windows, kind

    def forward(self, values):
        self.input, self.places = values, list(self.windows(values.shape))
        result = np.zeros([at + 1 for at in max(place for place, _ in self.places)])
        for place, window in self.places:
            inside = values[window]
            result[place] = inside.max() if self.kind == "max" else inside.sum() / inside.size
        return result

    def back(self, relevance):
        result = np.zeros_like(self.input)
        for place, window in self.places:
            share = winner_shares if self.kind == "max" else mean_shares
            result[window] += share(self.input[window]) * relevance[place]
        return result


def windows_of(size):
    """Return the windows of a pooling of a volume, side by side."""

    def windows(shape):
        counts = [n // k for n, k in zip(shape[1:], size, strict=True)]
        for place in np.ndindex(shape[0], *counts):
            runs = [slice(at * k, at * k + k) for at, k in zip(place[1:], size, strict=True)]
            yield place, (place[0], *runs)

    return windows


def space_mean():
    """The mean over height and width: (C, T, H, W) to (T, C)."""
    return Pooled(lambda shape: (((t, c), (c, t)) for c, t in np.ndindex(*shape[:2])))


def whole_mean():
    """The mean over time, height and width: (C, T, H, W) to (1, C)."""
    return Pooled(lambda shape: (((0, c), c) for c in range(shape[0])))


def time_mean():
    """The mean over timesteps: (N, D) to (1, D)."""
    return Pooled(lambda shape: (((0, d), (slice(None), d)) for d in range(shape[1])))


class Moved:
    """Values moved, repeated or left out: relevance moves back, and adds up."""

    def __init__(self, function):
        self.function = function

    def forward(self, values):
        self.input = values
        return self.function(values)

    def back(self, relevance):
        result = np.zeros(self.input.size)
        places = self.function(np.arange(self.input.size).reshape(self.input.shape))
        np.add.at(result, places.ravel(), relevance.ravel())
        return result.reshape(self.input.shape)


def volume():
    """A clip as a volume."""
    return Moved(lambda clip: clip.swapaxes(0, 1))


def stacked():
    """A clip as a volume of one frame, whose channels are those of all frames in turn."""
    return Moved(lambda clip: clip.reshape(-1, 1, *clip.shape[2:]))


def by_frame():
    """A volume as a row of numbers for each frame."""
    return Moved(lambda values: values.swapaxes(0, 1).reshape(values.shape[1], -1))


def reversed_time():
    """Features in the opposite order."""
    return Moved(lambda values: values[::-1])


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


class Padded:
    """Frames of zeros before a volume: what reaches them is lost."""

    def __init__(self, frames):
        self.frames = frames

    def forward(self, values):
        return np.pad(values, ((0, 0), (self.frames, 0), (0, 0), (0, 0)))

    def back(self, relevance):
        return relevance[:, self.frames :]


class Recurrent:
    """An `nn.LSTM`, `nn.GRU` or `nn.RNN` layer, unrolled.

    A gate gets nothing, its signal all. The sum of what is kept and what is new is split in
    proportion; the state before the first step is no input. What is new is tanh of one linear layer
    that reads the input and the last output together (Arras et al., 2017, section 3), by z+; in a
    GRU the weights of the last output are those that its gate leaves. A projection is one more
    linear layer between the gated state and the output, by z+."""

    def __init__(self, module, layer=0, backwards=False):
        ends = f"l{layer}" + ("_reverse" if backwards else "")
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        parts = (_array(getattr(module, f"{name}_{ends}")) for name in names)
        self.into, self.over, self.bias_in, self.bias_over = parts
        self.kind, self.size = type(module).__name__, module.hidden_size
        projected = getattr(module, "proj_size", 0)
        self.project = _array(getattr(module, f"weight_hr_{ends}")) if projected else None

    def cell(self, x, h, c):
        """Return what is kept, what is new, the weights and bias of the new, and the output."""
        n = self.size
        read, past = self.into @ x + self.bias_in, self.over @ h + self.bias_over
        if self.kind == "RNN":
            matrix = np.concatenate([self.into, self.over], 1)
            return np.zeros(n), np.tanh(read + past), matrix, lambda state: state
        if self.kind == "LSTM":
            matrix = np.concatenate([self.into, self.over], 1)[2 * n : 3 * n]
            enter, keep, new, leave = (read + past).reshape(4, n)
            gates = sigmoid(enter), sigmoid(keep), sigmoid(leave)
            return gates[1] * c, gates[0] * np.tanh(new), matrix, lambda c: gates[2] * np.tanh(c)
        reset, keep = sigmoid((read + past)[: 2 * n]).reshape(2, n)
        matrix = np.concatenate([self.into[2 * n :], reset[:, None] * self.over[2 * n :]], 1)
        new = np.tanh(read[2 * n :] + reset * past[2 * n :])
        return keep * h, (1 - keep) * new, matrix, lambda state: state

    def forward(self, values):
        h, c = np.zeros(self.over.shape[1]), np.zeros(self.size)
        self.input, self.steps, outputs = values, [], []
        for x in values:
            kept, new, matrix, output = self.cell(x, h, c)
            read = (matrix != 0) * 1.0
            if not outputs:
                read[:, len(x) :] = 0
            new_shares = shares(positive_parts(np.concatenate([x, h]), matrix), read)
            c = kept + new
            h, out_shares = output(c), None
            if self.project is not None:
                out_shares = shares(positive_parts(h, self.project), (self.project != 0) * 1.0)
                h = self.project @ h
            self.steps.append((kept, new, new_shares, out_shares))
            outputs.append(h)
        return np.array(outputs)

    def back(self, relevance):
        result, state = np.zeros_like(self.input), np.zeros(self.size)
        last_output = np.zeros(self.over.shape[1])
        for t in reversed(range(len(self.steps))):
            kept, new, new_shares, out_shares = self.steps[t]
            of_output = last_output + relevance[t]
            state = state + (of_output if out_shares is None else of_output @ out_shares)
            if t == 0 or self.kind == "RNN":
                state, of_new = 0 * state, state
            else:
                state, of_new = split(kept, new, state)
            found = of_new @ new_shares
            result[t], last_output = np.split(found, [self.input.shape[1]])
        return result


class Joined:
    """Two networks side by side, their features one after the other."""

    def __init__(self, first, second):
        self.first, self.second = first, second

    def forward(self, values):
        first, second = run(self.first, values), run(self.second, values)
        self.width = first.shape[1]
        return np.concatenate([first, second], 1)

    def back(self, relevance):
        first = send(self.first, relevance[:, : self.width])
        return first + send(self.second, relevance[:, self.width :])


def run(layers, values):
    """Return what layers make of values, in turn."""
    for layer in layers:
        values = layer.forward(values)
    return values


def send(layers, relevance):
    """Return the relevance of what layers read, from that of their output."""
    for layer in reversed(layers):
        relevance = layer.back(relevance)
    return relevance


def layers_of(module, shape):
    """Return the layers of a PyTorch network, for a volume of this shape, and the shape after it. A
    network with `main` and `shortcut` is their sum, one with `frames` zeros before a volume."""
    if isinstance(module, nn.Sequential):
        layers = []
        for part in module:
            found, shape = layers_of(part, shape)
            layers += found
        return layers, shape
    if hasattr(module, "shortcut"):
        main, after = layers_of(module.main, shape)
        return [Residual(main, layers_of(module.shortcut, shape)[0])], after
    if hasattr(module, "frames"):
        return [Padded(module.frames)], (shape[0], shape[1] + module.frames, *shape[2:])
    if isinstance(module, nn.Identity):
        return [], shape
    if isinstance(module, (nn.Conv2d, nn.Conv3d)):
        layer = convolution(module, shape)
        return [layer], layer.shape
    if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
        return [batch_norm(module)], shape
    if isinstance(module, (nn.ReLU, nn.Tanh)):
        relu = isinstance(module, nn.ReLU)
        return [Pointwise((lambda a: np.maximum(a, 0)) if relu else np.tanh)], shape
    kind = {"MaxPool3d": "max", "AvgPool3d": "mean"}[type(module).__name__]
    counts = [n // k for n, k in zip(shape[1:], module.kernel_size, strict=True)]
    return [Pooled(windows_of(module.kernel_size), kind)], (shape[0], *counts)


def within(layers, low, high):
    """Give the first layer with weights the bounds of what it reads: those of a clip, moved as the
    clip is."""
    for layer in layers:
        if isinstance(layer, Weighted):
            layer.bounds = low, high
            return layers
        low, high = layer.forward(low), layer.forward(high)
    raise AssertionError("no layer reads the clip")


def one_pass(layers, feature_relevance):
    """Return the relevance of the clip (N, T, C, H, W), from that of each timestep's features."""
    rows = []
    for i, relevance in enumerate(feature_relevance):
        start = np.zeros((len(feature_relevance), len(relevance)))
        start[i] = relevance
        rows.append(send(layers, start))
    return np.array(rows)


def temporal_relevance(layers, weight, bias, clip, target, contrastive):
    """Return what a classifier of every timestep's features read, for one clip (T, C, H, W):
    `step_logits` (N,), `pixels` (N, T, C, H, W), `frame_matrix` (N, T) and `row_error` (N,).

    R goes back from the target's logit. If contrastive, R' goes back once more, all the way from
    the same logit with the target's weights in the last layer negated, and the pixels are
    max(0, R - R')."""
    features, row = run(layers, clip), _array(weight)[target]
    logits = np.array([row @ feature + _array(bias)[target] for feature in features])
    passes = []
    for signed in (row, -row):
        starts = [
            logit * shares(positive_parts(feature, signed[None]), np.ones((1, len(row))))[0]
            for logit, feature in zip(logits, features, strict=True)
        ]
        passes.append(one_pass(layers, starts))
    pixels, opposed = passes
    expected = logits
    if contrastive:
        pixels, expected = pixels - opposed, 0 * logits
    error = (pixels.sum((1, 2, 3, 4)) - expected) / np.abs(logits)
    if contrastive:
        pixels = np.maximum(pixels, 0)
    return SimpleNamespace(
        step_logits=logits,
        pixels=pixels,
        frame_matrix=pixels.sum((2, 3, 4)),
        row_error=error,
    )


def step_matrix(frame_matrix, frames_per_step):
    """Return (B, N, N): the columns of frames added to those of timesteps, timestep j having the
    frames j * frames_per_step and following; those after the last timestep's are its own too."""
    frame_matrix = _array(frame_matrix)
    batch, steps, frames = frame_matrix.shape
    result = np.zeros((batch, steps, steps))
    for b, i, t in np.ndindex(batch, steps, frames):
        result[b, i, min(t // frames_per_step, steps - 1)] += frame_matrix[b, i, t]
    return result


def blocks(matrix, size, whole):
    """Return a matrix (B, N, M) with its rows, and its columns too if `whole`, summed in blocks."""
    matrix = _array(matrix)
    across = size if whole else 1
    result = np.zeros((len(matrix), matrix.shape[1] // size, matrix.shape[2] // across))
    for b, i, j in np.ndindex(*matrix.shape):
        result[b, i // size, j // across] += matrix[b, i, j]
    return result
