"""RISE, KernelSHAP, LIME, occlusion and sliding windows, written from the definitions in float64.

A clip is `(time, channel, height, width)` and a model a function `value(clip)` that returns a
float. Nothing here knows how the package draws or applies masks.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np

from tests.references.definitions import _array
from tests.references.masking import baseline_frame, frames_masked


class Rise(NamedTuple):
    """Maps `(time, height, width)`."""

    plain: np.ndarray
    """What the model says of masked clips, weighted by their masks (Petsiuk et al. 2018, eq. 6)."""
    centred: np.ndarray
    """The mean of what it says, plus the covariance with the mask over the share kept."""
    error: np.ndarray
    """The standard error of `centred`."""


def mean(values):
    """The mean, by a sum that rounds once."""
    values = list(values)
    return math.fsum(values) / len(values)


def standard_error(values):
    """Of the mean of independent draws, at least two."""
    middle, count = mean(values), len(values)
    return math.sqrt(math.fsum((v - middle) ** 2 for v in values) / (count - 1) / count)


def baseline_clip(clip, baseline):
    """Every frame masked: a number, "mean" (of each channel), "blur", or an array like the clip."""
    if isinstance(baseline, str) and baseline == "neighbour":
        raise ValueError("a mask of single pixels has no neighbouring frame to show")
    frames = range(len(clip))
    return np.stack([baseline_frame(clip, at, baseline, at, at + 1) for at in frames])


def seen_through(clip, mask, shown):
    """The clip where the mask is 1 and what is shown instead where it is 0, mixed in between."""
    mixed = np.zeros_like(clip)
    for frame, channel, row, column in np.ndindex(*clip.shape):
        share, place = mask[frame, row, column], (frame, channel, row, column)
        mixed[place] = share * clip[place] + (1 - share) * shown[place]
    return mixed


def rise(value, clip, masks, baseline, keep):
    """RISE of masks `(mask, time, height, width)` in [0, 1], whose expectation is `keep`.

    With all masks of a linear model of three pixels, each pixel keeps half its share; the
    covariance is that of a sample of 8, thus 8/7 of that of the 8 masks.

    >>> masks = np.array(list(itertools.product([0, 1], repeat=3))).reshape(8, 3, 1, 1)
    >>> clip = np.array([1.0, 2.0, 4.0]).reshape(3, 1, 1, 1)
    >>> found = rise(np.sum, clip, masks, 0, 0.5)
    >>> found.plain.ravel().tolist()
    [4.0, 4.5, 5.5]
    >>> (found.centred - 3.5).ravel().round(4).tolist()
    [0.5714, 1.1429, 2.2857]
    """
    clip, masks = _array(clip), _array(masks)
    shown = baseline_clip(clip, baseline)
    said = [float(value(seen_through(clip, mask, shown))) for mask in masks]
    count, middle = len(said), mean(said)
    plain, centred, error = (np.zeros(masks.shape[1:]) for _ in range(3))
    for place in np.ndindex(*masks.shape[1:]):
        own = [float(mask[place]) for mask in masks]
        plain[place] = math.fsum(f * m for f, m in zip(said, own, strict=True)) / (count * keep)
        about = mean(own)
        products = [(f - middle) * (m - about) for f, m in zip(said, own, strict=True)]
        centred[place] = middle + math.fsum(products) / (count - 1) / keep
        single = [f + (f - middle) * (m - keep) / keep for f, m in zip(said, own, strict=True)]
        error[place] = standard_error(single)
    return Rise(plain, centred, error)


def corners(place, cell, points):
    """The grid points, with weights, that a place of the enlarged grid lies between.

    A grid point becomes `cell` places and lies in their middle. Outside the middle of the first
    and the last point, those go on.
    """
    at = min(max((place + 0.5) / cell - 0.5, 0.0), points - 1.0)
    low = math.floor(at)
    return [(low, low + 1 - at), (min(low + 1, points - 1), at - low)]


def rise_masks(grid_masks, shifts, size):
    """Masks `(mask, *size)` of binary grids `(mask, t + 1, h + 1, w + 1)` (Petsiuk et al. 2018).

    Each grid point becomes a cell of ceil(T / t), ceil(H / h), ceil(W / w) places by linear
    interpolation; of the result, the T × H × W places from `shifts` (mask, 3) on are kept.

    >>> grid = np.array([0.0, 1.0, 1.0]).reshape(1, 3, 1, 1).repeat(2, 2).repeat(2, 3)
    >>> [rise_masks(grid, [[at, 0, 0]], (4, 1, 1)).ravel().tolist() for at in (0, 1)]
    [[0.0, 0.25, 0.75, 1.0], [0.25, 0.75, 1.0, 1.0]]
    """
    grids = _array(grid_masks)
    points = grids.shape[1:]
    cells = [-(-length // (count - 1)) for length, count in zip(size, points, strict=True)]
    masks = np.zeros((len(grids), *size))
    for index, (grid, shift) in enumerate(zip(grids, shifts, strict=True)):
        if not all(0 <= start <= cell for start, cell in zip(shift, cells, strict=True)):
            raise ValueError(f"shifts {shift} do not lie inside a cell of {cells}")
        for place in np.ndindex(*size):
            around = [
                corners(at + int(start), cell, count)
                for at, start, cell, count in zip(place, shift, cells, points, strict=True)
            ]
            masks[(index, *place)] = math.fsum(
                grid[frame, row, column] * in_time * down * across
                for (frame, in_time), (row, down), (column, across) in itertools.product(*around)
            )
    return masks


def solved(rows, targets, weights, alpha=0.0):
    """Coefficients that minimise sum(weight * (target - row · c)²) + alpha * sum(c²)."""
    width = rows.shape[1]
    normal, right = np.zeros((width, width)), np.zeros(width)
    for one in range(width):
        for other in range(width):
            terms = [w * row[one] * row[other] for w, row in zip(weights, rows, strict=True)]
            normal[one, other] = math.fsum(terms) + (alpha if one == other else 0.0)
        right[one] = math.fsum(
            w * row[one] * y for w, row, y in zip(weights, rows, targets, strict=True)
        )
    used = rows[[w > 0 for w in weights]]
    if alpha == 0 and width and (not len(used) or np.linalg.matrix_rank(used) < width):
        raise ValueError(f"{len(used)} coalitions do not determine {width} coefficients")
    return np.linalg.solve(normal, right)


def kernel_weight(size, players):
    """The Shapley kernel of a coalition that is neither empty nor full (Lundberg and Lee 2017)."""
    return (players - 1) / (math.comb(players, size) * size * (players - size))


def kernel_shap_sampled(coalitions, values, weights, full, empty):
    """Weighted least squares over given coalitions `(coalition, player)` of 0 and 1.

    The coefficients add up to `full - empty` exactly: the last is what the others leave of it, and
    is eliminated. The model of a coalition is `empty` plus the coefficients of those present.

    >>> kernel_shap_sampled([[1, 0]], [3.0], [1.0], full=4.0, empty=1.0).tolist()
    [2.0, 1.0]
    """
    coalitions, total = _array(coalitions), full - empty
    rows = np.stack([row[:-1] - row[-1] for row in coalitions])
    left = [y - empty - row[-1] * total for y, row in zip(values, coalitions, strict=True)]
    first = solved(rows, left, weights)
    return np.append(first, total - math.fsum(first))


def kernel_shap(value, players):
    """KernelSHAP over all coalitions, in ascending order of the players: the Shapley values.

    >>> pair = lambda coalition: float(0 in coalition and len(coalition) > 1)
    >>> np.allclose(kernel_shap(pair, [0, 1, 2]), [2 / 3, 1 / 6, 1 / 6], rtol=0, atol=1e-14)
    True
    """
    players = sorted(players)
    full, empty = value(frozenset(players)), value(frozenset())
    if len(players) == 1:
        return np.array([full - empty], dtype=np.float64)
    rows, values, weights = [], [], []
    for size in range(1, len(players)):
        for coalition in map(frozenset, itertools.combinations(players, size)):
            rows.append([float(player in coalition) for player in players])
            values.append(value(coalition))
            weights.append(kernel_weight(size, len(players)))
    return kernel_shap_sampled(rows, values, weights, full, empty)


def lime_weights(coalitions, width):
    """exp(-d² / width²), with the cosine distance d to the coalition of all (Ribeiro et al. 2016).

    The empty coalition has no direction; its distance is 1.

    >>> weights = lime_weights([[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]], 0.5)
    >>> (-np.log(weights)).round(15).tolist() == [0, 1, 4]
    True
    """
    found = []
    for coalition in _array(coalitions).tolist():
        length = math.sqrt(math.fsum(z * z for z in coalition))
        cosine = math.fsum(coalition) / (length * math.sqrt(len(coalition))) if length else 0.0
        found.append(math.exp(-((1 - cosine) ** 2) / width**2))
    return np.array(found)


def lime(coalitions, values, weights, alpha):
    """Weighted ridge regression of values on coalitions: (coefficients, intercept).

    Minimises sum(weight * (value - intercept - row · c)²) + alpha * sum(c²). The weights are not
    scaled to sum to one, and the intercept is not penalised.

    >>> lime([[0], [1]], [1.0, 3.0], [1.0, 1.0], 0.0)
    (array([2.]), 1.0)
    >>> lime([[0], [1]], [1.0, 3.0], [1.0, 1.0], 0.5)
    (array([1.]), 1.5)
    """
    coalitions, total = _array(coalitions), math.fsum(weights)
    centre = math.fsum(w * y for w, y in zip(weights, values, strict=True)) / total
    middle = np.array(
        [
            math.fsum(w * z for w, z in zip(weights, column, strict=True)) / total
            for column in coalitions.T
        ]
    )
    rows, targets = coalitions - middle, [y - centre for y in values]
    coefficients = solved(rows, targets, weights, alpha)
    return coefficients, centre - math.fsum(coefficients * middle)


def starts(length, window, stride):
    """First places of windows that cover a length; the last is moved back to end with it."""
    if not 1 <= window <= length:
        raise ValueError(f"a window of {window} does not lie inside {length}")
    if not 1 <= stride <= window:
        raise ValueError(f"windows of {window} moved by {stride} leave places out")
    found = [0]
    while found[-1] + window < length:
        found.append(min(found[-1] + stride, length - window))
    return found


def box_masked(clip, first, window, baseline):
    """The clip with a box masked, in all channels. "neighbour" is of the frames of the box."""
    masked, end = _array(clip), first[0] + window[0]
    for frame in range(first[0], end):
        shown = baseline_frame(clip, frame, baseline, first[0], end)
        for row in range(first[1], first[1] + window[1]):
            for column in range(first[2], first[2] + window[2]):
                for channel in range(masked.shape[1]):
                    masked[frame, channel, row, column] = shown[channel, row, column]
    return masked


def occlusion(value, clip, baseline, window, stride):
    """Occlusion by windows (time, height, width) moved by strides: a map (time, height, width).

    A place has the mean, over the windows that cover it, of how much lower the model's value is
    when the window shows the baseline in all channels.

    >>> clip = np.array([1.0, 2.0, 4.0]).reshape(3, 1, 1, 1)
    >>> occlusion(np.sum, clip, 0, (2, 1, 1), (2, 1, 1)).ravel().tolist()
    [3.0, 4.5, 6.0]
    """
    clip = _array(clip)
    size = (clip.shape[0], *clip.shape[2:])
    before, found = float(value(clip.copy())), {place: [] for place in np.ndindex(*size)}
    for first in itertools.product(*map(starts, size, window, stride)):
        drop = before - float(value(box_masked(clip, first, window, baseline)))
        for offset in np.ndindex(*window):
            found[tuple(map(sum, zip(first, offset, strict=True)))].append(drop)
    scores = np.zeros(size)
    for place, drops in found.items():
        scores[place] = mean(drops)
    return scores


def changed(clip, first, end, kind):
    """The clip with frames `first` to `end - 1` left out, frozen or in reverse order."""
    clip = _array(clip)
    if kind == "reverse":
        order = [first + end - 1 - f if first <= f < end else f for f in range(len(clip))]
        return np.stack([clip[frame] for frame in order])
    if end - first == len(clip):
        raise ValueError(f"a window of all {len(clip)} frames leaves nothing to {kind}")
    if kind == "drop":
        return np.stack([clip[frame] for frame in range(len(clip)) if not first <= frame < end])
    if kind == "freeze":
        return frames_masked(clip, first, end, "neighbour")
    raise ValueError(f"{kind!r} is not one of drop, freeze, reverse")


def sliding(value, clip, window, kind):
    """How much lower the value is with windows of frames changed: one score a frame.

    Windows start at every frame where they fit. A frame has the mean over those that contain it.

    >>> clip = np.array([1.0, 2.0, 4.0]).reshape(3, 1, 1, 1)
    >>> late = lambda clip: float(sum((t + 1) * x.sum() for t, x in enumerate(clip)))
    >>> [sliding(late, clip, 2, kind).tolist() for kind in ("drop", "freeze", "reverse")]
    [[13.0, 14.5, 16.0], [-7.0, 2.0, 11.0], [1.0, 1.5, 2.0]]
    """
    clip = _array(clip)
    before, found = float(value(clip.copy())), [[] for _ in range(len(clip))]
    for first in starts(len(clip), window, 1):
        drop = before - float(value(changed(clip, first, first + window, kind)))
        for frame in range(first, first + window):
            found[frame].append(drop)
    return np.array([mean(drops) for drops in found])
