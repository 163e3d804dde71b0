"""How often ShuffleProbe runs a model, and how much at a time."""

import pytest
import torch
from torch import nn

from temporal_attr import FrameRecurrent, LateFusion, ShuffleProbe

pytestmark = pytest.mark.usefixtures("without_trials")

FRAMES, CLASSES = 6, 3


class CountingEncoder(nn.Module):
    """A frame encoder that notes how many frames go through it, forward and backward."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3 * 4 * 4, 5)
        self.forwards, self.backwards = [], []

    def forward(self, frames):
        self.forwards.append(len(frames))
        features = torch.tanh(self.layer(frames.flatten(1)))
        if features.requires_grad:
            features.register_hook(lambda gradient: self.backwards.append(len(gradient)))
        return features


def clip(batch=1):
    return torch.randn(batch, FRAMES, 3, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def counted():
    torch.manual_seed(0)
    return CountingEncoder().eval()


@pytest.fixture
def blind(counted):
    return LateFusion(counted, nn.Linear(5, CLASSES).eval())


@pytest.fixture
def recurrent_model(counted):
    lstm = nn.LSTM(5, 4, batch_first=True).eval()
    return FrameRecurrent(counted, lstm, nn.Linear(4, CLASSES).eval())


def test_each_frame_is_encoded_once(recurrent_model, counted):
    ShuffleProbe(recurrent_model, shuffles=20).attribute(clip(), 0)
    assert counted.forwards == [FRAMES]
    assert counted.backwards == [FRAMES] * 21


def test_a_blind_head_takes_one_backward_pass(blind, counted):
    ShuffleProbe(blind, shuffles=20).attribute(clip(), 0)
    assert counted.forwards == [FRAMES]
    assert counted.backwards == [FRAMES]


def test_frames_go_in_chunks_whatever_the_number_of_shuffles(recurrent_model, counted):
    few = ShuffleProbe(recurrent_model, shuffles=5, chunk_size=4).attribute(clip(2), 0)
    # Once for the features, and once more for the backward pass, whose graph is of one chunk only.
    assert counted.forwards == [4, 4, 4] * 2
    assert max(counted.backwards) == 4
    counted.forwards.clear()
    ShuffleProbe(recurrent_model, shuffles=100, chunk_size=4).attribute(clip(2), 0)
    # The heads of 101 orders of two clips go 32 orders at a time, each time with a backward pass.
    assert counted.forwards == [4, 4, 4] * 5
    assert few.isfinite().all()


@pytest.mark.parametrize(("size", "clips"), [(None, 2), (1, 1), (13, 2), (18, 3)])
def test_other_models_see_whole_clips_a_few_at_a_time(size, clips, recurrent_model):
    seen = []

    def model(batch):
        seen.append(tuple(batch.shape[:2]))
        return recurrent_model(batch)

    ShuffleProbe(model, shuffles=5, chunk_size=size).attribute(clip(2), 0)
    assert sum(batch for batch, _ in seen) == 2 * 6
    assert max(batch for batch, _ in seen) == clips
    assert {frames for _, frames in seen} == {FRAMES}
