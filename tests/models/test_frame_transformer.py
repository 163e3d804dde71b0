"""A transformer over the features of frames, against the same layers by hand."""

import itertools

import pytest
import torch
from torch import nn

from temporal_attr import ClipError, FrameTransformer, ModelError, OptionError, TemporalGradient
from tests.helpers.checks import assert_near, assert_near_by_spread, assert_refused
from tests.helpers.families import CLASSES, image_encoder
from tests.helpers.transformer_families import lively

pytestmark = pytest.mark.usefixtures("one_thread")

FEATURES = 24


def clip(frames=6):
    return torch.randn(2, frames, 3, 16, 16, generator=torch.Generator().manual_seed(7)).double()


def transformer(norm_first=False, batch_first=True, layers=2, activation="relu", norm=True):
    layer = nn.TransformerEncoderLayer(
        FEATURES, 2, 32, 0.0, activation, batch_first=batch_first, norm_first=norm_first
    )
    last = nn.LayerNorm(FEATURES) if norm else None
    return lively(nn.TransformerEncoder(layer, layers, last, enable_nested_tensor=False))


def linear():
    return lively(nn.Linear(FEATURES, CLASSES))


def mlp():
    return lively(
        nn.Sequential(
            nn.LayerNorm(FEATURES), nn.Linear(FEATURES, 9), nn.GELU(), nn.Linear(9, CLASSES)
        )
    )


class Attends(nn.Module):
    """A head that no split is known of."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(FEATURES, CLASSES)

    def forward(self, token):
        return self.linear(token * token.softmax(-1))


def by_hand(encoder, network, head, pool, positions=None, class_token=None, batch_first=True):
    def bare(clip):
        tokens = torch.stack([encoder(frame) for frame in clip.unbind(1)], 1)
        if class_token is not None:
            tokens = torch.cat([class_token.expand(len(tokens), 1, -1), tokens], 1)
        if isinstance(positions, nn.Module):
            tokens = positions(tokens)
        elif positions is not None:
            tokens = tokens + positions[: tokens.shape[1]]
        order = (0, 1, 2) if batch_first else (1, 0, 2)
        tokens = network(tokens.permute(order)).permute(order)
        read = {"mean": tokens.mean(1), "first": tokens[:, 0], "last": tokens[:, -1]}
        return head(read[pool])

    return bare


def check(wrapper, bare, exactness):
    wrapper.double()
    with torch.no_grad():
        logits, expected, steps = wrapper(clip()), bare(clip()), wrapper.frame_logits(clip())
    # The same layers; the fused ones of PyTorch and their parts differ in rounding.
    assert_near_by_spread(logits, expected, 1e-12)
    assert wrapper.exactness == exactness
    assert steps.logits.shape == (2, 6, CLASSES)
    assert (steps.logits[:, 0] - steps.logits[:, 1]).abs().max() > 1e-3 * steps.logits.std()
    if exactness != "none":
        assert_near_by_spread(steps.clip_logits(), expected, 1e-12)
    return steps


@pytest.mark.parametrize("pool", ["mean", "first", "last"])
@pytest.mark.parametrize(
    ("make", "of_mean"), [(linear, "linear"), (mlp, "frozen"), (Attends, "none")]
)
def test_forward_is_the_layers_by_hand_and_frames_add_up_to_it(pool, make, of_mean):
    parts = image_encoder().double(), transformer().double(), make().double().eval()
    wrapper = FrameTransformer(*parts, pool)
    steps = check(wrapper, by_hand(*parts, pool), of_mean if pool == "mean" else "linear")
    if pool != "mean" or of_mean != "frozen":
        tokens = parts[1](wrapper.features(clip()))
        assert_near(steps.logits, parts[2](tokens))
        assert steps.rest is None
    weights = {"mean": [1 / 6] * 6, "first": [1, 0, 0, 0, 0, 0], "last": [0, 0, 0, 0, 0, 1]}
    torch.testing.assert_close(steps.weights, torch.tensor(weights[pool]).double())


@pytest.mark.parametrize(
    ("norm_first", "batch_first", "activation"),
    [*itertools.product([False, True], [False, True], ["relu"]), (True, True, "gelu")],
)
@pytest.mark.parametrize("layers", [1, 3])
def test_what_a_class_token_reads_adds_up(norm_first, batch_first, activation, layers):
    encoder, head = image_encoder().double(), mlp().double()
    network = transformer(norm_first, batch_first, layers, activation).double()
    extra = nn.Parameter(torch.randn(7, FEATURES).double()), torch.randn(FEATURES).double()
    wrapper = FrameTransformer(encoder, network, head, "first", *extra)
    bare = by_hand(encoder, network, head, "first", *extra, batch_first=batch_first)
    steps = check(wrapper, bare, "frozen")
    assert steps.rest_share().shape == (2, CLASSES)


def test_a_class_token_reads_of_each_frame_what_one_linear_layer_says():
    # With queries of zeros the attention is uniform, and without norms and activations all is
    # linear: each frame contributes its value, over the number of tokens.
    layer = nn.TransformerEncoderLayer(4, 1, 4, 0.0, nn.Identity(), batch_first=True)
    network = lively(nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)).double()
    only = network.layers[0]
    only.norm1, only.norm2 = nn.Identity(), nn.Identity()
    with torch.no_grad():
        only.self_attn.in_proj_weight[:4], only.self_attn.in_proj_bias[:4] = 0, 0
    token = torch.randn(4).double()
    wrapper = FrameTransformer(None, network, None, "first", class_token=token)
    values = torch.randn(2, 3, 4).double()
    with torch.no_grad():
        steps = wrapper.frame_head(values)
        attention, after = only.self_attn, only.linear2.weight @ only.linear1.weight
        read = values @ attention.in_proj_weight[8:].T + attention.in_proj_bias[8:]
        written = read @ attention.out_proj.weight.T / 4
        added = steps.logits - steps.rest[:, None]
        assert_near(added, 3 * (written + written @ after.T))
        assert_near(steps.clip_logits(), wrapper.head(values))


def test_positions_may_be_a_module_or_a_tensor():
    class Places(nn.Module):
        def forward(self, tokens):
            return tokens * torch.linspace(1, 2, tokens.shape[1])[:, None]

    parts = image_encoder().double(), transformer().double(), linear().double()
    check(FrameTransformer(*parts, positions=Places()), by_hand(*parts, "mean", Places()), "linear")
    places = torch.randn(1, 9, FEATURES).double()
    wrapper = FrameTransformer(*parts, positions=places)
    check(wrapper, by_hand(*parts, "mean", places[0]), "linear")
    assert wrapper.float().positions.dtype == torch.float32


def test_gradients_of_a_batch_are_those_of_its_clips():
    token = nn.Parameter(torch.randn(FEATURES))
    wrapper = FrameTransformer(
        image_encoder(), transformer(), linear(), "first", class_token=token
    ).double()
    whole = TemporalGradient(wrapper).explain(clip(), target=2)
    for place in range(2):
        single = TemporalGradient(wrapper).explain(clip()[place : place + 1], target=2)
        assert_near(whole.attribution[place], single.attribution[0], 1e-11)
    framewise = TemporalGradient(wrapper, memory="framewise").attribute(clip(), target=2)
    assert_near(framewise, whole.attribution, 1e-11)


@pytest.mark.usefixtures("as_user")
def test_what_does_not_fit_is_named():
    parts = image_encoder(), transformer(), linear()
    wrapper = FrameTransformer(*parts, positions=torch.randn(4, FEATURES))
    assert_refused(ClipError, "at most 4 frames", wrapper, clip().float())
    assert_refused(
        OptionError, 'pool to be "mean", "first" or "last"', FrameTransformer, *parts, "x"
    )
    token = torch.zeros(FEATURES)
    for broken in ((parts[0], nn.Identity(), parts[2], "first"), (*parts, "mean")):
        assert_refused(
            ModelError, "a class token with pool=", FrameTransformer, *broken, class_token=token
        )
