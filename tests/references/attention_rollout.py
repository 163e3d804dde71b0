"""Attention rollout and gradient attention from their definitions, by loops over tokens."""

import torch


def softmax_rows(scores):
    """Softmax of each row, by its definition."""
    rows = []
    for row in scores:
        powers = (row - row.max()).exp()
        rows.append(powers / powers.sum())
    return torch.stack(rows)


def attend(layer, tokens, heads):
    """The mean over heads is not taken: weights of each head, and what attention puts out."""
    features = tokens.shape[1]
    width = features // heads
    read = tokens @ layer.read.weight.T + layer.read.bias
    query, key, value = read[:, :features], read[:, features : 2 * features], read[:, -features:]
    weights, parts = [], []
    for head in range(heads):
        at = slice(head * width, (head + 1) * width)
        scores = torch.stack(
            [torch.stack([(q * k).sum() for k in key[:, at]]) for q in query[:, at]]
        )
        weights.append(softmax_rows(scores / width**0.5))
        parts.append(weights[-1] @ value[:, at])
    return weights, torch.cat(parts, 1) @ layer.write.weight.T + layer.write.bias


def mean_of(weights):
    """The mean over heads."""
    return sum(weights) / len(weights)


def positive_part(weights, gradients):
    """E_h[(grad A * A)+]."""
    return mean_of([(a * g).clamp(min=0) for a, g in zip(weights, gradients, strict=True)])


def product(matrices):
    """The last matrix times the one before it, and so on to the first."""
    whole = torch.eye(len(matrices[0]), dtype=matrices[0].dtype)
    for matrix in matrices:
        whole = matrix @ whole
    return whole


def rollout(layers):
    """Of attention matrices from the first layer to the last: the product of 0.5 A + 0.5 I."""
    eye = torch.eye(len(layers[0]), dtype=layers[0].dtype)
    return product([0.5 * matrix + 0.5 * eye for matrix in layers])


def relevance(layers):
    """Of mean positive parts: the product of I + A."""
    eye = torch.eye(len(layers[0]), dtype=layers[0].dtype)
    return product([eye + matrix for matrix in layers])


def divided_layers(temporal, spatial, frames, patches, skip, branch):
    """Matrices on the whole grid for a layer that attends over time and then within frames.

    Token 0 is the class token, token `1 + t * patches + p` patch p of frame t.

    Args:
        temporal: For each patch, a matrix (frames, frames).
        spatial: For each frame, a matrix (1 + patches, 1 + patches), the class token first.
        frames: How many.
        patches: Of a frame.
        skip: What a skip connection gets.
        branch: What attention gets.
    """
    size = 1 + frames * patches
    first = torch.eye(size, dtype=temporal[0].dtype)
    for p in range(patches):
        for t in range(frames):
            row = 1 + t * patches + p
            first[row] = 0
            first[row, row] = skip
            for s in range(frames):
                first[row, 1 + s * patches + p] += branch * temporal[p][t, s]
    second = torch.zeros_like(first)
    second[0, 0] = skip
    for t in range(frames):
        own = [0, *range(1 + t * patches, 1 + (t + 1) * patches)]
        for at, row in enumerate(own):
            # The class token is in every frame; what its copies become is averaged.
            share = branch / frames if row == 0 else branch
            if row:
                second[row, row] = skip
            for to, column in enumerate(own):
                second[row, column] += share * spatial[t][at, to]
    return [first, second]


def on_pixels(row, shape, tube, class_token):
    """Token scores spread evenly over the pixels (time, channel, height, width) of their tubes."""
    time, channels, height, width = shape
    found = torch.zeros(shape, dtype=row.dtype)
    grid = [size // part for size, part in zip((time, height, width), tube, strict=True)]
    number = int(class_token)
    for t in range(grid[0]):
        for y in range(grid[1]):
            for x in range(grid[2]):
                found[
                    t * tube[0] : (t + 1) * tube[0],
                    :,
                    y * tube[1] : (y + 1) * tube[1],
                    x * tube[2] : (x + 1) * tube[2],
                ] = row[number] / (tube[0] * channels * tube[1] * tube[2])
                number += 1
    return found
