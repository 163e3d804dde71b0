"""Masks of a given area, written from the definitions in float64, by plain loops.

A mask is `(time, height, width)`. What is learned is one number for each frame, of a function that
gives its value and its slopes; nothing here differentiates anything.
"""

import math
from typing import NamedTuple

import numpy as np

TEMPERATURE = 0.05


def kernel(distance, reach):
    """1 up to half a cell, 0 from the reach on, half a cosine wave between."""
    if distance <= 0.5:
        return 1.0
    if distance >= reach:
        return 0.0
    return 0.5 * (1 + math.cos(math.pi * (distance - 0.5) / (reach - 0.5)))


def smooth_maximum(values):
    """sum(v exp(v / T)) / sum(exp(v / T)).

    >>> smooth_maximum([1.0, 0.0]) > 0.99999
    True
    """
    weights = [math.exp(value / TEMPERATURE) for value in values]
    return math.fsum(v * w for v, w in zip(values, weights, strict=True)) / math.fsum(weights)


def along_one_axis(cells, places, reach):
    """From the cells of one axis to its places, each the smooth maximum of the cells in reach."""
    found = []
    for place in range(places):
        at = (place + 0.5) * len(cells) / places
        near = [(abs(at - (cell + 0.5)), value) for cell, value in enumerate(cells)]
        seen = [kernel(far, reach) * value for far, value in near if kernel(far, reach) > 0]
        found.append(smooth_maximum(seen))
    return found


def mask_of(grid, size):
    """The mask of a grid: along time, then height, then width."""
    grid = np.asarray(grid, dtype=np.float64)
    for axis, reach in enumerate((1.0, 1.5, 1.5)):
        moved = np.moveaxis(grid, axis, 0)
        wider = np.zeros((size[axis], *moved.shape[1:]))
        for place in np.ndindex(*moved.shape[1:]):
            line = [moved[(cell, *place)] for cell in range(len(moved))]
            wider[(slice(None), *place)] = along_one_axis(line, size[axis], reach)
        grid = np.moveaxis(wider, 0, axis)
    return grid


def wanted(mask, area):
    """The mask of that area whose places have the same order.

    Those that are equal in steps of 1e-6 get the same.

    >>> wanted(np.array([0.1, 0.9, 0.5, 0.5]), 0.375).tolist()
    [0.0, 1.0, 0.25, 0.25]
    """
    flat = np.asarray(mask, dtype=np.float64).ravel().tolist()
    left = area * len(flat)
    found = [0.0] * len(flat)
    steps = [round(value / 1e-6) for value in flat]
    for step in sorted(set(steps), reverse=True):
        places = [place for place, other in enumerate(steps) if other == step]
        granted = min(left, len(places))
        for place in places:
            found[place] = granted / len(places)
        left -= granted
    return np.array(found).reshape(np.shape(mask))


def area_penalty(mask, area):
    """The mean squared distance from it."""
    differences = np.asarray(mask, dtype=np.float64) - wanted(mask, area)
    return math.fsum(one * one for one in differences.ravel().tolist()) / differences.size


def jump_penalty(mask):
    """The mean absolute change from frame to frame."""
    if len(mask) == 1:
        return 0.0
    jumps = [
        abs(float(mask[(frame + 1, *place)]) - float(mask[(frame, *place)]))
        for frame in range(len(mask) - 1)
        for place in np.ndindex(*mask.shape[1:])
    ]
    return math.fsum(jumps) / len(jumps)


class Learned(NamedTuple):
    """One number for each frame, and how it came to be."""

    mask: np.ndarray
    score: float
    loss: list
    values: list
    converged: bool


def learn_frames(value_and_slopes, frames, area, *, keep, smoothness, rate, most, tolerance):
    """Adam on one number for each frame, from one half, kept in [0, 1].

    Args:
        value_and_slopes: From what is shown of each frame to the objective and its slopes.
        frames: How many.
        area: The share that the mask has.
        keep: Whether the mask is shown, or what it leaves.
        smoothness: Of the jumps.
        rate: Of Adam, whose decays are 0.9 and 0.99.
        most: Iterations.
        tolerance: Of the loss, over twice ten iterations.
    """
    empty, full = value_and_slopes([0.0] * frames)[0], value_and_slopes([1.0] * frames)[0]
    mask, first, second = [0.5] * frames, [0.0] * frames, [0.0] * frames
    losses, values, unit, best = [], [], None, None
    rising = most // 2
    for step in range(most):
        value, slopes = value_and_slopes(mask if keep else [1 - one for one in mask])
        unit = unit or max(abs(full - empty), math.fsum(map(abs, slopes))) or 1.0
        weight = 0.3 * 1000.0 ** (min(1.0, step / rising) if rising else 1.0)
        target = wanted(np.array(mask), area)
        loss = (-1 if keep else 1) * (value - empty) / unit
        loss += weight * area_penalty(np.array(mask), area)
        loss += smoothness * jump_penalty(np.array(mask).reshape(frames, 1, 1))
        losses.append(loss)
        values.append(value)
        if best is None or step <= rising or loss < best[0]:
            best = loss, list(mask), value
        if len(losses) >= rising + 20:
            before, last = losses[-20:-10], losses[-10:]
            if abs(math.fsum(last) - math.fsum(before)) / 10 <= tolerance:
                return Learned(np.array(best[1]), best[2], losses, values, True)
        downhill = []
        for frame in range(frames):
            slope = -slopes[frame] / unit + weight * 2 * (mask[frame] - target[frame]) / frames
            for other in (frame - 1, frame + 1):
                if 0 <= other < frames and mask[frame] != mask[other]:
                    sign = 1 if mask[frame] > mask[other] else -1
                    slope += smoothness * sign / (frames - 1)
            downhill.append(slope)
        for frame, slope in enumerate(downhill):
            first[frame] = 0.9 * first[frame] + 0.1 * slope
            second[frame] = 0.99 * second[frame] + 0.01 * slope**2
            mean = first[frame] / (1 - 0.9 ** (step + 1))
            spread = second[frame] / (1 - 0.99 ** (step + 1))
            moved = mask[frame] - rate * mean / (math.sqrt(spread) + 1e-8)
            mask[frame] = min(1.0, max(0.0, moved))
    return Learned(np.array(best[1]), best[2], losses, values, False)
