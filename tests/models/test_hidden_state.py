"""`FrameRecurrent` whose classifier reads the last hidden state, of one direction or of both."""

import pytest
import torch
from torch import nn

from temporal_attr import ContrastiveLRPTemporal, FrameRecurrent, ModelError
from temporal_attr.relevance import Composite
from tests.helpers.checks import assert_near, assert_refused
from tests.helpers.families import CLASSES

KINDS = {
    "lstm": lambda both: nn.LSTM(12, 4, 2, batch_first=True, bidirectional=both),
    "lstm_projected": lambda both: nn.LSTM(12, 4, proj_size=3, bidirectional=both),
    "gru_time_first": lambda both: nn.GRU(12, 4, bidirectional=both),
    "rnn": lambda both: nn.RNN(12, 4, batch_first=True, bidirectional=both),
}


def built(name, both, classifier=None):
    torch.manual_seed(5)
    encoder = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Tanh()).double().eval()
    memory = KINDS[name](both).double().eval()
    size = (getattr(memory, "proj_size", 0) or memory.hidden_size) * (2 if both else 1)
    last = classifier(size) if classifier else nn.Linear(size, CLASSES)
    return encoder, memory, last.double().eval()


def hidden_state(encoder, memory, clip):
    """What PyTorch returns as `h_n`, of the last layer."""
    frames = torch.stack([encoder(frame) for frame in clip.unbind(1)], 1)
    state = memory(frames if memory.batch_first else frames.transpose(0, 1))[1]
    h_n = state[0] if isinstance(state, tuple) else state
    return torch.cat([h_n[-2], h_n[-1]], 1) if memory.bidirectional else h_n[-1]


def random_clip(steps=5):
    return 2 * torch.randn(2, steps, 3, 4, 4, dtype=torch.float64)


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_the_classifier_reads_h_n(name, both, steps):
    encoder, memory, last = built(name, both)
    model, clip = FrameRecurrent(encoder, memory, last, "hidden"), random_clip(steps)
    expected = last(hidden_state(encoder, memory, clip)).detach()
    assert expected.std() > 1e-2
    assert_near(model(clip).detach(), expected)
    found = model.frame_logits(clip)
    assert model.exactness == "linear"
    assert_near(found.clip_logits().detach(), expected)


def test_each_end_says_what_its_direction_does():
    encoder, memory, last = built("lstm", both=True)
    clip, size = random_clip(), memory.hidden_size
    found = FrameRecurrent(encoder, memory, last, "hidden").frame_logits(clip)
    state = hidden_state(encoder, memory, clip)
    forward = 2 * state[:, :size] @ last.weight[:, :size].T + last.bias
    backward = 2 * state[:, size:] @ last.weight[:, size:].T + last.bias
    outputs = memory(torch.stack([encoder(frame) for frame in clip.unbind(1)], 1))[0]
    assert_near(found.logits[:, -1].detach(), forward.detach())
    assert_near(found.logits[:, 0].detach(), backward.detach())
    assert_near(found.logits[:, 1:-1].detach(), last(outputs[:, 1:-1]).detach())
    assert found.weights.tolist() == [0.5, 0, 0, 0, 0.5]


def test_of_one_direction_it_is_the_last_output():
    parts = built("gru_time_first", both=False)
    clip = random_clip()
    hidden, last = (
        FrameRecurrent(*parts, readout).frame_logits(clip) for readout in ("hidden", "last")
    )
    assert torch.equal(hidden.logits, last.logits)
    assert torch.equal(hidden.weights, last.weights)


def test_a_classifier_that_is_not_affine_gives_predictions():
    parts = built("rnn", True, lambda size: nn.Sequential(nn.Linear(size, CLASSES), nn.Tanh()))
    encoder, memory, last = parts
    model, clip = FrameRecurrent(*parts, "hidden"), random_clip()
    assert model.exactness == "none"
    assert_near(model(clip).detach(), last(hidden_state(encoder, memory, clip)).detach())
    outputs = memory(torch.stack([encoder(frame) for frame in clip.unbind(1)], 1))[0]
    assert_near(model.frame_logits(clip).logits.detach(), last(outputs).detach())


def test_relevance_of_a_timestep_is_that_of_its_logit():
    encoder, memory, last = built("lstm", both=True)
    encoder = nn.Sequential(encoder, nn.Linear(12, 12).double()).eval()
    model, clip = FrameRecurrent(encoder, memory, last, "hidden"), random_clip()
    method = ContrastiveLRPTemporal(model, composite=Composite(input=None), contrastive=False)
    result = method.explain(clip, target=1)
    steps = model.frame_logits(clip).logits[:, :, 1].detach()
    assert_near(result.step_logits, steps)
    # Each end is read by one direction, which has then read all frames.
    assert (result.frame_matrix[:, [0, -1]].abs() > 1e-9).all()


def test_a_step_has_no_hidden_state():
    assert_refused(
        ModelError,
        'readout="hidden"',
        lambda: FrameRecurrent(
            None, lambda frame, memory: (frame, memory), nn.Linear(3, 2), "hidden"
        ),
    )
