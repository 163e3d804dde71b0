"""Metrics that remove frames or features, against closed forms of additive models."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from temporal_attr import LateFusion
from temporal_attr._errors import DataError, OptionError
from temporal_attr.evaluation._case import Case, Explanation
from temporal_attr.evaluation.faithfulness import (
    ABPC,
    FAITHFULNESS,
    Deletion,
    Insertion,
    LeaveOneOut,
    MinimalNecessaryFrames,
    MinimalSufficientFrames,
    SaCo,
    SensitivityN,
    area_between_curves,
    curve_area,
    leave_one_out,
    salience_coefficient,
    sensitivity_n,
    smallest_share,
)
from temporal_attr.evaluation.faithfulness._curves import removal_counts, taken
from temporal_attr.evaluation.faithfulness._features import falling_by_chance
from temporal_attr.evaluation.faithfulness._sensitivity_n import drawn_subsets
from temporal_attr.perturbations import Blocks, Pixels, Tubes
from tests.helpers.checks import assert_refused, examples

EXACT = {"baselines": 0.0, "objective": "logit"}
NAMES = [metric.__name__ for metric in FAITHFULNESS]


def clip_of(values, size=2):
    """A clip whose frames have one value each, in float64."""
    values = torch.as_tensor(values, dtype=torch.float64)
    return values.view(1, -1, 1, 1, 1).expand(1, len(values), 3, size, size).contiguous()


def additive(clip):
    """Two classes: the sum over frames of their mean value, and nothing."""
    found = clip.mean((2, 3, 4)).sum(1)
    return torch.stack([found, torch.zeros_like(found)], 1)


def case_of(contributions, scores=None, model=additive, **options):
    """Frames that add so much each, and what an explanation says of them."""
    scores = torch.as_tensor(contributions if scores is None else scores, dtype=torch.float64)
    return Case(model, clip_of(contributions), 0, Explanation(scores), **options)


def pixel_case(scores=None, sign=1.0, frames=4, size=4):
    """Pixels that add different amounts each; the explanation is gradient times input."""
    draw = torch.Generator().manual_seed(3)
    clip, weights = torch.randn(2, frames, 2, size, size, generator=draw, dtype=torch.float64)

    def model(clips):
        found = (clips * weights).sum((1, 2, 3, 4))
        return torch.stack([found, torch.zeros_like(found)], 1)

    attribution = sign * clip * weights if scores is None else scores
    return Case(model, clip[None], 0, Explanation(attribution=attribution))


contributions = st.lists(
    st.integers(-20, 20).map(lambda value: value / 4), min_size=2, max_size=7, unique=True
)


@given(contributions)
@examples(8)
def test_areas_of_an_additive_model(added):
    case, count = case_of(added), len(added)
    falling = np.sort(added)[::-1]
    rank = np.arange(1, count + 1)
    deleted = (falling * (rank - 0.5)).sum() / count
    inserted = (falling * (count + 0.5 - rank)).sum() / count
    between = (falling * (count + 1 - 2 * rank)).sum() / count
    near = {"abs": 1e-12}
    assert Deletion(**EXACT).score(case).value == pytest.approx(deleted, **near)
    assert Insertion(**EXACT).score(case).value == pytest.approx(inserted, **near)
    assert Deletion(**EXACT, order="least").score(case).value == pytest.approx(inserted, **near)
    assert Insertion(**EXACT, order="least").score(case).value == pytest.approx(deleted, **near)
    assert ABPC(**EXACT).score(case).value == pytest.approx(between, **near)
    inverted = case_of(added, [-value for value in added])
    assert ABPC(**EXACT).score(inverted).value == -ABPC(**EXACT).score(case).value < 0


def test_a_curve_has_each_step_and_its_share():
    found = Deletion(**EXACT).score(case_of([1.0, 4.0, 2.0]))
    assert found.curves["objective"] == pytest.approx((7, 3, 1, 0), abs=1e-12)
    assert found.curves["removed"] == (0, 1 / 3, 2 / 3, 1)
    few = Insertion(**EXACT, steps=2).score(case_of([8.0, 4.0, 2.0, 1.0, 0.0, 0.0]))
    assert few.curves["objective"] == pytest.approx((0, 14, 15), abs=1e-12)
    assert few.curves["shown"] == (0, 0.5, 1)


def test_a_probability_is_that_of_the_softmax():
    added = [1.0, 0.5]
    expected = [1 / (1 + math.exp(-value)) for value in (1.5, 0.5, 0.0)]
    found = Deletion(baselines=0.0).score(case_of(added))
    assert found.curves["objective"] == pytest.approx(expected, abs=1e-12)
    logs = Deletion(baselines=0.0, objective="log_probability").score(case_of(added))
    assert logs.curves["objective"] == pytest.approx(np.log(expected), abs=1e-12)


def test_a_neighbour_stands_for_a_frame_by_default_and_removal_shortens_the_clip():
    case = case_of([1.0, 4.0, 2.0])
    # Frame 1 shows frame 0; then frame 2 does, too; without frames all show their mean.
    found = Deletion(objective="logit").score(case)
    assert found.curves["objective"] == pytest.approx((7, 4, 3, 7), abs=1e-12)
    shorter = Deletion(baselines="removal", objective="logit").score(case)
    assert shorter.curves["objective"] == pytest.approx((7, 3, 1, 7 / 3), abs=1e-12)


def test_features_of_pixels_are_removed_in_all_frames_that_they_have():
    case = pixel_case()
    added = (case.explanation.attribution).sum(1)
    # Parts of equal size, so that the order of means is that of sums.
    sums = np.sort(added.unflatten(0, (2, 2)).sum((1, 2, 3)).numpy())[::-1]
    found = Deletion(Tubes(2, 1, 1), **EXACT).score(case)
    curve = [sums.sum(), sums[1], 0.0]
    assert found.curves["objective"] == pytest.approx(curve, abs=1e-12)
    columns = np.sort(added.sum(0).flatten().numpy())[::-1]
    lasting = Deletion(Pixels(), **EXACT).score(case).curves["objective"]
    whole = columns.sum()
    assert lasting == pytest.approx([whole, *(whole - columns.cumsum())], abs=1e-12)
    single = Deletion(Tubes(9, 9, 9), **EXACT, steps=64).score(case).curves["objective"]
    every = np.sort(added.flatten().numpy())[::-1]
    assert single == pytest.approx([whole, *(whole - every.cumsum())], abs=1e-12)


def test_large_features_are_no_better_for_being_large():
    # Three pixels of 1 each, beside one of 2: by the mean the single one comes first.
    attribution = torch.tensor([1.0, 1, 1, 2], dtype=torch.float64).expand(4, 2, 1, 4) / 2
    clip = attribution.clone()[None]
    case = Case(
        lambda x: x.sum((1, 2, 3, 4))[:, None], clip, 0, Explanation(attribution=attribution)
    )
    found = Deletion(Blocks(1, 3), **EXACT).score(case)
    assert found.curves["objective"] == pytest.approx((20, 12, 0), abs=1e-12)


def test_gaps_in_the_numbers_of_features_are_none():
    class Gaps(Tubes):
        def labels(self, clip, normalization=None):
            return super().labels(clip, normalization) * 5 + 2

    given, gaps = (ABPC(mask(2, 2, 1), **EXACT).score(pixel_case()) for mask in (Tubes, Gaps))
    assert given == gaps


@pytest.mark.parametrize("metric", [Deletion, Insertion])
def test_the_other_order_turns_round_what_is_better(metric):
    assert metric(order="least").traits.higher_is_better is not metric.traits.higher_is_better
    assert metric(order="most").traits is metric.traits


def test_equal_scores_are_ordered_by_the_seed():
    added = [3.0, 1.0, 4.0, 1.5, 9.0, 2.0]
    cases = [case_of(added, [1.0] * 6, seed=seed) for seed in range(8)]
    found = [Deletion(**EXACT).score(case) for case in cases]
    assert len({one.value for one in found}) > 4
    assert found[3] == Deletion(**EXACT).score(cases[3])
    assert {one.note for one in found} == {"all scores are equal: their order is drawn"}
    assert [ABPC(**EXACT).score(case).value for case in cases] == [0.0] * 8
    assert not Deletion(**EXACT).score(case_of(added)).note


def test_random_scores_have_no_area_between_their_curves_in_expectation():
    added, orders = [3.0, 1.0, 4.0, 1.5], list(permutations(range(4)))
    areas = [ABPC(**EXACT).score(case_of(added, order)).value for order in orders]
    assert np.mean(areas) == pytest.approx(0, abs=1e-12)
    perfect = ABPC(**EXACT).score(case_of(added)).value
    assert max(areas) == pytest.approx(perfect, abs=1e-12)


def test_orders_fall_and_those_of_the_other_sign_rise():
    scores = np.array([1.0, 3.0, 1.0, 2.0, 3.0])
    for seed in range(5):
        order = falling_by_chance(scores, seed)
        assert scores[order].tolist() == [3, 3, 2, 1, 1]
        assert scores[falling_by_chance(-scores, seed)].tolist() == [1, 1, 2, 3, 3]
    firsts = {int(falling_by_chance(scores, seed)[0]) for seed in range(20)}
    assert firsts == {1, 4}


@given(st.integers(1, 60), st.integers(1, 40))
@examples(30)
def test_counts_go_from_none_to_all(features, steps):
    counts = removal_counts(features, steps)
    assert counts[0] == 0
    assert counts[-1] == features
    assert len(counts) == min(features, steps) + 1
    gaps = np.diff(counts)
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1
    assert taken(np.arange(features), counts).sum(1).tolist() == counts


ONE_FRAME = [0.0, 0.0, 0.0, 9.0, 0.0]


def bright(clip):
    """The first class if the brightest frame is brighter than 5."""
    found = clip.amax((1, 2, 3, 4)) - 5
    return torch.stack([found, torch.zeros_like(found)], 1)


@pytest.mark.parametrize("metric", [MinimalSufficientFrames, MinimalNecessaryFrames])
def test_a_model_that_reads_one_frame(metric):
    for place in range(5):
        scores = [0.1, 0.2, 0.3, 0.0, 0.4]
        scores[3], scores[place] = scores[place], scores[3]
        scores = [value + (index == 3) for index, value in enumerate(scores)]
        found = metric(baselines=0.0).score(case_of(ONE_FRAME, scores, bright))
        assert found.value == 1 / 5
    inverted = metric(baselines=0.0).score(case_of(ONE_FRAME, [4, 3, 2, -1, 1], bright))
    assert inverted.value == 1


def test_how_many_frames_are_enough_and_how_many_must_go():
    added = [4.0, 3.0, 2.0, 1.0]

    def model(clip):
        return additive(clip) - torch.tensor([5.5, 0.0], dtype=torch.float64)

    case = case_of(added, model=model)
    # 4 + 3 are above 5.5; without 4 the others are still above it, without 4 + 3 they are not.
    assert MinimalSufficientFrames(baselines=0.0).score(case).value == 0.5
    necessary = MinimalNecessaryFrames(baselines=0.0).score(case)
    assert (necessary.value, necessary.curves["kept"]) == (0.5, (1, 0, 0, 0))
    # Of the class's probability for the whole clip, sigmoid(4.5) = 0.989.
    share = 0.5
    assert MinimalSufficientFrames(baselines=0.0, threshold=share).score(case).value == 0.5
    share = 0.95  # sigmoid(3.5) = 0.971 has it, sigmoid(1.5) = 0.818 does not
    assert MinimalSufficientFrames(baselines=0.0, threshold=share).score(case).value == 0.75
    assert MinimalNecessaryFrames(baselines=0.0, threshold=share).score(case).value == 0.25


def test_what_is_not_predicted_cannot_be_kept():
    note = "the class is not the one that is predicted of the whole clip"
    dark = case_of([1.0, 2.0], model=bright)
    for metric in (MinimalSufficientFrames(), MinimalNecessaryFrames()):
        found = metric.score(dark)
        assert math.isnan(found.value)
        assert found.note == note
    stays = MinimalNecessaryFrames().score(case_of([9.0, 9.0], [1, 2], bright))
    assert math.isnan(stays.value)
    assert stays.note == "the class is predicted of the clip with all frames replaced, too"


def test_a_model_of_no_classes_predicts_none():
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)).double().eval()
    model = LateFusion(head, nn.Identity())
    model.activation = "none"
    case = Case(model, torch.rand(1, 4, 3, 8, 8).double(), 0, Explanation(torch.arange(4.0)))
    found = MinimalSufficientFrames().score(case)
    assert math.isnan(found.value)
    assert "no scores of classes" in found.note
    with pytest.raises(OptionError, match="probabilities"):
        Deletion().score(case)


def test_smallest_shares():
    assert smallest_share(np.array([False, False, True, False])) == 0.75
    assert math.isnan(smallest_share(np.array([False, False])))
    assert_refused(DataError, "at least one frame", smallest_share, np.zeros(0, dtype=bool))


@pytest.mark.parametrize("n", [1, 2, 5, (1, 2, 3), None])
def test_exact_contributions_add_up(n):
    exact = SensitivityN(n=n, **EXACT)
    assert exact.score(case_of([1.0, 4.0, 2.0, -3.0, 0.5, 7.0])).value == pytest.approx(1, abs=1e-9)
    inverted = [-1.0, -4.0, -2.0, 3.0, -0.5, -7.0]
    assert exact.score(case_of([-value for value in inverted], inverted)).value == -1


def test_features_of_pixels_add_up_by_their_sums():
    # Tubes of 1 and of 2 frames: by their means they would not.
    case = pixel_case(frames=4)
    assert SensitivityN(Tubes(3, 1, 2), n=2, **EXACT).score(case).value == pytest.approx(1)
    means = case.explanation.attribution.sum(1).mean()
    assert means  # else sums and means could not differ


def test_sensitivity_n_is_a_correlation_over_subsets():
    def model(clip):
        found = clip.mean((2, 3, 4)).amax(1)
        return torch.stack([found, torch.zeros_like(found)], 1)

    added, scores = [1.0, 4.0, 2.0, 3.0], [5.0, 2.0, 3.0, 0.0]
    found = SensitivityN(n=2, **EXACT).score(case_of(added, scores, model))
    sums, drops = [], []
    for first in range(4):
        for second in range(first + 1, 4):
            kept = [added[frame] for frame in range(4) if frame not in (first, second)]
            sums.append(scores[first] + scores[second])
            drops.append(4.0 - max(kept))
    assert found.value == pytest.approx(np.corrcoef(sums, drops)[0, 1], abs=1e-12)
    assert math.isnan(found.standard_error)  # nothing is drawn
    assert found.forward_passes == 7


def test_subsets_are_all_there_are_or_drawn_alike():
    assert len(drawn_subsets(5, 2, 10, 0).unique(dim=0)) == 10
    drawn = drawn_subsets(12, 4, 400, 1)
    assert drawn.shape == (400, 12)
    assert set(drawn.sum(1).tolist()) == {4}
    share = drawn.double().mean(0)
    assert (share - 1 / 3).abs().max() < 4 * math.sqrt(2 / 9 / 400)
    assert not torch.equal(drawn, drawn_subsets(12, 4, 400, 2))


def test_the_standard_error_of_sensitivity_n():
    draw = np.random.default_rng(0)
    added = draw.normal(size=16)
    scores = added + draw.normal(size=16)
    metric = SensitivityN(n=4, samples=25, **EXACT)
    found = [metric.score(case_of(added, scores, seed=seed)) for seed in range(24)]
    spread = np.std([one.value for one in found])
    assert 0.6 < spread / np.mean([one.standard_error for one in found]) < 1.5


def test_several_n_have_the_mean_and_leave_out_what_is_constant():
    case = case_of([1.0, 4.0, 2.0], [1.0, 5.0, 2.0])
    one, two = (SensitivityN(n=n, **EXACT).score(case).value for n in (1, 2))
    both = SensitivityN(n=(1, 2), **EXACT).score(case)
    assert both.value == pytest.approx((one + two) / 2, abs=1e-12)
    assert both.curves["n"] == (1, 2)
    most = SensitivityN(n=(1, 3), **EXACT).score(case)  # all three features: one subset
    assert most.value == pytest.approx(one, abs=1e-12)
    assert most.note == "1 of 2 n left out: a side is constant"


@pytest.mark.parametrize(
    "metric", [SensitivityN(n=2, **EXACT), LeaveOneOut(**EXACT), SaCo(**EXACT)]
)
def test_constants_correlate_with_nothing(metric):
    found = metric.score(case_of([1.0, 4.0, 2.0, 3.0], [2.0] * 4))
    assert math.isnan(found.value)
    assert found.note
    blind = metric.score(
        case_of([1.0, 4.0, 2.0, 3.0], model=lambda clip: clip.new_ones(len(clip), 2))
    )
    assert math.isnan(blind.value)
    assert blind.note


def test_exact_drops_rank_as_leaving_out_does():
    added = [1.0, 4.0, 2.0, -3.0]
    found = LeaveOneOut(**EXACT).score(case_of(added))
    assert found.value == 1
    assert found.curves["drops"] == pytest.approx(added, abs=1e-12)
    assert LeaveOneOut(**EXACT).score(case_of(added, [-1.0, -4.0, -2.0, 3.0])).value == -1
    assert LeaveOneOut(**EXACT).score(case_of(added, [1.0, 2.0, 4.0, -3.0])).value == pytest.approx(
        0.8
    )


def test_the_ceiling_is_what_two_baselines_agree_on():
    added = [1.0, 4.0, 2.0, -3.0]
    found = LeaveOneOut(**EXACT, ceiling_baselines=-5.0).score(case_of(added))
    assert found.curves["ceiling"] == (1.0,)
    assert found.curves["ceiling_drops"] == pytest.approx([value + 5 for value in added], abs=1e-12)
    # By its neighbour: 4 - 5, 5 - 4, 1 - 5, 3 - 1.
    other = LeaveOneOut(**EXACT, ceiling_baselines="neighbour").score(case_of([4.0, 5, 1, 3]))
    assert other.curves["ceiling_drops"] == pytest.approx([-1, 1, -4, 2], abs=1e-12)
    assert other.curves["ceiling"] == pytest.approx((0.4,), abs=1e-12)


@pytest.mark.parametrize(
    ("metric", "ceiling"),
    [
        (LeaveOneOut(), "blur"),
        (LeaveOneOut(baselines="blur"), "neighbour"),
        (LeaveOneOut(Tubes()), "mean"),
        (LeaveOneOut(Tubes(), "mean"), "blur"),
        (LeaveOneOut(baselines=torch.zeros(1)), "blur"),
    ],
)
def test_the_ceiling_has_another_baseline(metric, ceiling):
    assert metric._ceiling == ceiling


@pytest.mark.parametrize("groups", [2, 3, 10])
def test_groups_of_exact_drops_are_in_order(groups):
    added = [1.0, 4.0, 2.0, -3.0, 0.5, -2.5, 8.0]
    assert SaCo(**EXACT, groups=groups).score(case_of(added)).value == 1
    inverted = case_of(added, [-value for value in added])
    assert SaCo(**EXACT, groups=groups).score(inverted).value == -1
    assert SaCo(Tubes(9, 9, 9), **EXACT, groups=groups).score(pixel_case()).value == 1
    assert SaCo(Tubes(9, 9, 9), **EXACT, groups=groups).score(pixel_case(sign=-1)).value == -1


def test_the_coefficient_weighs_pairs_by_their_saliences():
    # Pairs: 3 - 2 against it, 3 - 0 and 2 - 0 for it.
    saliences, drops = np.array([3.0, 2, 0]), np.array([0.2, 0.5, 0.1])
    assert salience_coefficient(saliences, drops) == pytest.approx((3 + 2 - 1) / 6)
    # Equal drops count for it.
    assert salience_coefficient(saliences, np.zeros(3)) == 1
    assert math.isnan(salience_coefficient(np.ones(3), drops))
    found = SaCo(**EXACT, groups=3).score(case_of([1.0, 4.0, 2.0], [3.0, 2.0, 0.0]))
    assert found.curves["drop"] == pytest.approx((1, 4, 2), abs=1e-12)
    assert found.value == pytest.approx((-1 - 3 + 2) / 6)


@pytest.mark.usefixtures("as_user")
def test_numbers_that_do_not_belong_together_are_refused():
    two, three = np.zeros(2), np.zeros(3)
    for function in (sensitivity_n, leave_one_out, salience_coefficient):
        assert_refused(DataError, "as many", function, two, three)
    assert_refused(DataError, "rise from 0", curve_area, [0, 1], three)
    assert_refused(DataError, "rise from 0", curve_area, [0, 2, 2], three)
    assert_refused(DataError, "rise from 0", curve_area, [1, 2, 3], three)
    assert_refused(DataError, "rise from 0", area_between_curves, [0, 1], two, three)
