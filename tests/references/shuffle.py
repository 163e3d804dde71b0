"""Slow references for `ShuffleProbe`, written from the definitions alone.

They share no code with the package. One clip and one order go through the model at a time, every
number is a Python float, and every sum, median, rank and correlation is a loop. A clip is a tensor
`(time, channel, height, width)`; `score` is a function from it to a list with one number a frame,
and `predict` one to a list of logits. Where the definitions leave something open, the comment says
how it is settled."""

import math
from itertools import pairwise, permutations
from types import SimpleNamespace

import cv2
import numpy as np
import torch

from tests.helpers.checks import NAN

# Two orders of equal level differ by rounding only: a few eps of float64, of sums over pixels.
SAME_LEVEL = 1e-10


def sum_of(values):
    total = 0.0
    for value in values:
        total += float(value)
    return total


def mean(values):
    values = list(values)
    return sum_of(values) / len(values)


def median(values):
    """Return the middle value, or the mean of the middle two; what is NaN is left out."""
    kept = sorted(value for value in values if not math.isnan(value))
    if not kept:
        return NAN
    half = len(kept) // 2
    if len(kept) % 2:
        return kept[half]
    return (kept[half - 1] + kept[half]) / 2


def pearson(first, second):
    """Return Pearson's correlation; NaN where one side does not vary."""
    first, second = list(first), list(second)
    over, under = mean(first), mean(second)
    left = [value - over for value in first]
    right = [value - under for value in second]
    scale = math.sqrt(sum_of(a * a for a in left)) * math.sqrt(sum_of(b * b for b in right))
    if len(set(first)) == 1 or len(set(second)) == 1 or scale == 0:
        return NAN
    return sum_of(a * b for a, b in zip(left, right, strict=True)) / scale


def ranks(values):
    """Return the rank of each value, from 1; equal values share the mean of their ranks."""
    result = []
    for value in values:
        below = sum(1 for other in values if other < value)
        equal = sum(1 for other in values if other == value)
        result.append(below + (equal + 1) / 2)
    return result


def spearman(first, second):
    return pearson(ranks(first), ranks(second))


def softmax(logits):
    top = max(logits)
    parts = [math.exp(value - top) for value in logits]
    total = sum_of(parts)
    return [part / total for part in parts]


def log(value):
    return -math.inf if value == 0 else math.log(value)


def distance_from_one(ratio, epsilon):
    """Return |log R|. A ratio of zero is infinitely far, which has no interval: what the precision
    cannot tell from zero, less than its epsilon, is as far as epsilon."""
    return min(abs(log(ratio)), -math.log(epsilon))


def objective_of(logits, target, name):
    """Return the scalar that is differentiated, from logits `(1, classes)`."""
    if name == "logit":
        return logits[0, target]
    parts = logits[0].exp()
    return parts[target] / parts.sum()


def gradient_scores(model, target, objective="logit"):
    """Return a score function: G_t, the L2 norm of dS / dx_t over channel, height and width."""

    def score(frames):
        clip = frames.clone()[None].requires_grad_(True)
        value = objective_of(model(clip), target, objective)
        gradient = torch.autograd.grad(value, clip)[0][0]
        result = []
        for frame in gradient:
            flat = frame.reshape(-1).tolist()
            result.append(math.sqrt(math.fsum(entry * entry for entry in flat)))
        return result

    return score


def method_scores(method, target, norm):
    """Return a score function: a norm of each frame of another method's attribution."""

    def score(frames):
        attribution = method.attribute(frames[None].clone(), target=target).detach()[0]
        result = []
        for frame in attribution:
            flat = [abs(entry) for entry in frame.reshape(-1).tolist()]
            if norm == "l2":
                result.append(math.sqrt(math.fsum(entry * entry for entry in flat)))
            elif norm == "l1":
                result.append(math.fsum(flat))
            else:
                result.append(max(flat))
        return result

    return score


def logits_of(model):
    def predict(frames):
        with torch.no_grad():
            return model(frames[None].clone())[0].tolist()

    return predict


def in_order(frames, order):
    """Return the clip whose place p shows frame order[p]."""
    return torch.stack([frames[frame] for frame in order])


def aligned(values, order):
    """Return the values of places as values of frames, in the frames' own order."""
    result = [NAN] * len(order)
    for place, frame in enumerate(order):
        result[frame] = values[place]
    return result


def p_value(levels):
    """Return the share of orders, the natural one first among them, at least as far from the mean
    of all as the natural one. A tie counts, and so do two distances that differ by rounding."""
    levels = list(levels)
    middle = mean(levels)
    distances = [abs(level - middle) for level in levels]
    scale = max(abs(level) for level in levels)
    far = [one for one in distances if one >= distances[0] - SAME_LEVEL * scale]
    return len(far) / len(levels)


def probe(score, predict, frames, orders, target, epsilon, flow=None):
    """Return every number of one clip: `orders` is a list of lists, `flow` one of T - 1 numbers,
    `epsilon` the machine's for the scores' dtype."""
    orders = [[int(frame) for frame in order] for order in orders]
    count = len(frames)
    natural = score(frames)
    logits = predict(frames)
    shuffled = [aligned(score(in_order(frames, order)), order) for order in orders]
    shuffled_logits = [predict(in_order(frames, order)) for order in orders]

    least = epsilon * max(natural)
    has_ratio = [value > least for value in natural]
    ratios = [
        [row[t] / natural[t] if has_ratio[t] else NAN for t in range(count)] for row in shuffled
    ]
    every = [ratio for row in ratios for ratio in row if not math.isnan(ratio)]
    mrr = median(every)
    still = score(torch.stack([frames[count // 2]] * count))
    chance = softmax(logits)[target]
    return SimpleNamespace(
        logits=logits,
        ordered_scores=natural,
        shuffled_scores=shuffled,
        shuffled_logits=shuffled_logits,
        ratios=ratios,
        frame_ratios=[median(row[t] for row in ratios) for t in range(count)],
        mrr=mrr,
        relative_drop=1 - mrr,
        median_log_ratio=median(distance_from_one(ratio, epsilon) for ratio in every),
        rising_share=sum(1 for ratio in every if ratio > 1 + math.sqrt(epsilon)) / len(every)
        if every
        else NAN,
        static_ratio=mean(still) / mean(natural) if mean(natural) else NAN,
        logit_drop=logits[target] - mean(row[target] for row in shuffled_logits),
        probability_drop=chance - mean(softmax(row)[target] for row in shuffled_logits),
        rank_correlation=mean(spearman(row, natural) for row in shuffled),
        p_value=p_value(mean(row) for row in [natural, *shuffled]),
        logit_p_value=p_value(row[target] for row in [logits, *shuffled_logits]),
        left_out=sum(1 for kept in has_ratio if not kept),
        flow_correlation_drop=NAN
        if flow is None
        else pearson(flow, natural[1:]) - mean(pearson(flow, row[1:]) for row in shuffled),
    )


def grey_frames(frames, mean_of, std_of):
    """Return the frames `(time, 3, height, width)` as 8-bit grey pictures: values times std plus
    mean, clamped to [0, 1], scaled to bytes and rounded, then 0.299 R + 0.587 G + 0.114 B."""
    pictures = []
    for frame in frames.double().numpy():
        pixels = np.zeros(frame.shape)
        for channel in range(len(frame)):
            pixels[channel] = frame[channel] * std_of[channel] + mean_of[channel]
        pixels = np.rint(np.clip(pixels, 0.0, 1.0) * 255).astype(np.uint8)
        pictures.append(cv2.cvtColor(np.ascontiguousarray(pixels.transpose(1, 2, 0)), 7))
    return pictures


def farneback(frames, mean_of, std_of):
    """Return the mean magnitude of the flow from each frame to the next, by Farneback's method with
    the parameters of OpenCV's own tutorial."""
    pictures = grey_frames(frames, mean_of, std_of)
    result = []
    for one, other in pairwise(pictures):
        field = cv2.calcOpticalFlowFarneback(one, other, None, 0.5, 3, 15, 3, 5, 1.2, 0)
        lengths = [math.hypot(float(u), float(v)) for u, v in field.reshape(-1, 2)]
        result.append(math.fsum(lengths) / len(lengths))
    return result


# Orders, enumerated by trying every permutation.


def block_orders(frames, length):
    """Return all orders whose blocks of `length` frames stay whole, the natural one left out. The
    last block holds what is left over."""
    blocks = [list(range(start, min(start + length, frames))) for start in range(0, frames, length)]
    found = set()
    for arrangement in permutations(blocks):
        found.add(tuple(frame for block in arrangement for frame in block))
    return found - {tuple(range(frames))}


def local_orders(frames, radius):
    """Return all orders in which no frame stands more than `radius` places from its own."""
    return {
        order
        for order in permutations(range(frames))
        if all(abs(place - frame) <= radius for place, frame in enumerate(order))
    } - {tuple(range(frames))}


def full_orders(frames):
    return set(permutations(range(frames))) - {tuple(range(frames))}
