"""What a masked clip looks like, written from the definition: one pixel at a time, in float64.

A clip is `(time, channel, height, width)`. Nothing here knows how the package masks.
"""

import math

import numpy as np

from tests.references.definitions import _array

WIDTH = 0.1
"""Standard deviation of the blur, as a share of a frame's short side."""

CUT = 4.0
"""Where the bell of the blur is cut off, in standard deviations: all but 6e-5 of it is inside."""


def bell(sigma, reach):
    """A Gaussian at whole distances up to a reach, that sums to one."""
    heights = [math.exp(-(k**2) / (2 * sigma**2)) for k in range(-reach, reach + 1)]
    return [height / sum(heights) for height in heights]


def blurred(picture, cut=CUT):
    """A picture (height, width) under a Gaussian; the pixels of the border go on outside."""
    picture = _array(picture)
    height, width = picture.shape
    sigma = WIDTH * min(height, width)
    reach = math.floor(cut * sigma + 0.5)
    weights = bell(sigma, reach)
    found = np.zeros_like(picture)
    for row, column in np.ndindex(height, width):
        for down, across in np.ndindex(2 * reach + 1, 2 * reach + 1):
            near = min(max(row + down - reach, 0), height - 1)
            beside = min(max(column + across - reach, 0), width - 1)
            found[row, column] += weights[down] * weights[across] * picture[near, beside]
    return found


def baseline_frame(clip, frame, baseline, first, end):
    """What a frame shows where it is masked together with frames `first` to `end - 1`."""
    clip = _array(clip)
    if isinstance(baseline, str) and baseline == "mean":
        means = [clip[:, channel].mean() for channel in range(clip.shape[1])]
        return np.stack([np.full(clip.shape[2:], mean) for mean in means])
    if isinstance(baseline, str) and baseline == "blur":
        return np.stack([blurred(picture) for picture in clip[frame]])
    if isinstance(baseline, str) and baseline == "neighbour":
        return clip[first - 1] if first > 0 else clip[end]
    values = np.broadcast_to(_array(baseline), clip.shape)
    return values[frame]


def frames_masked(clip, first, end, baseline):
    """The clip with frames `first` to `end - 1` masked."""
    masked = _array(clip)
    for frame in range(first, end):
        masked[frame] = baseline_frame(clip, frame, baseline, first, end)
    return masked


def feature_masked(clip, frame, labels, label, baseline):
    """The clip with one feature of one frame masked: the pixels of a label, in all channels."""
    masked, shown = _array(clip), baseline_frame(clip, frame, baseline, frame, frame + 1)
    for row, column in np.ndindex(*labels.shape):
        if labels[row, column] == label:
            for channel in range(masked.shape[1]):
                masked[frame, channel, row, column] = shown[channel, row, column]
    return masked


def every_window_masked(clip, baseline, window):
    """All clips that one step shows, by the first frame that they mask."""
    last = len(clip) - window
    return [frames_masked(clip, first, first + window, baseline) for first in range(last + 1)]


def every_feature_masked(clip, baseline, labels):
    """All clips that the second step shows of frames with features `labels` (time, ...)."""
    return [
        feature_masked(clip, frame, labels[frame], label, baseline)
        for frame in range(len(clip))
        for label in np.unique(labels[frame])
    ]
