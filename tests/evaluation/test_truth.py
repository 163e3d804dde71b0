"""Metrics against known truth: ties, directions, constants, and what they do not depend on."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from temporal_attr import DataError, OptionError
from temporal_attr.evaluation import (
    AUP,
    AUPRC,
    AUR,
    IoU,
    MassAccuracy,
    PairAP,
    PeakDistance,
    PointingGame,
    RankAccuracy,
    TopKIntersection,
    areas,
    average_precision,
    intersection_over_union,
    mass_accuracy,
    pair_average_precision,
    peak_distance,
    pointing_game,
    rank_accuracy,
    top_k_intersection,
)
from temporal_attr.evaluation._metric import Score
from tests.helpers.checks import assert_refused, examples
from tests.helpers.scored_cases import case_of


@st.composite
def scored(draw, low=-2, high=2, most=5):
    """Scores of which many are equal, and a truth."""
    count = draw(st.integers(2, most))
    scores = draw(st.lists(st.integers(low, high), min_size=count, max_size=count))
    true = draw(st.integers(1, 2**count - 1))
    return np.array(scores, float), (true >> np.arange(count)) % 2 == 1


DRAWN = {
    "pointing_game": pointing_game,
    "rank_accuracy": rank_accuracy,
    "top 1": top_k_intersection,
    "top 2": lambda scores, truth: top_k_intersection(scores, truth, 2),
    "peak_distance": peak_distance,
}
"""What gives the mean over all orders of equal scores."""

ORDER = DRAWN | {
    "average_precision": average_precision,
    "mean of maxima": lambda scores, truth: pointing_game(scores, truth, "mean-of-maxima"),
    "iou": lambda scores, truth: intersection_over_union(scores, truth, 0.6),
    "ranked aup": lambda scores, truth: areas(np.maximum(scores, 0), truth).ranked_aup,
    "ranked aur": lambda scores, truth: areas(np.maximum(scores, 0), truth).ranked_aur,
}
"""What only the order counts for."""

PLACES = ("peak_distance", "mean of maxima")
"""What it matters for where features are."""


@given(scored(most=4))
@examples(25)
def test_ties_give_the_mean_over_all_orders(given_):
    scores, truth = given_
    orders = list(itertools.permutations(range(len(scores))))
    for name, function in DRAWN.items():
        broken = [function(scores + np.array(order) / 10, truth) for order in orders]
        assert function(scores, truth) == pytest.approx(np.mean(broken), abs=1e-12), name


@given(scored(most=8))
@examples(25)
def test_only_the_order_counts(given_):
    scores, truth = given_
    for name, function in ORDER.items():
        assert function(scores**3 + 2 * scores, truth) == function(scores, truth), name
        assert function(1e-3 * scores, truth) == function(scores, truth), name


@given(scored(most=8), st.randoms())
@examples(25)
def test_features_may_come_in_any_order(given_, random):
    scores, truth = given_
    order = random.sample(range(len(scores)), len(scores))
    functions = {name: it for name, it in ORDER.items() if name not in PLACES}
    functions["mass_accuracy"] = mass_accuracy
    for name, function in functions.items():
        expected = pytest.approx(function(scores, truth), abs=1e-12, nan_ok=True)
        assert function(scores[order], truth[order]) == expected, name


METRICS = [
    AUPRC,
    AUP,
    lambda of: AUP(of, ranked=True),
    AUR,
    lambda of: AUR(of, ranked=True),
    PointingGame,
    lambda of: PointingGame(of, "mean-of-maxima"),
    MassAccuracy,
    RankAccuracy,
    TopKIntersection,
    lambda of: TopKIntersection(of, k=2),
    IoU,
]


@given(scored(most=8))
@examples(25)
def test_values_are_within_the_range_that_the_traits_name(given_):
    scores, truth = given_
    case = case_of(scores, truth=truth)
    for metric in [*(make("frames") for make in METRICS), PeakDistance()]:
        value = metric.score(case).value
        traits = metric.traits
        assert math.isnan(value) or traits.lowest <= value <= traits.highest, metric.name
        # Only the sum of positive scores may not be there.
        assert math.isnan(value) == (metric.traits.slug == "mass-accuracy" and scores.max() <= 0)


@pytest.mark.parametrize("make", METRICS)
def test_pixels_are_frames_in_other_places(make):
    random = np.random.default_rng(0)
    pixels = random.integers(-3, 5, (6, 2, 3)).astype(float)
    # One highest, so that the mean of the maxima is it.
    pixels[3, 1, 2] = 9
    region = random.random(pixels.shape) < 0.4
    of_pixels = make("pixels").score(case_of(pixels=pixels, truth=region))
    of_frames = make("frames").score(case_of(pixels.ravel(), truth=region.ravel()))
    assert of_pixels == of_frames
    assert 0 <= of_pixels.value <= 1


TRUTH = np.array([False, True, True, False, False, False])


@pytest.mark.parametrize(
    ("metric", "perfect", "inverted"),
    [
        (AUPRC(), 1, None),
        (AUP(), 1, 0),
        (AUP(ranked=True), None, None),
        # Recall is then the share of the sum itself.
        (AUR(), 0.5, 0),
        (AUR(ranked=True), None, None),
        (PointingGame(), 1, 0),
        (MassAccuracy(), 1, 0),
        (RankAccuracy(), 1, 0),
        (TopKIntersection(), 1, 0),
        (TopKIntersection(k=2), 1, 0),
        (IoU(quantile=0.7), 1, 0),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_perfect_and_the_inverted_explanation_have_the_ends(metric, perfect, inverted):
    """The ends of the range; and else of what any explanation of these frames can have."""

    def value(scores, truth=TRUTH):
        return metric.score(case_of(scores, truth=truth)).value

    best, worst = value(TRUTH.astype(float)), value(1 - TRUTH.astype(float))
    places = itertools.combinations(range(6), 2)
    everything = [value(np.arange(6.0), np.isin(np.arange(6), true)) for true in places]
    assert best == pytest.approx(max(everything) if perfect is None else perfect, abs=1e-12)
    assert worst == pytest.approx(min(everything) if inverted is None else inverted, abs=1e-12)
    assert best - worst > 0.3


def test_the_peak_is_at_the_truth_or_as_far_from_it_as_can_be():
    def value(peak):
        return PeakDistance().score(case_of(np.eye(6)[peak], truth=TRUTH)).value

    assert [value(peak) for peak in range(6)] == [1, 0, 0, 1, 2, 3]


@pytest.mark.parametrize("level", [0.0, 2.5, -1.0])
def test_equal_scores_are_chance(level):
    case = case_of(np.full(6, level), truth=TRUTH)
    found = {
        metric.name: metric.score(case).value
        for metric in (*(make("frames") for make in METRICS), PeakDistance())
    }
    # The mean place is 2.5, which is rounded to 2.
    assert found.pop("pointing-game-frames(rule=mean-of-maxima)") == 1
    assert found.pop("peak-distance") == pytest.approx(7 / 6)
    assert found.pop("aur-frames") == found.pop("aur-frames(ranked=True)") == 0.5
    mass = found.pop("mass-accuracy-frames")
    assert mass == pytest.approx(1 / 3) if level > 0 else math.isnan(mass)
    assert len(found) == 8
    assert found == pytest.approx(dict.fromkeys(found, 1 / 3))


def test_a_score_says_why_there_is_none_and_that_nothing_ran():
    case = case_of(np.array([0.0, -1.0]), truth=np.array([True, False]))
    found = MassAccuracy().score(case)
    assert math.isnan(found.value)
    assert (found.note, found.forward_passes) == ("no score is above 0", 0)
    assert PointingGame().score(case) == Score(1.0)


def test_signs():
    truth = np.array([True, True, False, False])
    scores = np.array([1.0, -3.0, -1.0, 0.5])
    case = case_of(scores, truth=truth)
    # Those below 0 weigh nothing: at first all is true, and then 1 of 1 + x for half as much.
    assert AUP().score(case).value == pytest.approx((1 + math.log(1.5)) / 1.5, abs=1e-12)
    assert MassAccuracy().score(case).value == pytest.approx(2 / 3, abs=1e-12)
    # And in order they are one group.
    clipped = case_of(np.maximum(scores, 0), truth=truth)
    for metric in (AUP(ranked=True), AUR(), AUR(ranked=True)):
        assert metric.score(case) == metric.score(clipped)
    # By sign the second comes last.
    assert AUPRC().score(case).value < AUPRC().score(clipped).value
    assert RankAccuracy().score(case).value == 0.5


def test_the_pointing_game_looks_at_the_mean_place_of_maxima():
    scores = np.zeros((3, 3, 3))
    scores[0, 0, 0] = scores[2, 2, 2] = 1
    middle, corner = np.zeros((2, 3, 3, 3), bool)
    middle[1, 1, 1] = corner[2, 2, 2] = True
    assert pointing_game(scores, middle, "mean-of-maxima") == 1
    assert pointing_game(scores, middle) == 0
    assert pointing_game(scores, corner, "mean-of-maxima") == 0
    assert pointing_game(scores, corner) == 0.5


@pytest.mark.parametrize(("maxima", "place"), [((0, 1), 0), ((1, 2), 2), ((0, 1, 2, 3), 2)])
def test_a_mean_place_between_two_is_rounded_to_the_even_one(maxima, place):
    scores = np.isin(np.arange(4), maxima).astype(float)
    found = [pointing_game(scores, np.arange(4) == at, "mean-of-maxima") for at in range(4)]
    assert found == (np.arange(4) == place).tolist()


def test_shares_by_hand():
    scores, truth = np.array([4.0, 3.0, 3.0, 3.0, 1.0]), np.array([False, True, False, True, True])
    # The first, and two of three of which two are true.
    assert rank_accuracy(scores, truth) == pytest.approx(4 / 9, abs=1e-12)
    assert top_k_intersection(scores, truth, 2) == pytest.approx(1 / 3, abs=1e-12)
    assert top_k_intersection(scores, truth, 5) == pytest.approx(3 / 5, abs=1e-12)
    assert mass_accuracy(scores, truth) == pytest.approx(7 / 14, abs=1e-12)
    # From the median of 3 on all but the last.
    assert intersection_over_union(scores, truth, 0.5) == 2 / 5
    assert intersection_over_union(scores, truth, 1) == 0
    assert intersection_over_union(scores, truth, 0) == 3 / 5
    assert peak_distance(np.array([1.0, 0.0, 0.0, 1.0, 0.0]), np.arange(5) == 1) == 1.5


@pytest.mark.parametrize(
    ("quantile", "count", "high"), [(0.55, 21, 10), (0.9, 11, 2), (0.29, 101, 72), (1.0, 5, 1)]
)
def test_a_quantile_that_is_a_score_takes_it_in(quantile, count, high):
    # 0.55 * 20 and 0.29 * 100 are not whole in floating point.
    scores, truth = np.arange(count, dtype=float), np.ones(count, bool)
    assert intersection_over_union(scores, truth, quantile) == high / count


@pytest.mark.parametrize(("k", "count"), [(0.3, 3), (0.01, 1), (0.24, 2), (0.99, 10), (10, 10)])
def test_k_may_be_a_share(k, count):
    scores, truth = np.arange(10.0), np.arange(10) >= 9
    assert top_k_intersection(scores, truth, k) == pytest.approx(1 / count, abs=1e-12)


def test_a_sum_of_huge_scores():
    scores, truth = np.array([1e308, 1e308, 1e308, -1e308]), np.array([True, False, False, True])
    assert mass_accuracy(scores, truth) == pytest.approx(1 / 3, abs=1e-12)


def test_scores_are_read_in_double_precision():
    scores = torch.rand(40, dtype=torch.float32)
    truth = torch.arange(40) < 7
    for metric in (AUPRC(), AUP(), MassAccuracy()):
        single = metric.score(case_of(scores, truth=truth))
        assert single == metric.score(case_of(scores.double(), truth=truth))


def test_pairs_of_frames_are_ranked_by_both_entries():
    random = np.random.default_rng(0)
    matrix = random.normal(size=(5, 5))
    pairs = np.zeros((5, 5), bool)
    pairs[0, 3] = pairs[1, 4] = True
    both = {(i, j): matrix[i, j] + matrix[j, i] for i in range(5) for j in range(i + 1, 5)}
    expected = average_precision(
        np.array(list(both.values())), np.array([pair in ((0, 3), (1, 4)) for pair in both])
    )
    assert 0 < expected < 1
    for true in (pairs, pairs.T, pairs | pairs.T, pairs | np.eye(5, dtype=bool)):
        found = PairAP().score(case_of(matrix=matrix, pairs=true))
        assert found.value == pytest.approx(expected, abs=1e-12)
    transposed = pair_average_precision(matrix.T + 100 * np.eye(5), pairs)
    assert transposed == pytest.approx(expected, abs=1e-12)


def test_pairs_have_the_ends_and_chance():
    pairs = np.zeros((4, 4), bool)
    pairs[1, 2] = True
    matrix = pairs.astype(float)
    assert pair_average_precision(matrix, pairs) == 1
    # Last of six.
    assert pair_average_precision(-matrix, pairs) == pytest.approx(1 - 5 * math.log(6 / 5))
    assert pair_average_precision(np.ones((4, 4)), pairs) == pytest.approx(1 / 6)


@pytest.mark.usefixtures("as_user")
def test_what_cannot_be_judged():
    scores, truth = np.ones(3), np.array([True, False, False])
    functions = (
        mass_accuracy,
        rank_accuracy,
        top_k_intersection,
        intersection_over_union,
        pointing_game,
        peak_distance,
    )
    for function in functions:
        assert_refused(DataError, "got none of 3", function, scores, ~truth & truth)
        assert_refused(DataError, "1 of 3 NaN", function, np.array([1.0, 2.0, np.nan]), truth)
        assert_refused(DataError, r"got shape \(2,\)", function, scores, truth[:2])
        empty = np.empty(0), np.empty(0, bool)
        assert_refused(DataError, "at least one feature, got none", function, *empty)
    assert_refused(DataError, "array", peak_distance, np.ones((3, 2)), np.ones((3, 2), bool))


@pytest.mark.usefixtures("as_user")
def test_cases_without_what_a_metric_needs():
    truth = np.array([True, False, False])
    only_frames = case_of(np.ones(3), truth=truth)
    for make in METRICS:
        assert_refused(DataError, "scores of pixels", make("pixels").score, only_frames)
        unknown = case_of(np.ones(3))
        assert_refused(DataError, "frames that are known", make("frames").score, unknown)
        longer = case_of(np.ones(4), truth=truth)
        assert_refused(DataError, r"got shape \(3,\)", make("frames").score, longer)
    only_pixels = case_of(pixels=np.ones((3, 2, 2)), truth=truth)
    assert_refused(DataError, "scores of frames", PeakDistance().score, only_pixels)
    assert_refused(DataError, "frames that are known", PeakDistance().score, case_of(np.ones(3)))


@pytest.mark.usefixtures("as_user")
def test_pairs_that_cannot_be_judged():
    score, pairs = PairAP().score, np.ones((3, 3), bool)
    assert_refused(DataError, "a matrix of frames", score, case_of(np.ones(3), pairs=pairs))
    matrix = np.ones((3, 3))
    assert_refused(DataError, "pairs of frames that are known", score, case_of(matrix=matrix))
    other = case_of(matrix=matrix, truth=np.ones(3, bool))
    assert_refused(DataError, "pairs of frames that are known", score, other)
    alone = case_of(matrix=matrix, pairs=np.eye(3, dtype=bool))
    assert_refused(DataError, "one pair of two frames.*got none of 3", score, alone)
    single = case_of(matrix=np.ones((1, 1)), pairs=np.ones((1, 1), bool))
    assert_refused(DataError, "got none of 0", score, single)
    longer = case_of(matrix=matrix, pairs=np.ones((4, 4), bool))
    assert_refused(DataError, r"(3, 3).*got shape \(4, 4\)|which has 3", score, longer)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("k", [0, -1, 0.0, 1.0, 1.5, float("nan"), True, "all", None])
def test_k_that_is_no_number_of_scores(k):
    assert_refused(OptionError, "k", TopKIntersection, k=k)
    scores, truth = np.ones(3), np.ones(3, bool)
    assert_refused(OptionError, "k", top_k_intersection, scores, truth, k)


@pytest.mark.usefixtures("as_user")
def test_options_outside_their_range():
    scores, truth = np.ones(3), np.ones(3, bool)
    assert_refused(OptionError, "k at most 3.*got 4", top_k_intersection, scores, truth, 4)
    too_many = TopKIntersection(k=4)
    assert_refused(OptionError, "k at most 3.*got 4", too_many.score, case_of(scores, truth=truth))
    for quantile in (-0.1, 1.1, float("nan"), "high"):
        assert_refused(OptionError, "quantile", IoU, quantile=quantile)
        assert_refused(OptionError, "quantile", intersection_over_union, scores, truth, quantile)
    assert_refused(OptionError, "mean-of-maxima", PointingGame, rule="mean")
    assert_refused(OptionError, '"frames" or "pixels"', AUPRC, "regions")
