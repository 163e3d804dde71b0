"""How far explanations move with noise: closed forms, and Captum."""

import math

import numpy as np
import pytest
import scipy
import torch
from captum.metrics import sensitivity_max

from temporal_attr import LRP, Preprocessing
from temporal_attr.clips import Normalization
from temporal_attr.evaluation._case import Explanation
from temporal_attr.evaluation._noise import gaussian_noise, uniform_noise
from temporal_attr.evaluation.robustness import (
    AverageSensitivity,
    LocalLipschitz,
    MaxSensitivity,
)
from tests.helpers.families import family
from tests.helpers.judged import (
    Weights,
    by_place,
    energy,
    gradient,
    gradient_times_input,
    judged,
    random_clip,
)

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = (6, 3, 8, 8)
OF = pytest.mark.parametrize("of", ["frames", "pixels"])
NOISY = (MaxSensitivity, AverageSensitivity, LocalLipschitz)


def test_noise_stays_within_its_radius_and_its_spread_is_that_of_its_kind():
    clip = 3 * random_clip((20, 3, 30, 30))
    reach = 0.2 * (clip.max() - clip.min())
    uniform = [noisy - clip for noisy in uniform_noise(clip, 0.2, 2, seed=4)]
    normal = [noisy - clip for noisy in gaussian_noise(clip, 0.2, 2, seed=4)]
    for drawn, spread in ((uniform, reach / math.sqrt(3)), (normal, reach)):
        assert not torch.equal(*drawn)
        for noise in drawn:
            # 54000 numbers: 5 standard errors.
            assert abs(noise.mean() / spread) < 5 / math.sqrt(54_000)
            assert noise.std().item() == pytest.approx(spread.item(), rel=5 / math.sqrt(2 * 54_000))
    assert uniform[0].abs().max() <= reach * (1 + 1e-12)
    assert uniform[0].abs().max() > 0.999 * reach
    again = next(iter(uniform_noise(clip, 0.2, 1, seed=4)))
    assert torch.equal(again - clip, uniform[0])


def test_noise_makes_no_pixel_blacker_than_black():
    normalization = Normalization((0.5, 0.5, 0.5), (0.5, 0.25, 0.5))
    clip = normalization.apply(random_clip().float())
    clip[0, 0, 0, 0, 0], clip[0, 0, 1, 0, 0] = -7.0, 9.0  # which are so before
    low, high = (bound[:, None, None] for bound in normalization.bounds())
    free = next(uniform_noise(clip, 0.1, 1, 2))
    (bound,) = uniform_noise(clip, 0.1, 1, 2, normalization)
    assert ((free < low) | (free > high)).sum() > 100
    outside = ((bound < low) | (bound > high)).nonzero().tolist()
    assert outside == [[0, 0, 0, 0, 0], [0, 0, 1, 0, 0]]
    within = (free >= low) & (free <= high)
    assert torch.equal(bound[within], free[within])
    assert (bound - clip).abs().max() <= 0.1 * (clip.max() - clip.min()) * (1 + 1e-6)


def test_max_sensitivity_is_captums_on_equal_draws():
    clip = random_clip(SHAPE)
    case = judged(gradient_times_input, Weights(SHAPE), clip, target=1, seed=5)
    draws = torch.cat(list(uniform_noise(clip, 0.1, 6, seed=5)))

    def explained(clips):
        rule = gradient_times_input
        found = [rule(case.model, one[None], 1, None).attribution for one in clips[0]]
        return (torch.stack(found),)

    reference = sensitivity_max(
        explained,
        clip,
        perturb_func=lambda inputs, radius: (draws,),
        n_perturb_samples=6,
    )
    score = MaxSensitivity("pixels", 0.1, 6).score(case)
    assert score.value == pytest.approx(reference.item(), rel=1e-12)
    assert score.value == max(score.curves["change"])
    mean = AverageSensitivity("pixels", 0.1, 6).score(case)
    assert mean.curves == score.curves
    assert mean.value == pytest.approx(np.mean(score.curves["change"]), rel=1e-14)
    error = scipy.stats.sem(score.curves["change"])
    assert mean.standard_error == pytest.approx(error, rel=1e-12)
    assert math.isnan(AverageSensitivity("pixels", 0.1, 1).score(case).standard_error)


@OF
def test_the_gradient_of_a_linear_model_does_not_move_with_noise(of):
    case = judged(gradient, Weights(SHAPE), random_clip(SHAPE))
    for metric in NOISY:
        assert metric(of).score(case).value == 0


def test_a_method_that_scales_the_clip_is_as_steep_as_it_scales():
    def scaled(model, clip, target, seed):
        return Explanation(attribution=-3.0 * clip[0])

    score = LocalLipschitz("pixels", radius=0.1, samples=4).score(
        judged(scaled, Weights(SHAPE), random_clip(SHAPE))
    )
    assert score.curves["steepness"] == pytest.approx([3.0] * 4, rel=1e-12)
    assert score.value == max(score.curves["steepness"])


def test_relevance_with_bounds_takes_noisy_clips():
    model, clip = family("conv3d_global").build()[0], random_clip((6, 3, 16, 16)).float()
    model.preprocessing = Preprocessing()

    def relevance(explained, shown, target, seed):
        return Explanation(attribution=LRP(explained).attribute(shown, target=target)[0])

    case = judged(relevance, model, clip)
    assert 0 < MaxSensitivity("pixels", 0.05, 1).score(case).value < math.inf
    assert 0 < LocalLipschitz("pixels", 0.05, 1).score(case).value < math.inf


def test_no_change_is_small_beside_nothing():
    flat = judged(energy, Weights(SHAPE), torch.ones(1, *SHAPE, dtype=torch.float64))
    for metric in NOISY:
        score = metric().score(flat)
        assert math.isnan(score.value)
        assert "all values of the clip are equal" in score.note
    silent = judged(by_place([0.0] * 6), Weights(SHAPE), random_clip(SHAPE))
    for metric in NOISY[:2]:
        score = metric().score(silent)
        assert math.isnan(score.value)
        assert "the explanation is zero" in score.note
    assert LocalLipschitz().score(silent).value == 0
