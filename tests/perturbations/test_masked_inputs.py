"""What a model is shown where frames and features are masked, against loops from the definition.

The by-frame path and the by-clip path share the code that masks, so that comparing them with each
other says nothing of it. Here everything that goes into a model is kept, and must be what the
reference makes of the clip: nothing else, and nothing left out.
"""

import numpy as np
import pytest
import torch
from torch import nn

from temporal_attr import FrameMaskingTSR, LateFusion, TemporalGradient
from temporal_attr.perturbations import Blocks, Pixels
from temporal_attr.perturbations._baselines import baseline_of
from tests.helpers.families import CLASSES
from tests.references import masking

FRAMES, HEIGHT, WIDTH = 4, 4, 6
SHAPE = (FRAMES, 3, HEIGHT, WIDTH)

BASELINES = {
    "zero": 0.0,
    "number": -0.75,
    "mean": "mean",
    "blur": "blur",
    "neighbour": "neighbour",
    "clip": torch.linspace(-1, 1, FRAMES * 3 * HEIGHT * WIDTH).double().reshape(SHAPE),
    "frame": torch.linspace(-1, 1, 3 * HEIGHT * WIDTH).double().reshape(1, *SHAPE[1:]),
    "channel": torch.tensor([0.5, -0.25, 2.0]).double().reshape(1, 3, 1, 1),
}
GRID = np.array(
    [[2 * (row // 2) + column // 3 for column in range(WIDTH)] for row in range(HEIGHT)]
)
EACH = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
# Other features in each frame, not the same ones by other numbers.
OTHERS = [np.roll(GRID, frame, 1) % 3 for frame in range(FRAMES)]
FEATURES = {
    "pixels": (Pixels(), [EACH] * FRAMES),
    "blocks": (Blocks(2, 3), [GRID] * FRAMES),
    "tensor": (torch.from_numpy(np.stack(OTHERS))[None, :, None], OTHERS),
}


def clips(batch):
    return torch.randn(batch, *SHAPE, generator=torch.Generator().manual_seed(5)).double()


class Kept(nn.Module):
    """A network that keeps every example that went through it."""

    def __init__(self, features):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(features, CLASSES), nn.Tanh())
        self.double().eval()
        self.seen = []

    def forward(self, inputs):
        self.seen += inputs.detach().clone().unbind(0)
        return self.layers(inputs)


def seen_by_clip(batch, **options):
    """All clips that a function of clips was shown, each once."""
    network = Kept(FRAMES * 3 * HEIGHT * WIDTH)
    method = TemporalGradient(network)
    result = FrameMaskingTSR(method, **options).explain(batch, target=1)
    assert "by clip" in result.run.path
    return torch.stack(network.seen).unique(dim=0).numpy()


def seen_by_frame(batch, **options):
    """All frames that the encoder of a framewise model was shown, each once."""
    network = Kept(3 * HEIGHT * WIDTH)
    model = LateFusion(network, nn.Linear(CLASSES, CLASSES).double().eval())
    result = FrameMaskingTSR(TemporalGradient(model), **options).explain(batch, target=1)
    assert "by clip" not in result.run.path
    return torch.stack(network.seen).unique(dim=0).numpy()


def assert_same_inputs(found, expected):
    """The same inputs in any order; sums of the reference run in another order."""
    distance = abs(found[:, None] - np.stack(expected)[None]).reshape(len(found), len(expected), -1)
    near = distance.max(2) < 1e-12
    assert near.any(1).all(), "an input that no mask of the reference gives"
    assert near.any(0).all(), "a mask of the reference that was never shown"


def window_clips(batch, baseline, window):
    clips = [*batch.numpy()]
    for clip in batch:
        clips += masking.every_window_masked(clip, baseline, window)
    return clips


@pytest.mark.parametrize("window", [1, 2, 3])
@pytest.mark.parametrize("name", BASELINES)
def test_frames_masked_by_clip(name, window):
    batch = clips(2)
    found = seen_by_clip(batch, baselines=BASELINES[name], window=window)
    assert_same_inputs(found, window_clips(batch, BASELINES[name], window))


@pytest.mark.parametrize("window", [1, 2, 3])
@pytest.mark.parametrize("name", BASELINES)
def test_frames_masked_by_frame(name, window):
    batch = clips(2)
    found = seen_by_frame(batch, baselines=BASELINES[name], window=window)
    expected = [frame for clip in window_clips(batch, BASELINES[name], window) for frame in clip]
    assert_same_inputs(found, expected)


@pytest.mark.usefixtures("without_trials")
@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("name", BASELINES)
def test_features_masked_by_clip(name, features):
    batch, (mask, labels) = clips(1), FEATURES[features]
    found = seen_by_clip(batch, steps="two", baselines=BASELINES[name], feature_mask=mask)
    expected = window_clips(batch, BASELINES[name], 1)
    expected += masking.every_feature_masked(batch[0], BASELINES[name], labels)
    assert_same_inputs(found, expected)


@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("name", BASELINES)
def test_features_masked_by_frame(name, features):
    batch, (mask, labels) = clips(1), FEATURES[features]
    found = seen_by_frame(batch, steps="two", baselines=BASELINES[name], feature_mask=mask)
    expected = window_clips(batch, BASELINES[name], 1)
    expected += masking.every_feature_masked(batch[0], BASELINES[name], labels)
    assert_same_inputs(found, [frame for clip in expected for frame in clip])


@pytest.mark.parametrize("size", [(5, 9), (12, 12), (15, 11)])
def test_the_blur_is_a_gaussian_a_tenth_of_the_short_side_wide(size):
    clip = torch.randn(1, 1, 2, *size, generator=torch.Generator().manual_seed(1)).double()
    found = baseline_of(clip, "blur")[0, 0].numpy()
    for channel in range(2):
        picture = clip[0, 0, channel]
        np.testing.assert_allclose(found[channel], masking.blurred(picture), rtol=0, atol=1e-12)
        # Of the whole bell less than 1e-4 lies beyond four standard deviations, twice.
        whole = masking.blurred(picture, cut=9.0)
        np.testing.assert_allclose(found[channel], whole, rtol=0, atol=2e-4 * abs(picture).max())
        assert abs(found[channel] - picture.numpy()).max() > 0.1
