"""Class activation maps written slowly, from their definitions: one place after another."""

import itertools
import math

import torch


def places_of(values):
    """All places (step, row, column) of one clip's values `(feature, steps, rows, columns)`."""
    return list(itertools.product(*map(range, values.shape[1:])))


def weighted(values, pool, weight_of):
    """The sum of channels, each by a weight told from the places that share it."""
    found = torch.zeros(values.shape[1:], dtype=torch.float64)
    for channel in range(len(values)):
        groups = {}
        for place in places_of(values):
            groups.setdefault(0 if pool == "clip" else place[0], []).append(place)
        for shared in groups.values():
            weight = weight_of(channel, shared)
            for place in shared:
                found[place] += weight * float(values[(channel, *place)])
    return found


def grad_cam(values, gradient, pool):
    def weight_of(channel, shared):
        return sum(float(gradient[(channel, *place)]) for place in shared) / len(shared)

    return weighted(values, pool, weight_of)


def grad_cam_plus_plus(values, gradient, pool):
    """By all three derivatives of exp(S), where S = 0, which is linear in the values."""

    def weight_of(channel, shared):
        total = sum(float(values[(channel, *place)]) for place in shared)
        weight = 0.0
        for place in shared:
            slope = float(gradient[(channel, *place)])
            below = 2 * slope**2 + total * slope**3
            alpha = slope**2 / below if slope else 0.0
            weight += alpha * max(slope, 0.0)
        return weight

    return weighted(values, pool, weight_of)


def hi_res_cam(values, gradient, pool):
    found = torch.zeros(values.shape[1:], dtype=torch.float64)
    for place in places_of(values):
        for channel in range(len(values)):
            found[place] += float(gradient[(channel, *place)]) * float(values[(channel, *place)])
    return found


def layer_cam(values, gradient, pool):
    found = torch.zeros(values.shape[1:], dtype=torch.float64)
    for place in places_of(values):
        for channel in range(len(values)):
            slope = max(float(gradient[(channel, *place)]), 0.0)
            found[place] += slope * float(values[(channel, *place)])
    return found


def score_cam(logit_of, clip, values, step_of_frame, baseline):
    """Of one clip `(time, channel, height, width)`, whose logit a function gives."""
    scores = []
    for channel in values:
        low, high = float(channel.min()), float(channel.max())
        masked = torch.empty_like(clip)
        for frame, step in enumerate(step_of_frame):
            mask = channel[step] - low
            mask = mask / (high - low) if high > low else 0 * mask
            mask = enlarged(mask, clip.shape[2:])
            masked[frame] = clip[frame] * mask + baseline * (1 - mask)
        scores.append(float(logit_of(masked)))
    most = max(scores)
    shares = [math.exp(score - most) for score in scores]
    weights = [share / sum(shares) for share in shares]
    found = torch.zeros(values.shape[1:], dtype=torch.float64)
    for weight, channel in zip(weights, values, strict=True):
        found += weight * channel.double()
    return found


def enlarged(image, size):
    """Bilinear, each pixel by the place of its centre, and the border repeated outwards."""
    found = torch.empty(tuple(size), dtype=image.dtype)
    for row in range(size[0]):
        for column in range(size[1]):
            above, over = between(row, size[0], image.shape[0])
            left, beside = between(column, size[1], image.shape[1])
            below, right = (
                min(above + 1, image.shape[0] - 1),
                min(left + 1, image.shape[1] - 1),
            )
            found[row, column] = (
                (1 - over) * (1 - beside) * image[above, left]
                + (1 - over) * beside * image[above, right]
                + over * (1 - beside) * image[below, left]
                + over * beside * image[below, right]
            )
    return found


def between(place, size, given):
    """The entry before a pixel of the larger image, and how far it is past that."""
    where = min(max((place + 0.5) * given / size - 0.5, 0.0), given - 1.0)
    first = min(int(where), given - 1)
    return first, where - first
