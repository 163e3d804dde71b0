"""Metrics that blend, impute or add noise: closed forms, their equations, and Captum."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from captum.metrics import infidelity, infidelity_perturb_func_decorator

from temporal_attr._errors import DataError, OptionError
from temporal_attr.evaluation._case import Case, Explanation
from temporal_attr.evaluation.faithfulness import (
    ROAD,
    AverageDrop,
    AverageIncrease,
    Infidelity,
    average_drop,
    average_increase,
    imputed,
    infidelity_of_samples,
    removal_area,
)
from temporal_attr.evaluation.faithfulness._imputation import DIAGONAL, DIRECT, NEIGHBOURS
from temporal_attr.evaluation.faithfulness._infidelity import drawn_noise
from tests.helpers.checks import assert_refused

SHAPE = (5, 2, 6, 7)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sure(clip):
    """The probability of the first class is the sum of the clip."""
    found = clip.sum((1, 2, 3, 4))
    return torch.stack([found, 1 - found], 1)


def small_case(values, scores, model=sure):
    clip = torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1, 1)
    return Case(model, clip, 0, Explanation(torch.tensor(scores, dtype=torch.float64)))


def test_the_share_that_is_lost_where_scores_are_low():
    values = [0.1, 0.2, 0.3, 0.2]
    # Scaled to 0, 1, 0.5, 0.25: 0.2 + 0.15 + 0.05 of 0.8 are left.
    found = AverageDrop(baselines=0.0).score(small_case(values, [-2.0, 2.0, 0.0, -1.0]))
    assert found.value == pytest.approx(0.5, abs=1e-12)
    assert found.curves["probability"] == pytest.approx((0.8, 0.4), abs=1e-12)
    perfect = AverageDrop(baselines=0.0).score(small_case([0.0, 0.5, 0.0, 0.0], [0, 1, 0.5, 0]))
    inverted = AverageDrop(baselines=0.0).score(small_case([0.0, 0.5, 0.0, 0.0], [0, -1, -0.5, 0]))
    assert (perfect.value, inverted.value) == (0, 1)


def test_the_probability_rises_where_what_opposes_is_replaced():
    def half(clip):
        return sure(clip) + torch.tensor([0.4, -0.4], dtype=torch.float64)

    opposed = [0.5, -0.3, 0.0, 0.0]
    rises = AverageIncrease(baselines=0.0)
    assert rises.score(small_case(opposed, [1.0, 0.0, 0.0, 0.0], half)).value == 1
    assert rises.score(small_case(opposed, [0.0, 1.0, 0.0, 0.0], half)).value == 0
    # Where nothing changes it does not rise.
    assert rises.score(small_case([0.5, 0, 0, 0], [1.0, 0.0, 0.5, 0.0])).value == 0


def test_pixels_are_masked_each_by_its_own_score():
    clip = drawn(4, 1, 2, 3).abs() / 40
    mask = drawn(4, 2, 3, seed=1)
    scaled = (mask - mask.min()) / (mask.max() - mask.min())
    baseline = drawn(4, 1, 2, 3, seed=2).abs() / 40
    case = Case(sure, clip[None], 0, Explanation(attribution=mask[:, None]))
    found = AverageDrop("pixels", baseline[None]).score(case)
    blended = scaled[:, None] * clip + (1 - scaled[:, None]) * baseline
    expected = (clip.sum().item(), blended.sum().item())
    assert found.curves["probability"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", [AverageDrop(), AverageIncrease()])
def test_equal_scores_make_no_mask(metric):
    found = metric.score(small_case([0.1, 0.2, 0.3, 0.2], [1.0] * 4))
    assert math.isnan(found.value)
    assert found.note == "all scores are equal, which makes no mask"


def test_shares_of_probabilities():
    assert average_drop(0.8, 0.2) == pytest.approx(0.75)
    assert average_drop(0.8, 0.9) == average_increase(0.8, 0.8) == 0
    assert average_increase(0.8, 0.9) == 1
    assert math.isnan(average_drop(0.0, 0.5))
    assert_refused(DataError, "probabilities", average_drop, 0.5, 1.5)
    none = AverageDrop(baselines=0.1).score(small_case([0.0, 0.0, 0.0, 0.0], [0, 1, 0, 0]))
    assert math.isnan(none.value)
    assert none.note == "the class has no probability that could drop"


def test_the_weights_of_neighbours_sum_to_one():
    assert len(NEIGHBOURS) == 18
    assert sum(weight for _, weight in NEIGHBOURS) == pytest.approx(1, abs=1e-15)
    assert DIRECT == 2 * DIAGONAL


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("shape", [SHAPE, (1, 3, 6, 7), (9, 1, 1, 1), (4, 2, 1, 5)])
def test_missing_pixels_are_the_weighted_means_of_their_neighbours(shape, share):
    clip = drawn(*shape)
    size = (shape[0], *shape[2:])
    order = torch.randperm(math.prod(size), generator=torch.Generator().manual_seed(1))
    missing = torch.zeros(math.prod(size), dtype=torch.bool)
    missing[order[: max(1, int(share * len(order)))]] = True
    missing = missing.view(size)
    found = imputed(clip, missing)
    assert torch.equal(found.movedim(1, -1)[~missing], clip.movedim(1, -1)[~missing])
    for place in missing.nonzero().tolist():
        total, weights = torch.zeros(shape[1], dtype=torch.float64), 0.0
        for step in product((-1, 0, 1), repeat=3):
            weight = {1: 1 / 12, 2: 1 / 24}.get(sum(map(abs, step)), 0.0)
            time, row, column = (at + by for at, by in zip(place, step, strict=True))
            if weight and 0 <= time < size[0] and 0 <= row < size[1] and 0 <= column < size[2]:
                total += weight * found[time, :, row, column]
                weights += weight
        own = found[place[0], :, place[1], place[2]]
        torch.testing.assert_close(own, total / weights, rtol=0, atol=1e-9)


def test_what_is_linear_in_space_and_time_comes_back_in_the_interior():
    axes = torch.meshgrid(*(torch.arange(size) for size in (7, 6, 8)), indexing="ij")
    ramp = (2.0 * axes[0] - 3.0 * axes[1] + 0.5 * axes[2] + 1).double()[:, None]
    inside = torch.zeros(7, 6, 8, dtype=torch.bool)
    inside[1:-1, 1:-1, 1:-1] = True
    found = imputed(torch.where(inside[:, None], 100.0, ramp), inside)
    torch.testing.assert_close(found, ramp, rtol=0, atol=1e-8)
    # What replaces the missing ones does not matter, and nothing is done where none is.
    assert torch.equal(found, imputed(torch.where(inside[:, None], -5.0, ramp), inside))
    assert torch.equal(imputed(ramp, torch.zeros_like(inside)), ramp)
    assert_refused(DataError, "not missing", imputed, ramp, torch.ones_like(inside))


class Seen:
    """A model that keeps what it sees: the first logit is the mean of one corner."""

    def __init__(self):
        self.clips = []

    def __call__(self, clip):
        self.clips.append(clip.clone())
        found = clip[:, 1:3, :, 1:3, 1:3].mean((1, 2, 3, 4))
        return torch.stack([found, torch.zeros_like(found)], 1)


def road_case(sign=1.0, seed=0):
    clip = 0.1 * drawn(1, *SHAPE)
    clip[:, 1:3, :, 1:3, 1:3] += 1
    attribution = torch.zeros(SHAPE, dtype=torch.float64)
    attribution[1:3, :, 1:3, 1:3] = sign
    return Case(Seen(), clip, 0, Explanation(attribution=attribution), seed=seed)


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_the_pixels_with_the_largest_scores_are_imputed(noise):
    scores = drawn(5, 6, 7, seed=4)
    attribution = (scores / 2)[:, None].expand(SHAPE)
    case = Case(Seen(), road_case().clip, 0, Explanation(attribution=attribution))
    shares = (0.1, 0.37, 0.8)
    found = ROAD(shares, objective="logit", noise=noise).score(case)
    shown = [one for one in case.model.clips if len(one) == 1][-3:]
    order = scores.flatten().argsort(descending=True)
    for share, clip in zip(shares, shown, strict=True):
        missing = torch.zeros(210, dtype=torch.bool)
        missing[order[: round(share * 210)]] = True
        difference = clip[0] - imputed(case.clip[0], missing.view(5, 6, 7))
        outside = difference.movedim(1, -1)[~missing.view(5, 6, 7)]
        inside = difference.movedim(1, -1)[missing.view(5, 6, 7)]
        assert not outside.any()
        spread = noise * (case.clip.max() - case.clip.min()).item()
        assert inside.abs().max() <= 5 * spread
        assert inside.std().item() == pytest.approx(spread, rel=0.25)
    heights = [case.model(clip)[0, 0].item() for clip in (case.clip, *shown)]
    assert found.curves["objective"] == pytest.approx(heights, abs=1e-12)
    area = np.trapezoid(heights, (0.0, *shares)) / 0.8
    assert found.value == pytest.approx(area, abs=1e-12)


def test_imputing_what_is_read_lowers_the_prediction_first():
    shares = (8 / 210, 0.5)
    perfect, inverted = (ROAD(shares).score(road_case(sign)).value for sign in (1, -1))
    least = ROAD(shares, order="least").score(road_case()).value
    assert perfect < inverted - 0.05
    assert least == pytest.approx(inverted, abs=1e-12)
    assert ROAD(order="least").traits.higher_is_better is True
    first, again = (ROAD(shares).score(road_case(seed=seed)).value for seed in (0, 0))
    assert first == again != ROAD(shares).score(road_case(seed=1)).value


def test_the_area_is_the_mean_height():
    assert removal_area([0.0, 0.2, 0.6], np.array([1.0, 0.5, 0.5])) == pytest.approx(0.35 / 0.6)
    assert_refused(DataError, "rise from 0", removal_area, [0.1, 0.2], np.zeros(2))
    for shares in ((), (0.5, 0.5), (0.5, 1.0), (0.0, 0.5)):
        assert_refused(OptionError, "shares that rise", ROAD, shares)
    assert_refused(OptionError, "noise", ROAD, noise=-1.0)


@pytest.mark.usefixtures("as_user")
def test_what_does_not_belong_together_is_refused():
    assert_refused(DataError, "as many", infidelity_of_samples, np.zeros(2), np.zeros(3))
    missing = torch.ones(5, 6, 6, dtype=torch.bool)
    assert_refused(DataError, "missing .* like it", imputed, drawn(*SHAPE), missing)


def curved(clip):
    """Two classes of which one bends."""
    found = torch.stack([clip.sum((1, 2, 3, 4)), (clip**2).sum((1, 2, 3, 4))], 1)
    return found.sin() + found


def infidelity_case(model=curved, target=1, seed=5, clip=None, attribution=None):
    clip = drawn(1, *SHAPE) / 4 if clip is None else clip
    attribution = drawn(*SHAPE, seed=1) if attribution is None else attribution
    return Case(model, clip, target, Explanation(attribution=attribution), seed=seed)


@pytest.mark.parametrize("multiply", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
def test_infidelity_is_that_of_captum_on_equal_draws(normalize, multiply):
    case = infidelity_case()
    case.clip[0, 0, 0, 0, 0] = 0  # of which noise is no share
    metric = Infidelity(30, 0.1, multiply_by_inputs=multiply, normalize=normalize)
    found = metric.score(case)
    size = 0.1 * (case.clip.max() - case.clip.min()).item()

    @infidelity_perturb_func_decorator(multiply)
    def perturbed(inputs):
        draw = torch.Generator().manual_seed(case.seed)
        return inputs - torch.stack([drawn_noise(case.clip, size, draw) for _ in inputs])

    given = case.explanation.attribution[None]
    options = {"target": 1, "n_perturb_samples": 30, "normalize": normalize}
    expected = infidelity(curved, perturbed, case.clip, given, **options).item()
    assert expected > 1e-3
    assert found.value == pytest.approx(expected, rel=1e-9)
    assert found.forward_passes == 31


def test_the_gradient_of_a_linear_model_has_no_infidelity():
    weights = drawn(*SHAPE, seed=2)

    def linear(clip):
        return torch.stack([(clip * weights).sum((1, 2, 3, 4)), clip.mean((1, 2, 3, 4))], 1)

    case = infidelity_case(linear, 0, attribution=weights)
    assert Infidelity().score(case).value < 1e-20
    inverted = infidelity_case(linear, 0, attribution=-weights)
    # The error is twice the drop, whose variance is that of the noise times the squared weights.
    size = 0.02 * (case.clip.max() - case.clip.min()).item()
    found = Infidelity(400).score(inverted)
    expected = 4 * size**2 * (weights**2).sum().item()
    assert found.value == pytest.approx(expected, abs=4 * found.standard_error)
    assert found.standard_error == pytest.approx(expected * math.sqrt(2 / 400), rel=0.3)
    by_inputs = infidelity_case(linear, 0, attribution=weights * case.clip[0])
    assert Infidelity(multiply_by_inputs=True).score(by_inputs).value < 1e-20
    assert Infidelity(normalize=True).score(inverted).value < 1e-20


def test_without_noise_there_is_no_infidelity():
    still = infidelity_case(clip=torch.ones(1, *SHAPE, dtype=torch.float64))
    for metric, case in ((Infidelity(), still), (Infidelity(noise=0.0), infidelity_case())):
        found = metric.score(case)
        assert math.isnan(found.value)
        assert found.note.startswith("there is no noise")
    nothing = infidelity_of_samples(np.zeros(2), np.array([1.0, 2.0]), normalize=True)
    assert nothing.tolist() == [1, 4]
