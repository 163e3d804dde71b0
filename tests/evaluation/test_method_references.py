"""Metrics that ask a method again, against slow references written from the definitions alone."""

import numpy as np
import pytest
import torch

from temporal_attr.evaluation import (
    AverageSensitivity,
    CascadingRandomization,
    EfficientRandomization,
    FrameRate,
    FrameShift,
    InputShift,
    LocalLipschitz,
    MaxSensitivity,
    PixelShift,
    Repeats,
    ShuffledTwin,
    StaticClip,
    random_orders,
    randomized,
)
from temporal_attr.evaluation._noise import uniform_noise
from tests.helpers.judged import Weights, dice, gradient_times_input, judged, random_clip
from tests.references import evaluation_sanity as slow

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = (5, 2, 4, 6)


class Curved(Weights):
    """Its gradient depends on the clip, on the order of frames, and on the class."""

    def forward(self, clip):
        return super().forward((2 * clip).sin()).tanh()


MODEL, CLIP = Curved(SHAPE, seed=2), random_clip(SHAPE, seed=3)


def told(of, model=MODEL, with_channels=False):
    """The method as a function of arrays."""

    def explain(shown):
        clip = torch.from_numpy(np.ascontiguousarray(shown))[None]
        found = gradient_times_input(model, clip, 1, None)
        if of == "frames":
            return found.frame_scores.numpy()
        pixels = found.attribution.numpy()
        return pixels if with_channels else pixels.sum(1)

    return explain


def near(value):
    return pytest.approx(value, rel=1e-10, abs=1e-12)


CASE = judged(gradient_times_input, MODEL, CLIP, target=1, seed=8)
ARRAY = CLIP[0].numpy()
OF = pytest.mark.parametrize("of", ["frames", "pixels"])


@OF
def test_changes_under_noise(of):
    noises = [(one - CLIP)[0].numpy() for one in uniform_noise(CLIP, 0.1, 4, seed=8)]
    explain = told(of, with_channels=True)
    for kind, reference in (
        (MaxSensitivity, slow.max_sensitivity),
        (AverageSensitivity, slow.average_sensitivity),
        (LocalLipschitz, slow.local_lipschitz),
    ):
        assert kind(of, 0.1, 4).score(CASE).value == near(reference(explain, ARRAY, noises))


@OF
def test_moved_clips(of):
    for frames in (1, 2):
        expected = slow.frame_shift(told(of), ARRAY, frames)
        assert FrameShift(of, frames).score(CASE).value == near(expected)
    for pixels in (1, 3):
        expected = slow.pixel_shift(told("pixels"), ARRAY, pixels, pixels)
        assert PixelShift(pixels=pixels).score(CASE).value == near(expected)
    for keep in (2, 3):
        expected = slow.frame_rate(told("frames"), ARRAY, keep)
        assert FrameRate(keep).score(CASE).value == near(expected)
    expected = slow.static_clip(told(of, with_channels=True), ARRAY, 2)
    assert StaticClip(of).score(CASE).value == near(expected)


@OF
def test_a_shift_of_the_clip_and_the_model(of):
    reach = 0.5 * (ARRAY.max() - ARRAY.min())
    moved = told(of, lambda clip: MODEL(clip - reach), with_channels=True)
    expected = slow.input_shift(told(of, with_channels=True), moved, ARRAY, [reach] * 2)
    assert InputShift(of, 0.5).score(CASE).value == near(expected)
    assert expected > 0.1


@OF
@pytest.mark.parametrize("kind", ["rank", "cosine"])
def test_other_models(of, kind):
    similarity = {"rank": slow.spearman, "cosine": slow.cosine}[kind]
    before, other = told(of)(ARRAY), told(of, randomized(MODEL, ["map"], 8))(ARRAY)
    expected = slow.mean_similarity(before, [other], similarity)
    assert CascadingRandomization(of, kind).score(CASE).value == near(expected)
    expected = slow.entropy_ratio(before, other, lambda one: slow.histogram_entropy(one, 7))
    assert EfficientRandomization(of, bins=7).score(CASE).value == near(expected)
    orders = random_orders(5, 3, seed=8)
    blind = told(of, lambda clip: torch.stack([MODEL(clip[:, one]) for one in orders]).mean(0))
    expected = similarity(before, blind(ARRAY))
    assert ShuffledTwin(of, 3, kind).score(CASE).value == near(expected)


def test_the_mean_over_pairs_of_runs():
    score = Repeats("pixels", runs=3).score(judged(dice, MODEL, CLIP, seed=8))
    seeds = np.random.SeedSequence(8).generate_state(3)
    found = [dice(MODEL, CLIP, 0, int(seed)).pixel_scores.numpy() for seed in seeds]
    assert score.value == near(slow.mean_pairwise(found))
