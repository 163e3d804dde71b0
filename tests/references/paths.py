"""Integrals along paths of clips, written from their definitions: one clip, one point and one entry
at a time, in float64. Nothing here knows how the package integrates.

A clip is `(time, channel, height, width)`; a score is a function of one clip of torch tensors.
"""

import math
from itertools import pairwise

import numpy as np
import torch
from scipy.special import roots_legendre

from tests.references.definitions import _array


def gradient_at(score, clip):
    """The gradient of a score at a clip."""
    leaf = torch.tensor(_array(clip), requires_grad=True)
    (found,) = torch.autograd.grad(score(leaf), leaf)
    return found.numpy()


def rule_points(rule, count):
    """Points and weights of a rule on [0, 1]."""
    if rule == "gausslegendre":
        nodes, weights = roots_legendre(count)
        return [((x + 1) / 2, w / 2) for x, w in zip(nodes, weights, strict=True)]
    if rule == "riemann_trapezoid":
        inside = 1 / (count - 1)
        ends = (0, count - 1)
        return [(i * inside, inside / 2 if i in ends else inside) for i in range(count)]
    shift = {"riemann_left": 0, "riemann_middle": 0.5, "riemann_right": 1}[rule]
    return [((i + shift) / count, 1 / count) for i in range(count)]


def straight_integral(score, start, clip, rule, count):
    """Sum of weight * gradient * (clip - start), point by point."""
    start, clip = _array(start), _array(clip)
    found = np.zeros_like(clip)
    for alpha, weight in rule_points(rule, count):
        gradient = gradient_at(score, start + alpha * (clip - start))
        for place in np.ndindex(*clip.shape):
            found[place] += weight * gradient[place] * (clip[place] - start[place])
    return found


def slowed(clip, speed):
    """The clip at a speed: place t shows time speed * t, between frames a blend of the two."""
    clip = _array(clip)
    shown = np.zeros_like(clip)
    for t in range(len(clip)):
        k = min(math.floor(speed * t), len(clip) - 1)
        shown[t] = clip[k]
        if speed * t > k:
            shown[t] = clip[k] + (speed * t - k) * (clip[k + 1] - clip[k])
    return shown


def rate(clip, speed):
    """The derivative of `slowed` with respect to the speed: t * (x_{k+1} - x_k)."""
    clip = _array(clip)
    found = np.zeros_like(clip)
    for t in range(1, len(clip)):
        k = min(math.floor(speed * t), len(clip) - 2)
        found[t] = t * (clip[k + 1] - clip[k])
    return found


def speeds_integral(score, clip, count):
    """The integral of gradient * rate over speeds, by the midpoint rule between all corners.

    Corners are where a place shows a whole frame: between two of them all is smooth.
    """
    clip = _array(clip)
    corners = {k / t for t in range(1, len(clip)) for k in range(t + 1)} | {0.0, 1.0}
    borders = sorted(corners)
    found = np.zeros_like(clip)
    for begin, end in pairwise(borders):
        for x, weight in rule_points("gausslegendre", count):
            speed = begin + x * (end - begin)
            gradient = gradient_at(score, slowed(clip, speed))
            found += weight * (end - begin) * gradient * rate(clip, speed)
    return found


def speeds_sum(score, clip, rule, count):
    """The sum over points of gradient * (where its part of the path ends - where it begins)."""
    found, begin = np.zeros_like(_array(clip)), 0.0
    for alpha, weight in rule_points(rule, count):
        end = begin + weight
        gradient = gradient_at(score, slowed(clip, alpha))
        found += gradient * (slowed(clip, min(end, 1.0)) - slowed(clip, min(begin, 1.0)))
        begin = end
    return found


def component(values, frequency):
    """The part of a signal over time that has a frequency, in cycles over its length."""
    values = _array(values)
    length = len(values)
    found = np.zeros_like(values)
    twins = {frequency % length, -frequency % length}
    for t in range(length):
        for s in range(length):
            share = sum(math.cos(2 * math.pi * f * (t - s) / length) for f in twins)
            found[t] += values[s] * share / length
    return found


def mean_gradient(score, start, clip, rule, count):
    """Sum of weight * gradient along a straight path."""
    start, clip = _array(start), _array(clip)
    return sum(
        weight * gradient_at(score, start + alpha * (clip - start))
        for alpha, weight in rule_points(rule, count)
    )


def reference_mean(score, references, clip, count):
    """The straight integral, averaged over all references."""
    found = [straight_integral(score, one, clip, "gausslegendre", count) for one in references]
    return sum(found) / len(found)
