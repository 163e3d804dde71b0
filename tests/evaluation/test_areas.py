"""Areas under precision and recall: of scores as weights, and of their order alone."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from temporal_attr import DataError
from temporal_attr.evaluation import areas, average_precision
from tests.helpers.checks import assert_refused, examples

FIELDS = ("aup", "aur", "aupr", "ranked_aup", "ranked_aur", "ap")


def slow_areas(given, weights, truth, points=20000):
    """The areas from their definition: groups of equal scores, one share d after another."""
    groups = sorted(set(given.tolist()), reverse=True)
    total, all_true = weights.sum(), weights[truth].sum()
    shares = (np.arange(points) + 0.5) / points
    left, found = shares * total, np.zeros(points)
    for group in groups:
        held = weights[given == group].sum()
        taken = np.minimum(left, held)
        if held:
            found += taken / held * weights[(given == group) & truth].sum()
        left = left - taken
    precision, recall = found / (shares * total), found / all_true
    return precision.mean(), recall.mean(), precision @ np.diff([0.0, *recall])


@pytest.mark.parametrize("seed", range(6))
def test_areas_are_those_of_their_definition(seed):
    random = np.random.default_rng(seed)
    # Few different numbers, so that many are equal, among them 0.
    given = random.integers(0, 5, 30).astype(float)
    truth = random.random(30) < 0.3
    truth[0] = True
    given[0] = 3
    found = areas(given, truth)
    weighted = slow_areas(given, given, truth)
    ranked = slow_areas(given, np.ones(30), truth)
    assert (found.aup, found.aur, found.aupr) == pytest.approx(weighted, abs=3e-4)
    assert (found.ranked_aup, found.ranked_aur, found.ap) == pytest.approx(ranked, abs=3e-4)


@pytest.mark.parametrize("value", [0.0, 0.1, 7.0])
def test_equal_scores_are_chance(value):
    truth = np.arange(20) < 3
    found = areas(np.full(20, value), truth)
    assert (found.aup, found.aupr, found.ap) == pytest.approx((0.15, 0.15, 0.15))
    assert (found.aur, found.ranked_aur) == pytest.approx((0.5, 0.5))


def test_scores_on_the_truth_alone_are_perfect_but_for_aur():
    truth = np.arange(20) < 4
    found = areas(truth.astype(float), truth)
    assert (found.aup, found.aupr, found.ap) == pytest.approx((1, 1, 1))
    assert (found.aur, found.ranked_aur) == pytest.approx((0.5, 0.9))


def test_one_true_feature_is_enough_for_the_weighted_areas():
    truth = np.arange(20) < 4
    found = areas(np.eye(20)[0], truth)
    assert (found.aup, found.aupr) == pytest.approx((1, 1))
    # A quarter of the true ones at precision 1; the others among the 19 that are left, of which
    # precision is (1 + 3/19 x) / (1 + x).
    mixed = (1 - 3 / 19) * math.log(20) + 3 / 19 * 19
    assert found.ap == pytest.approx((1 + 3 / 19 * mixed) / 4, abs=1e-12)


def test_scores_beside_the_truth():
    truth = np.arange(20) < 4
    found = areas((~truth).astype(float), truth)
    assert (found.aup, found.aur, found.aupr) == (0, 0, 0)
    # Of 4 true ones after 16 others precision is x / (16 + x).
    assert found.ap == pytest.approx((4 - 16 * math.log(20 / 16)) / 4, abs=1e-12)


@pytest.mark.parametrize("unit", [1e-300, 1e-12, 1e307])
def test_areas_do_not_depend_on_the_unit(unit):
    random = np.random.default_rng(0)
    given, truth = random.random(50), random.random(50) < 0.2
    one, other = areas(given, truth), areas(unit * given, truth)
    for name in FIELDS:
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-12)


@pytest.mark.parametrize("rank", [1, 2, 3, 10])
def test_one_true_feature_at_a_rank(rank):
    scores = np.arange(12, 0, -1.0)
    before = rank - 1
    expected = 1 - before * math.log(rank / before) if before else 1
    truth = np.arange(12) == before
    assert average_precision(scores, truth) == pytest.approx(expected, abs=1e-12)


def test_only_the_order_counts_for_average_precision():
    truth = np.array([True, True, False, False])
    assert average_precision(np.array([-1.0, -2.0, -3.0, -9.0]), truth) == 1
    assert average_precision(np.array([5.0, -2.0, -3.0, -9.0]), truth) == 1


SCORES = st.lists(st.integers(0, 2), min_size=2, max_size=4)


@given(SCORES, st.data())
@examples(25)
def test_aup_and_aur_are_the_mean_over_orders_of_equal_scores(scores, data):
    scores = np.array(scores, float)
    truth = np.array(data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores))))
    truth[0] = True
    # Ties broken by a billionth, which changes the weights by no more than that.
    broken = [
        areas(scores + 1e-9 * np.array(order), truth)
        for order in itertools.permutations(range(len(scores)))
    ]
    found = areas(scores, truth)
    for name in ("ranked_aup", "ranked_aur"):
        mean = np.mean([getattr(one, name) for one in broken])
        assert getattr(found, name) == pytest.approx(mean, abs=1e-12)
    # With nothing but zeros a billionth would be all that there is.
    if scores.any() and scores[truth].any():
        for name in ("aup", "aur"):
            mean = np.mean([getattr(one, name) for one in broken])
            assert getattr(found, name) == pytest.approx(mean, abs=1e-6)


@given(SCORES, st.integers(2, 4), st.data())
@examples(25)
def test_copies_of_all_features_change_nothing(scores, copies, data):
    scores = np.array(scores, float)
    truth = np.array(data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores))))
    truth[0] = True
    one, other = areas(scores, truth), areas(np.tile(scores, copies), np.tile(truth, copies))
    for name in FIELDS:
        assert getattr(other, name) == pytest.approx(getattr(one, name), abs=1e-12)


def in_parts(scores, truth, parts):
    """Each feature as many that follow each other: none of their scores are equal."""
    ranks = scores.argsort().argsort()[:, None] * parts + np.arange(parts)
    return ranks.ravel().astype(float), truth.repeat(parts)


@pytest.mark.parametrize("seed", range(3))
def test_the_limit_of_the_average_precision_of_scikit_learn(seed):
    metrics = pytest.importorskip("sklearn.metrics")
    check_limit(seed, lambda scores, truth: metrics.average_precision_score(truth, scores))


@pytest.mark.simulation
def test_the_limit_of_the_average_precision_of_time_interpret():
    # Seconds to import; the function is scikit-learn's.
    torch, tint = pytest.importorskip("torch"), pytest.importorskip("tint.metrics.white_box")
    check_limit(
        0,
        lambda scores, truth: tint.auprc(
            torch.from_numpy(scores)[None], torch.from_numpy(truth)[None].int()
        ),
    )


def check_limit(seed, peer):
    """Peers take precision at the end of each true feature: the limit is of ever smaller ones."""
    random = np.random.default_rng(seed)
    scores, truth = random.normal(size=15), random.random(15) < 0.4
    truth[scores.argmin()] = True
    found = average_precision(scores, truth)
    for parts in (1, 10, 1000):
        # Precision rises by less than 1 while a true feature enters.
        assert 0 < peer(*in_parts(scores, truth, parts)) - found < 1 / parts


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("function", [areas, average_precision])
def test_what_has_no_areas(function):
    three, two = np.ones(3), np.ones(2, bool)
    assert_refused(DataError, "feature that is true, got none of 3", function, three, three == 0)
    assert_refused(DataError, r"shape \(3,\).*got shape \(2,\)", function, three, two)
    assert_refused(DataError, r"got shape \(3, 1\)", function, three, np.ones((3, 1), bool))
    assert_refused(DataError, "1 of 2 NaN or infinite", function, np.array([1.0, np.nan]), two)
    assert_refused(DataError, "1 of 2 NaN or infinite", function, np.array([-np.inf, 1.0]), two)
    assert_refused(DataError, "true or false.*got an array of float64", function, three, three)
    assert_refused(DataError, "array of floats.*got a list", function, [1.0], two)


def test_areas_need_scores_that_are_not_negative():
    text = "scores of 0 or more, got -2"
    assert_refused(DataError, text, areas, np.array([1.0, -2.0]), np.ones(2, bool))
