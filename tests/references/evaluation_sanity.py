"""How alike explanations are, and how they react, written from the definitions in float64.

A clip is `(time, channel, height, width)`. `explain(clip)` gives an array of scores: one for each
frame, each pixel, or each value. Nothing here knows how the package draws noise or random models.
"""

import itertools
import math

import numpy as np

from tests.references.definitions import _array
from tests.references.evaluation_truth import entropy, mean, orders


def ranks(values):
    """1 for the smallest; tied ones share the mean of their ranks.

    >>> ranks([5.0, 2.0, 5.0])
    [2.5, 1.0, 2.5]
    """
    values = _array(values).ravel().tolist()
    below = [sum(other < value for other in values) for value in values]
    tied = [sum(other == value for other in values) for value in values]
    return [less + (same + 1) / 2 for less, same in zip(below, tied, strict=True)]


def pearson(one, other):
    """The correlation; NaN where one side is constant."""
    one, other = _array(one).ravel().tolist(), _array(other).ravel().tolist()
    if len(set(one)) == 1 or len(set(other)) == 1:
        return math.nan
    one, other = [[value - mean(side) for value in side] for side in (one, other)]
    both = math.fsum(a * b for a, b in zip(one, other, strict=True))
    return both / math.sqrt(math.fsum(a * a for a in one) * math.fsum(b * b for b in other))


def spearman(one, other):
    """The correlation of ranks (Spearman 1904); NaN where one side is constant."""
    return pearson(ranks(one), ranks(other))


def spearman_over_ties(one, other):
    """The mean over all ways to break the ties of both sides, as the other reading.

    Smaller in size than `spearman`, which divides by less where there are ties; 0 for a constant.

    >>> spearman_over_ties([1.0, 1.0], [0.0, 1.0]), spearman_over_ties([1.0, 2.0], [0.0, 1.0])
    (0.0, 1.0)
    """
    places = [np.argsort(order).tolist() for order in orders(one)]
    others = [np.argsort(order).tolist() for order in orders(other)]
    return mean(pearson(a, b) for a, b in itertools.product(places, others))


def norm(values):
    """The root of the sum of squares."""
    return math.sqrt(math.fsum(value * value for value in _array(values).ravel().tolist()))


def cosine(one, other):
    """The cosine of the angle between two explanations; NaN where one is all 0."""
    lengths = norm(one) * norm(other)
    one, other = _array(one).ravel().tolist(), _array(other).ravel().tolist()
    both = math.fsum(a * b for a, b in zip(one, other, strict=True))
    return both / lengths if lengths > 0 else math.nan


def mean_similarity(original, others, similarity=spearman):
    """To the explanation of each stage of a randomised model (Adebayo et al. 2018)."""
    return mean(similarity(original, other) for other in others)


def mean_pairwise(explanations, similarity=spearman):
    """Over all pairs of explanations, those of several seeds."""
    return mean(similarity(*pair) for pair in itertools.combinations(explanations, 2))


def histogram_entropy(values, bins=100):
    """-sum p ln p over equal bins from the smallest value to the largest (Hedström et al. 2024).

    p is the share of values in a bin; each bin has its lower end, and the last both. 0 where all
    values are equal.

    >>> histogram_entropy([0.0, 0.1, 0.9, 1.0], 2) == math.log(2)
    True
    """
    values = _array(values).ravel().tolist()
    low, high = min(values), max(values)
    if low == high:
        return 0.0
    edges = [*(low + (high - low) * at / bins for at in range(bins)), high]
    counts = [sum(a <= value < b for value in values) for a, b in itertools.pairwise(edges)]
    counts[-1] += sum(value == high for value in values)
    parts = [count / len(values) for count in counts if count]
    return -math.fsum(part * math.log(part) for part in parts)


def entropy_ratio(original, randomised, of=entropy):
    """The rise of entropy in a randomised model, over the original (Hedström et al. 2024, eMPRT).

    `of` is the entropy of the shares |s| / sum |s|, or `histogram_entropy`, which is the paper's.
    NaN where the original has none: all of it in one place, or no scores at all.
    """
    before, after = of(original), of(randomised)
    return (after - before) / before if before > 0 else math.nan


def relative_change(before, after):
    """The norm of the change over the norm of what there was; NaN where that is 0."""
    size = norm(before)
    return norm(_array(after) - _array(before)) / size if size > 0 else math.nan


def sensitivities(explain, clip, noises):
    """The relative change under each noise, an array like the clip that is added."""
    clip = _array(clip)
    before = explain(clip)
    return [relative_change(before, explain(clip + _array(noise))) for noise in noises]


def max_sensitivity(explain, clip, noises):
    """The largest relative change (Yeh et al. 2019, who do not divide; Captum does)."""
    return max(sensitivities(explain, clip, noises))


def average_sensitivity(explain, clip, noises):
    """The mean relative change (Bhatt et al. 2020, average instead of largest)."""
    return mean(sensitivities(explain, clip, noises))


def local_lipschitz(explain, clip, noises):
    """The largest change of the explanation for each unit of change of the clip.

    Both by the root of the sum of squares (Alvarez-Melis and Jaakkola 2018; here by samples).
    """
    clip = _array(clip)
    before = _array(explain(clip))
    changes = [norm(_array(explain(clip + _array(noise))) - before) for noise in noises]
    return max(change / norm(noise) for change, noise in zip(changes, noises, strict=True))


def smooth(explain, clip, noises):
    """The mean explanation under noise (Hedström et al. 2024, sMPRT)."""
    clip = _array(clip)
    found = [_array(explain(clip + _array(noise))) for noise in noises]
    return sum(found) / len(found)


def order_blind(logits, clip, shown):
    """The mean of what a model says of the clip in each of some orders of its frames."""
    clip = _array(clip)
    found = [_array(logits(clip[list(order)])) for order in shown]
    return sum(found) / len(found)


def input_shift(explain, explain_shifted, clip, constant):
    """Relative change when clip and model are moved alike (Kindermans et al. 2017).

    `explain_shifted` is of the model x -> model(x - c), with c `(channel)`.
    """
    clip = _array(clip)
    moved = np.stack([frame + _array(constant)[:, None, None] for frame in clip])
    return relative_change(explain(clip), explain_shifted(moved))


def static_clip(explain, clip, frame):
    """Sum of |scores| of a clip that repeats one frame, over that of the clip; NaN for 0."""
    clip = _array(clip)
    still = np.stack([clip[frame]] * len(clip))
    size, left = [math.fsum(np.abs(explain(shown)).ravel().tolist()) for shown in (clip, still)]
    return left / size if size > 0 else math.nan


def later(clip, frames):
    """The clip shown some frames later, after its first frame, which stands meanwhile.

    >>> later(np.array([1.0, 2.0, 3.0]), 1).tolist()
    [1.0, 1.0, 2.0]
    """
    clip = _array(clip)
    return np.stack([clip[max(at - frames, 0)] for at in range(len(clip))])


def frame_shift(explain, clip, frames=1, similarity=spearman):
    """Of the scores of frames that both clips show: t before, and t + frames after."""
    clip = _array(clip)
    before, after = _array(explain(clip)), _array(explain(later(clip, frames)))
    pairs = [(before[at], after[at + frames]) for at in range(len(clip) - frames)]
    one, other = zip(*pairs, strict=True)
    return similarity(np.stack(one), np.stack(other))


def moved_in_space(clip, down, right):
    """Every pixel moved; values of the edge fill what comes in, and signs turn the direction.

    >>> moved_in_space(np.array([1.0, 2.0, 3.0]).reshape(1, 1, 1, 3), 0, 1).ravel().tolist()
    [1.0, 1.0, 2.0]
    """
    clip = _array(clip)
    height, width = clip.shape[2:]
    moved = np.zeros_like(clip)
    for row, column in np.ndindex(height, width):
        above = min(max(row - down, 0), height - 1)
        beside = min(max(column - right, 0), width - 1)
        moved[:, :, row, column] = clip[:, :, above, beside]
    return moved


def pixel_shift(explain, clip, down, right, similarity=spearman):
    """Of the scores `(time, height, width)` of pixels that both clips show."""
    clip = _array(clip)
    height, width = clip.shape[2:]
    before = _array(explain(clip))
    after = _array(explain(moved_in_space(clip, down, right)))
    one, other = [], []
    for row, column in np.ndindex(height, width):
        if 0 <= row + down < height and 0 <= column + right < width:
            one.extend(before[:, row, column].tolist())
            other.extend(after[:, row + down, column + right].tolist())
    return similarity(one, other)


def frame_rate(explain, clip, keep=2, similarity=spearman):
    """Of the scores `(time)` of kept frames, where each is shown `keep` times in a row.

    Kept are frames 0, keep, 2 keep and so on, which stay where they are: the score before and
    after is that of this place, not of all the places where the frame is shown.
    """
    clip = _array(clip)
    slower = np.stack([clip[at - at % keep] for at in range(len(clip))])
    before, after = _array(explain(clip)), _array(explain(slower))
    return similarity(before[::keep], after[::keep])
