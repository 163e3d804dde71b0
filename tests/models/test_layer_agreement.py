"""Timesteps of a named layer against the wrappers that were written for a family.

Both say the same of the same network, so that every method does, to the order of a few sums.
"""

import pytest
import torch
import torchvision
from torch import nn

from temporal_attr import (
    LRP,
    ContrastiveLRPTemporal,
    Conv3D,
    FrameMaskingTSR,
    FrameRecurrent,
    FrameTransformer,
    LateFusion,
    LayerTimesteps,
    ShuffleProbe,
    TemporalGradient,
    wrap,
)
from temporal_attr.clips import IDENTITY
from temporal_attr.models.layers import FramewiseLayerTimesteps
from temporal_attr.relevance import Composite
from tests.helpers.checks import assert_near
from tests.helpers.families import CLASSES, SmallConv3D, head, image_encoder, vivid
from tests.helpers.own_networks import NormBeforeTheHead

pytestmark = pytest.mark.usefixtures("one_thread")

CANONICAL = "batch time channel height width"
RULES = Composite(input=None)  # the clips are no pixels, so that z^B has no bounds
TARGET = 1


def clip_of(shape=(2, 5, 3, 16, 16)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


# What is asked of a model -------------------------------------------------------------------------


def timesteps(model, clip):
    with torch.no_grad():
        steps = model.frame_logits(clip)
    return {"logits": model(clip).detach(), "frame logits": steps.logits, "weights": steps.weights}


def of_gradients(model, clip, **options):
    found = TemporalGradient(model, memory="whole", **options).explain(clip, TARGET)
    return {"gradient": found.attribution, "influence": found.influence}


def of_relevance(model, clip):
    matrix = ContrastiveLRPTemporal(model, RULES).explain(clip, TARGET).matrix
    return {"matrix": matrix, "relevance": LRP(model, RULES).attribute(clip, TARGET)}


def of_perturbations(model, clip):
    shuffled = ShuffleProbe(model, shuffles=2, normalization=IDENTITY).explain(clip, TARGET)
    rescaled = FrameMaskingTSR(TemporalGradient(model)).attribute(clip, TARGET)
    return {"ratios": shuffled.ratios, "rescaled": rescaled}


ALL = (timesteps, of_gradients, of_relevance, of_perturbations)


def assert_agree(found, expected, clip, asked=ALL, constant=("weights",)):
    for ask in asked:
        given, wanted = ask(found, clip), ask(expected, clip)
        for name, value in wanted.items():
            # What is the same everywhere would agree with much.
            assert value.std() > 1e-3 * value.abs().max() > 0 or name in constant, name
            assert_near(given[name], value, 1e-12)


# Networks of volumes ------------------------------------------------------------------------------

STAGES = ["stem", "layer1", "layer2", "layer3"]


@pytest.mark.parametrize(("name", "frames", "steps"), [("mc3_18", 3, 3), ("r3d_18", 9, 2)])
def test_residual_networks_of_torchvision(name, frames, steps):
    network = getattr(torchvision.models.video, name)(num_classes=CLASSES)
    network = vivid(network, torch.randn(2, 3, frames, 16, 16)).double()
    clip = clip_of((1, frames, 3, 16, 16))
    # Of 9 frames the second timestep is the ninth alone, which their ratio does not tell.
    expected = wrap(network)
    rate = expected.frames_per_step
    found = LayerTimesteps(network, "layer4", time_axis=2, stages=STAGES, frames_per_step=rate)
    assert found.frame_logits(clip).logits.shape == (1, steps, CLASSES)
    assert_agree(found, expected, clip, (timesteps, of_gradients, of_relevance))


def test_swin_of_torchvision():
    network = torchvision.models.video.swin3d_t(num_classes=CLASSES)
    network = vivid(network, torch.randn(1, 3, 4, 32, 32)).double()
    clip = clip_of((1, 4, 3, 32, 32))
    found = LayerTimesteps(network, "norm", time_axis=1)
    assert found.frame_logits(clip).logits.shape == (1, 2, CLASSES)
    assert_agree(found, wrap(network), clip, (timesteps, of_gradients, of_relevance))


def small_volumes():
    """A network whose pooling overlaps in time."""
    network = SmallConv3D(nn.AvgPool3d((3, 5, 4), stride=(1, 2, 3)))
    return vivid(network, torch.randn(4, 3, 5, 16, 16)).double()


def test_a_pooling_whose_windows_overlap():
    network, clip = small_volumes(), clip_of()
    expected = Conv3D(network, stages=["stem", "layer"], pool="pool", classifier="fc")
    found = LayerTimesteps(network, "layer", stages=["stem"])
    weights = expected.frame_logits(clip).weights
    assert_near(weights, torch.tensor([1, 2, 3, 2, 1]).double() / 9, 1e-12)
    assert_agree(found, expected, clip)


def test_stages_are_recomputed_to_the_same_numbers():
    network, clip = small_volumes(), clip_of()
    model = LayerTimesteps(network, "layer", stages=["stem.0", "stem"])
    whole, again = (
        TemporalGradient(model, memory=memory).explain(clip, TARGET)
        for memory in ("whole", "checkpoint")
    )
    assert (whole.run.path, again.run.path) == ("whole", "checkpoint")
    assert whole.influence.min() < 0.1 * whole.influence.max()
    assert_near(again.attribution, whole.attribution, 1e-12)
    assert_near(again.influence, whole.influence, 1e-12)


# Networks of frames -------------------------------------------------------------------------------


class Folded(nn.Module):
    """A network that encodes frames in the batch, and then reads them in one axis of time.

    Rules of relevance tell a classifier of a mean from a mean of what it says, so that it pools
    where the wrapper does.
    """

    def __init__(self, encoder, read, last, pool):
        super().__init__()
        self.encoder, self.read, self.last, self.pool = encoder, read, last, pool

    def forward(self, video):
        rows = self.encoder(video.flatten(0, 1)).unflatten(0, video.shape[:2])
        found = self.read(rows)
        found = found[0] if isinstance(found, tuple) else found
        if self.pool == "mean of tokens":
            return self.last(found.mean(1))
        logits = self.last(found)
        return logits.mean(1) if self.pool == "mean of logits" else logits[:, -1]


def late_fusion():
    network = Folded(image_encoder(), nn.Identity(), head(), "mean of tokens").double().eval()
    return network, LateFusion(network.encoder, network.last)


def recurrent(kind, readout):
    memory = kind(24, 7, batch_first=True)
    pool = "last" if readout == "last" else "mean of logits"
    network = Folded(image_encoder(), memory, head(7), pool).double().eval()
    return network, FrameRecurrent(network.encoder, memory, network.last, readout)


class Placed(nn.Module):
    """A transformer over tokens that have positions."""

    def __init__(self, stack):
        super().__init__()
        self.stack, self.positions = stack, nn.Parameter(torch.randn(5, 24))

    def forward(self, tokens):
        return self.stack(tokens + self.positions)


def transformer():
    layer = nn.TransformerEncoderLayer(24, 2, 16, 0.0, batch_first=True)
    stack = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
    vivid(stack, torch.randn(2, 5, 24))
    read = Placed(stack)
    network = Folded(image_encoder(), read, head(), "mean of tokens").double().eval()
    placed = FrameTransformer(network.encoder, stack, network.last, positions=read.positions)
    return network, placed


FRAMES = {
    "late fusion": late_fusion,
    "lstm": lambda: recurrent(nn.LSTM, "last"),
    "gru": lambda: recurrent(nn.GRU, "mean"),
    "transformer": transformer,
}


@pytest.mark.parametrize("name", FRAMES)
def test_networks_that_encode_frames_by_themselves(name):
    network, expected = FRAMES[name]()
    clip = clip_of()
    options = {"layer": "read", "layout": CANONICAL, "time_axis": 1}
    framewise = FramewiseLayerTimesteps(network, encoder="encoder", encoder_axis=0, **options)
    # Order is nothing to a mean of frames: every ratio of the shuffle probe is 1.
    constant = ("weights", "ratios") if name == "late fusion" else ("weights",)
    assert_agree(framewise, expected, clip, constant=constant)
    assert_agree(LayerTimesteps(network, **options), expected, clip, (timesteps, of_gradients))
    found, wanted = (
        TemporalGradient(model, memory="framewise").explain(clip, TARGET)
        for model in (framewise, expected)
    )
    assert found.run.path == wanted.run.path
    assert found.run.path.startswith("framewise")
    assert_near(found.attribution, wanted.attribution, 1e-12)
    assert_near(found.influence, wanted.influence, 1e-12)


def test_an_encoder_whose_frames_are_timesteps():
    network, expected = late_fusion()
    found = FramewiseLayerTimesteps(
        network, "encoder", encoder="encoder", encoder_axis=0, time_axis=0, layout=CANONICAL
    )
    assert_agree(found, expected, clip_of(), (timesteps, of_gradients))


# Relevance through tails that are held ------------------------------------------------------------


class AttentionPooling(nn.Module):
    """The sum over time of what a softmax over timesteps weighs."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv3d(3, 6, 3, padding=1), nn.ReLU())
        self.score, self.last = nn.Linear(6, 1), nn.Linear(6, CLASSES)

    def forward(self, video):
        tokens = self.body(video).mean((3, 4)).transpose(1, 2)
        return self.last((tokens * self.score(tokens).softmax(1)).sum(1))


class MLPHead(nn.Module):
    """Activations after the mean over time."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv3d(3, 6, 3, padding=1), nn.ReLU())
        self.head = nn.Sequential(
            nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.SiLU(), nn.Linear(8, CLASSES)
        )

    def forward(self, video):
        return self.head(self.body(video).mean((2, 3, 4)))


@pytest.mark.parametrize("kind", [NormBeforeTheHead, MLPHead, AttentionPooling])
def test_relevance_is_conserved_through_tails_that_are_held(kind):
    network = vivid(kind(), torch.randn(2, 3, 5, 8, 8)).double()
    model = LayerTimesteps(network, "body", exactness="frozen")
    clip = 4 * clip_of((2, 5, 3, 8, 8))
    logit = network(clip.transpose(1, 2))[:, TARGET].detach()
    found = LRP(model, RULES).explain(clip, TARGET)
    assert logit.abs().min() > 1e-2
    gone = sum(found.sinks.values())
    assert_near(found.attribution.sum((1, 2, 3, 4)) + gone, logit, 1e-12)
    # Of each timestep, and in the mean over them of the clip.
    rows = ContrastiveLRPTemporal(model, RULES, contrastive=False).explain(clip, TARGET)
    steps = model.frame_logits(clip).logits[..., TARGET].detach()
    assert steps.std() > 1e-3
    assert_near(rows.step_logits, steps, 1e-12)
    assert_near(rows.step_logits.mean(1), logit, 1e-12)
    assert (rows.row_error <= 1e-12 * steps.abs().max()).all()
