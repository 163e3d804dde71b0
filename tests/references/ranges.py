"""Slow float64 references of temporal ranges and windows, written from the definitions alone.

They share no code with the package. Arrays may be given as numpy arrays, torch tensors or nested
lists; a model is only asked for its `frame_logits`, one example at a time."""

import itertools
import math
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import torch

from tests.references.definitions import _array


def shortest_run(row, step, sigma):
    """Return (first, last) of the shortest run of columns that contains `step` and holds at least
    `sigma` of the magnitudes of a row, found among all runs; of equally short ones the one that
    holds more, then the first. Sums are correctly rounded, and one part in 10^12 short of sigma is
    enough. sigma = 1 leaves out zeros only. A row of zeros has (step, step)."""
    sizes = [abs(value) for value in row]
    needed = sigma * math.fsum(sizes)
    if not any(sizes):
        return step, step
    found = []
    for first in range(step + 1):
        for last in range(step, len(sizes)):
            inside = math.fsum(sizes[first : last + 1])
            enough = inside >= needed or math.isclose(inside, needed, rel_tol=1e-12)
            if sigma == 1:
                enough = not any(sizes[:first]) and not any(sizes[last + 1 :])
            if enough:
                found.append((last - first, -inside, first, last))
    return min(found)[2:]


def shortest_runs(matrix, sigma):
    """Return (B, N, 2) integers: `shortest_run` of every row."""
    clips = _array(matrix).tolist()
    return np.array(
        [[shortest_run(row, i, sigma) for i, row in enumerate(rows)] for rows in clips]
    ).reshape(len(clips), -1, 2)


def ranges(matrix, sigma):
    """Return (B, N): the number of columns of each shortest run, NaN for a row of zeros."""
    runs = shortest_runs(matrix, sigma)
    result = np.full(runs.shape[:2], math.nan)
    for (b, i), _ in np.ndenumerate(result):
        if any(_array(matrix)[b, i].tolist()):
            result[b, i] = len(range(runs[b, i, 0], runs[b, i, 1] + 1))
    return result


def average_range(lengths, step_logits):
    """Return (B,): the mean of r_i weighted by max(0, l_i), over the timesteps whose r_i is not
    NaN; NaN where no weight is left."""
    result = []
    for clip, logits in zip(_array(lengths), _array(step_logits), strict=True):
        known = [(r, max(0.0, x)) for r, x in zip(clip, logits, strict=True) if not math.isnan(r)]
        weight = math.fsum(w for _, w in known)
        result.append(math.fsum(r * w for r, w in known) / weight if weight else math.nan)
    return np.array(result)


def maximum_range(lengths):
    """Return (B,): the largest r_i that is not NaN; NaN where none is left."""
    clips = [[r for r in clip if not math.isnan(r)] for clip in _array(lengths).tolist()]
    return np.array([max(known) if known else math.nan for known in clips])


def average_matrices(matrices, scores, threshold, normalize):
    """Return (mean (N, N), deviation (N, N), clips) of the matrices whose score is above the
    threshold: entry by entry, the mean, and the root of the sum of squared differences from it
    over one less than the number of clips (NaN for one clip). `normalize` divides each row by the
    sum of its magnitudes first, unless that is 0."""
    kept = []
    for matrix, score in zip(_array(matrices), _array(scores), strict=True):
        if score > threshold:
            sizes = [math.fsum(abs(row)) if normalize else 1.0 for row in matrix]
            rows = zip(matrix, sizes, strict=True)
            kept.append(np.array([row / size if size else row for row, size in rows]))
    steps = len(kept[0])
    mean, deviation = np.zeros((steps, steps)), np.full((steps, steps), math.nan)
    for i, j in np.ndindex(steps, steps):
        values = [float(matrix[i, j]) for matrix in kept]
        mean[i, j] = math.fsum(values) / len(values)
        if len(values) > 1:
            squares = [(value - mean[i, j]) ** 2 for value in values]
            deviation[i, j] = math.sqrt(math.fsum(squares) / (len(values) - 1))
    return mean, deviation, len(kept)


def average_by_class(matrices, targets, scores, threshold, normalize):
    """Return the dict from class to its `average_matrices`, of the classes with a clip above the
    threshold, in rising order."""
    matrices, scores = _array(matrices), _array(scores)
    members = {}
    for clip, target in enumerate(_array(targets).astype(int).tolist()):
        if scores[clip] > threshold:
            members.setdefault(target, []).append(clip)
    return {
        target: average_matrices(matrices[clips], scores[clips], threshold, normalize)
        for target, clips in sorted(members.items())
    }


def largest_classes(values, k):
    """Return the list of the k classes with the largest value: repeatedly the largest of those
    left, the first of equal ones, with NaN below everything."""
    left = {c: -math.inf if math.isnan(v) else v for c, v in enumerate(_array(values).tolist())}
    chosen = []
    for _ in range(k):
        best = max(left.values())
        chosen.append(min(c for c, value in left.items() if value == best))
        del left[chosen[-1]]
    return chosen


def overlap_chance(classes, temporal, k, hits):
    """Return, as a fraction, how likely k of the classes, drawn blindly, have at least `hits` among
    the temporal ones: by counting the draws with each number of hits."""
    others = classes - temporal
    ways = [math.comb(temporal, h) * math.comb(others, k - h) for h in range(hits, k + 1)]
    return Fraction(sum(ways), math.comb(classes, k))


def overlap_chance_by_enumeration(classes, temporal, k, hits):
    """Return the same, by looking at every draw."""
    draws = list(itertools.combinations(range(classes), k))
    good = [draw for draw in draws if len([c for c in draw if c < temporal]) >= hits]
    return Fraction(len(good), len(draws))


def temporal_overlap(values, temporal, k):
    """Return (share, chance, p-value)."""
    hits = len([c for c in largest_classes(values, k) if c in temporal])
    p_value = overlap_chance(len(values), len(temporal), k, hits)
    return hits / k, len(temporal) / len(values), float(p_value)


def correlation(first, second, confidence):
    """Return Pearson's r, the ends of Fisher's interval tanh(atanh r -+ z / sqrt(n - 3)), and the
    two-sided p-value: the part beyond |r| of the density of r without correlation, which goes as
    (1 - r^2)^(n/2 - 2), or as cos(u)^(n - 3) in u = arcsin r (Simpson's rule)."""
    x, y = _array(first).tolist(), _array(second).tolist()
    n, middle_x, middle_y = len(x), math.fsum(x) / len(x), math.fsum(y) / len(y)
    x, y = [a - middle_x for a in x], [b - middle_y for b in y]
    both = math.fsum(a * b for a, b in zip(x, y, strict=True))
    r = both / math.sqrt(math.fsum(a * a for a in x) * math.fsum(b * b for b in y))
    reach = NormalDist().inv_cdf(0.5 + confidence / 2) / math.sqrt(n - 3)
    low, high = math.tanh(math.atanh(r) - reach), math.tanh(math.atanh(r) + reach)

    def beyond(start, pieces=2000):
        width = (math.pi / 2 - start) / pieces
        parts = [math.cos(start + k * width) ** (n - 3) for k in range(pieces + 1)]
        return (parts[0] + 4 * math.fsum(parts[1::2]) + 2 * math.fsum(parts[2:-1:2])) * width / 3

    return r, low, high, beyond(math.asin(abs(r))) / beyond(0.0)


def window(step, size, steps):
    """Return (first, last) of `size` timesteps centred on one, of an even number the extra one
    before it, moved into the clip one at a time; the whole clip if there are too few."""
    if size >= steps:
        return 0, steps - 1
    run = list(range(step - size // 2, step - size // 2 + size))
    while run[0] < 0:
        run = [t + 1 for t in run]
    while run[-1] > steps - 1:
        run = [t - 1 for t in run]
    return run[0], run[-1]


def run_frames(run, frames, frames_per_step):
    """Return (first, last) frame of the timesteps from run[0] to run[1]: timestep i has the frames
    i * frames_per_step and following, as far as the clip goes."""
    first, last = run
    inside = [t for t in range(frames) if first <= t // frames_per_step <= last]
    return inside[0], inside[-1]


def window_bounds(windows, steps, frames, frames_per_step):
    """Return (N, 2) first and last frames for one size, or (B, N, 2) for sizes (B, N), rounded up
    and 1 where NaN, or runs (B, N, 2)."""

    def bounds(step, wanted):
        if np.ndim(wanted):
            run = [int(end) for end in wanted]
        else:
            run = window(step, 1 if math.isnan(wanted) else math.ceil(wanted), steps)
        return run_frames(run, frames, frames_per_step)

    if isinstance(windows, int):
        return np.array([bounds(step, windows) for step in range(steps)])
    return np.array([[bounds(i, wanted) for i, wanted in enumerate(c)] for c in _array(windows)])


def windowed_frame(frame, first, last):
    """Return the number of the frame that stands at `frame` when those outside repeat the ends."""
    if frame < first:
        return first
    return last if frame > last else frame


def windowed_clip(clip, bounds):
    """Return (B, T, C, H, W) float64 with the frames before and after the bounds of each example
    replaced by the first and last frame inside."""
    clip = _array(clip)
    result = np.zeros_like(clip)
    for b, (first, last) in enumerate(_array(bounds).astype(int).tolist()):
        for t in range(clip.shape[1]):
            result[b, t] = clip[b, windowed_frame(t, first, last)]
    return result


@torch.no_grad()
def windowed_logits(model, clip, bounds):
    """Return (B, K): of each timestep only its own prediction, from the clip cut to its bounds
    (N, 2) or (B, N, 2), summed with the model's weights."""
    result = []
    for b, example in enumerate(clip):
        ends = bounds if np.ndim(bounds) == 2 else bounds[b]
        cuts = np.stack([windowed_clip(example[None], [own])[0] for own in ends])
        steps = model.frame_logits(torch.from_numpy(cuts).to(clip))
        weights, logits = _array(steps.weights), _array(steps.logits)
        result.append(sum(weights[i] * logits[i, i] for i in range(len(ends))))
    return np.array(result)


def share_right(logits, labels):
    """Return the part of the rows whose largest logit is the label's."""
    rows = [list(row) for row in _array(logits).tolist()]
    right = [row.index(max(row)) == label for row, label in zip(rows, labels, strict=True)]
    return right.count(True) / len(right)
