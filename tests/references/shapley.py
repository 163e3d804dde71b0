"""Shapley and Owen values of the frames of a clip, written from the definitions in float64.

A clip is `(time, channel, height, width)`. A game is a function `value(frozenset of players)` that
returns a float. Values of players are arrays in ascending order of the players, whatever order they
were given in. Nothing here knows how the package masks frames or draws orders.
"""

import functools
import itertools
import math

import numpy as np

from tests.references.definitions import _array
from tests.references.masking import baseline_frame


def still(clip):
    """One frame, the mean of the clip over time."""
    clip = _array(clip)
    return sum(clip[frame] for frame in range(len(clip))) / len(clip)


def nearest_present(frame, present):
    """The last present frame before an absent one, or the first present one after it."""
    before = [other for other in present if other < frame]
    return max(before) if before else min(present)


def without(clip, present, baselines):
    """The clip of which only the frames of a set are present.

    With "neighbour" an absent frame shows the last present frame before it, or, if there is none,
    the first present one after it; with "removal" it is left out. If no frame is present, both show
    the mean over time: "neighbour" in every frame, "removal" in a single one. With a number, "mean"
    (of each channel), "blur", or an array of the clip's shape, an absent frame becomes that frame
    of the baseline.

    >>> clip = np.array([1.0, 2.0, 3.0, 6.0]).reshape(4, 1, 1, 1)
    >>> [without(clip, {1, 3}, how).ravel().tolist() for how in ("neighbour", "removal", "mean")]
    [[2.0, 2.0, 2.0, 6.0], [2.0, 6.0], [3.0, 2.0, 3.0, 6.0]]
    >>> [without(clip, set(), how).ravel().tolist() for how in ("neighbour", "removal")]
    [[3.0, 3.0, 3.0, 3.0], [3.0]]
    """
    clip, present = _array(clip), set(present)
    if not present <= set(range(len(clip))):
        raise ValueError(f"{present} are not all frames of a clip of {len(clip)}")
    named = baselines if isinstance(baselines, str) else None
    if named == "removal":
        return clip[sorted(present)] if present else still(clip)[None]
    shown = []
    for frame in range(len(clip)):
        if frame in present:
            shown.append(clip[frame])
        elif named == "neighbour":
            shown.append(clip[nearest_present(frame, present)] if present else still(clip))
        else:
            shown.append(baseline_frame(clip, frame, baselines, frame, frame + 1))
    return np.stack(shown)


def subsets(items):
    """All subsets, the empty and the whole one too, as frozensets."""
    items = list(items)
    for size in range(len(items) + 1):
        yield from map(frozenset, itertools.combinations(items, size))


def weight(before, players):
    """The share of all orders in which exactly a given set of `before` players precedes one."""
    after = players - before - 1
    return math.factorial(before) * math.factorial(after) / math.factorial(players)


def shapley(value, players):
    """Shapley values: the sum over all coalitions without the player (Shapley 1953).

    A glove game, one left glove (0) and two right ones (1, 2), where a pair is worth 1:

    >>> pair = lambda coalition: float(0 in coalition and len(coalition) > 1)
    >>> np.allclose(shapley(pair, [0, 1, 2]), [2 / 3, 1 / 6, 1 / 6], rtol=0, atol=1e-15)
    True
    """
    value, players = functools.cache(value), sorted(players)
    found = []
    for player in players:
        others = [other for other in players if other != player]
        found.append(
            math.fsum(
                weight(len(coalition), len(players))
                * (value(coalition | {player}) - value(coalition))
                for coalition in subsets(others)
            )
        )
    return np.array(found)


def contributions(value, order):
    """What each player of an order adds to those before it, as {player: contribution}."""
    found = {}
    for place, player in enumerate(order):
        before = frozenset(order[:place])
        found[player] = value(before | {player}) - value(before)
    return found


def mean_contributions(value, orders):
    """The mean over orders of what each player adds to those before it."""
    value = functools.cache(value)
    every = [contributions(value, order) for order in orders]
    return np.array(
        [math.fsum(found[player] for found in every) / len(every) for player in sorted(every[0])]
    )


def shapley_by_permutations(value, players):
    """Shapley values: the mean over all orders of the players.

    >>> pair = lambda coalition: float(0 in coalition and len(coalition) > 1)
    >>> players = [0, 1, 2, 3]
    >>> gap = shapley(pair, players) - shapley_by_permutations(pair, players)
    >>> bool(abs(gap).max() < 1e-15)
    True
    """
    return mean_contributions(value, itertools.permutations(players))


def owen(value, unions):
    """Owen values of players in unions, a list of lists (Owen 1977).

    The outer sum is over the coalitions of the other unions, which are present as wholes; the inner
    one is over the coalitions of the other members of the player's own union.

    The glove game again, where the two owners of right gloves act as one:

    >>> pair = lambda coalition: float(0 in coalition and len(coalition) > 1)
    >>> np.allclose(owen(pair, [[1, 2], [0]]), [1 / 2, 1 / 4, 1 / 4], rtol=0, atol=1e-15)
    True
    """
    value, unions = functools.cache(value), list(unions)
    found = {}
    for place, union in enumerate(unions):
        other_unions = unions[:place] + unions[place + 1 :]
        for player in union:
            others = [other for other in union if other != player]
            terms = []
            for chosen in subsets(range(len(other_unions))):
                whole = frozenset(member for index in chosen for member in other_unions[index])
                for coalition in subsets(others):
                    present = whole | coalition
                    terms.append(
                        weight(len(chosen), len(unions))
                        * weight(len(coalition), len(union))
                        * (value(present | {player}) - value(present))
                    )
            found[player] = math.fsum(terms)
    return np.array([found[player] for player in sorted(found)])


def nested_orders(unions):
    """All orders in which no union is interrupted by a player of another."""
    for arranged in itertools.permutations(unions):
        for inner in itertools.product(*map(itertools.permutations, arranged)):
            yield tuple(itertools.chain.from_iterable(inner))


def owen_by_permutations(value, unions):
    """Owen values: the mean over all orders that keep every union together.

    >>> pair = lambda coalition: float(0 in coalition and len(coalition) > 1)
    >>> owen_by_permutations(pair, [[1, 2], [0]]).tolist()
    [0.5, 0.25, 0.25]
    """
    return mean_contributions(value, nested_orders(unions))


def sampled(value, orders):
    """Means over given orders, each with its reverse, and their standard errors.

    An order and its reverse make one draw, the mean of the two. The standard error is that of a
    mean of independent draws; of a single draw it is not known, so it is NaN.

    >>> pair = lambda coalition: float(0 in coalition and len(coalition) > 1)
    >>> means, errors = sampled(pair, [[0, 1, 2], [1, 0, 2]])
    >>> means.tolist(), errors.tolist()
    ([0.75, 0.25, 0.0], [0.25, 0.25, 0.0])
    """
    value = functools.cache(value)
    orders = [list(order) for order in orders]
    pairs = np.stack([mean_contributions(value, [order, order[::-1]]) for order in orders])
    count = len(pairs)
    means = [math.fsum(draws) / count for draws in pairs.T]
    errors = []
    for draws, mean in zip(pairs.T, means, strict=True):
        squares = math.fsum((draw - mean) ** 2 for draw in draws)
        errors.append(math.sqrt(squares / (count - 1) / count) if count > 1 else math.nan)
    return np.array(means), np.array(errors)
