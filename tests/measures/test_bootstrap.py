"""Intervals and p-values, against enumerations, slow loops and closed forms."""

import itertools
import math
import statistics
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import scipy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from temporal_attr import DataError, OptionError
from temporal_attr.measures import (
    Interval,
    _bootstrap,
    bootstrap,
    correlation,
    hierarchical_bootstrap,
    natural_order_p_value,
    paired_permutation_test,
    rank_correlation,
)
from tests.helpers.checks import NAN, assert_refused, examples

some_examples = examples(40)

NUMBERS = torch.tensor([1.0, 2, 4, 3, 5])
whole_numbers = st.integers(-6, 6)


def mean(drawn):
    return drawn.reshape(*drawn.shape[:2], -1).mean((1, 2))


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def ends(interval):
    return interval.low, interval.high


def quantile(ordered, share):
    """Of numbers in order, with straight lines between them: the definition of Hyndman's type 7."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


# --- bootstrap


@pytest.mark.parametrize(("shape", "confidence"), [((7,), 0.95), ((5, 3), 0.8), ((4, 2, 3), 0.5)])
@pytest.mark.parametrize("reduce", [np.mean, np.median], ids=["mean", "median"])
def test_a_slow_loop_draws_the_same(shape, confidence, reduce):
    values = numbers(*shape)
    found = bootstrap(
        values, lambda drawn: reduce(drawn, tuple(range(1, drawn.ndim))), confidence, 300, seed=4
    )
    random = np.random.default_rng(4)
    replicates = []
    for _ in range(300):
        drawn = [values[random.integers(0, len(values))] for _ in values]
        replicates.append(float(reduce(np.stack(drawn))))
    replicates.sort()
    tail = (1 - confidence) / 2
    # Sums in another order: a few roundings of float64.
    assert found.value == pytest.approx(float(reduce(values)), abs=1e-14)
    expected = quantile(replicates, tail), quantile(replicates, 1 - tail)
    assert ends(found) == pytest.approx(expected, abs=1e-14)
    assert found.confidence == confidence
    assert found.low < found.high


def test_scipy_finds_the_same():
    values = numbers(30)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=500, rng=np.random.default_rng(2)
    )
    found = bootstrap(values, mean, resamples=500, seed=2)
    assert ends(found) == pytest.approx(tuple(theirs.confidence_interval), abs=1e-14)


def test_an_interval_that_is_known():
    # Of yes and no, the hits of a resample are binomial. No cumulative probability of it comes
    # nearer to these tails than 0.02, and 20000 draws miss one by 0.003 (one standard deviation).
    hits = np.array([True] * 30 + [False] * 10)
    for confidence in (0.85, 0.5):
        found = bootstrap(hits, mean, confidence, resamples=20_000)
        tails = ((1 - confidence) / 2, (1 + confidence) / 2)
        nearest = scipy.stats.binom.cdf(np.arange(41), 40, 0.75)
        assert min(np.abs(nearest - tail).min() for tail in tails) > 0.02
        expected = scipy.stats.binom.ppf(tails, 40, 0.75) / 40
        assert found.value == 0.75
        assert ends(found) == tuple(expected)


@pytest.mark.simulation
def test_how_often_the_truth_is_inside(check_measured):
    # 3000 samples of 40 from a normal distribution: percentile intervals are a little short (the
    # factor of t and sqrt(39 / 40)), which makes 94 of 100, with a standard deviation of 0.43.
    inside = 0
    for seed in range(3000):
        found = bootstrap(numbers(40, seed=seed) + 5, mean, resamples=400, seed=seed)
        inside += found.low <= 5 <= found.high
    check_measured("coverage of 95 % intervals, 40 samples", inside / 3000, 0.92, 0.96, 3000)


def test_memory_is_bounded_and_changes_nothing(monkeypatch):
    values = numbers(6, 5)
    sizes = []

    def watched(drawn):
        sizes.append(drawn.size)
        return mean(drawn)

    whole = bootstrap(values, watched, resamples=100)
    assert sizes == [30, 3000]
    sizes.clear()
    monkeypatch.setattr(_bootstrap, "_BATCH", 200)
    parts = bootstrap(values, watched, resamples=100)
    assert sizes == [30] + [180] * 16 + [120]
    assert parts == whole
    # A resample larger than the bound goes alone.
    monkeypatch.setattr(_bootstrap, "_BATCH", 7)
    assert bootstrap(values, mean, resamples=100) == whole


def test_samples_are_drawn_whole():
    # Each row of a sample is its number: were numbers drawn singly, rows would mix.
    values = np.arange(5.0)[:, None].repeat(4, 1)
    spread = bootstrap(values, lambda drawn: drawn.std(2).max(1))
    assert (spread.value, *ends(spread)) == (0, 0, 0)


def test_the_seed_decides():
    values = numbers(20)
    assert bootstrap(values, mean, seed=1) == bootstrap(values, mean, seed=1)
    assert ends(bootstrap(values, mean, seed=1)) != ends(bootstrap(values, mean, seed=2))
    groups = [values[:8], values[8:]]
    first = hierarchical_bootstrap(groups, mean, seed=1)
    assert first == hierarchical_bootstrap(groups, mean, seed=1)
    assert ends(first) != ends(hierarchical_bootstrap(groups, mean, seed=2))


@some_examples
@given(st.lists(whole_numbers, min_size=2, max_size=12), whole_numbers, st.sampled_from([1, 2, 8]))
def test_a_mean_moves_and_stretches_with_its_samples(drawn, shift, scale):
    values = np.array(drawn, float)
    plain = bootstrap(values, mean, resamples=50)
    moved = bootstrap(scale * values + shift, mean, resamples=50)
    expected = [scale * number + shift for number in (plain.value, plain.low, plain.high)]
    # One rounding each of mean, shift and percentile, of numbers up to 54.
    assert [moved.value, moved.low, moved.high] == pytest.approx(expected, abs=1e-13)
    mirrored = bootstrap(-values, mean, resamples=50)
    assert (-mirrored.high, -mirrored.low) == pytest.approx(ends(plain), abs=1e-14)


@pytest.mark.parametrize("values", [[0.1], [0.1] * 7, [1] * 3])
def test_samples_without_a_spread(values):
    # Warnings are errors in this suite.
    for found in (
        bootstrap(np.array(values), mean),
        hierarchical_bootstrap([np.array(values)], mean),
    ):
        assert found.low == found.high == found.value == pytest.approx(values[0], abs=1e-16)


@pytest.mark.parametrize("samples", [1, 5])
def test_a_statistic_that_is_not_defined(samples):
    found = bootstrap(numbers(samples), lambda drawn: np.full(len(drawn), NAN))
    assert np.isnan([found.value, found.low, found.high]).all()
    assert found.confidence == 0.95
    assert str(found) == "not defined"


def test_resamples_without_a_statistic_are_left_out():
    # The mean of what is positive: a resample may have nothing of it.
    values = np.array([-1.0, -2.0, -3.0, 4.0, 5.0])

    def of_positive(drawn):
        positive = drawn > 0
        count = positive.sum(1)
        total = (drawn * positive).sum(1)
        return np.where(count, total / np.maximum(count, 1), NAN)

    found = bootstrap(values, of_positive, 0.9, 400, seed=3)
    drawn = values[np.random.default_rng(3).integers(0, 5, (400, 5))]
    known = [row[row > 0].mean() for row in drawn if (row > 0).any()]
    assert 300 < len(known) < 400
    assert found.value == 4.5
    expected = quantile(sorted(known), 0.05), quantile(sorted(known), 0.95)
    assert ends(found) == pytest.approx(expected, abs=1e-14)


def test_no_resample_has_a_statistic():
    values = np.arange(9.0)

    def of_all_different(drawn):
        different = np.array([len(set(row)) == len(row) for row in drawn.tolist()])
        return np.where(different, drawn.mean(1), NAN)

    # 1 of 1067 resamples has all nine, and none of these ten.
    found = bootstrap(values, of_all_different, resamples=10)
    assert found.value == 4
    assert np.isnan(ends(found)).all()
    assert str(found) == "4.00 (95 % no interval)"


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(0.82, 0.714, 0.9, 0.95), "0.82 (95 % 0.71 to 0.90)"),
        (Interval(-1.5, -20, 0.004, 0.999), "-1.50 (99.9 % -20.00 to 0.00)"),
        (Interval(1.0, 1.0, 1.0, 0.29), "1.00 (29 % 1.00 to 1.00)"),
        (Interval(NAN, NAN, NAN, 0.95), "not defined"),
    ],
)
def test_how_an_interval_reads(interval, text):
    assert str(interval) == text


# --- hierarchical bootstrap


def enumerated(groups):
    """The probability of each mean of group means: every draw of groups, then of their samples."""
    places = range(len(groups))
    of_group = []
    for group in groups:
        draws = itertools.product(group, repeat=len(group))
        counts = Counter(Fraction(sum(draw), len(draw)) for draw in draws)
        of_group.append({mean: Fraction(n, len(group) ** len(group)) for mean, n in counts.items()})
    found = Counter()
    for chosen in itertools.product(places, repeat=len(groups)):
        for draws in itertools.product(*(of_group[place].items() for place in chosen)):
            chance = math.prod((share for _, share in draws), start=Fraction(1))
            found[sum(value for value, _ in draws) / len(groups)] += chance / len(groups) ** len(
                groups
            )
    return sorted(found.items())


@pytest.mark.parametrize("groups", [[[0, 6], [30, 31, 35]], [[0, 1, 8], [2, 20], [50]]])
def test_every_draw_counted(groups):
    outcomes = enumerated(groups)
    assert sum(share for _, share in outcomes) == 1
    shares = np.cumsum([float(share) for _, share in outcomes])
    means = [float(value) for value, _ in outcomes]
    arrays = [np.array(group, float) for group in groups]
    for confidence in np.linspace(0.05, 0.95, 19):
        found = hierarchical_bootstrap(arrays, mean, float(confidence), 20_000)
        for end, tail in ((found.low, (1 - confidence) / 2), (found.high, (1 + confidence) / 2)):
            # 20000 draws miss a share by 0.0035 at most (one standard deviation): five of these.
            below, above = (means[np.searchsorted(shares, tail + miss)] for miss in (-0.018, 0.018))
            # Sums of three numbers and one division, in another order.
            assert below - 1e-13 <= end <= above + 1e-13
    assert found.value == pytest.approx(statistics.mean(map(statistics.mean, groups)), abs=1e-13)


def test_samples_of_a_group_are_drawn_anew_each_time():
    # One group twice would, with one draw of samples for both, have the variance of one.
    # Var = (spread of group means + mean of spread within / samples) / groups, from the definition.
    groups = [numbers(6, seed=seed) * 3 + seed % 2 for seed in range(4)]
    between = np.var([group.mean() for group in groups])
    within = np.mean([group.var() / len(group) for group in groups])
    low, high = ends(hierarchical_bootstrap(groups, mean, 0.6827, 20_000))
    # Nearly normal, so that 68 % are a standard deviation either side; 20000 draws know it to 1 %.
    assert (high - low) / 2 == pytest.approx(((between + within) / 4) ** 0.5, rel=0.03)
    together = ((between + within) / 4 + 0.25 * within / 4 * 3) ** 0.5
    assert together > 1.1 * (high - low) / 2


def test_groups_of_different_rests():
    groups = [numbers(4, 3), numbers(2, 5, 2, seed=1), numbers(3, seed=2)]
    flat = [group.reshape(len(group), -1).mean(1) for group in groups]
    found = hierarchical_bootstrap(groups, mean, resamples=200)
    expected = hierarchical_bootstrap(flat, mean, resamples=200)
    assert [found.value, *ends(found)] == pytest.approx(
        [expected.value, *ends(expected)], abs=1e-14
    )


@pytest.mark.simulation
def test_how_often_the_mean_of_all_groups_is_inside(check_measured):
    # 20 groups of 5 whose means vary as much as their samples do.
    inside = 0
    for seed in range(1000):
        random = np.random.default_rng(seed)
        groups = list(random.normal(size=(20, 1)) + random.normal(size=(20, 5)))
        found = hierarchical_bootstrap(groups, mean, resamples=300, seed=seed)
        inside += found.low <= 0 <= found.high
    # Of the variance 1 + 1 / 5 of a group, 19 / 20 is found between groups, and 4 / 25 is added
    # within: 4 % too wide, and as short as any of 20 samples. About 95 of 100, with a standard
    # deviation of 0.7.
    check_measured("coverage of 95 % intervals, 20 groups of 5", inside / 1000, 0.92, 0.98, 1000)


@pytest.mark.simulation
def test_how_much_wider_the_docstring_says(check_measured):
    # Groups that differ by their samples alone: two shares of the same chance, each counted.
    groups = list(numbers(400, 30))
    low, high = ends(hierarchical_bootstrap(groups, mean))
    flat = ends(bootstrap(np.stack(groups).mean(1), mean))
    wider = (high - low) / (flat[1] - flat[0])
    text = "how much wider by groups than flat, of groups that differ by samples alone"
    check_measured(text, wider, 0.9 * 2**0.5, 1.1 * 2**0.5, 400)


def test_a_group_that_is_not_always_defined():
    # The second group has a statistic only where both of its samples are drawn: then it is 1.5.
    groups = [np.array([0.0, 0.0]), np.array([1.0, 2.0])]

    def of_different(drawn):
        both = (drawn[:, 0] != drawn[:, 1]) | (drawn[:, 0] == 0)
        return np.where(both, drawn.mean(1), NAN)

    found = hierarchical_bootstrap(groups, of_different, 0.5, 20_000)
    assert found.value == 0.75
    # Means are 0 (both the first, or one of each without the second's) with 1/4 + 1/4, 0.75 with
    # 1/4, and 1.5 with 3/16 of the 15/16 that have one: the quartiles are 0, 0.75 is at 80 %.
    assert ends(found) == (0, 0.75)
    assert ends(hierarchical_bootstrap(groups, of_different, 0.7, 20_000)) == (0, 1.5)


# --- the natural order


def slow_p_value(levels, tolerance):
    centre = Fraction(sum(levels), len(levels))
    natural = abs(levels[0] - centre)
    return Fraction(
        sum(abs(level - centre) >= natural - tolerance for level in levels), len(levels)
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(whole_numbers, min_size=2, max_size=9), st.integers(0, 3), st.randoms())
def test_p_values_counted_in_fractions(levels, tolerance, random):
    expected = slow_p_value(levels, tolerance)
    exact = float(expected)
    row = torch.tensor(levels, dtype=torch.float64)
    found = natural_order_p_value(row, float(tolerance)).item()
    assert found == exact
    assert 1 / len(levels) <= found <= 1
    others = levels[1:]
    random.shuffle(others)
    shuffled = torch.tensor([levels[0], *others], dtype=torch.float64)
    # Neither the order of the others, nor where zero is, nor the sign, changes anything.
    for same in (shuffled, row + 5, -row):
        assert natural_order_p_value(same, float(tolerance)).item() == exact
    assert natural_order_p_value(row / 8, tolerance / 8).item() == exact
    assert natural_order_p_value(row, tolerance + 1.0).item() >= exact


@some_examples
@given(st.lists(whole_numbers, min_size=2, max_size=9))
def test_a_p_value_holds_what_it_says(levels):
    # If each of the orders may be the natural one, p is at most a with a probability of at most a.
    turns = [levels[place:] + levels[:place] for place in range(len(levels))]
    found = natural_order_p_value(torch.tensor(turns, dtype=torch.float64)).numpy()
    for share in found:
        assert (found <= share).mean() <= share


def test_the_natural_order_alone_and_in_the_middle():
    levels = torch.tensor([[9.0, 1, 2, 3], [-9.0, 1, 2, 3], [2.0, 1, 2, 3], [5.0, 5, 5, 5]])
    found = natural_order_p_value(levels.expand(2, 4, 4))
    assert torch.equal(found, torch.tensor([0.25, 0.25, 1, 1]).double().expand(2, 4))
    assert natural_order_p_value(levels[0]).shape == ()
    assert natural_order_p_value(levels[:0]).shape == (0,)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_breaks_no_tie(dtype):
    # Two orders are equally far from their mean, and so are mirrored ones, whatever the rounding.
    pairs = torch.rand(200, 2, dtype=dtype, generator=torch.Generator().manual_seed(0))
    assert torch.equal(natural_order_p_value(pairs), torch.ones(200).double())
    assert torch.equal(natural_order_p_value(1000 + pairs), torch.ones(200).double())
    centre, near, far = 0.7, 0.1, 0.3
    mirrored = torch.tensor([centre + far, centre - far, centre + near, centre - near]).double()
    assert natural_order_p_value(mirrored).item() == 0.5


def test_a_tolerance_is_in_the_unit_of_the_levels():
    levels = torch.tensor([10.0, -9, 0, 0, -1])
    assert natural_order_p_value(levels, 0.5).item() == 0.2
    assert natural_order_p_value(levels, 1.0).item() == 0.4
    assert natural_order_p_value(levels, 20.0).item() == 1


# --- pairs


def slow_permutations(difference):
    """The share of all changes of sign whose sum is at least as far from zero."""
    sums = [
        abs(sum(sign * number for sign, number in zip(signs, difference, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(difference))
    ]
    return sum(total >= abs(sum(difference)) for total in sums) / len(sums)


@some_examples
@given(st.lists(st.tuples(whole_numbers, whole_numbers), min_size=2, max_size=7))
def test_every_swap_counted(pairs):
    first, second = torch.tensor(pairs).double().T
    found = paired_permutation_test(first, second)
    expected = slow_permutations([one - other for one, other in pairs])
    # Shares of at most 128 swaps: a rounding of float64, and no more.
    assert found == pytest.approx(expected, abs=1e-15)
    assert 0 < found <= 1
    assert paired_permutation_test(second, first) == found
    assert paired_permutation_test(first + 3, second + 3) == found
    assert paired_permutation_test(first.float(), second.float(), seed=9) == found


def test_swaps_drawn_at_random():
    difference = np.random.default_rng(0).integers(-9, 12, 25)
    # Sums of all 2^25 changes of sign, one number at a time.
    shares = Counter({0: 1.0})
    for number in difference.tolist():
        shares = sum(
            (Counter({k + s * number: v / 2 for k, v in shares.items()}) for s in (1, -1)),
            Counter(),
        )
    total = abs(int(difference.sum()))
    expected = sum(share for k, share in shares.items() if abs(k) >= total)
    found = paired_permutation_test(torch.from_numpy(difference).double(), torch.zeros(25).double())
    assert 0.05 < expected < 0.5
    # The p-value is twice that of one side, which 9999 draws know to sqrt(p / 2 / 9999): four of
    # these standard deviations.
    assert abs(found - expected) < 4 * 2 * (expected / 2 / 9999) ** 0.5
    again = paired_permutation_test(torch.from_numpy(difference).double(), torch.zeros(25).double())
    assert again == found


def test_the_smallest_p_values():
    for pairs, least in ((2, 0.5), (13, 2**-12), (14, 0.0002), (40, 0.0002)):
        ones = torch.ones(pairs)
        assert paired_permutation_test(ones, 0 * ones) == pytest.approx(least, rel=1e-12)
        assert paired_permutation_test(ones, ones) == 1


def test_memory_of_swaps_is_bounded(monkeypatch):
    first = torch.rand(30, generator=torch.Generator().manual_seed(0))
    whole = paired_permutation_test(first, first * 0 + 0.4)
    batches = []
    original = scipy.stats.permutation_test

    def watched(*arguments, batch, **options):
        batches.append(batch)
        return original(*arguments, batch=batch, **options)

    monkeypatch.setattr(scipy.stats, "permutation_test", watched)
    monkeypatch.setattr(_bootstrap, "_BATCH", 3000)
    assert abs(paired_permutation_test(first, first * 0 + 0.4) - whole) < 0.05
    assert batches == [100]


# --- rank correlation


def slow_ranks(values):
    """Of each number: how many are below, and half of the others that are equal."""
    return [
        sum(other < value for other in values) + (values.count(value) - 1) / 2 for value in values
    ]


@some_examples
@given(
    st.lists(st.tuples(whole_numbers, whole_numbers), min_size=4, max_size=12),
    st.sampled_from([0.5, 0.95]),
)
def test_rank_correlation_by_definition(pairs, confidence):
    first, second = ([float(pair[side]) for pair in pairs] for side in (0, 1))
    if len(set(first)) == 1 or len(set(second)) == 1:
        return
    found = rank_correlation(torch.tensor(first), torch.tensor(second), confidence)
    rho = statistics.correlation(slow_ranks(first), slow_ranks(second))
    # Sums of a dozen small numbers: a few roundings of float64.
    assert found.value == pytest.approx(rho, abs=1e-13)
    assert found.count == len(pairs)
    if abs(rho) > 1 - 1e-12:
        assert found.low == found.high == found.value == round(rho)
        return
    z = math.log((1 + rho) / (1 - rho)) / 2
    reach = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    reach *= math.sqrt((1 + rho * rho / 2) / (len(pairs) - 3))
    expected = [1 - 2 / (math.exp(2 * (z + step)) + 1) for step in (-reach, reach)]
    # scipy's quantile of the normal distribution and Python's differ in the last digits.
    assert ends(found) == pytest.approx(expected, abs=1e-11)
    freedom = len(pairs) - 2
    t = rho * math.sqrt(freedom / (1 - rho * rho))
    assert found.p_value == pytest.approx(2 * scipy.stats.t.sf(abs(t), freedom), rel=1e-9)


def test_ranks_see_the_order_only():
    first, second = torch.rand(2, 30, generator=torch.Generator().manual_seed(0)).double()
    second = first + second
    found = rank_correlation(first, second)
    assert rank_correlation(first.exp(), second**3) == found
    assert rank_correlation(second, first).value == pytest.approx(found.value, abs=1e-15)
    opposite = rank_correlation(first, -second)
    assert (opposite.value, -opposite.high, -opposite.low) == pytest.approx(
        (-found.value, *ends(found)), abs=1e-14
    )
    assert correlation(first.exp(), second**3).value != correlation(first, second).value


@pytest.mark.parametrize("count", [4, 5, 7, 50, 1000])
def test_ranks_in_one_order(count):
    rising = torch.arange(count).double() ** 3
    for second, end in ((rising.exp2().clamp(max=1e6) + rising, 1), (-rising, -1)):
        found = rank_correlation(rising, second)
        assert (found.value, found.low, found.high) == (end, end, end)
        assert found.p_value < 1e-6
        # One swap of neighbours is not one order, however many there are.
        swapped = second.clone()
        swapped[[0, 1]] = second[[1, 0]]
        close = rank_correlation(rising, swapped)
        assert abs(close.value) == pytest.approx(1 - 12 / (count**3 - count), abs=1e-13)
        assert close.low < close.value < close.high


# --- refusals


INTERVALS = (
    lambda statistic=mean, **options: bootstrap(np.arange(3.0), statistic, **options),
    lambda statistic=mean, **options: hierarchical_bootstrap(
        [np.arange(3.0), np.arange(4.0)], statistic, **options
    ),
)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("interval", INTERVALS, ids=["bootstrap", "hierarchical"])
def test_options_of_intervals(interval):
    for confidence in (0, 1, 95, -0.5, NAN):
        assert_refused(
            OptionError, f"confidence .*, got {confidence}", interval, confidence=confidence
        )
    for resamples in (0, -1, 2.5):
        text = f"resamples a whole number from 1 to 1000000, got {resamples}"
        assert_refused(OptionError, text, interval, resamples=resamples)
    for seed in (-1, 0.5, None):
        assert_refused(
            OptionError,
            f"seed a whole number at least 0, got {seed}",
            interval,
            seed=seed,
        )


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("interval", INTERVALS, ids=["bootstrap", "hierarchical"])
def test_statistics_of_another_shape(interval):
    text = r"shape \(1,\), from samples drawn of shape \(1, 3\), got shape {}\. Reduce"
    assert_refused(OptionError, text.format(r"\(\)"), interval, lambda drawn: drawn.mean())
    assert_refused(OptionError, text.format(r"\(3,\)"), interval, lambda drawn: drawn.mean(0))
    assert_refused(OptionError, text.format(r"\(1, 3\)"), interval, lambda drawn: drawn)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("interval", INTERVALS, ids=["bootstrap", "hierarchical"])
@pytest.mark.parametrize("sign", [1, -1])
def test_infinite_statistics(interval, sign):
    text = "finite or NaN, got an infinite one. Bound it"
    assert_refused(OptionError, text, interval, lambda drawn: np.full(len(drawn), sign * np.inf))
    # Of the samples as they are it is finite, and of some resamples not.
    assert_refused(
        OptionError, text, interval, lambda drawn: np.where((drawn == 0).any(1), 0, sign * np.inf)
    )


@pytest.mark.usefixtures("as_user")
def test_no_samples():
    assert_refused(
        OptionError,
        r"values \(samples, \.\.\.\) of at least 1 sample, got shape \(0, 3\)",
        bootstrap,
        np.zeros((0, 3)),
        mean,
    )
    assert_refused(
        DataError, r"got an array of float64 of shape \(\)", bootstrap, np.array(3.0), mean
    )
    text = r"group 1 \(samples, \.\.\.\) of at least 1 sample, got shape \(0,\)"
    assert_refused(OptionError, text, hierarchical_bootstrap, [np.zeros(2), np.zeros(0)], mean)
    assert_refused(OptionError, "at least 1 group, got none", hierarchical_bootstrap, [], mean)


@pytest.mark.usefixtures("as_user")
def test_groups_without_a_statistic():
    groups = [np.array([value]) for value in (NAN, 1.0, 2.0, NAN)]
    text = "a statistic of every group, got NaN of group 0, group 3. Leave"
    assert_refused(OptionError, text, hierarchical_bootstrap, groups, mean)


@pytest.mark.usefixtures("as_user")
def test_levels_that_have_no_p_value():
    for shape in ((), (1,), (3, 1), (3, 0)):
        text = r"at least 2 orders, got shape \(" + ", ".join(map(str, shape))
        assert_refused(OptionError, text, natural_order_p_value, torch.zeros(shape))
    for bad in (NAN, float("inf")):
        levels = torch.zeros(2, 3)
        levels[1, 2] = bad
        assert_refused(
            OptionError, "finite levels, got 1 of 6 NaN or", natural_order_p_value, levels
        )
    for tolerance in (-0.1, NAN):
        text = f"tolerance at least 0, got {tolerance!r}"
        assert_refused(OptionError, text, natural_order_p_value, torch.zeros(3), tolerance)
    text = "tolerance to be a number, got '1'"
    assert_refused(OptionError, text, natural_order_p_value, torch.zeros(3), "1")


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("function", "least"),
    [(correlation, 4), (rank_correlation, 4), (paired_permutation_test, 2)],
)
def test_pairs_that_are_none(function, least):
    for first, second in ((NUMBERS, NUMBERS[:4]), (NUMBERS[:4], NUMBERS)):
        text = rf"of one length, got shapes \({len(first)},\) and \({len(second)},\)"
        assert_refused(OptionError, text, function, first, second)
    column = NUMBERS[:, None]
    assert_refused(OptionError, r"got shapes \(5, 1\) and \(5, 1\)", function, column, column)
    few = NUMBERS[: least - 1]
    assert_refused(OptionError, f"at least {least} pairs, got {least - 1}. ", function, few, few)
    for bad in (NAN, float("inf")):
        holed = torch.where(NUMBERS == 2, bad, NUMBERS)
        assert_refused(OptionError, "numbers in first, got 1 of 5 NaN", function, holed, NUMBERS)
        assert_refused(OptionError, "numbers in second, got 1 of 5 NaN", function, NUMBERS, holed)


@pytest.mark.usefixtures("as_user")
def test_options_of_pairs():
    assert_refused(OptionError, "seed .*got -1", paired_permutation_test, NUMBERS, NUMBERS, seed=-1)
    for confidence in (0, 1, -0.5, 95, NAN):
        text = f"confidence .*, got {confidence}"
        assert_refused(OptionError, text, rank_correlation, NUMBERS, NUMBERS.sin(), confidence)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("function", [correlation, rank_correlation])
def test_constants_have_no_correlation(function):
    constant = torch.full((5,), 0.1)
    text = "in {} that differ, got 0.1 only. A constant"
    assert_refused(OptionError, text.format("first"), function, constant, NUMBERS)
    assert_refused(OptionError, text.format("second"), function, NUMBERS, constant)
