"""How well scores point at what is true, and how complex they are, written from the definitions.

Scores and truth are arrays of one shape. What depends on an order is averaged over all ways to
break ties, each as likely as the others: that is the definition, and it needs small arrays.
"""

import itertools
import math
from fractions import Fraction

import numpy as np
from scipy.integrate import quad

from tests.references.definitions import _array


def mean(values):
    """The mean, by a sum that rounds once."""
    values = list(values)
    return math.fsum(values) / len(values)


def tied_groups(scores):
    """Places in the flattened array, in groups of one score, the largest first."""
    scores = _array(scores).ravel().tolist()
    found = sorted(set(scores), reverse=True)
    return [[at for at, score in enumerate(scores) if score == value] for value in found]


def orders(scores):
    """Every order from the largest to the smallest score: one for each way to break ties.

    >>> list(orders([1.0, 2.0, 1.0]))
    [[1, 0, 2], [1, 2, 0]]
    """
    groups = tied_groups(scores)
    for broken in itertools.product(*map(itertools.permutations, groups)):
        yield [place for group in broken for place in group]


def tops(scores, count):
    """Every set of the `count` largest: one for each choice among those tied for the last places.

    >>> [sorted(top) for top in tops([1.0, 2.0, 1.0], 2)]
    [[0, 1], [1, 2]]
    """
    if not 0 < count <= _array(scores).size:
        raise ValueError(f"{count} are not some of {_array(scores).size} scores")
    sure = []
    for group in tied_groups(scores):
        if len(sure) + len(group) >= count:
            for chosen in itertools.combinations(group, count - len(sure)):
                yield {*sure, *chosen}
            return
        sure.extend(group)


def _flat(truth):
    found = _array(truth).ravel() > 0
    if not found.any():
        raise ValueError("nothing is true")
    return found.tolist()


def top_share(scores, truth, count):
    """The share of the `count` largest that are true (Theiner et al. 2022, top-k intersection).

    It is divided by k, as in Quantus, and so is at most K / k where K are true.
    """
    truth = _flat(truth)
    return mean(sum(truth[at] for at in top) / count for top in tops(scores, count))


def rank_accuracy(scores, truth):
    """Relevance rank accuracy (Arras et al. 2022): of the K largest, where K are true.

    >>> rank_accuracy([3.0, 1.0, 1.0], [1, 1, 0])
    0.75
    """
    return top_share(scores, truth, sum(_flat(truth)))


def pointing_game(scores, truth):
    """Whether the largest score is true (Zhang et al. 2016)."""
    return top_share(scores, truth, 1)


def pointing_game_at_mean(scores, truth):
    """Whether the mean position of all largest scores is true (REVEX, Gaya-Morey et al. 2024).

    As its code does for a mask: the mean of each coordinate, rounded, halves to the even one.
    Neither has to be a largest score itself.

    >>> pointing_game_at_mean([5.0, 0.0, 5.0], [0, 1, 0])
    1.0
    """
    scores, truth = _array(scores), _array(truth)
    maxima = [place for place in np.ndindex(*scores.shape) if scores[place] == scores.max()]
    # A mean of whole numbers is a ratio of two; only so is a half exactly a half.
    middle = [round(Fraction(sum(axis), len(maxima))) for axis in zip(*maxima, strict=True)]
    return float(truth[tuple(middle)] > 0)


def mass_accuracy(scores, truth):
    """Relevance mass accuracy (Arras et al. 2022): of positive scores, the part that is true.

    NaN where no score is positive.
    """
    scores, truth = _array(scores).ravel().tolist(), _flat(truth)
    total = math.fsum(score for score in scores if score > 0)
    inside = (score for score, true in zip(scores, truth, strict=True) if true and score > 0)
    return math.fsum(inside) / total if total > 0 else math.nan


def exact_quantile(scores, share):
    """Linear between the order statistics, without rounding; the share is the decimal it shows."""
    ordered = [Fraction(score) for score in sorted(_array(scores).ravel().tolist())]
    place = Fraction(str(share)) * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def intersection_over_union(scores, truth, quantile=0.9):
    """Of the scores that reach the quantile, with what is true (Jaccard index)."""
    limit, truth = exact_quantile(scores, quantile), _flat(truth)
    chosen = [Fraction(score) >= limit for score in _array(scores).ravel().tolist()]
    both = sum(one and other for one, other in zip(chosen, truth, strict=True))
    return both / sum(one or other for one, other in zip(chosen, truth, strict=True))


def peak_distance(scores, truth):
    """Frames from the largest score to the nearest true frame, the mean over tied largest."""
    truth = [at for at, true in enumerate(_flat(truth)) if true]
    peaks = [peak for (peak,) in tops(scores, 1)]
    return mean(min(abs(peak - at) for at in truth) for peak in peaks)


class Curve:
    """Precision and recall while features come to be salient, in the order of their scores.

    At a share d of the sum of all weights, features of one score are in by the same part (Ismail et
    al. 2020, where d is a share of the sum of scores). Weights are the scores, or 1 if ranked.
    """

    def __init__(self, scores, weights, truth):
        truth, weights = _flat(truth), _array(weights).ravel().tolist()
        self.groups, inside, found = [], [], []
        for group in tied_groups(scores):
            held = [weights[at] for at in group]
            true = [weights[at] for at in group if truth[at]]
            before = math.fsum(inside), math.fsum(found)
            self.groups.append((*before, math.fsum(held), math.fsum(true)))
            inside, found = inside + held, found + true
        self.total, self.true = math.fsum(inside), math.fsum(found)

    def area(self, height, over):
        """Under "precision" or "recall", over the "share" d or over "recall"."""
        areas = []
        for inside, found, held, true in self.groups:

            def value(part, inside=inside, found=found, held=held, true=true):
                salient, hits = inside + part * held, found + part * true
                if height == "precision":
                    return hits / salient
                # Of what is true but has no weight at all, nothing is ever found.
                return hits / self.true if self.true > 0 else 0.0

            width = held / self.total if over == "share" else true / (self.true or 1.0)
            if width > 0:
                area, _ = quad(value, 0.0, 1.0, epsabs=1e-14, epsrel=1e-13, limit=200)
                areas.append(width * area)
        return math.fsum(areas)


def _weighted(scores, truth, ranked):
    """Negative scores count 0, and all 0 is as if all were equal."""
    positive = np.maximum(_array(scores), 0.0)
    if not positive.any():
        positive = np.ones_like(positive)
    return Curve(positive, np.ones_like(positive) if ranked else positive, truth)


def area_under_precision(scores, truth, ranked=False):
    """Of the positive part of scores, over the share d of their sum (Ismail et al. 2020, AUP).

    >>> area_under_precision([3.0, 1.0], [1, 0]) - (0.75 + 0.75 * math.log(4 / 3)) < 1e-12
    True
    """
    return _weighted(scores, truth, ranked).area("precision", over="share")


def area_under_recall(scores, truth, ranked=False):
    """The same of recall (Ismail et al. 2020, AUR).

    >>> [round(area_under_recall([3.0, 1.0], true), 12) for true in ([1, 0], [0, 1], [1, 1])]
    [0.625, 0.125, 0.5]
    """
    return _weighted(scores, truth, ranked).area("recall", over="share")


def area_under_precision_recall(scores, truth):
    """Of the order of signed scores: every feature counts the same, and enters by and by.

    The curve goes through every part of a feature, so that one true feature after one that is not
    has the precision x / (1 + x) while it enters, an area of 1 - ln 2.

    >>> round(area_under_precision_recall([2.0, 1.0], [0, 1]) + math.log(2), 12)
    1.0
    """
    curve = Curve(scores, np.ones(_array(scores).size), truth)
    return curve.area("precision", over="recall")


def average_precision_of_orders(scores, truth):
    """The usual average precision, as the other reading: the mean precision at each true one.

    >>> average_precision_of_orders([2.0, 1.0], [0, 1])
    0.5
    """
    truth, count = _flat(truth), sum(_flat(truth))
    found = []
    for order in orders(scores):
        hits = [truth[at] for at in order]
        found.append(sum(sum(hits[: k + 1]) / (k + 1) for k, hit in enumerate(hits) if hit) / count)
    return mean(found)


def pair_precision(matrix, pairs):
    """The area under precision and recall of M_ij + M_ji over the pairs i < j of frames."""
    matrix, pairs = _array(matrix), _array(pairs)
    places = list(itertools.combinations(range(len(matrix)), 2))
    scores = [matrix[one, other] + matrix[other, one] for one, other in places]
    return area_under_precision_recall(scores, [pairs[place] for place in places])


def shares(scores):
    """p_i = |s_i| / sum of all |s|; None where all are 0."""
    sizes = [abs(score) for score in _array(scores).ravel().tolist()]
    total = math.fsum(sizes)
    return [size / total for size in sizes] if total > 0 else None


def entropy(scores, normalized=False):
    """-sum p ln p, in nats (Bhatt et al. 2020, complexity); NaN where all scores are 0.

    Normalised by ln n, which for a single score is 0 / 0 and thus NaN.
    """
    parts = shares(scores)
    if parts is None:
        return math.nan
    found = -math.fsum(part * math.log(part) for part in parts if part > 0)
    if normalized:
        return found / math.log(len(parts)) if len(parts) > 1 else math.nan
    return found


def effective_frames(scores):
    """How many equal frames would have that entropy: exp of it."""
    return math.exp(entropy(scores))


def gini(scores):
    """The mean difference of two sizes |s|, over twice their mean (Gini).

    Of all n² pairs, each with itself too. It equals 1 - 2 sum s_(k) (n - k + 1/2) / (n sum s), the
    form of Hurley and Rickard (2009), which Chalasani et al. (2020) take as sparseness.

    >>> [gini(scores) for scores in ([1.0, 1.0], [0.0, -2.0], [0.0, 0.0, 0.0, 1.0])]
    [0.0, 0.5, 0.75]
    """
    parts = shares(scores)
    if parts is None:
        return math.nan
    apart = math.fsum(abs(one - other) for one, other in itertools.product(parts, repeat=2))
    return apart / (2 * len(parts))


def temporal_roughness(scores):
    """Sum of |s_(t+1) - s_t| over the sum of |s_t|; NaN where all are 0.

    At most 2, which is reached from three frames on (0, 1, 0); 1 for two frames, 0 for one.
    """
    scores = _array(scores).tolist()
    total = math.fsum(map(abs, scores))
    steps = math.fsum(abs(after - before) for before, after in itertools.pairwise(scores))
    return steps / total if total > 0 else math.nan
