"""Slow float64 references of the zoo's modules and networks, written from the papers' definitions.

They share no code with the package and read only the modules' parameters (tensors, or a state
dict). Modules are loops over numbers; of the networks, single frames are convolved by PyTorch and
everything that concerns time is a loop. Modules give numpy arrays, networks torch tensors."""

import math

import numpy as np
import torch
from torch.nn import functional as F

from tests.references.definitions import _affine, _array, _sigmoid


def _softmax(values):
    """Return exp(v) over the sum of them all, of a list."""
    highest = max(values)
    powers = [math.exp(value - highest) for value in values]
    return [power / math.fsum(powers) for power in powers]


def _dot(first, second):
    """Return the exactly summed inner product of two lists."""
    return math.fsum(a * b for a, b in zip(first, second, strict=True))


def _matvec(matrix, vector):
    """Return the list of inner products of the rows of a matrix with a vector."""
    return [_dot(row, vector) for row in _array(matrix).tolist()]


def _weighted(weights, rows):
    """Return the sum over rows of weight * row, entry by entry."""
    return [_dot(weights, column) for column in zip(*rows, strict=True)]


def attention_weights(features, hidden_weight, score_weight):
    """Return (B, T): softmax over time of w . tanh(V h), Ilse et al. (2018), equation 8."""
    (scorer,) = _array(score_weight).tolist()
    result = []
    for clip in _array(features).tolist():
        hidden = [_matvec(hidden_weight, frame) for frame in clip]
        result.append(_softmax([_dot(scorer, [math.tanh(u) for u in row]) for row in hidden]))
    return np.array(result)


def attention_pool(features, hidden_weight, score_weight):
    """Return (B, D): the sum of the frames by `attention_weights`."""
    weights = attention_weights(features, hidden_weight, score_weight).tolist()
    clips = _array(features).tolist()
    return np.array([_weighted(w, clip) for w, clip in zip(weights, clips, strict=True)])


def netvlad(features, centres, assign_weight, assign_bias):
    """Return (B, K * D): V_k = sum_t softmax_k(w_k . h_t + b_k) (h_t - c_k), each divided by its
    own length, laid out centre by centre, all divided by their joint length (Arandjelovic et al.,
    2016, equation 4)."""
    result = []
    for clip in _array(features).tolist():
        rows = [[0.0] * len(clip[0]) for _ in _array(centres)]
        for frame in clip:
            shares = _softmax(_affine(_array(assign_weight), frame, _array(assign_bias)))
            for k, centre in enumerate(_array(centres).tolist()):
                for d, (value, middle) in enumerate(zip(frame, centre, strict=True)):
                    rows[k][d] += shares[k] * (value - middle)
        flat = [value / math.sqrt(_dot(row, row)) for row in rows for value in row]
        result.append([value / math.sqrt(_dot(flat, flat)) for value in flat])
    return np.array(result)


def temporal_pyramid(features, levels):
    """Return (B, sum(levels) * D): for each level, the means over its segments. Segment i of n
    holds every frame [t, t+1) that overlaps the interval [i*T/n, (i+1)*T/n)."""
    result = []
    for clip in _array(features).tolist():
        flat, total = [], len(clip)
        for level in levels:
            for i in range(level):
                # In units of 1/level of a frame, so that the arithmetic is exact.
                start, stop = i * total, (i + 1) * total
                inside = [t for t in range(total) if t * level < stop and (t + 1) * level > start]
                flat += _weighted([1 / len(inside)] * len(inside), [clip[t] for t in inside])
        result.append(flat)
    return np.array(result)


def temporal_aggregation(volume, weight):
    """Return (B, C, T, H, W): ReLU of sum_j w[c, j] x[t + j - K // 2], frames outside being zero
    (Fan et al., 2019). `weight` has C * K entries."""
    volume = _array(volume)
    channels, frames = volume.shape[1:3]
    weight = _array(weight).reshape(channels, -1)
    result = np.zeros_like(volume)
    for c in range(channels):
        for t in range(frames):
            for j, factor in enumerate(weight[c]):
                neighbour = t + j - weight.shape[1] // 2
                if 0 <= neighbour < frames:
                    result[:, c, t] += factor * volume[:, c, neighbour]
    return np.where(result > 0, result, 0.0)


def input_cell_attention(inputs, first, second, w_ih, w_hh, b_ih, b_hh):
    """Return (B, T, H): at step t, A = softmax(W2 tanh(W1 X^T)) over the inputs X = x_0..x_t, a
    row of A for each row of W2, and an LSTM cell (gates i, f, g, o) that reads the rows of A X one
    after another (Ismail et al., 2019)."""
    size = _array(w_hh).shape[1]
    result = []
    for clip in _array(inputs).tolist():
        h, c, outputs = [0.0] * size, [0.0] * size, []
        for t in range(len(clip)):
            past = clip[: t + 1]
            scores = [
                _matvec(second, [math.tanh(u) for u in _matvec(first, frame)]) for frame in past
            ]
            read = []
            for row in zip(*scores, strict=True):
                read += _weighted(_softmax(list(row)), past)
            u, v = _affine(_array(w_ih), read, _array(b_ih)), _affine(_array(w_hh), h, _array(b_hh))
            gates = [a + b for a, b in zip(u, v, strict=True)]
            i, f, g, o = (gates[n * size : (n + 1) * size] for n in range(4))
            c = [_sigmoid(f[n]) * c[n] + _sigmoid(i[n]) * math.tanh(g[n]) for n in range(size)]
            h = [_sigmoid(o[n]) * math.tanh(c[n]) for n in range(size)]
            outputs.append(h)
        result.append(outputs)
    return np.array(result)


def self_attention(tokens, read_weight, read_bias, write_weight, write_bias, heads):
    """Return (B, N, D): Vaswani et al. (2017), section 3.2.2. `read` holds the rows of all queries,
    then all keys, then all values; head h has the h-th run of D / heads of each."""
    tokens = _array(tokens)
    width = tokens.shape[2] // heads
    result = []
    for clip in tokens.tolist():
        read = [_affine(_array(read_weight), token, _array(read_bias)) for token in clip]
        parts = [
            [
                [row[p * tokens.shape[2] :][h * width : (h + 1) * width] for row in read]
                for p in range(3)
            ]
            for h in range(heads)
        ]
        informed = []
        for n in range(len(clip)):
            joined = []
            for queries, keys, values in parts:
                scores = [_dot(queries[n], key) / math.sqrt(width) for key in keys]
                joined += _weighted(_softmax(scores), values)
            informed.append(_affine(_array(write_weight), joined, _array(write_bias)))
        result.append(informed)
    return np.array(result)


def full_parameters(time, space, inside, outside):
    """Return the number of weights of a `time` x `space` x `space` convolution without bias."""
    return outside * inside * time * space * space


def factorised_parameters(time, space, inside, middle, outside):
    """Return the number of weights of a 1 x `space` x `space` convolution to `middle` channels and
    a `time` x 1 x 1 one from there."""
    return full_parameters(1, space, inside, middle) + full_parameters(time, 1, middle, outside)


# Networks. `state` is a state dict in float64, and a prefix names a part of it.


def _part(state, prefix):
    """Return the entries under a prefix, without it."""
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}


def _convolve(volume, weight, stride=1, time_stride=1):
    """Return a zero-padded convolution of (B, C, T, H, W): for each frame of the kernel, the 2D
    convolution of the frame that it meets, added up. `weight` is (out, in, time, height, width), of
    odd lengths."""
    frames, span = volume.shape[2], weight.shape[2]
    total = 0.0
    for j in range(span):
        met = torch.zeros_like(volume[:, :, ::time_stride])
        for n, t in enumerate(range(0, frames, time_stride)):
            if 0 <= t + j - span // 2 < frames:
                met[:, :, n] = volume[:, :, t + j - span // 2]
        images = met.transpose(1, 2).flatten(0, 1)
        images = F.conv2d(images, weight[:, :, j], stride=stride, padding=weight.shape[3] // 2)
        total = total + images.unflatten(0, (len(volume), -1)).transpose(1, 2)
    return total


def _normalise(volume, state, epsilon=1e-5):
    """Return the batch norm of evaluation mode over axis 1."""

    def column(name):
        return state[name].reshape(-1, 1, 1, 1)

    deviation = torch.sqrt(column("running_var") + epsilon)
    return (volume - column("running_mean")) / deviation * column("weight") + column("bias")


def _five(weight):
    """Return the weight of a 2D convolution as that of a 3D one that spans a frame."""
    return weight[:, :, None] if weight.ndim == 4 else weight


def _stem(volume, state):
    """Return ReLU(norm(conv(x))), the convolution with stride 2 in space."""
    volume = _convolve(volume, _five(state["0.weight"]), stride=2)
    return _normalise(volume, _part(state, "1.")).clamp(min=0)


def _layer(volume, state, stride):
    """Return a convolution: full, or in space, norm, ReLU and then in time, by what is stored."""
    if "weight" in state:
        return _convolve(volume, _five(state["weight"]), stride)
    middle = _normalise(_convolve(volume, state["0.weight"], stride), _part(state, "1."))
    return _convolve(middle.clamp(min=0), state["3.weight"])


def _residual(volume, state, stride):
    """Return ReLU(norm(conv(ReLU(norm(conv(front(x)))))) + shortcut(x)) of He et al. (2016), where
    the front, a temporal aggregation, is on the main branch only and there if it is stored. The
    shortcut is a pointwise convolution and norm where it is stored, else x."""
    main = volume
    if "main.0.sum.weight" in state:
        main = torch.from_numpy(temporal_aggregation(volume, state["main.0.sum.weight"]))
    main = _layer(main, _part(state, "main.1."), stride)
    main = _normalise(main, _part(state, "main.2.")).clamp(min=0)
    main = _normalise(_layer(main, _part(state, "main.4."), 1), _part(state, "main.5."))
    if "shortcut.0.weight" in state:
        volume = _convolve(volume, _five(state["shortcut.0.weight"]), stride)
        volume = _normalise(volume, _part(state, "shortcut.1."))
    return (main + volume).clamp(min=0)


def _classify(features, state, name="classifier."):
    """Return weight @ feature + bias over the last axis."""
    return features @ state[f"{name}weight"].T + state[f"{name}bias"]


def frame_features(frames, state, blocks, stages, grid):
    """Return (frames, grid * grid * C) of the 2D network: stem, stages whose first block has stride
    2, and means over grid x grid places of a map that divides evenly."""
    volume = _stem(frames[:, :, None], state)
    for n in range(stages * blocks):
        volume = _residual(volume, _part(state, f"{3 + n}."), 1 if n % blocks else 2)
    image = volume[:, :, 0]
    high, wide = (length // grid for length in image.shape[2:])
    assert (high * grid, wide * grid) == image.shape[2:]
    cells = image.unflatten(3, (grid, wide)).unflatten(2, (grid, high))
    return cells.mean((3, 5)).flatten(1)


def volume_frame_logits(clip, state, blocks, stages):
    """Return (B, T, K) of a residual network over volumes: a mean over space, and a classifier."""
    volume = _stem(clip.transpose(1, 2), _part(state, "stem."))
    for n in range(stages * blocks):
        volume = _residual(volume, _part(state, f"layers.{n}."), 1 if n % blocks else 2)
    return _classify(volume.mean((3, 4)).transpose(1, 2), state)


def slowfast_frame_logits(clip, state, alpha, blocks, stages):
    """Return (B, T, K) of SlowFast, Feichtenhofer et al. (2019), section 3.4 and table 1: laterals
    after the stem and every stage but the last, by concatenation, slow channels first."""

    def stage(volume, name):
        for n in range(blocks):
            volume = _residual(volume, _part(state, f"{name}.{n}."), 1 if n else 2)
        return volume

    def fuse(slow, fast, number):
        part = _part(state, f"lateral.{number}.")
        lateral = _normalise(_convolve(fast, part["0.weight"], 1, alpha), _part(part, "1."))
        return torch.cat([slow, lateral.clamp(min=0)], 1)

    every = clip.transpose(1, 2)
    fast = _stem(every, _part(state, "fast_stem."))
    slow = _stem(every[:, :, ::alpha], _part(state, "slow_stem."))
    for number in range(stages):
        slow = fuse(slow, fast, number)
        slow, fast = stage(slow, f"slow.{number}"), stage(fast, f"fast.{number}")
    slow, fast = slow.mean((3, 4)), fast.mean((3, 4))
    sparse = torch.zeros(*slow.shape[:2], clip.shape[1], dtype=slow.dtype)
    for n in range(slow.shape[2]):
        sparse[:, :, n * alpha] = alpha * slow[:, :, n]
    return _classify(torch.cat([sparse, fast], 1).transpose(1, 2), state)


def _layer_norm(tokens, state, epsilon=1e-5):
    """Return each token minus its mean, over its deviation, times weight, plus bias."""
    centred = tokens - tokens.mean(-1, keepdim=True)
    deviation = torch.sqrt((centred**2).mean(-1, keepdim=True) + epsilon)
    return centred / deviation * state["weight"] + state["bias"]


def _gelu(values):
    """Return x times the standard normal distribution function of x."""
    return values * 0.5 * (1 + torch.erf(values / math.sqrt(2)))


def transformer(tokens, state, heads, depth):
    """Return tokens through `depth` blocks x + attention(norm(x)), then x +
    linear(gelu(linear(norm(x)))), and a last norm."""
    for n in range(depth):
        block = _part(state, f"blocks.{n}.")
        normed = _layer_norm(tokens, _part(block, "attention.0."))
        names = ("read.weight", "read.bias", "write.weight", "write.bias")
        weights = [block[f"attention.1.{name}"] for name in names]
        tokens = tokens + torch.from_numpy(self_attention(normed, *weights, heads))
        normed = _layer_norm(tokens, _part(block, "mix.0."))
        tokens = tokens + _classify(_gelu(_classify(normed, block, "mix.1.")), block, "mix.3.")
    return _layer_norm(tokens, _part(state, "norm."))


def _tubelets(clip, state, tubelet, patch):
    """Return (B, N, P, D) and the grid (N, rows, columns): a token is a linear map of all values of
    a block of frames and pixels, plus the embedding of its place."""
    frames, _, height, width = clip.shape[1:]
    steps, rows, columns = frames // tubelet, height // patch, width // patch
    weight = state["embed.weight"].flatten(1)
    tokens = []
    for n in range(steps):
        for row in range(rows):
            for column in range(columns):
                block = clip[:, n * tubelet : (n + 1) * tubelet]
                block = block[:, :, :, row * patch : (row + 1) * patch]
                block = block[..., column * patch : (column + 1) * patch]
                token = block.transpose(1, 2).flatten(1) @ weight.T + state["embed.bias"]
                tokens.append(token + state["place"][:, n, row, column])
    return torch.stack(tokens, 1).reshape(len(clip), steps, rows * columns, -1)


def tubelet_frame_logits(clip, state, tubelet, patch, heads, depth):
    """Return (B, N, K) of ViViT's model 1, Arnab et al. (2021): all tubelets attend to all. A
    timestep's feature is the mean over the tokens of its frames."""
    grid = _tubelets(clip, state, tubelet, patch)
    tokens = transformer(grid.flatten(1, 2), state, heads, depth)
    return _classify(tokens.reshape(grid.shape).mean(2), state)


def divided_frame_logits(clip, state, tubelet, patch, heads, depth):
    """Return (B, N, K) of divided space-time attention, Bertasius et al. (2021), section 3: in each
    block a token attends to those at its place in all timesteps, then to those of its timestep."""

    def attended(tokens, block, name):
        normed = _layer_norm(tokens, _part(block, f"{name}.0."))
        names = ("read.weight", "read.bias", "write.weight", "write.bias")
        weights = [block[f"{name}.1.{weight}"] for weight in names]
        return tokens + torch.from_numpy(self_attention(normed, *weights, heads))

    tokens = _tubelets(clip, state, tubelet, patch)
    for n in range(depth):
        block = _part(state, f"blocks.{n}.")
        over_time = [attended(tokens[:, :, p], block, "over_time") for p in range(tokens.shape[2])]
        tokens = torch.stack(over_time, 2)
        over_space = [attended(tokens[:, t], block, "over_space") for t in range(tokens.shape[1])]
        tokens = torch.stack(over_space, 1)
        normed = _layer_norm(tokens, _part(block, "mix.0."))
        tokens = tokens + _classify(_gelu(_classify(normed, block, "mix.1.")), block, "mix.3.")
    return _classify(_layer_norm(tokens, _part(state, "norm.")).mean(2), state)
