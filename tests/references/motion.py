"""Motion and appearance in an attribution, written from their definitions: one entry at a time.

A clip or attribution is `(time, channel, height, width)`; a method is a function from a clip to an
attribution. Nothing here knows how the package splits.
"""

import math

import numpy as np

from tests.references.definitions import _array


def still(clip, frame):
    """The clip in which a frame stands still."""
    clip = _array(clip)
    return np.stack([clip[frame] for _ in clip])


def appearance_by_frame(method, clip):
    """Of each frame the mean, over places, of what it gets in the clip where it stands still."""
    clip = _array(clip)
    found = np.zeros_like(clip)
    for frame in range(len(clip)):
        attributed = _array(method(still(clip, frame)))
        for place in range(len(clip)):
            found[frame] += attributed[place] / len(clip)
    return found


def mean_frame(clip):
    """The clip that shows its mean frame all the time."""
    clip = _array(clip)
    mean = sum(clip) / len(clip)
    return np.stack([mean for _ in clip])


SMOOTH = (1, 2, 1)
SLOPE = (-1, 0, 1)


def sobel(values):
    """Sobel's derivative over time of `(time, height, width)`; the border goes on outside."""
    values = _array(values)
    sizes = values.shape
    found = np.zeros_like(values)
    for place in np.ndindex(*sizes):
        for step in np.ndindex(3, 3, 3):
            at = tuple(
                min(max(one + shift - 1, 0), size - 1)
                for one, shift, size in zip(place, step, sizes, strict=True)
            )
            found[place] += SLOPE[step[0]] * SMOOTH[step[1]] * SMOOTH[step[2]] * values[at]
    return found


def moves(attribution, sigma):
    """Where the derivative is larger than so many standard deviations of it."""
    derivative = sobel(_array(attribution).sum(1))
    mean = derivative.sum() / derivative.size
    spread = math.sqrt(((derivative - mean) ** 2).sum() / derivative.size)
    return np.abs(derivative) > sigma * spread
