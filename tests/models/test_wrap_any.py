"""`wrap` on networks of no known library: what it takes them for, and what their timesteps say."""

import pytest
import torch
from torch import nn

from temporal_attr import (
    ContrastiveLRPTemporal,
    FrameLogitsError,
    FrameRecurrent,
    LayerTimesteps,
    ModelError,
    OptionError,
    TemporalGradient,
    UnsupportedModelError,
    relevance,
    wrap,
)
from temporal_attr.models import layers
from tests.helpers import own_networks as own
from tests.helpers.checks import assert_near
from tests.helpers.families import vivid

CANONICAL = "batch time channel height width"
CHANNELS_FIRST = "batch channel time height width"


def clip_of(frames=6, side=16):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(2, frames, 3, side, side, generator=generator, dtype=torch.float64)


def made(kind, *shape):
    """A network in double precision whose outputs vary."""
    torch.manual_seed(0)
    return vivid(kind(), torch.randn(shape)).double()


CANONICAL_SHAPE, FIRST_SHAPE = (4, 6, 3, 16, 16), (4, 3, 6, 16, 16)
# The network, what a clip is to it, the layer that is found, its axis, the frames' encoder.
FOUND = {
    "two streams": (own.TwoStream, FIRST_SHAPE, "join", 2, None),
    "transformer": (own.CNNTransformer, CANONICAL_SHAPE, "transformer", 1, "cnn"),
    "dict": (own.ReturnsDict, CANONICAL_SHAPE, "fc", 1, "fc"),
    "softmax": (own.EndsInSoftmax, FIRST_SHAPE, "body", 2, None),
    "recurrent": (own.CNNLSTM, CANONICAL_SHAPE, "lstm", 1, "cnn"),
    "shifts": (own.ShiftsFrames, (4, 18, 16, 16), "fc", 0, "first"),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_is_found_of_a_network(name):
    kind, shape, layer, axis, encoder = FOUND[name]
    network, clip = made(kind, *shape), clip_of()
    model = wrap(network, clip=clip)
    timesteps = getattr(model, "timesteps", model)
    assert (timesteps.layer, timesteps.time_axis) == (layer, axis)
    assert (model.encoder if encoder else None) == encoder
    assert model.exactness == "linear"
    steps = model.frame_logits(clip)
    assert steps.logits.std() > 1e-3
    assert_near(steps.clip_logits(), model(clip), 1e-12)
    assert_near(model(clip), own.logits(network, clip), 1e-12)


def test_timesteps_are_what_each_says_by_itself():
    network, clip = made(own.TwoStream, *FIRST_SHAPE), clip_of()
    volume = clip.transpose(1, 2)
    change = torch.diff(volume, dim=2, prepend=volume[:, :, :1])
    joined = network.join(torch.cat([network.looks(volume), network.follows(change)], 1)).relu()
    expected = network.fc(joined.mean((3, 4)).transpose(1, 2))
    assert_near(wrap(network, clip=clip).frame_logits(clip).logits, expected, 1e-12)


def test_a_recurrent_network_is_what_the_wrapper_by_hand_is():
    network, clip = made(own.CNNLSTM, *CANONICAL_SHAPE), clip_of()
    by_hand = FrameRecurrent(network.cnn, network.lstm, network.fc)
    found = wrap(network, clip=clip, like=network)
    expected, given = (TemporalGradient(one).explain(clip, 1) for one in (by_hand, found))
    assert_near(given.attribution, expected.attribution, 1e-12)
    assert_near(given.influence, expected.influence, 1e-12)
    assert TemporalGradient(found, memory="framewise").explain(clip, 1).run.path == "framewise"
    rules = relevance.Composite(input=None)
    matrices = [
        ContrastiveLRPTemporal(one, rules).explain(clip, 1).matrix for one in (by_hand, found)
    ]
    assert_near(matrices[1], matrices[0], 1e-12)


def test_a_tail_that_is_no_sum_is_left_open():
    network, clip = made(own.NormBeforeTheHead, *FIRST_SHAPE), clip_of()
    model = wrap(network, clip=clip)
    assert_near(model(clip), network(clip.transpose(1, 2)), 1e-12)
    attribution = TemporalGradient(model).attribute(clip, 1)
    leaf = clip.clone().requires_grad_()
    network(leaf.transpose(1, 2))[:, 1].sum().backward()
    assert_near(attribution, leaf.grad, 1e-12)
    with pytest.raises(FrameLogitsError, match=r'wrap\(model, layer="body", layout="batch chan'):
        model.frame_logits(clip)
    assert "body    Sequential" in model.notes[1]


def test_a_named_layer_is_held_where_timesteps_do_not_add_up():
    network, clip = made(own.NormBeforeTheHead, *FIRST_SHAPE), clip_of()
    model = wrap(network, layer="body", clip=clip)
    assert (model.exactness, model.frames_per_step) == ("frozen", 1)
    steps = model.frame_logits(clip)
    assert_near(steps.clip_logits(), model(clip), 1e-12)
    assert (steps.rest_share() > 0).all()
    # The same split, by the parts of the head.
    pooled = network.body(clip.transpose(1, 2)).mean((3, 4)).transpose(1, 2)
    whole = pooled.mean(1)
    norm, first, gelu, last = network.head
    scale = (whole.var(-1, correction=0, keepdim=True) + norm.eps).rsqrt()
    centred = (pooled - pooled.mean(-1, keepdim=True)) * scale[:, None]
    hidden = first(centred * norm.weight + norm.bias)
    gate = gelu(first(norm(whole))) / first(norm(whole))
    assert_near(steps.logits, last(hidden * gate[:, None]), 1e-10)


def test_networks_without_timesteps_still_run():
    network, clip = made(own.ConvLSTM, *CANONICAL_SHAPE), clip_of()
    model = wrap(network, clip=clip)
    assert_near(model(clip), network(clip), 1e-12)
    with pytest.raises(FrameLogitsError, match="runs step by step"):
        model.frame_logits(clip)


def test_sizes_are_found_where_no_clip_is_given():
    network = made(own.CNNTransformer, *CANONICAL_SHAPE)
    assert wrap(network).timesteps.layer == "transformer"


def test_outputs_of_every_timestep():
    network = made(own.PerTimestep, *FIRST_SHAPE)
    model, clip = wrap(network), clip_of()
    expected = network(clip.transpose(1, 2))
    assert_near(model.frame_logits(clip).logits, expected, 1e-12)
    assert_near(model(clip), expected.mean(1), 1e-12)


@pytest.mark.parametrize(("kernel", "frames"), [(2, 8), (3, 8), (5, 8), (5, 6)])
def test_frames_a_timestep_where_convolutions_are_not_padded(kernel, frames):
    # 8 frames and a kernel of 5 make 4 timesteps, each a frame after the one before.
    network = vivid(own.Unpadded(kernel), torch.randn(4, 3, frames, 8, 8)).double()
    clip = clip_of(frames, 8)
    model = wrap(network, clip=clip)
    assert model.frames_per_step == 1
    rules = relevance.Composite(input=None)
    result = ContrastiveLRPTemporal(model, rules, contrastive=False).explain(clip, 1)
    steps = frames - kernel + 1
    reads = result.frame_matrix[0].abs() > 0
    expected = torch.stack([torch.arange(frames) - n for n in range(steps)])
    assert torch.equal(reads, (expected >= 0) & (expected < kernel))
    # Frames before the first and after the last timestep join these.
    assert_near(result.matrix.sum(2), result.frame_matrix.sum(2), 1e-12)
    middle = result.frame_matrix[0, 0, : (kernel - 1) // 2 + 1].sum()
    assert_near(result.matrix[0, 0, 0], middle, 1e-12)


@pytest.mark.parametrize("axis", ["classes first", "one number a frame"])
def test_outputs_of_every_timestep_in_other_orders(axis):
    network = made(own.PerTimestep, *FIRST_SHAPE)
    network.order = axis
    clip = clip_of()
    model = wrap(network, clip=clip)
    rows = network.fc(network.body(clip.transpose(1, 2)).relu().mean((3, 4)).transpose(1, 2))
    expected = rows if axis == "classes first" else rows[..., :1]
    assert_near(model.frame_logits(clip).logits, expected, 1e-12)


def test_functions_that_make_probabilities_are_seen():
    network = made(own.TwoStream, *FIRST_SHAPE)

    class Labels(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, video):
            return torch.sigmoid(self.network(video))

    model, clip = wrap(Labels().eval(), clip=clip_of()), clip_of()
    assert model.activation == "identity"
    found = TemporalGradient(model, "probability").attribute(clip, 1)
    leaf = clip.clone().requires_grad_()
    network(leaf.transpose(1, 2)).sigmoid()[:, 1].sum().backward()
    assert_near(found, leaf.grad, 1e-12)


def test_outputs_without_logits_say_how_to_name_them():
    network = made(own.ReturnsDict, *CANONICAL_SHAPE)
    network.key = "scores"
    with pytest.raises(
        UnsupportedModelError, match="which gives dict with scores, features"
    ) as caught:
        wrap(network, clip=clip_of())
    assert "ReducedOutput(network, lambda output: ...)" in caught.value.remedy


def test_contributions_are_called_so():
    network, clip = made(own.NormBeforeTheHead, *FIRST_SHAPE), clip_of()
    model = wrap(network, layer="body", clip=clip)
    said = "timesteps are contributions, not predictions"
    assert said in TemporalGradient(model).explain(clip, 1).summary()
    rules = relevance.Composite(input=None)
    assert said in ContrastiveLRPTemporal(model, rules).explain(clip, 1).summary()
    linear = wrap(made(own.TwoStream, *FIRST_SHAPE), clip=clip)
    assert said not in TemporalGradient(linear).explain(clip, 1).summary()


def test_layers_can_be_listed():
    network, clip = made(own.CNNTransformer, *CANONICAL_SHAPE), clip_of()
    table = layers(network, clip)
    assert (table.network, table.frames) == ("CNNTransformer", 6)
    # Feed-forward layers and norms take each token by itself.
    added = ["transformer.layers.1.norm1", "transformer"]
    assert [row.path for row in table if row.adds_up] == added
    assert [row.path for row in table if row.framewise] == ["cnn.0", "cnn.1", "cnn.2", "cnn"]
    assert (table["transformer"].reach, table["cnn"].time_axis) == (6, 0)


def test_what_cannot_be_said_of_a_wrapper():
    network, clip = made(own.TwoStream, *FIRST_SHAPE), clip_of()
    model = wrap(network, clip=clip)
    with pytest.raises(OptionError, match="expected layer with a model that is yet to be wrapped"):
        wrap(model, layer="join")
    with pytest.raises(OptionError, match="expected a clip to compare on"):
        wrap(model, like=network)
    other = made(own.TwoStream, *FIRST_SHAPE)
    with torch.no_grad():
        other.fc.weight.mul_(2)
    with pytest.raises(ModelError, match="logits that are up to"):
        wrap(model, clip=clip, like=other)
    with pytest.raises(ModelError, match="got 'looks'. Name one of those that can be: 'join'"):
        wrap(network, layer="looks", clip=clip)
    with pytest.raises(ModelError, match="expected a submodule 'layer4' of TwoStream"):
        wrap(network, layer="layer4", time_axis=2, layout=CHANNELS_FIRST, clip=clip)
    with pytest.raises(OptionError, match="expected layout over batch, time, channel"):
        wrap(network, layout="batch channel frames height width", clip=clip)


def test_nothing_of_the_network_is_changed():
    network, clip = made(own.TwoStream, *FIRST_SHAPE), clip_of()
    before = [(part, dict(vars(part))) for part in network.modules()]
    kept = clip.clone()
    wrap(network, clip=clip).frame_logits(clip)
    for part, held in before:
        assert vars(part) == held
    assert torch.equal(clip, kept)
    assert not any(weight.grad is not None for weight in network.parameters())


def test_a_layer_by_hand_is_the_one_that_is_found():
    network, clip = made(own.TwoStream, *FIRST_SHAPE), clip_of()
    by_hand = LayerTimesteps(network, "join", time_axis=2)
    found = wrap(network, clip=clip)
    assert torch.equal(by_hand.frame_logits(clip).logits, found.frame_logits(clip).logits)
    assert isinstance(found.model.fc, nn.Linear)
