"""What of an attribution is about motion, and what about appearance."""

import pytest
import torch
from captum.attr import GradientShap, InputXGradient, NoiseTunnel, Saliency
from torch import nn

from temporal_attr import (
    LRP,
    IntegratedGradients,
    LateFusion,
    ModelError,
    OptionError,
    SelectiveRelevance,
    TemporalGradient,
    load_result,
)
from temporal_attr.relevance import Box, Composite
from tests.helpers.checks import assert_near, assert_refused
from tests.helpers.families import family
from tests.methods.test_integrated_gradients import Smooth
from tests.references import motion as reference

pytestmark = pytest.mark.usefixtures("as_user", "one_thread")

FRAMES = 4
SHAPE = (FRAMES, 3, 2, 2)
WIDE = Composite(input=Box(low=-9.0, high=9.0))
COUNTERPARTS = ("frame", "frozen", "mean_frame")


@pytest.fixture
def model():
    return Smooth(FRAMES).eval()


@pytest.fixture
def clip():
    return torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(2)).double()


def gradient_of(model, target):
    """The gradient as a function of a numpy clip."""

    def attributed(clip):
        leaf = torch.tensor(clip, requires_grad=True)
        return torch.autograd.grad(model(leaf[None])[0, target], leaf)[0].numpy()

    return attributed


def appearance_of(static, method, clip):
    if static == "frame":
        return reference.appearance_by_frame(method, clip)
    return method(reference.still(clip, 0) if static == "frozen" else reference.mean_frame(clip))


@pytest.mark.parametrize("static", COUNTERPARTS)
def test_parts_are_those_of_the_definition(static, model, clip):
    result = SelectiveRelevance(TemporalGradient(model), static).explain(clip, [0, 2])
    for example, target in enumerate((0, 2)):
        method, own = gradient_of(model, target), clip[example].numpy()
        expected = appearance_of(static, method, own)
        assert_near(result.appearance[example], expected)
        assert_near(result.attribution[example], method(own) - expected)
    assert_near(result.frame_scores, result.attribution.sum((2, 3, 4)))
    assert_near(result.appearance_scores, result.appearance.sum((2, 3, 4)))
    sizes = [part.abs().flatten(1).sum(1) for part in (result.attribution, result.appearance)]
    assert_near(result.motion_share, sizes[0] / (sizes[0] + sizes[1]))


@pytest.mark.parametrize("sigma", [None, 0.0, 0.5, 2.0])
@pytest.mark.parametrize("shape", [SHAPE, (2, 3, 2, 2), (6, 3, 3, 4)])
def test_what_changes_over_time_is_that_of_the_definition(sigma, shape):
    clip = torch.randn(2, *shape).double()
    weights = torch.randn(3, *shape).double()

    def quadratic(clip):
        return torch.einsum("btchw,ktchw->bk", clip**2, weights)

    method = InputXGradient(quadratic)
    result = SelectiveRelevance(method, "derivative", sigma).explain(clip, 1)
    whole = 2 * weights[1] * clip**2
    for example in range(2):
        expected = torch.from_numpy(
            reference.moves(whole[example], 1.0 if sigma is None else sigma)
        )[:, None]
        assert_near(result.attribution[example], torch.where(expected, whole[example], 0))
        assert_near(result.appearance[example], torch.where(expected, 0, whole[example]))
    assert (result.still_logits, result.motion_logit, result.appearance_logit) == (None,) * 3
    assert result.sigma == (1.0 if sigma is None else sigma)


@pytest.mark.parametrize("name", ["conv3d_windows", "late_fusion_max", "zoo_tam2d"])
@pytest.mark.parametrize("static", COUNTERPARTS)
def test_parts_of_a_conserved_method_are_parts_of_the_logit(name, static):
    wrapper, clip = family(name).build()[0].double(), family(name).clip(torch.float64)
    result = SelectiveRelevance(LRP(wrapper, WIDE), static).explain(clip, [1, 2])
    logits = wrapper(clip).detach()[[0, 1], [1, 2]]
    still = {
        "frame": [clip[:, t : t + 1].expand_as(clip) for t in range(clip.shape[1])],
        "frozen": [clip[:, :1].expand_as(clip)],
        "mean_frame": [clip.mean(1, keepdim=True).expand_as(clip)],
    }[static]
    appearance = torch.stack([wrapper(one).detach()[[0, 1], [1, 2]] for one in still]).mean(0)
    assert_near(result.appearance_logit, appearance)
    assert_near(result.motion_logit, logits - appearance)
    # Relevance is conserved to rounding of parts that are larger than their sums.
    assert_near(result.appearance_scores.sum(1), appearance, 1e-9)
    gap = result.frame_scores.sum(1) - (logits - appearance)
    assert (gap.abs() < 1e-9 * logits.abs().max()).all()
    assert (result.motion_logit.abs() > 1e-6).any()


@pytest.mark.parametrize("static", [*COUNTERPARTS, "derivative"])
def test_what_stands_still_has_no_motion(static, model, clip):
    still = clip[:, 1:2].expand_as(clip)
    # Of a model that is the same for all frames; another is not the same at all places.
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.Tanh()).eval()
    result = SelectiveRelevance(TemporalGradient(LateFusion(encoder).double()), static).explain(
        still, 1
    )
    assert result.attribution.abs().max() < 1e-15
    assert (result.motion_share < 1e-12).all()
    if static != "derivative":
        assert result.motion_logit.abs().max() < 1e-14


def test_a_single_frame_has_no_motion(model):
    one = torch.randn(1, 1, 3, 2, 2).double()
    for static in (*COUNTERPARTS, "derivative"):
        result = SelectiveRelevance(TemporalGradient(Smooth(1).eval()), static).explain(one, 1)
        assert not result.attribution.any()
        assert result.motion_share.tolist() == [0]


def test_a_model_that_sees_single_frames_has_no_motion_by_frame(clip):
    """Each frame gets what it gets standing still; beside the first frame alone it does not."""
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.Tanh()).eval()
    model = LateFusion(encoder).double()
    by_frame = SelectiveRelevance(TemporalGradient(model)).explain(clip, 1)
    assert by_frame.motion_share.max() < 1e-12
    assert by_frame.motion_logit.abs().max() < 1e-14
    assert (
        SelectiveRelevance(TemporalGradient(model), "frozen").explain(clip, 1).motion_share.min()
        > 0.05
    )


def test_a_model_that_sees_only_differences_has_no_appearance(clip):
    def differences(clip):
        return (clip[:, 1:] - clip[:, :-1]).pow(2).sum((1, 3, 4))

    for static in COUNTERPARTS:
        result = SelectiveRelevance(InputXGradient(differences), static).explain(clip, 1)
        assert (result.motion_share == 1).all()
        assert not result.appearance.any()
        assert_near(result.motion_logit, differences(clip)[:, 1])


def test_a_model_is_split_by_its_relevance():
    wrapper, clip = family("zoo_tam2d").build()[0].double(), family("zoo_tam2d").clip(torch.float64)
    clip = clip.clamp(-1, 1)
    method = SelectiveRelevance(wrapper, "frozen")
    assert isinstance(method.method, LRP)
    expected = SelectiveRelevance(LRP(wrapper), "frozen").attribute(clip, 1)
    assert torch.equal(method.attribute(clip, 1), expected)


def test_methods_that_draw_need_a_seed(model, clip):
    for method, options in (
        (GradientShap(model), {"baselines": torch.zeros_like(clip)}),
        (NoiseTunnel(Saliency(model)), {"stdevs": 0.1, "nt_samples": 2}),
    ):
        plain = SelectiveRelevance(method, "frozen", method_arguments=options)
        text = "a method that gives the same clip the same attribution"
        assert_refused(ModelError, text, plain.attribute, clip, 1)
    seeded = SelectiveRelevance(
        NoiseTunnel(Saliency(model)), "frozen", seed=3, method_arguments=options
    )
    assert torch.equal(seeded.attribute(clip, 1), seeded.attribute(clip, 1))
    still = clip[:, :1].expand_as(clip)
    # The same noise on both.
    assert not seeded.attribute(still, 1).any()
    assert seeded.explain(clip, 1).run.seed == 3


def test_integrated_gradients_from_a_still_clip_are_all_motion(model, clip):
    result = SelectiveRelevance(IntegratedGradients(model, "frozen", 3), "frozen").explain(clip, 1)
    assert (result.motion_share == 1).all()
    shown = SelectiveRelevance(IntegratedGradients(model, n_steps=3), "frozen").explain(clip, 1)
    assert ((shown.motion_share > 0.05) & (shown.motion_share < 0.95)).all()


@pytest.mark.parametrize("static", ["frame", "frozen"])
def test_what_the_model_takes_after_the_clip_belongs_to_its_example(static, model, clip):
    shift = torch.tensor([[0.1, 0.2, 0.3], [-1.0, 2.0, 0.5]]).double()
    method = SelectiveRelevance(
        InputXGradient(lambda clip, shift: torch.tanh(model(clip) + shift)), static
    )
    both = method.explain(clip, [0, 2], shift)
    for example, target in enumerate((0, 2)):
        own = slice(example, example + 1)
        alone = method.explain(clip[own], target, shift[own])
        assert_near(both.attribution[own], alone.attribution)
        assert_near(both.appearance_logit[own], alone.appearance_logit)


def test_passes_and_words(model, clip, tmp_path):
    wrapper, clip = family("conv3d_windows").build()[0], family("conv3d_windows").clip()
    frames = clip.shape[1]
    for static, count in (("frame", frames), ("frozen", 1), ("mean_frame", 1), ("derivative", 0)):
        method = SelectiveRelevance(TemporalGradient(wrapper), static)
        result = method.explain(clip, 1)
        # Each clip is attributed, and predicted; and the clip itself is.
        assert result.run.forward_passes == 2 * (1 + count)
        assert result.run.backward_passes == 1 + count
        estimate = method.estimate(clip, 1)
        assert (estimate.forward_passes, estimate.certainty) == (2 * (1 + count), "exact")
    foreign = SelectiveRelevance(Saliency(wrapper), "frozen")
    assert foreign.explain(clip, 1).run.backward_passes == 3
    assert foreign.estimate(clip, 1).backward_passes == 3
    result = SelectiveRelevance(TemporalGradient(wrapper)).explain(clip, 1)
    said = result.summary()
    assert "of the magnitude of Temporal Gradient (beside each frame standing still)" in said
    assert "logit of the clip without motion" in said
    assert result.meaning == "part of motion in\nTemporal Gradient"
    assert {"frame_scores", "appearance_scores"} <= set(result.to_dataframe())
    assert {"motion_share", "motion_logit"} <= set(result.to_dataframe(table="clips"))
    loaded = load_result(result.save(tmp_path / "result"))
    assert torch.equal(loaded.appearance, result.appearance)
    derivative = SelectiveRelevance(TemporalGradient(wrapper), "derivative").explain(clip, 1)
    assert "(where it changes by more than 1 standard deviations)" in derivative.summary()


def test_options_are_checked(model):
    for options, text in (
        ({"static": "first"}, 'static to be "frame", "frozen", "mean_frame" or "derivative"'),
        ({"sigma": 1.0}, 'sigma with static="derivative"'),
        ({"static": "derivative", "sigma": -1.0}, "sigma at least 0"),
        ({"perturbations_per_eval": 0}, "perturbations_per_eval a whole number at least 1"),
        ({"seed": -1}, "seed a whole number from 0"),
        ({"method_arguments": {"steps": 3}}, "method_arguments among those of Temporal Gradient"),
    ):
        assert_refused(OptionError, text, SelectiveRelevance, TemporalGradient(model), **options)
