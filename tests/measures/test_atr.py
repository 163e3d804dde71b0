"""Temporal ranges, their averages, and bounds of windows, against definitions and closed forms."""

import dataclasses
import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from temporal_attr import (
    DataError,
    OptionError,
)
from temporal_attr.measures import (
    average_by_class,
    average_matrices,
    average_range,
    correlation,
    maximum_range,
    ranges,
    shortest_runs,
    temporal_overlap,
    window_bounds,
    windowed_clip,
)
from tests.helpers.checks import NAN, assert_near, assert_refused, examples
from tests.helpers.matrices import random_matrices
from tests.references import ranges as slow

pytestmark = pytest.mark.usefixtures("one_thread")
some_examples = examples(40)

SIGMAS = (0.3, 0.5, 0.9, 0.975, 1.0)
# Small whole numbers add up without rounding, and their shares of a row are never close to a
# fortieth without being one: every comparison with sigma has one answer, and there are many ties.
fortieths = st.integers(1, 40).map(lambda k: k / 40)


@st.composite
def whole_matrices(draw, smallest=-6):
    clips, steps = draw(st.integers(1, 3)), draw(st.integers(1, 8))
    values = st.integers(smallest, 9).map(float)
    return torch.from_numpy(draw(arrays(np.float64, (clips, steps, steps), elements=values)))


def rows_of(*rows, dtype=torch.float32):
    """One clip whose every timestep has the same row, a clip for each row."""
    return torch.stack([torch.tensor(row, dtype=dtype).expand(len(row), -1) for row in rows])


def mass(row, first, last):
    return math.fsum(abs(value) for value in row[first : last + 1])


def assert_exact(found, expected):
    """The same numbers, with NaN where NaN is expected."""
    np.testing.assert_array_equal(found.numpy(), np.asarray(expected))


# The shortest run.


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("clips", "steps"), [(1, 1), (3, 2), (2, 3), (4, 8), (2, 17), (1, 32)])
def test_runs_are_those_found_among_all_runs(clips, steps, dtype, sigma):
    matrix = random_matrices(clips, steps, dtype)
    before = matrix.clone()
    assert_exact(shortest_runs(matrix, sigma), slow.shortest_runs(matrix, sigma))
    found = ranges(matrix, sigma)
    assert found.dtype is dtype
    assert_exact(found, slow.ranges(matrix, sigma))
    assert torch.equal(matrix, before)


def test_runs_of_sixty_four_steps_are_those_found_among_all_runs():
    matrix = random_matrices(1, 64)
    assert_exact(shortest_runs(matrix, 0.9), slow.shortest_runs(matrix, 0.9))


@some_examples
@given(matrix=whole_matrices(), sigma=fortieths)
def test_runs_of_whole_numbers_with_their_ties_are_those_found_among_all_runs(matrix, sigma):
    expected = slow.shortest_runs(matrix, sigma)
    assert_exact(shortest_runs(matrix, sigma), expected)
    assert_exact(shortest_runs(matrix.float(), sigma), expected)
    assert_exact(ranges(matrix, sigma), slow.ranges(matrix, sigma))


def test_the_paper_asks_for_a_share_of_0_975():
    # 39 of 40 is just enough, and 38 of 40 is not.
    matrix = rows_of([39.0, 1.0], [38.0, 2.0])
    assert ranges(matrix).tolist() == [[1, 2], [2, 2]]
    assert torch.equal(shortest_runs(matrix), shortest_runs(matrix, 0.975))


@some_examples
@given(matrix=whole_matrices(), sigma=fortieths)
def test_a_run_contains_its_step_and_holds_the_share_and_no_shorter_one_does(matrix, sigma):
    runs, lengths = shortest_runs(matrix, sigma), ranges(matrix, sigma)
    for (b, i), r in np.ndenumerate(lengths.numpy()):
        row, (first, last) = matrix[b, i].tolist(), runs[b, i].tolist()
        if not any(row):
            assert math.isnan(r)
            assert first == last == i
            continue
        needed = sigma * mass(row, 0, len(row))
        assert 0 <= first <= i <= last < len(row)
        assert r == last - first + 1
        assert mass(row, first, last) >= needed * (1 - 1e-12)
        shorter = [range(k, k + last - first) for k in range(len(row))]
        assert all(mass(row, s.start, s.stop - 1) < needed for s in shorter if i in s)


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("steps", [1, 2, 9])
def test_a_diagonal_matrix_has_ranges_of_one(steps, sigma):
    matrix = torch.diag(torch.randn(steps).exp())[None]
    own = torch.arange(steps)
    assert ranges(matrix, sigma).tolist() == [[1.0] * steps]
    assert torch.equal(shortest_runs(matrix, sigma), torch.stack([own, own], 1)[None])


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(0.1, torch.float32), (0.1, torch.float64), (1 / 3, torch.float64), (0.7, torch.float64)],
)
def test_a_uniform_row_needs_its_share_of_the_steps_whatever_the_rounding(value, dtype):
    # Sums of 0.1 round up or down, depending on where they start; k/N of N is k all the same, all
    # runs of k steps hold the same, and so the first that contains the step is the answer.
    for steps in (*range(1, 12), 25, 49, 64):
        matrix = torch.full((1, steps, steps), value, dtype=dtype)
        for k in range(1, steps + 1):
            first = [max(0, i - k + 1) for i in range(steps)]
            runs = [[start, start + k - 1] for start in first]
            assert shortest_runs(matrix, k / steps)[0].tolist() == runs, (steps, k)


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("place", [0, 3, 7])
def test_a_single_column_is_reached_from_every_step(place, sigma):
    matrix = torch.zeros(1, 8, 8)
    matrix[..., place] = -0.3
    expected = [[min(i, place), max(i, place)] for i in range(8)]
    assert shortest_runs(matrix, sigma)[0].tolist() == expected
    assert ranges(matrix, sigma)[0].tolist() == [abs(i - place) + 1 for i in range(8)]


@pytest.mark.parametrize(("before", "after"), [(0, 0), (1, 1), (2, 0), (0, 3), (8, 8)])
def test_a_band_is_its_own_range(before, after):
    offset = torch.arange(8)[:, None] - torch.arange(8)
    matrix = 0.1 * ((offset <= before) & (-offset <= after))[None].float()
    expected = [[max(0, i - before), min(7, i + after)] for i in range(8)]
    assert shortest_runs(matrix, 1.0)[0].tolist() == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_share_of_one_needs_every_column_that_is_not_zero_however_small(dtype):
    tiny = torch.finfo(dtype).tiny
    rows = [0, 1, 0, 0, 0], [0, 1, 0, -tiny, 0], [tiny, 0, 0, 1, 0]
    matrix = rows_of(*rows, dtype=dtype)
    runs = shortest_runs(matrix, 1.0).tolist()
    assert runs[0] == [[0, 1], [1, 1], [1, 2], [1, 3], [1, 4]]
    assert runs[1] == [[0, 3], [1, 3], [1, 3], [1, 3], [1, 4]]
    assert runs[2] == [[0, 3], [0, 3], [0, 3], [0, 3], [0, 4]]
    # A share only just below one does without.
    assert ranges(matrix, 1 - 1e-12)[1, 1] == 1


def test_one_step_has_itself_or_nothing():
    matrix = torch.tensor([[[3.0]], [[-1e-30]], [[0.0]]])
    assert shortest_runs(matrix).tolist() == [[[0, 0]]] * 3
    assert_exact(ranges(matrix), [[1], [1], [NAN]])


def test_rows_of_zeros_have_a_run_of_their_own_step_and_no_range():
    matrix = torch.zeros(1, 4, 4)
    matrix[0, 2, 0] = 1
    assert shortest_runs(matrix).tolist() == [[[0, 0], [1, 1], [0, 2], [3, 3]]]
    assert_exact(ranges(matrix), [[NAN, NAN, 3, NAN]])


def test_of_equally_short_runs_the_one_that_holds_more_is_taken_and_then_the_first():
    matrix = rows_of([2.0, 4, 4, 2, 0], [2.0, 4, 4, 3, 0])
    # 10 of 12 and of 13: columns 0 to 2, or 1 to 3.
    assert shortest_runs(matrix, 0.75)[:, 1].tolist() == [[0, 2], [1, 3]]
    assert shortest_runs(matrix, 0.75)[:, 2].tolist() == [[0, 2], [1, 3]]
    close = rows_of([1, 1, 1 + 1e-9], dtype=torch.float64)
    assert shortest_runs(close, 0.6)[0, 1].tolist() == [1, 2]
    # The step itself rules out the better one.
    assert shortest_runs(matrix, 0.75)[:, 0].tolist() == [[0, 2], [0, 2]]


def test_half_and_half_need_one_column_for_half_the_share():
    assert ranges(rows_of([0.5, 0.5]), 0.5).tolist() == [[1, 1]]
    assert ranges(rows_of([0.5, 0.5]), 0.5 + 1e-9).tolist() == [[2, 2]]


def test_float32_is_added_up_in_float64():
    # In float32 the second entry would vanish in the sum, and the rows of 3e38 would be infinite.
    matrix = rows_of([1.0, 1e-9], [3e38, 3e38], [1e-44, 1e-44])
    assert ranges(matrix, 1 - 1e-10)[:, 0].tolist() == [2, 2, 2]
    assert ranges(matrix, 0.5)[:, 0].tolist() == [1, 1, 1]
    many = torch.full((1, 64, 64), 0.1)
    assert ranges(many, 1.0).unique().tolist() == [64]


@some_examples
@given(
    matrix=whole_matrices(),
    sigma=fortieths,
    power=st.integers(-60, 60),
    negative=st.booleans(),
)
def test_the_scale_and_the_signs_of_a_row_do_not_matter(matrix, sigma, power, negative):
    expected = shortest_runs(matrix, sigma)
    scales = 2.0 ** (power + torch.arange(matrix.shape[1], dtype=torch.float64))[:, None]
    assert torch.equal(shortest_runs((-1) ** negative * scales * matrix, sigma), expected)
    assert torch.equal(shortest_runs(matrix.abs(), sigma), expected)


@some_examples
@given(matrix=whole_matrices(), sigmas=st.tuples(*[st.floats(1e-9, 1)] * 2).map(sorted))
def test_a_larger_share_never_has_a_shorter_range(matrix, sigmas):
    less, more = (ranges(matrix, sigma).nan_to_num(0) for sigma in sigmas)
    assert (less <= more).all()


@some_examples
@given(matrix=whole_matrices(), sigma=fortieths)
def test_reversed_time_reverses_the_ranges(matrix, sigma):
    assert_exact(ranges(matrix.flip(1, 2), sigma), ranges(matrix, sigma).flip(1))


def test_reversed_time_reverses_the_runs_where_there_are_no_ties():
    matrix = torch.rand(5, 9, 9, dtype=torch.float64) ** 4
    expected = 8 - shortest_runs(matrix, 0.8).flip(1, 2)
    assert torch.equal(shortest_runs(matrix.flip(1, 2), 0.8), expected)


@some_examples
@given(matrix=whole_matrices(), sigma=fortieths, before=st.integers(0, 3), after=st.integers(0, 3))
def test_empty_steps_around_the_clip_only_move_the_runs(matrix, sigma, before, after):
    steps = matrix.shape[1]
    wider = nn.functional.pad(matrix, (before, after, before, after))
    inside = slice(before, before + steps)
    moved = shortest_runs(matrix, sigma) + before
    assert torch.equal(shortest_runs(wider, sigma)[:, inside], moved)
    assert_exact(ranges(wider, sigma)[:, inside], ranges(matrix, sigma))


@some_examples
@given(matrix=whole_matrices(smallest=0), sigma=fortieths, more=st.integers(1, 20))
def test_more_of_its_own_frame_never_widens_a_range(matrix, sigma, more):
    own = matrix + more * torch.eye(matrix.shape[1], dtype=matrix.dtype)
    assert (ranges(own, sigma) <= ranges(matrix, sigma).nan_to_num(math.inf)).all()


@some_examples
@given(matrix=whole_matrices(), sigma=fortieths)
def test_a_batch_is_its_clips_one_by_one(matrix, sigma):
    singles = torch.cat([shortest_runs(clip[None], sigma) for clip in matrix])
    assert torch.equal(shortest_runs(matrix, sigma), singles)


@pytest.mark.usefixtures("as_user")
def test_there_is_no_loop_over_clips_or_rows():
    def calls(clips, steps):
        matrix, count = random_matrices(clips, steps), 0

        def note(frame, event, argument):
            nonlocal count
            count += event in ("call", "c_call")

        sys.setprofile(note)
        try:
            ranges(matrix)
        finally:
            sys.setprofile(None)
        return count

    calls(2, 8)
    assert calls(2, 8) == calls(40, 8)
    # A loop over lengths or starts is a few calls a step; one over rows and runs is not.
    assert calls(1, 64) < 64 * 64


# From ranges to one number a clip.


@pytest.mark.parametrize(("clips", "steps"), [(1, 1), (5, 2), (40, 7)])
def test_averages_of_ranges_match_the_definition(clips, steps):
    lengths = torch.randint(1, steps + 1, (clips, steps)).double()
    lengths[torch.rand(clips, steps) < 0.3] = NAN
    logits = torch.randn(clips, steps, dtype=torch.float64)
    assert_near(
        average_range(lengths, logits), slow.average_range(lengths, logits), 1e-15, equal_nan=True
    )
    assert_exact(maximum_range(lengths), slow.maximum_range(lengths))


def test_averages_of_ranges_by_hand():
    lengths = torch.tensor([[1.0, 4, 2], [1.0, 4, 2], [NAN, 4, 2], [NAN, 3, 2], [NAN] * 3])
    logits = torch.tensor([[1.0, 1, 2], [-1, 0, -2], [8, 1, -5], [8, -1, 0], [1, 1, 1]])
    # Half the weight on the range of 2; no positive logit; only 4 counts; the only positive logit
    # has no range; no range at all.
    assert_exact(average_range(lengths, logits), [2.25, NAN, 4, NAN, NAN])
    assert_exact(maximum_range(lengths), [4, 4, 4, 3, NAN])


@some_examples
@given(
    lengths=arrays(np.float64, (2, 5), elements=st.integers(1, 5).map(float) | st.just(NAN)),
    logits=arrays(np.float64, (2, 5), elements=st.integers(-5, 5).map(float)),
    power=st.integers(-40, 40),
)
def test_the_average_is_of_the_ranges_and_the_scale_of_the_logits_does_not_matter(
    lengths, logits, power
):
    lengths, logits = torch.from_numpy(lengths), torch.from_numpy(logits)
    found = average_range(lengths, logits)
    assert_exact(average_range(lengths, logits * 2.0**power), found)
    for average, row, weights, most in zip(
        found.tolist(), lengths, logits, maximum_range(lengths).tolist(), strict=True
    ):
        counts = row[(weights > 0) & ~row.isnan()]
        assert math.isnan(average) == (len(counts) == 0)
        if len(counts):
            # Two roundings: of the weighted sum and of the quotient.
            assert min(counts) * (1 - 1e-15) <= average <= max(counts) * (1 + 1e-15)
            assert average <= most * (1 + 1e-15)


# Averages over clips.


def assert_average(found, expected):
    mean, deviation, clips = expected
    assert (found.clips, type(found.clips)) == (clips, int)
    assert_near(found.mean, mean, 1e-14)
    # A difference from the mean keeps what the mean's rounding leaves of it.
    scale = np.abs(mean).max() + 1
    expected = torch.as_tensor(deviation, dtype=found.deviation.dtype)
    torch.testing.assert_close(
        found.deviation, expected, rtol=1e-12, atol=1e-13 * scale, equal_nan=True
    )


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.8])
@pytest.mark.parametrize(("clips", "steps"), [(3, 1), (12, 2), (30, 5)])
def test_average_matrices_match_the_definition(clips, steps, threshold, normalize):
    matrices, scores = random_matrices(clips, steps), torch.linspace(0.1, 0.9, clips).double()
    before = matrices.clone()
    found = average_matrices(matrices, scores, threshold, normalize)
    assert_average(found, slow.average_matrices(matrices, scores, threshold, normalize))
    targets = torch.arange(clips).remainder(5).flip(0)
    by_class = average_by_class(matrices, targets, scores, threshold, normalize)
    expected = slow.average_by_class(matrices, targets, scores, threshold, normalize)
    assert list(by_class) == list(expected)
    assert {type(number) for number in by_class} == {int}
    for number, average in by_class.items():
        assert_average(average, expected[number])
    assert torch.equal(matrices, before)


def test_average_matrices_by_hand():
    matrices = torch.tensor([[[2.0, -2], [0, 0]], [[30, 10], [0, -5]], [[7, 7], [7, 7]]])
    scores = torch.tensor([0.6, 0.9, 0.5])
    # A score of one half is not above one half.
    plain = average_matrices(matrices, scores)
    assert plain.clips == 2
    assert plain.mean.tolist() == [[16, 4], [0, -2.5]]
    assert_near(plain.deviation, np.array([[28, 12], [0, 5]]) / 2**0.5, 1e-7)
    fair = average_matrices(matrices, scores, normalize=True)
    assert fair.mean.tolist() == [[0.625, -0.125], [0, -0.5]]
    assert_near(fair.deviation, np.array([[0.25, 0.75], [0, 1]]) / 2**0.5, 1e-7)


@pytest.mark.filterwarnings("error")
def test_one_clip_has_no_deviation():
    matrices, scores = torch.rand(3, 2, 2), torch.tensor([0.1, 0.8, 0.2])
    found = average_matrices(matrices, scores)
    assert found.clips == 1
    assert torch.equal(found.mean, matrices[1])
    assert found.deviation.isnan().all()


def test_a_class_without_a_clip_above_the_threshold_is_absent():
    matrices = torch.arange(4.0)[:, None, None].expand(4, 2, 2)
    targets, scores = torch.tensor([7, 2, 7, 3]), torch.tensor([0.9, 0.9, 0.4, 0.5])
    found = average_by_class(matrices, targets, scores)
    assert {number: average.mean[0, 0].item() for number, average in found.items()} == {2: 1, 7: 0}
    assert list(found) == [2, 7]
    lower = average_by_class(matrices, targets, scores, threshold=0.3)
    assert {number: average.clips for number, average in lower.items()} == {2: 1, 3: 1, 7: 2}


def test_the_order_of_clips_does_not_matter_to_their_average():
    matrices, scores = random_matrices(20, 4), torch.rand(20)
    order = torch.randperm(20)
    one, other = (
        average_matrices(matrices[index], scores[index]) for index in (order, slice(None))
    )
    assert one.clips == other.clips
    assert_near(one.mean, other.mean, 1e-14)
    assert_near(one.deviation, other.deviation, 1e-14)


def test_an_average_cannot_be_changed():
    average = average_matrices(torch.rand(2, 2, 2), torch.ones(2))
    with pytest.raises(dataclasses.FrozenInstanceError):
        average.clips = 5
    assert average == average
    assert average != dataclasses.replace(average)


# Overlap with a list of temporal classes.


@pytest.mark.parametrize(
    ("classes", "temporal", "k"), [(1, 1, 1), (5, 2, 3), (8, 3, 4), (9, 8, 5), (174, 18, 20)]
)
def test_overlap_matches_exact_counting(classes, temporal, k):
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(classes, generator=generator)[:temporal].tolist()
        values = torch.randint(0, 2 * classes, (classes,), generator=generator).double()
        # So that many seeds hit more of them than chance would.
        values[chosen[::2]] += classes
        values[torch.rand(classes, generator=generator) < 0.1] = NAN
        found = temporal_overlap(values, chosen, k)
        share, chance, p_value = slow.temporal_overlap(values, chosen, k)
        assert (found.share, found.chance) == (share, chance)
        # scipy goes through logarithms of gamma functions, which lose a digit for each of theirs.
        assert found.p_value == pytest.approx(p_value, rel=1e-10)


@pytest.mark.parametrize("k", [1, 60, 150, 299])
def test_overlap_of_many_equal_values_goes_by_class_number(k):
    values = torch.randint(0, 3, (300,)).double()
    for chosen in (range(150), range(0, 300, 7), torch.randperm(300)[:100].tolist()):
        found = temporal_overlap(values, chosen, k)
        assert found.share == slow.temporal_overlap(values, chosen, k)[0]


def test_the_reference_counts_what_enumeration_finds():
    for classes in range(1, 8):
        for temporal in range(classes + 1):
            for k in range(1, classes + 1):
                for hits in range(k + 1):
                    counted = slow.overlap_chance(classes, temporal, k, hits)
                    found = slow.overlap_chance_by_enumeration(classes, temporal, k, hits)
                    assert counted == found


def test_overlap_by_hand():
    values = torch.tensor([1.0, 9, 8, 2, 3, 0])
    # Both of the two, one draw of the fifteen; one at least of the two, all but the six without.
    best = temporal_overlap(values, {1, 2}, 2)
    assert (best.share, best.chance) == (1, 1 / 3)
    assert best.p_value == pytest.approx(1 / 15, rel=1e-12)
    half = temporal_overlap(values, [2, 5], 2)
    assert half.share == 0.5
    assert half.p_value == pytest.approx(9 / 15, rel=1e-12)
    # Who is named twice counts once.
    assert temporal_overlap(values, [1, 2, 2, 1], 2) == best
    # Nothing hit says nothing.
    none = temporal_overlap(values, (0, 5), 2)
    assert (none.share, none.p_value) == (0, pytest.approx(1, rel=1e-12))


def test_unknown_values_rank_last_and_equal_ones_by_class_number():
    values = torch.tensor([NAN, 2.0, 5, 2, 2, -3])
    shares = [[temporal_overlap(values, [c], k).share * k for c in range(6)] for k in range(1, 7)]
    order = [2, 1, 3, 4, 5, 0]
    for k, found in enumerate(shares, 1):
        assert [round(hit) for hit in found] == [c in order[:k] for c in range(6)]


# Correlation.


@pytest.mark.parametrize("count", [4, 5, 6, 11, 40, 200])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_correlation_matches_the_definition(count, confidence):
    for strength in (-2.0, -0.3, 0.0, 0.3, 1.0):
        first = torch.randn(count, dtype=torch.float64)
        second = strength * first + torch.randn(count, dtype=torch.float64) + 3
        found = correlation(first, second, confidence)
        value, low, high, p_value = slow.correlation(first, second, confidence)
        assert found.count == count
        assert found.value == pytest.approx(value, abs=1e-13)
        assert found.low == pytest.approx(low, abs=1e-12)
        assert found.high == pytest.approx(high, abs=1e-12)
        # Simpson's rule on 2000 pieces, whose error falls with the fourth power of their width.
        assert found.p_value == pytest.approx(p_value, rel=1e-7, abs=1e-12)


def test_correlation_of_four_pairs_by_hand():
    # r = 0.8, and of four pairs without correlation every r is equally likely.
    found = correlation(torch.tensor([1.0, 2, 3, 4]), torch.tensor([2.0, 1, 4, 3]) * 10)
    assert found.value == pytest.approx(0.6, abs=1e-12)
    assert found.p_value == pytest.approx(0.4, abs=1e-12)
    # The logarithm of (1 + r) / (1 - r) = 4 is twice the inverse tangent.
    middle, reach = math.log(4) / 2, 1.959963984540054
    assert found.low == pytest.approx(math.tanh(middle - reach), abs=1e-12)
    assert found.high == pytest.approx(math.tanh(middle + reach), abs=1e-12)


def test_what_lies_on_a_line_goes_together_fully():
    numbers = torch.tensor([3.0, -1, 0.5, 8, 2])
    for slope in (2, -0.1):
        found = correlation(numbers, slope * numbers + 1)
        # Single precision, in which the second side was rounded.
        ends = (found.value, found.low, found.high)
        assert ends == pytest.approx([math.copysign(1, slope)] * 3, abs=1e-6)
        assert found.p_value < 1e-9


# Bounds of windows.


@pytest.mark.parametrize(
    ("steps", "frames", "per_step"),
    [(1, 1, 1), (5, 5, 1), (8, 8, 1), (3, 6, 2), (4, 7, 2), (3, 9, 4), (2, 5, 4), (1, 6, 6)],
)
def test_bounds_match_the_definition(steps, frames, per_step):
    for size in range(1, steps + 3):
        found = window_bounds(size, steps, frames, per_step)
        expected = slow.window_bounds(size, steps, frames, per_step)
        assert_exact(found, np.broadcast_to(expected, found.shape))
    sizes = torch.rand(4, steps) * (steps + 1) + 0.01
    sizes[0, 0], sizes[1] = NAN, torch.arange(1.0, steps + 1)
    expected = slow.window_bounds(sizes, steps, frames, per_step)
    assert_exact(window_bounds(sizes, steps, frames, per_step), expected)
    runs = shortest_runs(random_matrices(4, steps), 0.6)
    expected = slow.window_bounds(runs, steps, frames, per_step)
    assert_exact(window_bounds(runs, steps, frames, per_step), expected)


def test_bounds_by_hand():
    def of(size, *clip):
        return window_bounds(size, *clip).reshape(-1, 2).tolist()

    assert of(3, 5, 5, 1) == [[0, 2], [0, 2], [1, 3], [2, 4], [2, 4]]
    assert of(3, 5, 5) == of(3, 5, 5, 1)
    # Of an even size, the extra one is before.
    assert of(2, 5, 5, 1) == [[0, 1], [0, 1], [1, 2], [2, 3], [3, 4]]
    assert of(4, 5, 5, 1) == [[0, 3], [0, 3], [0, 3], [1, 4], [1, 4]]
    assert of(5, 5, 5, 1) == of(99, 5, 5, 1) == [[0, 4]] * 5
    # The last of four timesteps has one frame only.
    assert of(1, 4, 7, 2) == [[0, 1], [2, 3], [4, 5], [6, 6]]
    assert of(2, 4, 7, 2) == [[0, 3], [0, 3], [2, 5], [4, 6]]
    # Seven frames in three timesteps: the last one has what is left, and all three the whole clip.
    assert of(1, 3, 7, 2) == [[0, 1], [2, 3], [4, 6]]
    assert of(3, 3, 7, 2) == [[0, 6]] * 3
    assert of(torch.tensor([[NAN, 1.5, 4.0, 1.0]]), 4, 7, 2) == [[0, 1], [0, 3], [0, 6], [6, 6]]
    runs = torch.tensor([[[0, 3], [1, 1], [1, 2], [3, 3]]])
    assert of(runs, 4, 7, 2) == [[0, 6], [2, 3], [2, 5], [6, 6]]


@some_examples
@given(steps=st.integers(1, 20), per_step=st.integers(1, 4), data=st.data())
def test_a_window_keeps_its_length_and_its_step(steps, per_step, data):
    frames = data.draw(st.integers((steps - 1) * per_step + 1, steps * per_step))
    size = data.draw(st.integers(1, steps + 2))
    bounds = window_bounds(size, steps, frames, per_step).reshape(-1, 2).tolist()
    assert len(bounds) == steps
    for i, (first, last) in enumerate(bounds):
        read = {t // per_step for t in range(first, last + 1)}
        assert len(read) == min(size, steps)
        assert i in read
        # Whole timesteps: the neighbouring frames belong to others.
        assert first == 0 or (first - 1) // per_step not in read
        assert last == frames - 1 or (last + 1) // per_step not in read


@pytest.mark.parametrize("frames", [1, 2, 7])
def test_a_windowed_clip_repeats_the_ends_of_its_window(frames):
    bounds = [[first, last] for first in range(frames) for last in range(first, frames)]
    clip = torch.randn(len(bounds), frames, 3, 2, 4)
    before = clip.clone()
    found = windowed_clip(clip, torch.tensor(bounds))
    assert found.dtype is clip.dtype
    assert_exact(found.double(), slow.windowed_clip(clip, bounds))
    assert torch.equal(clip, before)


# Errors.


SQUARE, SURE = torch.eye(2).expand(3, 2, 2), torch.tensor([0.2, 0.9, 0.7])
HOLED = SQUARE.clone()
HOLED[1, 0, 1] = NAN
NUMBERS = torch.arange(5.0)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("sigma", [0, -0.5, 1.0000001, 97.5, NAN, math.inf, "most", None])
@pytest.mark.parametrize("function", [shortest_runs, ranges])
def test_a_share_outside_zero_to_one(function, sigma):
    assert_refused(OptionError, f"sigma .*, got {sigma!r}", function, SQUARE, sigma)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("matrix", "got"),
    [
        (torch.zeros(2, 3, 4), r"\(2, 3, 4\)"),
        (torch.zeros(3, 3), r"\(3, 3\)"),
        (torch.zeros(1, 2, 2, 2), r"\(1, 2, 2, 2\)"),
        (HOLED, "1"),
        (SQUARE / 0, "12"),
    ],
    ids=["not square", "no batch", "four axes", "one NaN", "infinite"],
)
@pytest.mark.parametrize("function", [shortest_runs, ranges])
def test_a_matrix_that_is_none(function, matrix, got):
    assert_refused(OptionError, f"got .*{got}", function, matrix)


@pytest.mark.usefixtures("as_user")
def test_averages_of_no_clips():
    text = "score .*above 0.9, got .*0.9"
    assert_refused(OptionError, text, average_matrices, SQUARE, SURE, threshold=0.9)
    assert average_matrices(SQUARE, SURE, threshold=0.89).clips == 1
    assert average_by_class(SQUARE, torch.tensor([0, 1, 2]), SURE, threshold=0.9) == {}


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("matrices", "scores", "text"),
    [
        (SQUARE, SURE[:2], "got .*2"),
        (SQUARE, torch.tensor([0.5, 3.0, 0.1]), "got .*3"),
        (SQUARE, torch.tensor([0.5, -0.1, 0.1]), "got .*-0.1"),
        (SQUARE, torch.tensor([0.5, NAN, 0.1]), "got .*nan"),
        (HOLED, SURE, "got .*1"),
    ],
    ids=["too few", "logits", "negative", "NaN", "matrix with a NaN"],
)
def test_scores_that_are_no_probabilities_of_these_clips(matrices, scores, text):
    refusals = (DataError, OptionError)  # by their number, and by their values
    assert_refused(refusals, text, average_matrices, matrices, scores)
    assert_refused(refusals, text, average_by_class, matrices, torch.tensor([0, 1, 0]), scores)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("second", "text"),
    [
        (NUMBERS[:3], "at least 4 pairs, got 3"),
        (torch.full((5,), 0.1), "numbers in .* that differ, got 0.1 only"),
        # What a sum leaves of equal numbers.
        (1e6 + 1e-9 * NUMBERS.double().sin(), "numbers in .* that differ, got 1e.06 only"),
        (1e-9 * NUMBERS.double().sin() - 1e6, "numbers in .* that differ, got -1e.06 only"),
        (torch.tensor([1, 2, NAN, 3, 0]), "finite numbers in .*, got 1 of 5"),
        (torch.tensor([1, 2, math.inf, 3, 0]), "finite numbers in .*, got 1 of 5"),
    ],
    ids=["too few", "constant", "almost constant", "almost constant below zero", "NaN", "infinite"],
)
def test_correlation_of_what_has_none(second, text):
    first = NUMBERS[: len(second)]
    assert_refused(OptionError, text, correlation, first, second)
    assert_refused(OptionError, text, correlation, second, first)
    assert_refused(OptionError, r"\(5,\) and \(4,\)", correlation, NUMBERS, NUMBERS[:4])
    column = NUMBERS[:, None]
    assert_refused(OptionError, r"\(5, 1\) and \(5, 1\)", correlation, column, column.sin())


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("k", [0, -1, 6, 2.5])
def test_an_overlap_of_more_classes_than_there_are(k):
    assert_refused(OptionError, f"k .* from 1 to 5, got {k}", temporal_overlap, NUMBERS, [1], k)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("number", [5, -1])
def test_temporal_classes_that_are_not_there(number):
    assert_refused(
        OptionError, f"from 0 to 4, got {number}", temporal_overlap, NUMBERS, [1, number], 2
    )


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("confidence", [0, -0.5, 95, NAN])
def test_an_interval_of_no_confidence(confidence):
    text = f"confidence .*, got {confidence}"
    assert_refused(OptionError, text, correlation, NUMBERS, NUMBERS.sin(), confidence)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("windows", "text"),
    [
        (torch.tensor([[1.0, 0, 2, 3]]), "at least 1"),
        (torch.tensor([[1.0, -2, 2, 3]]), "at least 1"),
        (torch.ones(1, 3), r"4.*got .*3"),
        (torch.tensor([[[0, 0], [2, 1], [2, 2], [3, 3]]]), "got .*2.*1"),
        (torch.tensor([[[0, 0], [1, 1], [2, 2], [3, 4]]]), "got .*3.*4"),
        (torch.tensor([[[-1, 0], [1, 1], [2, 2], [3, 3]]]), "got .*-1.*0"),
        (torch.tensor([[[0, 0], [1, 1], [2, 2]]]), r"4.*got .*3"),
    ],
    ids=["zero", "negative", "other clip", "empty", "after the end", "before the start", "short"],
)
def test_windows_outside_the_clip(windows, text):
    assert_refused(OptionError, text, window_bounds, windows, 4, 4, 1)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("steps", "frames", "per_step"), [(4, 20, 1), (4, 5, 1), (4, 3, 1), (3, 8, 2), (5, 8, 2)]
)
def test_timesteps_that_are_not_those_of_the_frames(steps, frames, per_step):
    text = f"about {frames / per_step:g} timesteps for {frames} frames .*, got {steps}"
    assert_refused(OptionError, text, window_bounds, 2, steps, frames, per_step)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("bounds", [[2, 1], [0, 4], [-1, 2]])
def test_a_windowed_clip_of_frames_that_are_not_there(bounds):
    text = f"got .*{bounds[0]}.*{bounds[1]}"
    clip = torch.zeros(2, 4, 3, 2, 2)
    assert_refused(OptionError, text, windowed_clip, clip, torch.tensor([[0, 3], bounds]))
