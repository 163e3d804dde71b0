"""The shuffle probe: loops over orders by hand, models blind to order, and what is refused."""

import json
import math
from collections import Counter

import numpy as np
import pytest
import torch
from captum.attr import (
    Attribution,
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    LayerGradCam,
    NoiseTunnel,
    Saliency,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from temporal_attr import (
    LRP,
    ClipError,
    DataError,
    FrameRecurrent,
    LateFusion,
    ModelError,
    Normalization,
    OptionError,
    ShuffleProbe,
    ShuffleSet,
    TargetError,
    TemporalGradient,
)
from temporal_attr.clips import (
    BlockShuffle,
    FullShuffle,
    LocalShuffle,
    Reversal,
    count_orders,
    draw_orders,
    window_starts,
)
from temporal_attr.synthetic import TASKS
from temporal_attr.zoo import AttentionPooling, build_model
from tests.helpers.families import CLASSES, SMALL, family, image_encoder, vivid
from tests.helpers.methods import WIDE
from tests.references import shuffle as slow

# Shapes are checked at run time by the contract suite, and here in one test.
pytestmark = pytest.mark.usefixtures("one_thread", "as_user")

EPS = torch.finfo(torch.float64).eps
PIXELS = Normalization((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
NUMBERS = (
    "mrr",
    "relative_drop",
    "static_ratio",
    "median_log_ratio",
    "rising_share",
    "logit_drop",
    "probability_drop",
    "rank_correlation",
    "p_value",
    "logit_p_value",
)
TENSORS = (
    "logits",
    "ordered_scores",
    "shuffled_scores",
    "shuffled_logits",
    "ratios",
    "frame_ratios",
    "left_out",
    *NUMBERS,
)


def noise(*shape, dtype=torch.float64):
    return torch.randn(shape, dtype=torch.float64).to(dtype)


def zoo(name, frames=8, size=16, **options):
    """A small reference architecture in float64, whose outputs vary."""
    if name != "tubelet-transformer":
        options.setdefault("widths", (4, 8))
    if name in ("lstm", "gru", "input-cell-attention"):
        options.setdefault("hidden", 8)
    model = build_model(name, CLASSES, **options)
    vivid(model, torch.randn(6, frames, 3, size, size))
    return model.double()


def by_hand(model, clip, found, target, score=None, epsilon=EPS):
    """The reference of every clip of a batch, in the orders that were found."""
    predict = slow.logits_of(model)
    return [
        slow.probe(
            score(target[b]) if score else slow.gradient_scores(model, target[b]),
            predict,
            clip[b],
            found.permutations.tolist(),
            target[b],
            epsilon,
            None if found.flow is None else found.flow[b].tolist(),
        )
        for b in range(len(clip))
    ]


def near(name, found, values, rtol, atol):
    values = torch.as_tensor(values, dtype=torch.float64).numpy()
    assert tuple(found.shape) == values.shape, name
    np.testing.assert_allclose(found.double().numpy(), values, rtol=rtol, atol=atol, err_msg=name)


def assert_by_hand(found, expected, tolerance=1e-10, names=TENSORS):
    """All fields are those of the loops. Sums run in another order and in other batches, which
    costs some eps of 2e-16 a layer; a norm of many entries and a difference of correlations make
    that a little larger. Errors are relative, and for numbers about 0 they are those of the parts
    that they are the difference of, which are about 1."""
    for name in names:
        values = [getattr(one, name) for one in expected]
        near(name, getattr(found, name), values, tolerance, tolerance)
    if found.flow is not None:
        drops = [one.flow_correlation_drop for one in expected]
        near("flow_correlation_drop", found.flow_correlation_drop, drops, 0, tolerance)


# A family's bare model, or a zoo model itself, beside batch, frames, height, width, shuffles.
FRAMES_OF = {
    "late_fusion_mean": (2, 7),
    "late_fusion_last": (2, 5),
    "late_fusion_max": (3, 6),
    "late_fusion_module": (2, 9),
    "early_fusion": (2, 6),
    "conv3d_global": (2, 5),
    "conv3d_windows": (2, 7),
    "lstm_last": (3, 4),
    "lstm_two_layers": (1, 17),
    "lstm_time_first": (2, 6),
    "gru_mean": (2, 3),
    "gru_bidirectional": (2, 11),
    "rnn_last": (2, 6),
    "step_mean": (2, 8),
    "step_own_readout": (2, 6),
    "zoo_tam2d": (2, 12),
    "zoo_slowfast": (2, 8),
    "zoo_tubelets": (2, 6),
    "zoo_input_cell_attention": (2, 5),
    "layer_framewise": (2, 6),
    "layer_of_volume": (1, 7),
    "layer_frozen": (2, 6),
}
ZOO = {
    "lstm": (lambda: zoo("lstm"), (2, 7, 16, 20)),
    "gru, mean of timesteps": (lambda: zoo("gru", ensemble="all"), (2, 9, 16, 16)),
    "late fusion, last": (lambda: zoo("late-fusion", pooling="last"), (2, 4, 20, 16)),
    "late fusion, max": (lambda: zoo("late-fusion", pooling="max", grid=2), (2, 5, 16, 16)),
    "late fusion, attention": (lambda: zoo("late-fusion", pooling="attention"), (1, 10, 16, 16)),
    "late fusion, NetVLAD": (lambda: zoo("late-fusion", pooling="netvlad"), (2, 6, 16, 16)),
    "late fusion, pyramid": (lambda: zoo("late-fusion", pooling="pyramid"), (2, 8, 16, 16)),
    "temporal transformer": (
        lambda: zoo("temporal-transformer", frames=16, features=16, depth=1),
        (2, 16, 16, 16),
    ),
    "inflated": (lambda: zoo("inflated-resnet"), (3, 3, 16, 24)),
    "inflated, middle timestep": (lambda: zoo("inflated-resnet", ensemble=1), (1, 8, 16, 16)),
    "factorised": (lambda: zoo("factorised-resnet", widths=(4,)), (2, 5, 16, 16)),
    "tam2d": (lambda: zoo("tam2d", temporal_kernel=5), (1, 13, 16, 16)),
    "slowfast": (lambda: zoo("slowfast", frames=8), (2, 8, 16, 16)),
    "tubelets": (
        lambda: build_model(
            "tubelet-transformer", CLASSES, frames=8, size=16, features=16, depth=1
        ).double(),
        (2, 8, 16, 16),
    ),
}
TARGETS = [4, 0, 2]


def build_family(name):
    wrapped, bare = family(name).build()
    return wrapped.double(), bare


@pytest.mark.parametrize("name", [entry.name for entry in SMALL])
def test_families_are_as_by_hand(name):
    model, bare = build_family(name)
    clip, target = noise(*FRAMES_OF[name], 3, 16, 16), TARGETS[: FRAMES_OF[name][0]]
    probe = ShuffleProbe(model, shuffles=5, seed=3, normalization=PIXELS)
    found = probe.explain(clip, target=target)
    assert_by_hand(found, by_hand(bare, clip, found, target))


@pytest.mark.parametrize("name", ZOO)
def test_zoo_is_as_by_hand(name):
    build, (batch, frames, height, width) = ZOO[name]
    model = build()
    clip, target = noise(batch, frames, 3, height, width), TARGETS[:batch]
    found = ShuffleProbe(model, shuffles=5, seed=1).explain(clip, target=target)
    expected = by_hand(model, clip, found, target)
    assert_by_hand(found, expected)
    assert torch.equal(found.target, torch.tensor(target))


@pytest.mark.parametrize("name", ["gru", "late-fusion", "inflated-resnet", "tubelet-transformer"])
def test_probability_is_as_by_hand(name):
    options = {"frames": 6, "size": 16, "features": 16} if "tubelet" in name else {}
    model = build_model(name, CLASSES, depth=1, **options).double() if options else zoo(name)
    clip, target = noise(2, 6, 3, 16, 16), [1, 3]
    method = TemporalGradient(model, "probability")
    found = ShuffleProbe(method, shuffles=6).explain(clip, target=target)
    expected = by_hand(
        model, clip, found, target, lambda c: slow.gradient_scores(model, c, "probability")
    )
    # A probability's gradient is a sum of cancelling gradients of logits.
    assert_by_hand(found, expected)
    assert not torch.allclose(
        found.ordered_scores, ShuffleProbe(model).explain(clip, target=target).ordered_scores
    )


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("lstm", 65),
        ("gru", 64),
        ("gru", 119),
        ("late-fusion", 119),
        ("temporal-transformer", 70),
        ("tam2d", 65),
        ("early-fusion", 70),
    ],
)
def test_more_shuffles_than_a_group_of_heads(name, count):
    options = {"frames": 5} if name == "early-fusion" else {}
    model = build_model(name, CLASSES, widths=(4, 8), **options)
    vivid(model, torch.randn(4, 5, 3, 12, 12)).double()
    clip = noise(2, 5, 3, 12, 12)
    found = ShuffleProbe(model, shuffles=count, seed=count).explain(clip, target=[1, 2])
    # The loops take long: the last clip.
    last = type(found)(**only(found, 1))
    assert_by_hand(last, by_hand(model, clip[1:], last, [2]))


def only(found, example):
    """The tensors of one clip of a result."""
    batched = {*TENSORS, "target", "flow", "flow_correlation_drop"}
    kept = dict(vars(found))
    for name in batched:
        if kept[name] is not None:
            kept[name] = kept[name][example : example + 1]
    return kept


@pytest.mark.parametrize(
    "name", ["gru_mean", "late_fusion_max", "late_fusion_module", "conv3d_windows", "zoo_slowfast"]
)
def test_chunks_change_nothing(name):
    model, bare = build_family(name)
    clip, target = noise(2, 6, 3, 16, 16), [3, 1]
    for chunk in (1, 5, 64):
        probe = ShuffleProbe(model, shuffles=7, chunk_size=chunk)
        found = probe.explain(clip, target=target, flow=None)
        assert_by_hand(found, by_hand(bare, clip, found, target))
        attribution = probe.attribute(clip, target=target)
        np.testing.assert_allclose(attribution, found.frame_ratios, rtol=1e-12)


@pytest.mark.usefixtures("shapes_checked")
@pytest.mark.parametrize("name", ["lstm_last", "conv3d_global"])
def test_named_axes_hold(name):
    model, bare = build_family(name)
    clip, target = noise(2, 6, 3, 16, 16), [3, 1]
    probe = ShuffleProbe(model, shuffles=4, normalization=PIXELS, segment=4)
    found = probe.explain(clip, target=target, segments=True)
    assert_by_hand(found, by_hand(bare, clip, found, target))
    assert probe.attribute(clip, target=target).shape == (2, 6)
    assert probe.curve(clip, target=target).values["mrr"].shape == (2, 2)


@pytest.mark.parametrize("frames", [3, 4, 5, 7, 17])
@pytest.mark.parametrize(
    "shuffling", [Reversal(), BlockShuffle(2), LocalShuffle(1), FullShuffle()], ids=str
)
def test_every_family_of_orders_and_length(shuffling, frames):
    model = zoo("tam2d", frames=6)
    clip = noise(1, frames, 3, 12, 16)
    count = min(6, count_orders(shuffling, frames, limit=6))
    probe = ShuffleProbe(model, shuffles=count, shuffling=shuffling, seed=2)
    found = probe.explain(clip, target=2, flow=None)
    assert torch.equal(found.permutations, draw_orders(shuffling, frames, count, seed=2))
    assert_by_hand(found, by_hand(model, clip, found, [2]))


@pytest.mark.parametrize("name", ["lstm", "late-fusion", "inflated-resnet", "tam2d"])
def test_single_precision_is_double_to_its_digits(name):
    model = zoo(name, pooling="attention") if name == "late-fusion" else zoo(name)
    clip, target = noise(2, 8, 3, 16, 16, dtype=torch.float32), [0, 4]
    double = ShuffleProbe(model).explain(clip.double(), target=target)
    single = ShuffleProbe(model.float()).explain(clip, target=target)
    assert torch.equal(single.permutations, double.permutations)
    # About ten layers of sums over some hundred entries, each to 6e-8 and its error at random: 1e-5
    # of the largest score, and a ratio's error is relative to its own frame's.
    scores = double.ordered_scores
    scale = scores.max() / scores.min()
    for field in ("ordered_scores", "shuffled_scores", "shuffled_logits", "logits"):
        expected = getattr(double, field)
        atol = 1e-5 * expected.abs().max().item()
        np.testing.assert_allclose(getattr(single, field), expected, rtol=0, atol=atol)
    for field in ("ratios", "frame_ratios", "mrr", "median_log_ratio", "static_ratio"):
        expected = getattr(double, field)
        atol = 1e-5 * scale.item() * max(expected.max().item(), 1)
        np.testing.assert_allclose(getattr(single, field), expected, rtol=0, atol=atol)
    for field in ("logit_drop", "probability_drop"):
        np.testing.assert_allclose(getattr(single, field), getattr(double, field), atol=1e-4)
    assert single.ratios.dtype == torch.float32


class DoubledFeatures(nn.Module):
    """An encoder whose features are there twice, the second time a little changed."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, frames):
        features = self.encoder(frames)
        return torch.cat([features, features + 1e-4 * torch.tanh(features.flip(1))], 1)


@torch.no_grad()
def cancelling(head):
    """A framewise model that reads the difference of its doubled features."""
    encoder = DoubledFeatures(image_encoder())
    if head == "lstm":
        memory, linear = nn.LSTM(48, 7, batch_first=True).eval(), nn.Linear(7, CLASSES).eval()
        memory.weight_ih_l0[:, 24:] = -memory.weight_ih_l0[:, :24]
        return FrameRecurrent(encoder, memory, linear, "last").eval()
    linear = nn.Linear(48, CLASSES).eval()
    linear.weight[:, 24:] = -linear.weight[:, :24]
    return LateFusion(encoder, linear, head).eval()


@pytest.mark.parametrize("head", ["mean", "max", "lstm"])
def test_single_precision_where_features_cancel(head):
    """The gradients through the two copies cancel to 1e-4 of themselves. A backward pass adds the
    copies before it squares anything, so it keeps the digits of single precision."""
    model, clip = cancelling(head), noise(2, 6, 3, 16, 16, dtype=torch.float32)
    single = ShuffleProbe(model, shuffles=20).explain(clip, target=[1, 2], flow=None)
    expected = by_hand(model.double(), clip.double(), single, [1, 2])
    for name in ("ordered_scores", "shuffled_scores"):
        # The loop over orders in single precision is right to 4e-7.
        near(name, getattr(single, name), [getattr(one, name) for one in expected], 1e-5, 0)


@pytest.mark.parametrize("name", ["gru", "tam2d"])
def test_threshold_of_a_rise_follows_the_precision(name):
    model = zoo(name).float()
    clip = noise(2, 6, 3, 16, 16, dtype=torch.float32)
    found = ShuffleProbe(model, shuffles=40).explain(clip, target=1)
    threshold = 1 + math.sqrt(torch.finfo(torch.float32).eps)
    expected = (found.ratios.double() > threshold).double().mean((1, 2))
    np.testing.assert_allclose(found.rising_share, expected, atol=1e-6)


# The flow.


@pytest.mark.parametrize("size", [(16, 16), (24, 32), (17, 21)])
def test_flow_is_that_of_the_pixels(size):
    model = zoo("tam2d")
    normalization = model.normalization
    video = TASKS["motion"](frames=6, size=size, noise=2.0).sample(3)
    clip = video.clip(model.preprocessing).tensor.double()
    found = ShuffleProbe(model, shuffles=3).explain(clip, target=1)
    expected = slow.farneback(clip[0], normalization.mean, normalization.std)
    # Magnitudes are single precision.
    near("flow", found.flow, [expected], 1e-5, 1e-7)
    assert_by_hand(found, by_hand(model, clip, found, [1]))
    one = slow.probe(
        slow.gradient_scores(model, 1),
        slow.logits_of(model),
        clip[0],
        found.permutations,
        1,
        EPS,
        expected,
    )
    near("fcd", found.flow_correlation_drop, [one.flow_correlation_drop], 0, 1e-5)


def test_flow_takes_the_normalization_that_is_given():
    model, _ = build_family("conv3d_global")
    pixels = torch.from_numpy(TASKS["motion"](frames=5, size=16).sample(0).frames).double() / 255
    pixels = pixels.permute(0, 3, 1, 2)
    clip = PIXELS.apply(pixels)[None]
    found = ShuffleProbe(model, shuffles=3, normalization=PIXELS).explain(clip, target=1)
    expected = slow.farneback(clip[0], PIXELS.mean, PIXELS.std)
    near("flow", found.flow, [expected], 1e-5, 1e-7)
    dis = ShuffleProbe(model, shuffles=3, normalization=PIXELS).explain(clip, 1, flow="dis")
    assert dis.flow.shape == (1, 4)
    assert not torch.equal(dis.flow, found.flow)
    without = ShuffleProbe(model, shuffles=3, normalization=PIXELS).explain(clip, 1, flow=None)
    assert without.flow is None
    assert without.flow_correlation_drop.isnan().all()


def test_no_correlation_with_a_flow_that_does_not_vary():
    model = zoo("tam2d")
    still = noise(1, 1, 3, 16, 16).expand(1, 6, 3, 16, 16)
    found = ShuffleProbe(model, shuffles=4).explain(still, target=1, flow="dis")
    assert found.flow_correlation_drop.isnan().all()
    assert any("flow" in note for note in found.notes[0])


# Alignment.


class Given(Attribution):
    """A method whose attribution is a function of the clip alone."""

    def __init__(self, forward_func, rule):
        super().__init__(forward_func)
        self.rule = rule

    def attribute(self, inputs, target=None, additional_forward_args=None):
        return self.rule(inputs)


def simple(clip):
    """Logits of a clip: the brightness of channels, and of all."""
    channels = clip.mean((1, 3, 4))
    return torch.cat([channels, channels.sum(1, keepdim=True)], 1)


def numbered(batch, frames, size=4, dtype=torch.float64):
    """Clips whose frame t holds t + 1 everywhere."""
    values = torch.arange(1, frames + 1, dtype=dtype)
    return values[None, :, None, None, None].expand(batch, frames, 3, size, size).contiguous()


def places(clip):
    return numbered(*clip.shape[:2], clip.shape[-1], clip.dtype)


FAMILIES = [FullShuffle(), Reversal(), BlockShuffle(2), BlockShuffle(3), LocalShuffle(1)]
FAMILIES += [LocalShuffle(2)]


@pytest.mark.parametrize("frames", [4, 7, 11])
@pytest.mark.parametrize("shuffling", FAMILIES, ids=str)
def test_a_frame_is_followed_wherever_it_stands(shuffling, frames):
    method = Given(simple, lambda clip: clip)
    count = min(8, count_orders(shuffling, frames, limit=8))
    probe = ShuffleProbe(method, shuffles=count, shuffling=shuffling, reduction="max", chunk_size=1)
    found = probe.explain(numbered(2, frames), target=0, flow=None)
    assert torch.equal(found.ratios, torch.ones(2, count, frames, dtype=torch.float64))
    assert torch.equal(found.shuffled_scores[:, 0], found.ordered_scores)
    assert (found.permutations != torch.arange(frames)).any(1).all()
    assert (found.p_value == 1).all()
    assert (found.mrr == 1).all()
    assert (found.median_log_ratio == 0).all()


@pytest.mark.parametrize("frames", [4, 7, 11])
@pytest.mark.parametrize("shuffling", FAMILIES, ids=str)
@pytest.mark.parametrize("chunk", [1, None])
def test_a_place_is_not_the_frame(shuffling, frames, chunk):
    method = Given(simple, places)
    count = min(8, count_orders(shuffling, frames, limit=8))
    probe = ShuffleProbe(
        method, shuffles=count, shuffling=shuffling, reduction="max", chunk_size=chunk
    )
    found = probe.explain(numbered(2, frames), target=0, flow=None)
    expected = torch.zeros(count, frames, dtype=torch.float64)
    for row, order in enumerate(found.permutations.tolist()):
        for place, frame in enumerate(order):
            expected[row, frame] = (place + 1) / (frame + 1)
    assert torch.equal(found.ratios, expected.expand(2, count, frames))
    # The mean of the places is the same in any order.
    assert (found.p_value == 1).all()


@pytest.mark.parametrize(
    ("reduction", "factor"),
    [
        ("l2", math.sqrt(48)),
        ("l1", 48.0),
        ("max", 1.0),
        (lambda attribution: attribution.abs().sum((2, 3, 4)), 48.0),
        (lambda attribution: attribution[:, :, 0, 0, 0].abs(), 1.0),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_reductions(reduction, factor, sign):
    method = Given(simple, lambda clip: sign * clip)
    found = ShuffleProbe(method, shuffles=4, reduction=reduction).explain(
        numbered(1, 5), 0, flow=None
    )
    expected = factor * torch.arange(1, 6, dtype=torch.float64)
    np.testing.assert_allclose(found.ordered_scores[0], expected, rtol=1e-14)
    np.testing.assert_allclose(found.ratios, 1, rtol=1e-14)


def test_an_attribution_of_frames_is_taken_as_its_magnitude():
    method = Given(simple, lambda clip: -clip[:, :, 0, 0, 0])
    found = ShuffleProbe(method, shuffles=4).explain(numbered(2, 5), 0, flow=None)
    assert torch.equal(found.ordered_scores[1], torch.arange(1, 6, dtype=torch.float64))
    assert (found.ratios == 1).all()


def test_frames_without_a_score_have_no_ratio():
    """Frame 0 scores nothing, frame 1 rounding, in order; elsewhere they may."""
    scores = torch.tensor([0.0, 3.0 * EPS, 5.0 * EPS, 3.0, 4.0, 1.0], dtype=torch.float64)

    def rule(clip):
        natural = (clip == numbered(*clip.shape[:2])).flatten(1).all(1)
        return torch.where(natural[:, None], scores, torch.full_like(scores, 2.0))

    probe = ShuffleProbe(Given(simple, rule), shuffles=5)
    found = probe.explain(numbered(2, 6), 0, flow=None)
    assert found.left_out.tolist() == [2, 2]
    assert found.ratios[..., :2].isnan().all()
    assert found.frame_ratios[:, :2].isnan().all()
    expected = (2 / scores[2:]).expand(2, 5, 4)
    assert torch.equal(found.ratios[..., 2:], expected)
    # Four ratios, 2 / (5 eps), 2 / 3, 2 / 4 and 2: the middle two are 2 / 3 and 2.
    np.testing.assert_allclose(found.mrr, (2 / 3 + 2) / 2, rtol=1e-15)
    assert found.rising_share.tolist() == [0.5, 0.5]
    np.testing.assert_allclose(found.median_log_ratio, math.log(2), rtol=1e-15)
    assert all(notes for notes in found.notes)


def test_ratios_of_zero_are_as_far_as_can_be():
    """A model that reads its last frame only: of 4 orders, one or none keeps that in place."""
    model, bare = build_family("late_fusion_last")
    clip = noise(2, 4, 3, 16, 16)
    found = ShuffleProbe(model, shuffles=4).explain(clip, 1, flow=None)
    assert_by_hand(found, by_hand(bare, clip, found, [1, 1]))
    assert found.left_out.tolist() == [3, 3]
    assert found.ratios[..., :3].isnan().all()
    kept = found.permutations[:, 3] == 3
    np.testing.assert_allclose(found.ratios[0, :, 3], kept.double(), rtol=0, atol=64 * EPS)
    # Of 4 ratios 3 or more are 0.
    assert kept.sum() <= 1
    np.testing.assert_allclose(found.median_log_ratio, -math.log(EPS), rtol=1e-14)
    assert (found.mrr == 0).all()
    json.dumps(found.to_dict(), allow_nan=False)
    assert isinstance(found.summary(), str)


def test_no_score_at_all():
    method = Given(simple, torch.zeros_like)
    found = ShuffleProbe(method, shuffles=3).explain(numbered(1, 5), 0, flow=None)
    assert found.left_out.tolist() == [5]
    for name in ("ratios", "frame_ratios", "mrr", "relative_drop", "median_log_ratio"):
        assert getattr(found, name).isnan().all(), name
    assert found.static_ratio.isnan().all()
    assert found.rising_share.isnan().all()
    json.dumps(found.to_dict(), allow_nan=False)
    assert isinstance(found.summary(), str)


# Models that are blind to order.

BLIND = {
    "mean": {},
    "max": {},
    "attention": {},
    "netvlad": {"pooling_options": {"centres": 3}},
}


def planted(name, model, frames, dtype):
    """Three planted videos as the model sees them."""
    task = TASKS[name](frames=frames, size=16)
    clips = [task.sample(index).clip(model.preprocessing).tensor for index in range(3)]
    return torch.cat(clips).to(dtype)


def blind_clips(source, model, dtype, frames=9):
    if source == "noise":
        return noise(3, frames, 3, 16, 16, dtype=dtype)
    if source == "still":
        return noise(3, 1, 3, 16, 16, dtype=dtype).expand(3, frames, 3, 16, 16)
    return planted(source, model, frames, dtype)


SOURCES = ["noise", "motion", "order", "keyframe", "still"]
on_both_precisions = pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32], ids=["double", "single"]
)


@on_both_precisions
@pytest.mark.parametrize(
    ("pooling", "source"),
    # Of equal frames a maximum takes one, and which one depends on the order; see below.
    [(p, s) for p in BLIND for s in SOURCES if (p, s) != ("max", "still")],
)
def test_blind_models_have_ratios_of_one(pooling, source, dtype):
    model = zoo("late-fusion", pooling=pooling, **BLIND[pooling]).to(dtype)
    clip = blind_clips(source, model, dtype)
    found = ShuffleProbe(model).explain(clip, target=[0, 1, 2], flow=None)
    # A frame's features are the same in any order. What is left is a sum over frames in another
    # order, and the backward pass from it, of some ten sums: each to an eps of its own.
    tolerance = 64 * torch.finfo(dtype).eps
    assert (found.ordered_scores > 0).any(1).all()
    assert torch.equal(found.left_out, (found.ordered_scores == 0).sum(1))
    ratios = found.ratios[~found.ratios.isnan()]
    np.testing.assert_allclose(ratios, 1, rtol=0, atol=tolerance)
    np.testing.assert_allclose(found.mrr, 1, rtol=0, atol=tolerance)
    np.testing.assert_allclose(found.median_log_ratio, 0, rtol=0, atol=tolerance)
    assert (found.rising_share == 0).all()
    assert (found.p_value == 1).all()
    assert (found.logit_p_value == 1).all()
    scale = found.logits.abs().max().item()
    np.testing.assert_allclose(found.logit_drop, 0, rtol=0, atol=scale * tolerance)
    np.testing.assert_allclose(found.probability_drop, 0, rtol=0, atol=tolerance)
    for name in ("mrr", "median_log_ratio", "rising_share"):
        ends = found.intervals[name]
        expected = getattr(found, name)[:, None].expand(3, 2)
        np.testing.assert_allclose(ends, expected, rtol=0, atol=tolerance)


@on_both_precisions
@pytest.mark.parametrize("pooling", ["mean", "max"])
@pytest.mark.parametrize("source", ["noise", "keyframe"])
def test_the_mean_and_the_maximum_are_blind_exactly(pooling, source, dtype):
    """Nothing at all differs: the gradient at a feature is the same number in any order, for all
    frames or for the winner, and the loop over orders finds ratios of exactly 1."""
    model = zoo("late-fusion", pooling=pooling).to(dtype)
    clip = blind_clips(source, model, dtype)
    found = ShuffleProbe(model).explain(clip, target=[0, 1, 2], flow=None)
    ratios = found.ratios[~found.ratios.isnan()]
    assert torch.equal(ratios, torch.ones_like(ratios))
    assert torch.equal(found.mrr, torch.ones_like(found.mrr))
    assert torch.equal(found.median_log_ratio, torch.zeros_like(found.mrr))
    assert torch.equal(found.intervals["mrr"], torch.ones_like(found.intervals["mrr"]))


def test_a_maximum_over_equal_frames_takes_one_of_them():
    """The first, as torch does: its gradient is not blind to the order of equal frames."""
    model = zoo("late-fusion", pooling="max")
    frames = noise(2, 2, 3, 16, 16)
    clip = frames[:, [0, 1, 0, 1, 0]]
    found = ShuffleProbe(model, shuffles=9).explain(clip, target=[1, 2], flow=None)
    assert_by_hand(found, by_hand(model, clip, found, [1, 2]))
    assert found.left_out.tolist() == [3, 3]


@pytest.mark.parametrize("name", ["pyramid", "inflated-resnet", "slowfast", "lstm"])
def test_others_see_order(name):
    model = zoo("late-fusion", pooling="pyramid") if name == "pyramid" else zoo(name)
    found = ShuffleProbe(model).explain(noise(2, 8, 3, 16, 16), target=1)
    assert (found.median_log_ratio > 0.01).all()
    assert ((found.ratios - 1).abs() > 1e-6).any(-1).all()
    assert (found.rank_correlation < 1).all()


class Late(AttentionPooling):
    """Attention that does not look, and then weighs late frames more."""

    def forward(self, features):
        weights = torch.arange(1, features.shape[1] + 1, dtype=features.dtype)
        return super().forward(features * weights[:, None])


class FirstFrames(LateFusion):
    """A mean over frames, the first of them counted twice."""

    def head(self, features):
        return super().head(torch.cat([features[:, :1], features], 1))


def seen_through(kind):
    """Models that look like blind ones and are not, in float64."""
    encoder, linear = image_encoder(), nn.Linear(24, CLASSES).eval()
    late = torch.tensor([1.0, 0.1, 2.0, 0.5, 0.2, 3.0], dtype=torch.float64)[:, None]
    if kind == "subclass of a pooling":
        return LateFusion(encoder, linear, Late(24)).eval().double()
    if kind == "subclass of the model":
        return FirstFrames(encoder, linear, "mean").eval().double()
    model = LateFusion(encoder, linear, AttentionPooling(24)).eval().double()
    pooling = next(part for part in model.modules() if isinstance(part, AttentionPooling))
    if kind == "hook":
        pooling.register_forward_pre_hook(lambda _, inputs: (inputs[0] * late,))
    elif kind == "hook of a part":
        for part in pooling.children():
            part.register_forward_hook(lambda _, __, output: output * late)
    elif kind == "forward of its own":
        kept = pooling.forward
        pooling.forward = lambda features: kept(features * late)
    elif kind == "head of its own":
        plain = model.head
        model.head = lambda features: plain(features * late)
    return model


@pytest.mark.parametrize(
    "kind",
    [
        "subclass of a pooling",
        "subclass of the model",
        "hook",
        "hook of a part",
        "forward of its own",
        "head of its own",
    ],
)
def test_a_model_that_only_looks_blind(kind):
    model = seen_through(kind)
    clip = noise(2, 6, 3, 16, 16)
    found = ShuffleProbe(model, shuffles=5).explain(clip, target=[1, 2], flow=None)
    assert_by_hand(found, by_hand(model, clip, found, [1, 2]))
    assert ((found.ratios - 1).abs().amax((1, 2)) > 1e-3).all()


@pytest.mark.parametrize("aggregation", ["mean", "max", "attention"])
def test_blind_models_with_a_curved_head(aggregation):
    pooling = AttentionPooling(24) if aggregation == "attention" else aggregation
    head = nn.Sequential(nn.Linear(24, 8), nn.Tanh(), nn.Linear(8, CLASSES))
    model = LateFusion(image_encoder(), head, pooling).eval().double()
    clip = noise(2, 6, 3, 16, 16)
    found = ShuffleProbe(model, shuffles=5).explain(clip, target=[1, 2], flow=None)
    assert_by_hand(found, by_hand(model, clip, found, [1, 2]))


# Other methods.


class FewSteps(IntegratedGradients):
    """Integrated gradients in five steps."""

    def attribute(self, inputs, target=None, additional_forward_args=None):
        return super().attribute(
            inputs, target=target, additional_forward_args=additional_forward_args, n_steps=5
        )


class Shap(GradientShap):
    """GradientShap against black."""

    def attribute(self, inputs, target=None, additional_forward_args=None):
        return super().attribute(
            inputs,
            torch.zeros_like(inputs),
            target=target,
            additional_forward_args=additional_forward_args,
        )


METHODS = {
    "saliency": Saliency,
    "input times gradient": InputXGradient,
    "integrated gradients": FewSteps,
    "lrp": lambda model: LRP(model, WIDE),
    "temporal gradient of the loss": lambda model: TemporalGradient(model, "loss"),
    "log probability": lambda model: TemporalGradient(model, "log_probability"),
}


@pytest.mark.parametrize(
    ("name", "kind", "norm"),
    [
        # The loops take long with relevance, and longest through a memory.
        *((name, "conv3d_global", "l2") for name in METHODS),
        *((name, "gru_mean", "l2") for name in METHODS if name != "lrp"),
        ("saliency", "gru_mean", "l1"),
        ("saliency", "conv3d_global", "max"),
        ("integrated gradients", "gru_mean", "max"),
    ],
)
def test_methods_are_as_by_hand(name, kind, norm):
    model, bare = build_family(kind)
    clip, target = noise(2, 5, 3, 16, 16).clamp(-9, 9), [1, 3]
    method = METHODS[name](model)
    probe = ShuffleProbe(method, shuffles=4, reduction=norm, chunk_size=None if norm == "l1" else 1)
    found = probe.explain(clip, target=target, flow=None)

    def score(target):
        inner = slow.method_scores(method, target, norm)
        return lambda frames: inner(frames.clone().requires_grad_())

    # Batched and single runs of these methods differ by some eps, which relevance makes larger
    # where parts cancel.
    assert_by_hand(found, by_hand(bare, clip, found, target, score), 1e-9)
    assert (found.median_log_ratio > 1e-3).all()


def test_the_name_of_what_scored():
    model, _ = build_family("gru_mean")
    clip = noise(1, 4, 3, 16, 16)
    names = {
        name: ShuffleProbe(build(model), shuffles=2).explain(clip, 1, flow=None).scored_by
        for name, build in METHODS.items()
    }
    assert all(names.values())
    assert "Saliency" in names["saliency"]
    assert "gradient of the log_probability" in names["log probability"]
    assert len(set(names.values())) >= 5


@pytest.mark.parametrize("build", [Shap, lambda model: NoiseTunnel(Saliency(model))])
def test_random_methods_are_noted(build):
    model, _ = build_family("gru_mean")
    clip = noise(2, 4, 3, 16, 16)
    found = ShuffleProbe(build(model), shuffles=3).explain(clip, 1, flow=None)
    assert all(any("random" in note for note in notes) for notes in found.notes)
    steady = ShuffleProbe(Saliency(model), shuffles=3).explain(clip, 1, flow=None)
    assert not any("random" in note for notes in steady.notes for note in notes)


def test_a_function_and_what_it_takes_beside_the_clip():
    network = zoo("tam2d")

    def scaled(clip, gain, power=1.0):
        return network(clip * gain[:, None, None, None]) ** power

    clip, gain = noise(3, 5, 3, 16, 16), torch.tensor([[0.5], [1.0], [2.0]], dtype=torch.float64)
    probe = ShuffleProbe(scaled, shuffles=4)
    found = probe.explain(clip, [0, 1, 2], (gain, 3), flow=None)
    for example in range(3):

        def one(frames, gain=gain[example]):
            return network(frames * gain) ** 3

        single = slow.probe(
            slow.gradient_scores(one, example),
            slow.logits_of(one),
            clip[example],
            found.permutations,
            example,
            EPS,
        )
        for name in TENSORS:
            near(name, getattr(found, name)[example], getattr(single, name), 1e-9, 1e-9)
    attribution = probe.attribute(clip, [0, 1, 2], (gain, 3))
    np.testing.assert_allclose(attribution, found.frame_ratios, rtol=1e-12)


# What attribute gives.


@pytest.mark.parametrize("name", ["lstm_last", "late_fusion_max", "conv3d_global"])
def test_attribute_is_the_median_of_each_frame(name):
    model, bare = build_family(name)
    clip = noise(2, 6, 3, 16, 16)
    for count in (4, 5):
        probe = ShuffleProbe(model, shuffles=count, seed=5)
        ratios = probe.attribute(clip, target=[1, 2])
        found = probe.explain(clip, target=[1, 2], flow=None)
        assert torch.equal(ratios, found.frame_ratios)
        expected = by_hand(bare, clip, found, [1, 2])
        near("ratios", ratios, [one.frame_ratios for one in expected], 1e-10, 0)
        (inside,) = probe.attribute((clip,), target=[1, 2])
        assert torch.equal(inside, ratios)


def test_targets_in_all_forms():
    model, _ = build_family("gru_mean")
    clip = noise(3, 4, 3, 16, 16)
    probe = ShuffleProbe(model, shuffles=3)
    expected = probe.attribute(clip, target=[2, 2, 2])
    for target in (2, torch.tensor([2, 2, 2]), [(2,), (2,), (2,)], torch.tensor(2)):
        assert torch.equal(probe.attribute(clip, target=target), expected)
    mixed = probe.attribute(clip, target=[0, 2, 4])
    # One clip at a time goes through other kernels.
    np.testing.assert_allclose(mixed[1], expected[1], rtol=1e-12)
    assert not torch.allclose(mixed[0], expected[0])


# Curves.


def test_curve_is_the_same_numbers_per_shuffling():
    model = zoo("lstm")
    clip, target = noise(2, 8, 3, 16, 16), [1, 4]
    shufflings = [BlockShuffle(length) for length in (1, 2, 3, 4)]
    probe = ShuffleProbe(model, shuffles=6, seed=9)
    curve = probe.curve(clip, target=target, shufflings=shufflings)
    assert curve.lengths == (1, 2, 3, 4)
    assert curve.kind == "block length"
    assert curve.orders == (6, 6, 5, 1)
    assert {"mrr", "relative_drop", "median_log_ratio", "probability_drop"} <= set(curve.values)
    for place, shuffling in enumerate(shufflings):
        count = min(6, count_orders(shuffling, 8, limit=6))
        single = ShuffleProbe(model, shuffles=count, seed=9, shuffling=shuffling)
        found = single.explain(clip, target=target, flow=None)
        assert torch.equal(found.permutations, draw_orders(shuffling, 8, count, 9))
        expected = by_hand(model, clip, found, target)
        for name, values in curve.values.items():
            assert values.shape == (2, 4)
            near(name, values[:, place], [getattr(e, name) for e in expected], 1e-10, 1e-10)
        for name, ends in curve.intervals.items():
            assert ends.shape == (2, 4, 2)
            np.testing.assert_allclose(ends[:, place], found.intervals[name], rtol=1e-9, atol=1e-9)
    json.dumps(curve.to_dict(), allow_nan=False)


@pytest.mark.parametrize("frames", [3, 4, 9, 16])
def test_curve_over_radii_and_by_default(frames):
    model = zoo("tam2d")
    clip = noise(1, frames, 3, 12, 12)
    probe = ShuffleProbe(model, shuffles=4)
    radii = [radius for radius in (1, 2, 5) if radius < frames]
    curve = probe.curve(clip, target=1, shufflings=[LocalShuffle(radius) for radius in radii])
    assert curve.kind == "radius"
    assert curve.lengths == tuple(radii)
    assert curve.orders == tuple(count_orders(LocalShuffle(r), frames, limit=4) for r in radii)
    default = probe.curve(clip, target=1)
    lengths = [length for length in (1, 2, 4, 8) if length <= frames / 3]
    assert default.lengths == tuple(lengths)
    assert default.kind == "block length"
    one = ShuffleProbe(model, shuffles=4, shuffling=BlockShuffle(1)).explain(clip, 1, flow=None)
    np.testing.assert_allclose(default.values["mrr"][:, 0], one.mrr, rtol=1e-12)


class Pairs(nn.Module):
    """Reads frames 0 and 1, 2 and 3, ... together, and the pairs alike."""

    def __init__(self):
        super().__init__()
        self.look = nn.Conv3d(3, 6, (2, 3, 3), stride=(2, 2, 2))
        self.fc = nn.Linear(6, CLASSES)

    def forward(self, clip):
        return self.fc(torch.tanh(self.look(clip.transpose(1, 2))).mean((2, 3, 4)))


def test_a_curve_returns_at_the_range_of_the_model():
    model = Pairs().double().eval()
    clip = noise(2, 8, 3, 12, 12)
    probe = ShuffleProbe(model, shuffles=10)
    curve = probe.curve(
        clip, target=1, shufflings=[BlockShuffle(1), BlockShuffle(2), BlockShuffle(4)]
    )
    values = curve.values["median_log_ratio"]
    assert (values[:, 0] > 1e-3).all()
    # Sums over places in another order.
    np.testing.assert_allclose(values[:, 1:], 0, atol=1e-13)
    np.testing.assert_allclose(curve.values["mrr"][:, 1:], 1, atol=1e-13)


def test_a_model_that_reads_the_same_backwards():
    network = zoo("inflated-resnet")

    def both(clip):
        return network(clip) + network(clip.flip(1))

    clip = noise(2, 7, 3, 16, 16)
    back = ShuffleProbe(both, shuffles=1, shuffling=Reversal()).explain(clip, 1, flow=None)
    # The same sums; the two halves change places.
    np.testing.assert_allclose(back.ratios, 1, rtol=1e-12)
    assert (back.p_value == 1).all()
    other = ShuffleProbe(both).explain(clip, 1, flow=None)
    assert (other.median_log_ratio > 0.01).all()
    single = ShuffleProbe(network, shuffles=1, shuffling=Reversal()).explain(clip, 1, flow=None)
    assert ((single.ratios - 1).abs() > 1e-3).any()


# Intervals, sets and segments.


@pytest.mark.parametrize("name", ["lstm", "tam2d", "inflated-resnet"])
def test_intervals(name):
    model = zoo(name)
    clip = noise(2, 8, 3, 16, 16)
    found = ShuffleProbe(model, seed=4).explain(clip, target=1)
    for field, ends in found.intervals.items():
        value = getattr(found, field)
        assert ends.shape == (2, 2), field
        assert (ends[:, 0] <= ends[:, 1]).all(), field
        assert (ends[:, 0] <= value).all(), field
        assert (value <= ends[:, 1]).all(), field
    assert (found.intervals["mrr"][:, 0] < found.intervals["mrr"][:, 1]).all()
    flipped = 1 - found.intervals["mrr"].flip(1)
    np.testing.assert_allclose(found.intervals["relative_drop"], flipped, atol=1e-12)
    again = ShuffleProbe(model, seed=4).explain(clip, target=1)
    for name_, tensor in found.tensors().items():
        assert torch.equal(again.tensors()[name_].nan_to_num(7), tensor.nan_to_num(7)), name_
    for field, ends in found.intervals.items():
        assert torch.equal(ends, again.intervals[field])
    other = ShuffleProbe(model, seed=5).explain(clip, target=1)
    assert not torch.equal(other.permutations, found.permutations)
    interval = found.interval("mrr", 1)
    assert interval.low == found.intervals["mrr"][1, 0].item()
    assert interval.high == found.intervals["mrr"][1, 1].item()


@pytest.mark.simulation
def test_interval_covers_the_mean_over_all_orders(check_measured):
    """Of a drop of the logit, which is a mean: 95 % intervals of 20 of the 119 orders of 5 frames
    should hold the mean over all of them in nearly all of 200 cases, and be no wider than all."""
    model = zoo("lstm", frames=5, size=8)
    clip = noise(1, 5, 3, 8, 8)
    truth = ShuffleProbe(model, shuffles=119).explain(clip, 1, flow=None)
    held = 0
    for seed in range(200):
        found = ShuffleProbe(model, seed=seed).explain(clip, 1, flow=None)
        low, high = found.intervals["logit_drop"][0].tolist()
        held += low <= truth.logit_drop.item() <= high
    # Of 200 with a chance of 0.95, fewer than 178 happen once in 2000 times.
    text = "coverage of 95 % intervals of the drop in the logit, 20 of 119 orders"
    check_measured(text, held / 200, 0.89, 1, 200)


def test_a_set_of_clips():
    model = zoo("tam2d")
    first = ShuffleProbe(model, shuffles=6).explain(noise(2, 6, 3, 16, 16), target=1)
    second = ShuffleProbe(model, shuffles=6).explain(noise(1, 8, 3, 16, 16), target=2)
    whole = ShuffleSet.of([first, second])
    picked = ShuffleSet.of([(second, 0), (first, 1)], names=["b", "a"])
    assert len(whole.names) == 3
    assert picked.names == ("b", "a")
    for field in ("mrr", "relative_drop", "median_log_ratio", "flow_correlation_drop"):
        values = torch.cat([getattr(first, field), getattr(second, field)])
        np.testing.assert_array_equal(whole.values[field], values)
        np.testing.assert_allclose(whole.means[field].value, values.mean(), rtol=1e-14)
        assert whole.means[field].low <= values.mean() <= whole.means[field].high
        assert whole.defined[field] == 3
        np.testing.assert_array_equal(picked.values[field], values[[2, 1]])
        ends = torch.cat([first.intervals[field], second.intervals[field]])
        np.testing.assert_array_equal(whole.intervals[field], ends)
    assert 0 < whole.p_value <= 1
    alone = ShuffleSet.of([(first, 1)])
    # Of one clip it is the clip's own.
    assert alone.p_value == first.p_value[1].item()
    assert alone.logit_p_value == first.logit_p_value[1].item()
    assert whole.starts is None
    json.dumps(whole.to_dict(), allow_nan=False)
    assert whole.summary()
    again = ShuffleSet.of([first, second])
    assert again.means == whole.means
    with pytest.raises(DataError, match="at least one clip, got 0 for 0"):
        ShuffleSet.of([])
    with pytest.raises(DataError, match="name"):
        ShuffleSet.of([first], names=["one"])


def test_a_set_leaves_out_what_is_not_defined():
    model = zoo("tam2d")
    probe = ShuffleProbe(model, shuffles=4)
    moving = noise(2, 6, 3, 16, 16)
    still = noise(1, 1, 3, 16, 16).expand(1, 6, 3, 16, 16)
    found = probe.explain(torch.cat([moving[:1], still, moving[1:]]), target=1, flow="dis")
    drops = found.flow_correlation_drop
    assert drops.isnan().tolist() == [False, True, False]
    together = ShuffleSet.of([found])
    assert together.defined["flow_correlation_drop"] == 2
    assert together.defined["mrr"] == 3
    mean = together.means["flow_correlation_drop"]
    np.testing.assert_allclose(mean.value, drops[[0, 2]].mean(), rtol=1e-14)
    nowhere = ShuffleSet.of([(found, 1)])
    assert nowhere.defined["flow_correlation_drop"] == 0
    assert math.isnan(nowhere.means["flow_correlation_drop"].value)
    json.dumps(nowhere.to_dict(), allow_nan=False)
    assert nowhere.summary()


def test_the_interval_of_one_order_is_its_value():
    model = zoo("tam2d")
    probe = ShuffleProbe(model, shuffles=1, shuffling=Reversal())
    found = probe.explain(noise(2, 7, 3, 16, 16), target=1)
    for field, ends in found.intervals.items():
        # Nothing is rounded on the way: a value outside its interval would be absurd.
        assert torch.equal(ends, getattr(found, field)[:, None].expand(2, 2)), field


@pytest.mark.parametrize(("frames", "size", "overlap"), [(12, 4, 0.5), (9, 5, 0.25), (8, 6, 0)])
@pytest.mark.parametrize("name", ["tam2d", "gru"])
def test_segments_are_clips(name, frames, size, overlap):
    model = zoo(name)
    clip, target = noise(2, frames, 3, 16, 16), [1, 3]
    options = {"shuffles": 5, "seed": 3}
    probe = ShuffleProbe(model, segment=size, segment_overlap=overlap, **options)
    found = probe.explain(clip, target=target, segments=True)
    starts = window_starts(frames, size, overlap)
    assert len(found.segments) == 2
    for example, parts in enumerate(found.segments):
        assert parts.starts == starts
        assert parts.size == size
        for place, start in enumerate(starts):
            part = clip[example : example + 1, start : start + size]
            single = ShuffleProbe(model, **options).explain(part, target=target[example])
            for field, values in parts.values.items():
                near(field, values[place], getattr(single, field)[0], 1e-10, 1e-10)
            for field, ends in parts.intervals.items():
                near(field, ends[place], single.intervals[field][0], 1e-9, 1e-9)
    without = probe.explain(clip, target=target)
    assert without.segments is None
    assert torch.equal(without.mrr, found.mrr)


@pytest.mark.parametrize("frames", [5, 6])
def test_a_clip_no_longer_than_a_segment(frames):
    model = zoo("tam2d")
    clip = noise(1, frames, 3, 16, 16)
    found = ShuffleProbe(model, shuffles=5, segment=6).explain(clip, target=1, segments=True)
    assert found.segments is None
    assert any("segment" in note and "whole" in note for note in found.notes[0])
    plain = ShuffleProbe(model, shuffles=5).explain(clip, target=1)
    assert not any("segment" in note for note in plain.notes[0])
    assert torch.equal(plain.mrr, found.mrr)


# Orders.

ORDERS = [
    (FullShuffle(), slow.full_orders),
    (Reversal(), lambda frames: {tuple(reversed(range(frames)))}),
    *((BlockShuffle(n), lambda frames, n=n: slow.block_orders(frames, n)) for n in (1, 2, 3, 4)),
    *((LocalShuffle(n), lambda frames, n=n: slow.local_orders(frames, n)) for n in (1, 2, 3, 9)),
]


@pytest.mark.parametrize("frames", [2, 3, 4, 5, 6])
@pytest.mark.parametrize(("shuffling", "every"), ORDERS, ids=[str(one) for one, _ in ORDERS])
def test_all_orders_of_a_family(shuffling, every, frames):
    expected = every(frames)
    assert count_orders(shuffling, frames, limit=10_000) == len(expected)
    assert count_orders(shuffling, frames, limit=2) == min(2, len(expected))
    if expected:
        drawn = draw_orders(shuffling, frames, len(expected), seed=1)
        assert drawn.dtype == torch.int64
        assert drawn.shape == (len(expected), frames)
        assert {tuple(order) for order in drawn.tolist()} == expected
    with pytest.raises(OptionError, match=f"at most {len(expected)} order.* of {frames} frames"):
        draw_orders(shuffling, frames, len(expected) + 1)


@pytest.mark.parametrize("frames", [2, 3, 4, 6, 9])
def test_orders_that_move_by_one_place_are_counted_by_fibonacci(frames):
    one, other = 1, 1
    for _ in range(frames - 1):
        one, other = other, one + other
    assert count_orders(LocalShuffle(1), frames, limit=10_000) == other - 1


@pytest.mark.parametrize("frames", [7, 8, 16, 17, 40])
@pytest.mark.parametrize(("shuffling", "_every"), ORDERS, ids=[str(one) for one, _ in ORDERS])
def test_orders_are_in_their_family(shuffling, _every, frames):
    count = count_orders(shuffling, frames, limit=20)
    drawn = draw_orders(shuffling, frames, count, seed=4)
    natural = list(range(frames))
    rows = drawn.tolist()
    assert len({tuple(order) for order in rows}) == count
    for order in rows:
        assert sorted(order) == natural
        assert order != natural
        if isinstance(shuffling, Reversal):
            assert order == natural[::-1]
        elif isinstance(shuffling, LocalShuffle):
            assert all(abs(place - frame) <= shuffling.radius for place, frame in enumerate(order))
        elif isinstance(shuffling, BlockShuffle):
            for place, frame in enumerate(order[:-1]):
                if (frame + 1) % shuffling.length and frame + 1 < frames:
                    assert order[place + 1] == frame + 1
    assert torch.equal(drawn, draw_orders(shuffling, frames, count, seed=4))
    if count == 20:
        assert not torch.equal(drawn, draw_orders(shuffling, frames, count, seed=5))


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    ("shuffling", "frames"),
    [(FullShuffle(), 3), (FullShuffle(), 4), (BlockShuffle(2), 6), (BlockShuffle(2), 5)],
    ids=str,
)
def test_orders_are_drawn_alike(shuffling, frames, count):
    every = count_orders(shuffling, frames, limit=100)
    seen = Counter()
    places = Counter()
    for seed in range(600):
        orders = draw_orders(shuffling, frames, count, seed=seed).tolist()
        seen.update(tuple(order) for order in orders)
        places[tuple(orders[-1])] += 1
    assert len(seen) == every
    # Counts of the last of each draw are multinomial; fewer than one in a thousand draws would be
    # as uneven, and the seeds are fixed.
    assert stats.chisquare(list(places.values())).pvalue > 1e-3
    assert stats.chisquare(list(seen.values())).pvalue > 1e-3


def test_local_orders_are_all_drawn_alone():
    seen = {tuple(draw_orders(LocalShuffle(1), 5, 1, seed=s)[0].tolist()) for s in range(200)}
    assert seen == slow.local_orders(5, 1)


def test_orders_that_are_refused():
    for frames in (0, 1):
        with pytest.raises(ClipError, match="2 frames"):
            draw_orders(FullShuffle(), frames, 1)
    with pytest.raises(OptionError, match="at most 5 orders of 3 frames"):
        draw_orders(FullShuffle(), 3, 6)
    with pytest.raises(OptionError, match="at most 1 order"):
        draw_orders(Reversal(), 5, 2)
    with pytest.raises(OptionError, match="at most 0 orders"):
        draw_orders(BlockShuffle(5), 5, 1)
    for length in (0, -1):
        with pytest.raises(OptionError, match="length"):
            BlockShuffle(length)
        with pytest.raises(OptionError, match="radius"):
            LocalShuffle(length)


def test_three_frames_have_five_orders():
    model, bare = build_family("conv3d_global")
    clip = noise(2, 3, 3, 16, 16)
    found = ShuffleProbe(model, shuffles=5).explain(clip, 1, flow=None)
    assert {tuple(order) for order in found.permutations.tolist()} == slow.full_orders(3)
    assert_by_hand(found, by_hand(bare, clip, found, [1, 1]))
    with pytest.raises(OptionError, match="at most 5 orders of 3 frames"):
        ShuffleProbe(model, shuffles=6).explain(clip, 1, flow=None)
    with pytest.raises(OptionError, match="at most 5 orders of 3 frames"):
        ShuffleProbe(model).attribute(clip, 1)


# What is refused.


def run(model, options):
    probe = ShuffleProbe(model, **options)
    return probe.explain(noise(1, 6, 3, 16, 16), 1, flow=None, segments=True)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"shuffles": 0}, "shuffles"),
        ({"shuffles": -1}, "shuffles"),
        ({"seed": -1}, "seed"),
        ({"chunk_size": 0}, "chunk_size"),
        ({"chunk_size": -3}, "chunk_size"),
        ({"segment": 2}, "segment"),
        ({"segment_overlap": 1.0}, "segment_overlap"),
        ({"segment_overlap": -0.1}, "segment_overlap"),
        ({"reduction": "l3"}, "l3"),
    ],
    ids=str,
)
def test_options_that_are_refused(options, text):
    model, _ = build_family("conv3d_global")
    with pytest.raises(OptionError, match=text):
        run(model, {"shuffles": 3, "segment": 4} | options)


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("call", ["attribute", "explain", "curve"])
def test_clips_too_short(frames, call):
    model, _ = build_family("conv3d_global")
    with pytest.raises(ClipError, match=f"3 frames.*got {frames}"):
        getattr(ShuffleProbe(model, shuffles=1), call)(noise(1, frames, 3, 16, 16), 1)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_clips_that_are_not_finite(bad):
    model, _ = build_family("conv3d_global")
    clip = noise(1, 6, 3, 16, 16)
    clip[0, 2, 0, 0, 0] = bad
    with pytest.raises(ClipError, match="finite"):
        ShuffleProbe(model).attribute(clip, 1)


@pytest.mark.parametrize("target", [5, -6, [1, 2, 3], None])
def test_targets_that_are_refused(target):
    model, _ = build_family("conv3d_global")
    with pytest.raises(TargetError):
        ShuffleProbe(model, shuffles=2).explain(noise(2, 5, 3, 16, 16), target, flow=None)


def test_a_model_in_training():
    model, _ = build_family("conv3d_global")
    with pytest.raises(ModelError, match="training"):
        ShuffleProbe(model.train(), shuffles=2).attribute(noise(1, 5, 3, 16, 16), 1)


@pytest.mark.parametrize("call", ["attribute", "explain"])
@pytest.mark.parametrize(
    "rule",
    [
        lambda clip: clip.mean((1, 3, 4)),
        lambda clip: clip.mean((1, 2, 3, 4)),
        lambda clip: clip[:, :4],
        lambda clip: clip[:1],
        lambda clip: clip.transpose(1, 2),
        lambda clip: clip[:, :, 0, 0, 0].tolist(),
    ],
    ids=["channels", "clips", "frames too few", "one clip", "time third", "lists"],
)
def test_methods_without_scores_of_frames(rule, call):
    probe = ShuffleProbe(Given(simple, rule), shuffles=2)
    with pytest.raises(ModelError, match=r"frame|time"):
        getattr(probe, call)(numbered(2, 6), 0, **({"flow": None} if call == "explain" else {}))


def test_a_map_of_a_layer_is_no_score_of_frames():
    model, _ = build_family("conv3d_global")
    layer = next(part for part in model.modules() if isinstance(part, nn.Conv3d))
    with pytest.raises(ModelError, match=r"frame|time"):
        ShuffleProbe(LayerGradCam(model, layer), shuffles=2).attribute(noise(1, 5, 3, 16, 16), 1)


def test_reductions_that_are_refused():
    for reduction in (
        lambda a: a.sum((2, 3)),
        lambda a: a.abs().sum(),
        lambda a: a[:, 0, 0, 0, :3],
    ):
        probe = ShuffleProbe(Given(simple, lambda clip: clip), shuffles=2, reduction=reduction)
        with pytest.raises(ModelError, match="time"):
            probe.attribute(numbered(2, 6), 0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("when", ["always", "shuffled"])
def test_scores_that_are_not_finite(bad, when):
    def rule(clip):
        natural = (clip == numbered(*clip.shape[:2])).flatten(1).all(1)
        spoilt = clip.clone()
        spoilt[~natural if when == "shuffled" else slice(None)] = bad
        return spoilt

    with pytest.raises(ModelError, match="finite"):
        ShuffleProbe(Given(simple, rule), shuffles=2).attribute(numbered(2, 6), 0)


def test_a_model_that_is_not_finite():
    model, _ = build_family("conv3d_global")
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    with pytest.raises(ModelError, match="finite"):
        ShuffleProbe(model, shuffles=2).attribute(noise(1, 5, 3, 16, 16), 1)
    framewise, _ = build_family("late_fusion_mean")
    with torch.no_grad():
        next(framewise.parameters()).fill_(math.nan)
    with pytest.raises(ModelError, match="finite"):
        ShuffleProbe(framewise, shuffles=2).attribute(noise(1, 5, 3, 16, 16), 1)


def test_scores_below_zero():
    def signed(attribution):
        return attribution.sum((2, 3, 4))

    probe = ShuffleProbe(Given(simple, torch.neg), shuffles=2, reduction=signed)
    with pytest.raises(ModelError, match="0 or more"):
        probe.attribute(numbered(1, 5), 0)


def test_a_flow_without_a_normalization():
    clip = noise(1, 5, 3, 16, 16)
    with pytest.raises(OptionError, match="flow=None"):
        ShuffleProbe(simple, shuffles=2).explain(clip, 1)
    model, _ = build_family("conv3d_global")
    with pytest.raises(OptionError, match="flow=None"):
        ShuffleProbe(model, shuffles=2).explain(clip, 1)
    with pytest.raises(OptionError, match="flow=None"):
        ShuffleProbe(Saliency(simple), shuffles=2).explain(clip, 1)
    # A method of a model that has one needs none of its own.
    made = ShuffleProbe(TemporalGradient(zoo("tam2d")), shuffles=2).explain(clip, 1)
    assert made.flow.shape == (1, 4)


def test_curves_that_are_refused():
    model, _ = build_family("conv3d_global")
    probe, clip = ShuffleProbe(model, shuffles=2), noise(1, 6, 3, 16, 16)
    for shufflings in (
        [BlockShuffle(1), LocalShuffle(1)],
        [FullShuffle()],
        [Reversal(), BlockShuffle(2)],
        [],
    ):
        with pytest.raises(OptionError, match=r"BlockShuffle.*LocalShuffle"):
            probe.curve(clip, 1, shufflings=shufflings)
    with pytest.raises(OptionError, match=r"BlockShuffle\(length=6\)"):
        probe.curve(clip, 1, shufflings=[BlockShuffle(2), BlockShuffle(6)])


# Properties.


@pytest.fixture(scope="module")
def sees():
    torch.manual_seed(0)
    return zoo("inflated-resnet", widths=(4,), size=8)


@settings(max_examples=10, deadline=None)
@given(scale=st.floats(1e-3, 1e3), frames=st.integers(3, 9), seed=st.integers(0, 99))
def test_a_scale_of_the_logits_is_no_matter(sees, scale, frames, seed):
    clip = noise(1, frames, 3, 8, 8)
    options = {"shuffles": 4, "seed": seed}
    one = ShuffleProbe(sees, **options).explain(clip, 1, flow=None)
    other = ShuffleProbe(lambda x: scale * sees(x), **options).explain(clip, 1, flow=None)
    # One more product, rounded.
    for name in ("ratios", "frame_ratios", "mrr", "median_log_ratio", "static_ratio"):
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-11, atol=1e-13)
    for name in ("p_value", "logit_p_value", "rising_share"):
        assert torch.equal(getattr(other, name), getattr(one, name))
    np.testing.assert_allclose(other.logit_drop, scale * one.logit_drop, rtol=1e-9, atol=1e-12)


@settings(max_examples=8, deadline=None)
@given(order=st.permutations(range(4)), frames=st.integers(3, 8), chunk=st.sampled_from([1, 7, 99]))
def test_a_batch_in_another_order(sees, order, frames, chunk):
    clip, target = noise(4, frames, 3, 8, 8), torch.tensor([0, 1, 2, 3])
    probe = ShuffleProbe(sees, shuffles=4, chunk_size=chunk)
    one = probe.explain(clip, target, flow=None)
    other = probe.explain(clip[list(order)], target[list(order)], flow=None)
    assert torch.equal(one.permutations, other.permutations)
    for name in TENSORS:
        values = getattr(one, name)[list(order)]
        np.testing.assert_allclose(getattr(other, name), values, rtol=1e-11, atol=1e-12)
    for name, ends in one.intervals.items():
        values = ends[list(order)]
        np.testing.assert_allclose(other.intervals[name], values, rtol=1e-9, atol=1e-11)


@settings(max_examples=12, deadline=None)
@given(
    scores=st.lists(
        st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.0, 2.0, 7.0]), min_size=5, max_size=5),
        min_size=4,
        max_size=9,
    )
)
def test_any_scores_are_as_by_hand(scores):
    """Zeros, ties and equal ratios: scores that a method made up, one row an order."""
    table = torch.tensor(scores, dtype=torch.float64)
    orders = [list(range(5)), *draw_orders(FullShuffle(), 5, len(scores) - 1, seed=0).tolist()]
    rows = {tuple(order): table[place] for place, order in enumerate(orders)}
    still = torch.ones(5, dtype=torch.float64)

    def rule(clip):
        keys = (clip[:, :, 0, 0, 0].round().long() - 1).tolist()
        return torch.stack([rows.get(tuple(key), still) for key in keys])

    method = Given(simple, rule)
    clip = numbered(1, 5)
    found = ShuffleProbe(method, shuffles=len(scores) - 1).explain(clip, 0, flow=None)
    expected = slow.probe(
        lambda frames: rule(frames[None])[0].tolist(),
        slow.logits_of(simple),
        clip[0],
        found.permutations.tolist(),
        0,
        EPS,
    )
    names = [name for name in TENSORS if name not in ("rank_correlation", "p_value")]
    assert_by_hand(found, [expected], names=names)
    if table.std(1).min() > 0:
        near("rank_correlation", found.rank_correlation, [expected.rank_correlation], 0, 1e-12)
    if table.sum(1).min() > 0:
        near("p_value", found.p_value, [expected.p_value], 0, 1e-12)


# How it is called.


def test_gradients_of_the_caller_are_no_matter():
    model, _ = build_family("gru_mean")
    clip = noise(2, 5, 3, 16, 16)
    probe = ShuffleProbe(model, shuffles=3)
    expected = probe.attribute(clip, target=1)
    with torch.no_grad():
        assert torch.equal(probe.attribute(clip, target=1), expected)
    wanted = clip.clone().requires_grad_()
    found = probe.explain(wanted, target=1, flow=None)
    assert torch.equal(found.frame_ratios, expected)
    assert wanted.grad is None
    assert not any(value.requires_grad for value in found.tensors().values())
    model.requires_grad_(requires_grad=False)
    assert torch.equal(probe.attribute(clip, target=1), expected)


def test_the_random_state_of_the_caller_is_kept():
    model, _ = build_family("gru_mean")
    clip = noise(1, 5, 3, 16, 16)
    before, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()
    ShuffleProbe(model, shuffles=3, normalization=PIXELS).explain(clip, target=1)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpys)
