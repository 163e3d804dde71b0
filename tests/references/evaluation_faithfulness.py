"""Metrics that ask the model about perturbed clips, written from the definitions in float64.

A clip is `(time, channel, height, width)` and `predict(clip)` gives the probabilities of all
classes, or whatever else the objective is, as float64. Features are numbered from 0, and
`view(present)` is the clip of which only a set of them is present. Nothing here knows how the
package removes, draws or caches.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np

from tests.references.definitions import _array
from tests.references.evaluation_sanity import pearson, spearman
from tests.references.evaluation_truth import mean, orders
from tests.references.shapley import without


def frames_view(clip, baseline):
    """Frames as features: `without` says what each baseline shows."""
    return lambda present: without(clip, present, baseline)


def places_view(clip, labels, baseline):
    """Places as features: labels `(time, height, width)`, and a baseline like the clip."""
    clip, baseline, labels = _array(clip), _array(baseline), np.asarray(labels)

    def view(present):
        shown = baseline.copy()
        for place in np.ndindex(*labels.shape):
            if int(labels[place]) in present:
                frame, row, column = place
                shown[frame, :, row, column] = clip[frame, :, row, column]
        return shown

    return view


def feature_scores(pixel_scores, labels, total=False):
    """The mean score of the places of each feature, or their sum, in the order of the labels."""
    labels, found = np.asarray(labels), []
    for label in range(int(labels.max()) + 1):
        own = [float(pixel_scores[at]) for at in np.ndindex(*labels.shape) if labels[at] == label]
        found.append(math.fsum(own) if total else mean(own))
    return np.array(found)


class Game:
    """A model, the class that is explained, and what a set of features shows it.

    What the model says of a set is kept, as orders that differ in ties ask for the same sets.
    """

    def __init__(self, predict, target, view, count):
        self.predict, self.target, self.view, self.count = predict, target, view, count
        self.kept = {}

    def said(self, present):
        """Of all classes, when a set of features is present."""
        present = frozenset(present)
        if present not in self.kept:
            self.kept[present] = [float(one) for one in self.predict(self.view(present))]
        return self.kept[present]

    def value(self, present):
        """Of the class, when a set of features is present."""
        return self.said(present)[self.target]

    def without(self, absent):
        """Of the class, when all but a set are present."""
        return self.value(set(range(self.count)) - set(absent))

    def on_top(self, present):
        """Whether no other class is more probable."""
        return self.value(present) == max(self.said(present))


def trapezoid(at, values):
    """The area under a line through points whose places ascend."""
    points = itertools.pairwise(zip(at, values, strict=True))
    return math.fsum((b - a) * (one + other) / 2 for (a, one), (b, other) in points)


def removal_curve(game, order, counts):
    """f(k): the probability without the first k features of an order (Samek et al. 2017, MoRF)."""
    return [game.without(order[:count]) for count in counts]


def arrival_curve(game, order, counts):
    """f(k): the probability with only the first k features (Petsiuk et al. 2018, insertion)."""
    return [game.value(order[:count]) for count in counts]


def _area(curve, game, scores, counts):
    """Over the share k / n of features, the mean over all ways to break ties."""
    counts = range(game.count + 1) if counts is None else counts
    at = [count / game.count for count in counts]
    return mean(trapezoid(at, curve(game, order, counts)) for order in orders(scores))


def deletion(game, scores, order="most", counts=None):
    """The area as features go, most or least first (Petsiuk et al. 2018, deletion).

    Over the whole share from 0 to 1, both ends included. Counts are where the model is asked.
    """
    ranked = _array(scores) if order == "most" else -_array(scores)
    return _area(removal_curve, game, ranked, counts)


def insertion(game, scores, counts=None):
    """The area as features come, most first, from the baseline to the clip."""
    return _area(arrival_curve, game, scores, counts)


def area_between(game, scores, counts=None):
    """Deletion least first minus deletion most first.

    Samek et al. 2017, appendix, call it ABPC, for a few first steps; Blücher et al. 2024, for all
    of them, symmetric relevance gain. As the order of ties has the same chances in both terms, it
    does not matter whether the one order is the other's reverse.
    """
    return deletion(game, scores, "least", counts) - deletion(game, scores, "most", counts)


def scaled(scores):
    """From 0 for the smallest to 1 for the largest; None where all are equal."""
    scores = _array(scores)
    low, high = float(scores.min()), float(scores.max())
    return (scores - low) / (high - low) if high > low else None


class Kept(NamedTuple):
    """NaN where the scores are all equal, or nothing was predicted."""

    drop: float
    increase: float


def kept_by_scores(predict, clip, target, scores, baseline):
    """The average drop and increase of one clip (Chattopadhay et al. 2018, section 5).

    The clip is multiplied by the scores `(time)` or `(time, height, width)`, as a mask, where the
    baseline, which is 0 in the paper, stands for what is missing: drop = max(0, y - y') / y and
    increase = 1[y < y']. The paper's percentages are 100 times the means over clips.
    """
    clip, baseline, mask = _array(clip), _array(baseline), scaled(scores)
    before = float(predict(clip)[target])
    if mask is None or before == 0:
        return Kept(math.nan, math.nan)
    mixed = np.zeros_like(clip)
    for frame, channel, row, column in np.ndindex(*clip.shape):
        share = mask[frame] if mask.ndim == 1 else mask[frame, row, column]
        at = (frame, channel, row, column)
        mixed[at] = share * clip[at] + (1 - share) * baseline[at]
    after = float(predict(mixed)[target])
    return Kept(max(0.0, before - after) / before, float(after > before))


def minimal_sufficient(game, scores, threshold=None, fewest=0):
    """The smallest share of features that suffices, the highest scores being kept first.

    For the class to be on top, or for its probability to reach a threshold (Carter et al. 2019).
    The fewest that is tried is none, as the baseline itself may suffice. NaN if not even the clip
    does.
    """

    def enough(present):
        if threshold is None:
            return game.on_top(present)
        return game.value(present) >= threshold

    found = []
    for order in orders(scores):
        counts = range(fewest, game.count + 1)
        first = next((count for count in counts if enough(order[:count])), math.nan)
        found.append(first / game.count)
    return mean(found)


def minimal_necessary(game, scores):
    """The smallest share of features without which another class is on top; NaN if none is.

    The highest scores go first. Another class has to be more probable, not equally so.
    """
    everything, found = set(range(game.count)), []
    for order in orders(scores):
        counts = range(1, game.count + 1)
        lost = (count for count in counts if not game.on_top(everything - set(order[:count])))
        found.append(next(lost, math.nan) / game.count)
    return mean(found)


def sensitivity_n(game, scores, subsets):
    """Correlation of the sum of scores with the drop, over subsets (Ancona et al. 2018).

    All subsets have the same size n; the scores of places are sums over each feature. NaN where
    one side is constant.
    """
    scores, whole = _array(scores), game.without(())
    sums = [math.fsum(scores[list(subset)]) for subset in subsets]
    return pearson(sums, [whole - game.without(subset) for subset in subsets])


def drops(game):
    """What the probability loses when each feature is left out."""
    whole = game.without(())
    return [whole - game.without((feature,)) for feature in range(game.count)]


def leave_one_out(game, scores):
    """Rank correlation of scores with the drops of leaving each feature out; ties share a rank."""
    return spearman(scores, drops(game))


def ceiling(game, other):
    """The same between the drops under one baseline and under another."""
    return spearman(drops(game), drops(other))


def imputed(clip, keep, weights):
    """Places that are not kept become weighted means of their neighbours (Rong et al. 2022).

    `weights` has the weight of each neighbour at an offset (frames, rows, columns); neighbours
    outside the clip do not count, and their weight is taken off the sum, as in the paper's code.
    Missing neighbours are unknowns of the same system, in which every channel is one right side.

    >>> keep, around = np.array([1, 0, 0, 1]).reshape(4, 1, 1), {(1, 0, 0): 0.5, (-1, 0, 0): 0.5}
    >>> imputed(np.array([3.0, 0.0, 0.0, 9.0]).reshape(4, 1, 1, 1), keep, around).ravel().tolist()
    [3.0, 5.0, 7.0, 9.0]
    """
    clip, missing = _array(clip), [at for at in np.ndindex(*keep.shape) if not keep[at]]
    if len(missing) == keep.size:
        raise ValueError("nothing is kept, and so nothing says what is missing")
    system = np.zeros((len(missing), len(missing)))
    right = np.zeros((len(missing), clip.shape[1]))
    for row, at in enumerate(missing):
        for offset, weight in weights.items():
            near = tuple(one + step for one, step in zip(at, offset, strict=True))
            if not all(0 <= one < end for one, end in zip(near, keep.shape, strict=True)):
                continue
            system[row, row] += weight
            if keep[near]:
                right[row] += weight * clip[near[0], :, near[1], near[2]]
            else:
                system[row, missing.index(near)] -= weight
    filled = clip.copy()
    for values, (frame, down, across) in zip(np.linalg.solve(system, right), missing, strict=True):
        filled[frame, :, down, across] = values
    return filled


def road_curve(predict, clip, target, order, counts, weights):
    """The probability when the first pixels of an order are imputed, for each count of them.

    An order has the pixels' numbers in the flattened `(time, height, width)`. A share p of n pixels
    is int(p n) of them, in the paper's code. Without the noise that the paper adds.
    """
    time, _, height, width = clip.shape
    found = []
    for count in counts:
        keep = np.ones(time * height * width, dtype=bool)
        keep[list(order[:count])] = False
        filled = imputed(clip, keep.reshape(time, height, width), weights)
        found.append(float(predict(filled)[target]))
    return found


def equal_groups(order, groups):
    """An order cut into groups, which differ by one at most; the first are the larger ones."""
    each, more = divmod(len(order), groups)
    ends = list(itertools.accumulate(each + (at < more) for at in range(groups)))
    return [order[start:end] for start, end in itertools.pairwise([0, *ends])]


def saco_of_groups(game, scores, groups):
    """Of groups of features, those with the highest scores first (Wu et al. 2024, and their code).

    With s the sum of a group's scores and the drop of replacing it, each pair i < j weighs s_i -
    s_j, counted for if the drop of i is at least that of j and against otherwise. NaN if no weight.
    """
    scores, whole = _array(scores), game.without(())
    held = [math.fsum(scores[list(group)]) for group in groups]
    lost = [whole - game.without(group) for group in groups]
    weights = []
    for one, other in itertools.combinations(range(len(groups)), 2):
        apart = held[one] - held[other]
        weights.append(apart if lost[one] >= lost[other] else -apart)
    total = math.fsum(map(abs, weights))
    return math.fsum(weights) / total if total > 0 else math.nan


def saco(game, scores, groups):
    """The mean over all ways to break ties."""
    found = (equal_groups(order, groups) for order in orders(scores))
    return mean(saco_of_groups(game, scores, one) for one in found)
