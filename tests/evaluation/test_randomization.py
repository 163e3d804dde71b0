"""Parameters drawn anew: what is drawn, in which order, in copies, and what metrics make of it."""

import threading

import numpy as np
import pytest
import scipy
import torch
from torch import nn

from temporal_attr import ModelError, OptionError, TemporalGradient
from temporal_attr.evaluation.sanity import (
    CascadingRandomization,
    EfficientRandomization,
    IndependentRandomization,
    SmoothRandomization,
    histogram_entropy,
    parameter_modules,
    randomized,
)
from temporal_attr.evaluation.sanity._randomization import module_groups
from tests.helpers.families import ATTENDING, SMALL, vivid
from tests.helpers.judged import Weights, energy, gradient, judged, pixel_sums, random_clip

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = (6, 3, 8, 8)
RANDOMIZING = (CascadingRandomization, IndependentRandomization, SmoothRandomization)


class Deep(nn.Module):
    """Registered in another order than it runs in; with a norm, and a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 4)
        self.scale = nn.Parameter(torch.full((8,), 0.5))
        self.memory = nn.LSTM(6, 8, batch_first=True)
        self.body = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Tanh())
        vivid(self, torch.rand(4, 6, 3, 8, 8))

    def forward(self, clip):
        frames = clip.mean((3, 4))
        features = self.body(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return self.head(self.memory(features)[0][:, -1] * self.scale)


def spearman(first, second):
    return scipy.stats.spearmanr(np.ravel(first), np.ravel(second)).statistic


def test_modules_are_ordered_as_they_are_used_and_not_as_they_are_registered():
    names = parameter_modules(Deep(), torch.rand(1, *SHAPE))
    assert names == ("head", "", "memory", "body.1", "body.0")


def test_a_module_that_is_not_seen_in_use_comes_after_the_one_registered_before_it():
    model = Deep()
    model.body.append(nn.Identity())
    model.body[3].aside = nn.Linear(2, 2)
    names = parameter_modules(model, torch.rand(1, *SHAPE))
    assert names == ("head", "", "memory", "body.3.aside", "body.1", "body.0")


def test_only_the_named_modules_own_parameters_are_drawn_anew_and_no_buffers():
    model = Deep()
    other = randomized(model, ["body.1", "memory"], seed=3)
    before, after = model.state_dict(), other.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    # Batch norm is initialised to 1 and 0, and keeps its statistics.
    assert changed == {name for name in before if name.startswith("memory.")} | {
        "body.1.weight",
        "body.1.bias",
    }
    assert bool((after["body.1.weight"] == 1).all())


def test_a_container_that_initialises_its_parts_too_draws_its_own_parameters_only():
    class Container(nn.Module):
        def __init__(self):
            super().__init__()
            self.own = nn.Parameter(torch.ones(3))
            self.inner = nn.BatchNorm1d(3)
            vivid(self.inner, torch.randn(9, 3))

        def reset_parameters(self):
            nn.init.normal_(self.own)
            self.inner.reset_parameters()

    model = Container()
    other = randomized(model, [""])
    assert not torch.equal(other.own, model.own)
    for name, value in model.inner.state_dict().items():
        assert torch.equal(value, other.inner.state_dict()[name]), name


def test_other_parameters_keep_their_mean_and_spread():
    model = nn.Module()
    model.many = nn.Parameter(3 + 2 * torch.randn(40_000, dtype=torch.float64))
    model.equal = nn.Parameter(torch.full((5,), 0.5))
    other = randomized(model, [""])
    assert torch.equal(other.equal, model.equal)
    assert abs(spearman(other.many.detach(), model.many.detach())) < 0.02  # 4 sigma
    # The standard errors of 40000 normal numbers' mean and deviation are 0.01 and 0.007.
    assert other.many.mean().item() == pytest.approx(model.many.mean().item(), abs=0.05)
    assert other.many.std().item() == pytest.approx(model.many.std().item(), abs=0.04)


def test_what_is_drawn_for_a_module_depends_on_the_seed_and_its_name_alone():
    model = Deep()
    alone, among = randomized(model, ["memory"], 5), randomized(model, ["head", "memory", ""], 5)
    other = randomized(model, ["memory"], 6)
    for name in ("weight_ih_l0", "bias_hh_l0"):
        drawn = getattr(alone.memory, name)
        assert torch.equal(drawn, getattr(among.memory, name))
        assert not torch.equal(drawn, getattr(other.memory, name))


def test_an_unknown_module_is_named():
    with pytest.raises(OptionError, match="expected modules of Deep, got 'tail'"):
        randomized(Deep(), ["tail"])


@pytest.mark.parametrize("family", SMALL + ATTENDING, ids=lambda family: family.name)
def test_copies_of_every_family_compute_with_their_own_parameters(family):
    model, clip = family.build()[0], family.clip()[:1]
    names = parameter_modules(model, clip)
    owners = [name for name, part in model.named_modules() if part._parameters]
    assert sorted(names) == sorted(owners)
    before = model(clip)
    # Of the first and the last, and all: each reaches the logits, and the gradient that a method
    # takes of the copy.
    method = TemporalGradient(model).attribute(clip, target=0)
    for chosen in (names[:1], names[-1:], names):
        other = randomized(model, chosen)
        assert not torch.allclose(other(clip), before, rtol=1e-3)
        assert not torch.allclose(TemporalGradient(other).attribute(clip, target=0), method, 1e-3)
    assert torch.equal(model(clip), before)


@pytest.mark.parametrize("metric", RANDOMIZING)
@pytest.mark.parametrize("of", ["frames", "pixels"])
def test_a_method_that_ignores_the_model_is_the_same_for_every_copy(metric, of):
    case = judged(energy, Deep(), torch.rand(1, *SHAPE))
    for kind in ("rank", "cosine") if of == "frames" else ("rank", "cosine", "ssim"):
        score = metric(of, kind).score(case)
        assert score.value == pytest.approx(1, abs=1e-12)
        assert len(score.curves["similarity"]) == 5
        assert score.forward_passes == 1
    assert EfficientRandomization(of).score(case).value == 0


def test_the_gradient_of_a_linear_model_is_compared_with_the_weights_drawn():
    model, clip = Weights(SHAPE), random_clip(SHAPE)
    case = judged(gradient, model, clip, target=2, seed=9)
    drawn = randomized(model, ["map"], 9).rows()[2]
    expected = spearman(pixel_sums(model.rows()[2]), pixel_sums(drawn))
    for metric in RANDOMIZING:
        score = metric("pixels").score(case)
        assert score.value == pytest.approx(expected, abs=1e-12)
        assert score.curves["similarity"] == (score.value,)
    assert abs(expected) < 0.2  # 4 standard deviations of 384 pixels without relation
    before, after = (histogram_entropy(pixel_sums(one)) for one in (model.rows()[2], drawn))
    score = EfficientRandomization("pixels").score(case)
    assert score.value == pytest.approx((after - before) / before, abs=1e-12)
    assert score.curves["entropy"] == (before, after)


@pytest.mark.parametrize("metric", [CascadingRandomization, IndependentRandomization])
def test_stages_draw_ever_more_modules_or_each_by_itself(metric):
    model, clip = Deep().double(), random_clip(SHAPE)
    case = judged(gradient, model, clip, target=1, seed=4)
    stages = [["head", ""], ["memory", "body.1"], ["body.0"]]
    if metric is CascadingRandomization:
        stages = [[*stages[0]], stages[0] + stages[1], stages[0] + stages[1] + stages[2]]
    expected = [
        spearman(
            case.explanation.frame_scores,
            gradient(randomized(model, names, 4), clip, 1, None).frame_scores,
        )
        for names in stages
    ]
    score = metric(steps=3).score(case)
    assert score.curves["similarity"] == pytest.approx(expected, abs=1e-12)
    assert score.value == pytest.approx(np.mean(expected), abs=1e-12)
    assert len(set(expected)) > 1


def test_smooth_explanations_are_averages_over_noisy_clips():
    from temporal_attr.evaluation._noise import gaussian_noise

    model, clip = Deep().double(), random_clip(SHAPE)
    case = judged(gradient, model, clip, seed=4)
    plain = CascadingRandomization(steps=1).score(case).value
    assert SmoothRandomization(steps=1, noise=0.0, samples=2).score(case).value == pytest.approx(
        plain, abs=1e-12
    )
    noisy = list(gaussian_noise(clip, 2.0, 3, 4))
    other = randomized(model, list(parameter_modules(model, clip)), 4)
    means = [
        np.mean([gradient(one, shown, 0, None).frame_scores for shown in noisy], axis=0)
        for one in (model, other)
    ]
    found = SmoothRandomization(steps=1, noise=2.0, samples=3, similarity="cosine").score(case)
    first, second = means
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert found.value == pytest.approx(cosine, abs=1e-12)


def test_groups_are_of_neighbours_and_as_even_as_can_be():
    assert module_groups("abcdefg", 3) == [tuple("abc"), tuple("de"), tuple("fg")]
    assert module_groups("ab", 8) == [("a",), ("b",)]


@pytest.mark.parametrize(
    ("scores", "bins", "expected"),
    [
        ([1.0, 1.0, 1.0], 100, 0.0),
        ([0.0, 1.0, 2.0, 3.0], 4, np.log(4)),
        ([0.0, 0.0, 0.0, 8.0], 100, -0.75 * np.log(0.75) - 0.25 * np.log(0.25)),
        ([-1.0, 0.9, 1.0, 1.0], 2, -0.75 * np.log(0.75) - 0.25 * np.log(0.25)),
    ],
)
def test_entropy_of_a_histogram(scores, bins, expected):
    found = histogram_entropy(np.array(scores), bins)
    assert found == pytest.approx(expected, abs=1e-15)
    assert np.copysign(1, found) == 1


def test_without_ranks_there_is_no_value_and_a_note():
    def constant(model, clip, target, seed):
        found = energy(model, clip, target, seed)
        return type(found)(torch.ones_like(found.frame_scores))

    case = judged(constant, Deep(), torch.rand(1, *SHAPE))
    score = CascadingRandomization(steps=2).score(case)
    assert np.isnan(score.value)
    assert score.note.startswith("2 of 2 left out: all scores of an explanation are equal")
    score = EfficientRandomization().score(case)
    assert np.isnan(score.value)
    assert "entropy 0" in score.note
    score = SmoothRandomization().score(judged(energy, Deep(), torch.ones(1, *SHAPE)))
    assert np.isnan(score.value)
    assert "all values of the clip are equal" in score.note


class Locked(Weights):
    """Cannot be copied."""

    def __init__(self, shape):
        super().__init__(shape)
        self.lock = threading.Lock()


class Itself(Weights):
    """Says that it is its own copy."""

    def __deepcopy__(self, memo):
        return self


class Held(nn.Module):
    """Has a part in a function, which a copy shares."""

    def __init__(self, shape):
        super().__init__()
        inner = Weights(shape)
        self.inner = inner
        self.run = lambda clip: 2 * inner(clip)

    def forward(self, clip):
        return self.run(clip)


@pytest.mark.parametrize("metric", [*RANDOMIZING, EfficientRandomization])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Locked, "expected a model that can be copied, got TypeError .*lock"),
        (Itself, "expected a model whose copy has parameters of its own, .* shares map.weight"),
        (Held, "a copy that still computes with the model's inner.map.weight"),
    ],
)
def test_models_without_a_copy_of_their_own_are_refused(metric, kind, message):
    case = judged(energy, kind(SHAPE), random_clip(SHAPE))
    with pytest.raises(ModelError, match=message):
        metric().score(case)


def test_a_function_has_no_parameters_that_are_known():
    inner = Weights(SHAPE)
    case = judged(energy, lambda clip: 2 * inner(clip), random_clip(SHAPE))
    with pytest.raises(ModelError, match="parameters can be drawn anew, got <lambda>"):
        CascadingRandomization().score(case)


def test_frames_are_no_maps():
    for metric in RANDOMIZING:
        with pytest.raises(OptionError, match="scores of frames"):
            metric("frames", "ssim")


def test_the_order_is_found_without_a_call_of_the_model_itself():
    model, called = Deep(), []
    model.register_forward_hook(lambda module, *_: called.append(module))
    CascadingRandomization(steps=1).score(judged(energy, model, torch.rand(1, *SHAPE)))
    # A copy has the hooks of the model.
    assert len(called) == 1
    assert called[0] is not model
