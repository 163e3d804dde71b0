"""Clips and timesteps in the axes of a layer's output: in one axis, in either order, or apart."""

import pytest
import torch
from torch import nn

from temporal_attr import (
    LayerTimesteps,
    ModelError,
    OptionError,
    TemporalGradient,
    wrap,
)
from temporal_attr.models.layers import FramewiseLayerTimesteps
from tests.helpers.checks import assert_near, assert_refused

CANONICAL = "batch time channel height width"
FRAMES, WIDTH, CLASSES = 6, 4, 5


def random_clip(frames=FRAMES, batch=3):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(batch, frames, 3, 6, 6, generator=generator, dtype=torch.float64)


# How frames get into the encoder, and its rows (batch, time, feature) out of it.
ORDERS = {
    "clips first": (
        lambda v: v.flatten(0, 1),
        lambda rows, v: rows.unflatten(0, v.shape[:2]),
    ),
    "frames first": (
        lambda v: v.transpose(0, 1).flatten(0, 1),
        lambda rows, v: rows.unflatten(0, (v.shape[1], v.shape[0])).transpose(0, 1),
    ),
}


class Encoder(nn.Module):
    """Features of single frames."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, WIDTH, 3)

    def forward(self, frames):
        return self.conv(frames).tanh().mean((2, 3))


class TimeFirst(Encoder):
    """The same of frames in (time, batch, ...)."""

    def forward(self, frames):
        return super().forward(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])


class Mixes(nn.Module):
    """Frames are encoded each by itself, and mixed over time."""

    def __init__(self, order):
        super().__init__()
        self.into, self.out_of = order
        self.encoder = TimeFirst() if order is APART else Encoder()
        self.mix = nn.Conv1d(WIDTH, WIDTH, 3, padding=1)
        self.last = nn.Linear(WIDTH, CLASSES)

    def forward(self, video):
        rows = self.out_of(self.encoder(self.into(video)), video)
        return self.last(self.mix(rows.transpose(1, 2)).tanh().mean(2))


APART = (lambda v: v.transpose(0, 1), lambda rows, v: rows.transpose(0, 1))
ORDERS["apart, frames first"] = APART


def made(network):
    generator = torch.Generator().manual_seed(1)
    for weight in network.parameters():
        with torch.no_grad():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.5)
    return network.double().eval()


def by_hand(network, clip):
    """Logits of each timestep."""
    rows = torch.stack([Encoder.forward(network.encoder, frame) for frame in clip.unbind(1)], 2)
    return network.last(network.mix(rows).tanh().transpose(1, 2))


@pytest.mark.parametrize("order", ORDERS)
def test_frames_are_encoded_alone_in_either_order(order):
    network, clip = made(Mixes(ORDERS[order])), random_clip()
    model = FramewiseLayerTimesteps(
        network, "mix", encoder="encoder", encoder_axis=0, time_axis=2, layout=CANONICAL
    )
    expected = by_hand(network, clip).detach()
    assert (expected[0] - expected[1]).abs().max() > 1e-2
    rows = model.encode(clip.flatten(0, 1)).unflatten(0, clip.shape[:2])
    hand = torch.stack([Encoder.forward(network.encoder, frame) for frame in clip.unbind(1)], 1)
    assert_near(rows, hand, 1e-12)
    assert_near(model.head(rows), expected.mean(1), 1e-12)
    assert_near(model.frame_logits(clip).logits, expected, 1e-12)
    leaf = clip.clone().requires_grad_()
    by_hand(network, leaf).mean(1)[:, 1].sum().backward()
    found = TemporalGradient(model, memory="framewise").attribute(clip, 1)
    assert_near(found, leaf.grad, 1e-12)


@pytest.mark.parametrize("order", ORDERS)
def test_what_is_wrapped_says_the_same_of_every_clip_of_a_batch(order):
    network, clip = made(Mixes(ORDERS[order])), random_clip()
    model = wrap(network, clip=clip)
    assert isinstance(model, FramewiseLayerTimesteps)
    assert_near(model.frame_logits(clip).logits, by_hand(network, clip), 1e-12)


@pytest.mark.parametrize("batch", [1, 3])
def test_frames_and_clips_that_are_apart_are_one_timestep_each(batch):
    # The first clip that is seen may be of one frame, and tell nothing of the order.
    network = made(Mixes(ORDERS["frames first"]))
    model = FramewiseLayerTimesteps(
        network, "mix", encoder="encoder", encoder_axis=-2, time_axis=2, layout=CANONICAL
    )
    for frames in (1, 4):
        clip = random_clip(frames, batch)
        assert_near(model.frame_logits(clip).logits, by_hand(network, clip), 1e-12)


def test_an_axis_that_is_not_that_of_frames():
    network = made(Mixes(ORDERS["clips first"]))
    model = FramewiseLayerTimesteps(
        network, "mix", encoder="encoder", encoder_axis=1, time_axis=2, layout=CANONICAL
    )
    assert_refused(
        OptionError,
        r"encoder_axis=1, which has 4. The output of one frame has shape \(1, 4\)",
        lambda: model.encode(random_clip()[0]),
    )


def test_features_that_were_never_encoded():
    network = made(Mixes(ORDERS["clips first"]))
    model = FramewiseLayerTimesteps(
        network, "mix", encoder="encoder", encoder_axis=0, time_axis=2, layout=CANONICAL
    )
    features = torch.zeros(2, FRAMES, WIDTH, dtype=torch.float64)
    assert_refused(ModelError, "features of frames that Mixes has encoded", model.head, features)


# The axis of clips --------------------------------------------------------------------------------


class ClipsFirst(nn.Module):
    """Features (batch, time, feature) of a clip."""

    def __init__(self):
        super().__init__()
        self.read, self.last = nn.Linear(3, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, video):
        return self.last(self.read(video.mean((3, 4))).tanh().mean(1))


class OfOneLength(ClipsFirst):
    """For clips of six frames only."""

    def __init__(self):
        super().__init__()
        self.places = nn.Parameter(torch.zeros(FRAMES, 1, 1, 1))

    def forward(self, video):
        return super().forward(video + self.places)


class Strided(nn.Module):
    """Six frames make one timestep, which stands in the batch; twelve make two."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(3, WIDTH, (FRAMES, 1, 1), stride=(FRAMES, 1, 1))
        self.read, self.last = nn.Conv2d(WIDTH, WIDTH, 3), nn.Linear(WIDTH, CLASSES)

    def forward(self, video):
        rows = self.conv(video.transpose(1, 2)).transpose(1, 2)
        logits = self.last(self.read(rows.flatten(0, 1)).tanh().mean((2, 3)))
        return logits.unflatten(0, (len(video), -1)).mean(1)


@pytest.mark.parametrize("kind", [ClipsFirst, OfOneLength])
@pytest.mark.parametrize("axis", [0, -3])
def test_the_axis_of_clips_is_not_one_of_time(kind, axis):
    model = LayerTimesteps(made(kind()), "read", layout=CANONICAL, time_axis=axis)
    text = rf"time_axis={axis}, the axis of clips, .* 6 frames. The output .* shape \(1, 6, 4\)"
    assert_refused(OptionError, text, model.frame_logits, random_clip())
    assert_refused(
        OptionError,
        "the axis of clips",
        lambda: wrap(
            made(kind()), layer="read", time_axis=axis, layout=CANONICAL, clip=random_clip()
        ),
    )


def test_a_clip_of_one_frame_has_one_row():
    model = LayerTimesteps(made(ClipsFirst()), "read", layout=CANONICAL, time_axis=1)
    clip = random_clip(1)
    assert_near(model.frame_logits(clip).logits[:, 0], model(clip), 1e-12)


def test_one_timestep_that_stands_in_the_batch():
    network = made(Strided())
    model = LayerTimesteps(network, "read", layout=CANONICAL, time_axis=0)
    clip = random_clip()
    assert_near(model.frame_logits(clip).logits[:, 0], network(clip), 1e-12)
    longer = random_clip(2 * FRAMES)
    by_step = [network(part) for part in longer.split(FRAMES, 1)]
    assert_near(model.frame_logits(longer).logits, torch.stack(by_step, 1), 1e-12)
