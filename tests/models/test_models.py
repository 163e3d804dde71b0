"""Every wrapper and every family that `wrap` knows, against its bare model."""

import copy

import pytest
import torch
import torchvision
from torch import nn

from temporal_attr import (
    Conv3D,
    EarlyFusion,
    FrameLogits,
    FrameLogitsError,
    FrameRecurrent,
    LateFusion,
    ModelError,
    OptionError,
    UnsupportedModelError,
    wrap,
)
from tests.helpers.checks import assert_near_by_spread
from tests.helpers.families import CLASSES, LARGE, SMALL, family, head, image_encoder, vivid
from tests.references.definitions import late_fusion_logits, temporal_reach, trapezoid_weights

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


def assert_near_logits(found, expected):
    assert_near_by_spread(found, expected, TOLERANCE[expected.dtype])


# Wrapper and bare model differ in the order of sums only: a few hundred roundings of the logits'
# spread in the deepest network.


@pytest.mark.parametrize("case", SMALL + LARGE, ids=lambda case: case.name)
def test_forward_is_the_bare_model_and_frame_logits_add_up_to_it(case):
    wrapper, bare = case.build()
    wrapper, clip = wrapper.double(), case.clip(torch.float64)
    with torch.no_grad():
        logits, expected, other = wrapper(clip), bare(clip), bare(1.7 * clip.flip(1) + 0.3)
        steps = wrapper.frame_logits(clip)
    # On a constant model the rest of this test would say nothing.
    assert (expected - other).abs().max() > 1e-2 * expected.std()
    assert_near_logits(logits, expected)
    assert steps.logits.shape == (clip.shape[0], case.steps, CLASSES)
    assert steps.weights.sum().item() == pytest.approx(1, abs=1e-6)
    assert wrapper.exactness == case.exactness
    if case.exactness != "none":
        assert_near_logits(steps.clip_logits(), expected)


@pytest.mark.parametrize("name", ["r3d_18", "mc3_18", "s3d", "conv3d_windows"])
def test_timesteps_differ_from_one_another(name):
    # Weights that are wrong are only seen where the steps differ.
    case = family("r3d_18_13_frames" if name == "r3d_18" else name)
    wrapper, _ = case.build()
    with torch.no_grad():
        logits = wrapper.frame_logits(case.clip()).logits
    assert (logits[:, 0] - logits[:, 1]).abs().max() > 1e-2 * logits.std()


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_weights_of_a_pooling_with_windows_match_the_definition(kernel, stride):
    network = nn.Sequential()
    network.stem = nn.Conv3d(3, 4, 1)
    network.pool = nn.AvgPool3d((kernel, 8, 8), stride=(stride, 8, 8))
    network.last = nn.Conv3d(4, CLASSES, 1)
    network.out = nn.AdaptiveAvgPool3d(1)
    network.flat = nn.Flatten()
    wrapper = Conv3D(network.eval(), stages=["stem"], pool="pool", classifier="last")
    clip = torch.randn(2, 7, 3, 8, 8)
    steps = wrapper.frame_logits(clip)
    expected = torch.from_numpy(trapezoid_weights(7, kernel, stride)).float()
    torch.testing.assert_close(steps.weights, expected, rtol=0, atol=1e-7)
    assert_near_logits(steps.clip_logits(), network(clip.transpose(1, 2)))


def test_s3d_weights_are_a_trapezoid():
    case = family("s3d")
    wrapper, _ = case.build()
    with torch.no_grad():
        weights = wrapper.frame_logits(case.clip()).weights
    torch.testing.assert_close(weights, torch.tensor([1, 2, 2, 1]) / 6)


@pytest.mark.parametrize("kind", ["mean", "max", "last"])
def test_late_fusion_matches_its_definition(kind):
    linear = nn.Linear(4, CLASSES).double()
    wrapper = LateFusion(nn.Flatten().eval(), linear.eval(), kind)
    frames = torch.randn(3, 5, 1, 2, 2, dtype=torch.float64)
    features = frames.flatten(2)
    expected = late_fusion_logits(features, linear.weight.detach(), linear.bias.detach(), kind)
    found = wrapper.head(features).detach()
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=0, atol=1e-12)


def test_each_frame_of_late_fusion_predicts_alone():
    case = family("late_fusion_mean")
    wrapper, _ = case.build()
    clip = case.clip()
    with torch.no_grad():
        alone = torch.stack([wrapper(clip[:, t : t + 1]) for t in range(6)], 1)
        assert_near_logits(wrapper.frame_logits(clip).logits, alone)


def test_timesteps_of_a_causal_model_predict_the_clip_so_far():
    for name in ("lstm_last", "rnn_last"):
        wrapper, _ = family(name).build()
        clip = family(name).clip()
        with torch.no_grad():
            prefixes = torch.stack([wrapper(clip[:, : t + 1]) for t in range(6)], 1)
            assert_near_logits(wrapper.frame_logits(clip).logits, prefixes)


def test_max_fusion_credits_the_frame_that_wins():
    linear = nn.Linear(2, 1, bias=False).eval()
    nn.init.ones_(linear.weight)
    wrapper = LateFusion(nn.Flatten().eval(), linear, "max")
    features = torch.tensor([[[3.0, 0.0], [1.0, 5.0], [2.0, 4.0]]])
    steps = wrapper.frame_head(features)
    assert steps.logits.flatten().tolist() == [9.0, 15.0, 0.0]
    assert steps.clip_logits().item() == 8.0


@pytest.mark.parametrize("name", ["r3d_18_13_frames", "mc3_18", "conv3d_global"])
def test_a_timestep_is_where_the_temporal_stride_puts_it(name):
    case = family(name)
    wrapper, _ = case.build()
    assert case.steps == -(-case.shape[1] // wrapper.frames_per_step)


def test_receptive_field_of_a_timestep_is_the_closed_form():
    case = family("conv3d_global")
    wrapper, _ = case.build()
    clip = case.clip().requires_grad_()
    logits = wrapper.frame_logits(clip).logits
    reach = torch.from_numpy(temporal_reach(6, [(3, 1, 1), (3, 1, 1)]))
    for step in range(6):
        (gradient,) = torch.autograd.grad(logits[:, step].sum(), clip, retain_graph=True)
        assert torch.equal(gradient.abs().sum((0, 2, 3, 4)) > 0, reach[step])


def test_wrapping_leaves_the_model_alone():
    for training in (True, False):
        model = torchvision.models.video.mc3_18(num_classes=CLASSES).train(training)
        state = copy.deepcopy(model.state_dict())
        flags = [part.training for part in model.modules()]
        hooks = [len(part._forward_hooks) for part in model.modules()]
        wrapper = wrap(model)
        assert wrapper.training is training
        assert flags == [part.training for part in model.modules()]
        assert hooks == [len(part._forward_hooks) for part in model.modules()]
        assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
        assert len(list(wrapper.parameters())) == len(list(model.parameters()))


def test_wrapping_twice_changes_nothing():
    wrapper = LateFusion(image_encoder(), head())
    assert wrap(wrapper) is wrapper


def test_a_replaced_classifier_is_used():
    model = vivid(
        torchvision.models.video.mc3_18(num_classes=CLASSES), torch.randn(2, 3, 4, 32, 32)
    )
    wrapper = wrap(model)
    model.fc = nn.Sequential(nn.Dropout(0.5), nn.Linear(512, 3)).eval()
    clip = torch.randn(1, 4, 3, 32, 32)
    steps = wrapper.frame_logits(clip)
    assert steps.logits.shape[-1] == 3
    assert_near_logits(steps.clip_logits(), wrapper(clip))


def test_a_classifier_with_a_nonlinearity_is_said_to_be_inexact():
    model = torchvision.models.video.mc3_18(num_classes=CLASSES).eval()
    model.fc = nn.Sequential(nn.Linear(512, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    assert wrap(model).exactness == "none"


def test_preprocessing_of_wrapped_models():
    video = wrap(torchvision.models.video.mc3_18()).preprocessing
    assert (video.resize, video.crop, video.antialias) == ((128, 171), (112, 112), False)
    expected = torchvision.models.video.MC3_18_Weights.DEFAULT.transforms()
    assert list(video.normalization.mean) == list(expected.mean)
    assert list(video.normalization.std) == list(expected.std)
    image = wrap(torchvision.models.resnet18()).preprocessing
    assert (image.resize, image.crop, image.antialias) == (256, (224, 224), True)


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.Conv2d(3, 4, 3),  # classes of pixels
        lambda: torchvision.models.resnet.BasicBlock(4, 4),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 2)),
    ],
    ids=["segmentation", "block", "other size"],
)
def test_wrap_says_what_it_tried_where_nothing_fits(build):
    model = build().eval()
    with pytest.raises(UnsupportedModelError, match="to take clips in one layout") as caught:
        wrap(model)
    assert type(model).__qualname__ in caught.value.expected
    assert "batch channel time height width: " in caught.value.remedy
    assert "Conv3D(model, stages=[...]" in caught.value.remedy


def test_wrap_refuses_a_timm_model_of_stacked_frames():
    import timm

    with pytest.raises(UnsupportedModelError, match=r"EarlyFusion\(model, frames=4\)"):
        wrap(timm.create_model("resnet18", in_chans=12))


def test_conv3d_without_parts_predicts_but_has_no_timesteps():
    network = nn.Sequential(nn.Conv3d(3, CLASSES, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten()).eval()
    wrapper = Conv3D(network)
    clip = torch.randn(1, 4, 3, 8, 8)
    assert torch.equal(wrapper(clip), network(clip.transpose(1, 2)))
    with pytest.raises(FrameLogitsError, match="the names of its stages"):
        wrapper.frame_logits(clip)


def test_conv3d_refuses_parts_that_leave_something_out():
    network = vivid(SMALL[5].build()[0].model, torch.randn(4, 3, 6, 16, 16))
    wrapper = Conv3D(network, stages=["stem"], pool="pool", classifier="fc")
    with pytest.raises(ModelError, match="output differs from the model's"):
        wrapper.frame_logits(torch.randn(1, 6, 3, 16, 16))


def test_conv3d_refuses_a_wrong_stride():
    network = SMALL[5].build()[0].model
    wrapper = Conv3D(network, ["stem", "layer"], "pool", "fc", frames_per_step=2)
    with pytest.raises(
        ModelError, match="about 3 timesteps for 6 frames at frames_per_step=2, got 6"
    ):
        wrapper.frame_logits(torch.randn(1, 6, 3, 16, 16))


def test_conv3d_names_the_submodules_there_are():
    with pytest.raises(ModelError, match="a submodule 'head' of Sequential, got submodules 0, 1"):
        Conv3D(nn.Sequential(nn.ReLU(), nn.ReLU()), stages=["0"], classifier="head")


def test_conv3d_refuses_a_pooling_that_is_no_mean():
    network = nn.Sequential(nn.Conv3d(3, 4, 1), nn.MaxPool3d(2), nn.Linear(4, 2))
    with pytest.raises(ModelError, match="pool to be AdaptiveAvgPool3d to one timestep"):
        Conv3D(network, stages=["0"], pool="1", classifier="2")


@pytest.mark.usefixtures("as_user")
def test_options_out_of_range_are_named():
    with pytest.raises(OptionError, match='aggregation to be "mean", "max", "last" or a module'):
        LateFusion(image_encoder(), head(), "median")
    with pytest.raises(OptionError, match='readout to be "mean", "last", "hidden" or a module'):
        FrameRecurrent(None, nn.LSTM(3, 3), head(3), "max")


@pytest.mark.usefixtures("as_user")
def test_early_fusion_says_how_many_frames_it_takes():
    wrapper = EarlyFusion(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).eval(), frames=4)
    from temporal_attr import ClipError

    with pytest.raises(
        ClipError, match="expected 4 frames, as this early-fusion model takes, got 5"
    ):
        wrapper(torch.rand(1, 5, 3, 2, 2))


def test_weighted_sum_of_frame_logits():
    steps = FrameLogits(torch.tensor([[[1.0, 2.0], [5.0, 0.0]]]), torch.tensor([0.25, 0.75]))
    assert steps.clip_logits().tolist() == [[4.0, 0.5]]
