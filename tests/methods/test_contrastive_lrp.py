"""Relevance of frames for timesteps: two passes by hand, closed forms, and what is refused."""

import copy
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from temporal_attr import (
    LRP,
    ClipError,
    ContrastiveLRPTemporal,
    Conv3D,
    EarlyFusion,
    FrameLogitsError,
    FrameRecurrent,
    LateFusion,
    ModelError,
    Normalization,
    OptionError,
    Preprocessing,
    TargetError,
    VideoModel,
    wrap,
)
from temporal_attr.relevance import Box, Composite, Epsilon
from temporal_attr.zoo import build_model
from tests.helpers.checks import NAN
from tests.helpers.families import CLASSES, SMALL, family, vivid
from tests.references import lrp as slow
from tests.references import ranges as ranges_of

# Shapes are checked at run time by the contract suite; here it would take two thirds of the time.
pytestmark = pytest.mark.usefixtures("one_thread", "as_user")

BOUND = 9.0
BOUNDED = Composite(input=Box(low=-BOUND, high=BOUND))
TINY = Preprocessing(normalization=Normalization((0.4, 0.5, 0.6), (0.2, 0.25, 0.3)))


def matrices(model, clip, target=1, composite=BOUNDED, **options):
    """The result for a model without a normalization."""
    rows = options.pop("rows", ())
    method = ContrastiveLRPTemporal(model, composite=composite, **options)
    return method.explain(clip, target=target, rows=rows)


def bounded_noise(*shape):
    return torch.randn(shape, dtype=torch.float64).clamp(-BOUND, BOUND)


# Small networks, each beside its layers by hand.


class Sum(nn.Module):
    def __init__(self, main, shortcut):
        super().__init__()
        self.main, self.shortcut = main, shortcut

    def forward(self, x):
        return self.main(x) + self.shortcut(x)


class Before(nn.Module):
    """Frames of zeros before a volume."""

    def __init__(self, frames):
        super().__init__()
        self.frames = frames

    def forward(self, x):
        return F.pad(x, (0, 0, 0, 0, self.frames, 0))


class Volume(nn.Module):
    """A body over volumes, a mean over all places, and a classifier."""

    def __init__(self, body, width):
        super().__init__()
        self.body, self.fc = body, nn.Linear(width, CLASSES)

    def forward(self, x):
        return self.fc(self.body(x).mean((2, 3, 4)))


@dataclass
class CaseByHand:
    """A model, the layers up to its classifier by hand, and clips."""

    model: VideoModel
    layers: list
    classifier: nn.Linear
    clip: torch.Tensor
    composite: Composite | None = BOUNDED

    def __post_init__(self):
        low = np.full(tuple(self.clip.shape[1:]), -BOUND)
        high = -low
        if self.model.normalization is not None:
            # Black and white, as the definition of a normalization has it.
            low, high = (
                np.broadcast_to(self.model.normalization.apply(pixel).numpy(), low.shape)
                for pixel in (torch.zeros(1, 3, 1, 1).double(), torch.ones(1, 3, 1, 1).double())
            )
        slow.within(self.layers, low, high)

    def by_hand(self, example, target, contrastive):
        fc, clip = self.classifier, self.clip[example].numpy()
        return slow.temporal_relevance(self.layers, fc.weight, fc.bias, clip, target, contrastive)


def volume_case(parts, width, shape, frames_per_step=1, preprocessing=None):
    body = nn.Sequential(*parts)
    pixels = (len(shape) * 2, 3, *shape[1:])
    network = vivid(Volume(body, width), torch.randn(pixels)).double()
    model = Conv3D(
        network,
        stages=["body"],
        classifier="fc",
        frames_per_step=frames_per_step,
        preprocessing=preprocessing,
    )
    layers, _ = slow.layers_of(body, (3, *shape[1:]))
    clip = bounded_noise(shape[0], shape[1], 3, *shape[2:])
    if preprocessing is not None:
        clip = preprocessing.normalization.apply(torch.rand(clip.shape).double())
    composite = BOUNDED if preprocessing is None else None
    return CaseByHand(
        model, [slow.volume(), *layers, slow.space_mean()], network.fc, clip, composite
    )


def plain(**options):
    return volume_case(
        [
            nn.Conv3d(3, 4, 3, padding=1),
            nn.BatchNorm3d(4),
            nn.ReLU(),
            nn.Conv3d(4, 5, (3, 1, 1), stride=(1, 2, 2), padding=(1, 0, 0)),
            nn.BatchNorm3d(5),
            nn.ReLU(),
        ],
        5,
        (2, 6, 5, 4),
        **options,
    )


def residual():
    main = nn.Sequential(
        nn.Conv3d(4, 4, 3, padding=1),
        nn.BatchNorm3d(4),
        nn.ReLU(),
        nn.Conv3d(4, 4, (3, 1, 1), padding=(1, 0, 0)),
        nn.BatchNorm3d(4),
    )
    shortcut = nn.Sequential(nn.Conv3d(4, 4, 1, bias=False), nn.BatchNorm3d(4))
    stem = [nn.Conv3d(3, 4, (1, 3, 3), padding=(0, 1, 1)), nn.ReLU(), nn.MaxPool3d((1, 2, 2))]
    blocks = [Sum(main, nn.Identity()), nn.ReLU(), Sum(copy.deepcopy(main), shortcut), nn.ReLU()]
    return volume_case([*stem, *blocks], 4, (3, 5, 6, 4))


def aggregation():
    """A depth-wise convolution over time of values of either sign, as in TAM."""
    depthwise = nn.Conv3d(4, 4, (5, 1, 1), padding=(2, 0, 0), groups=4, bias=False)
    parts = [nn.Conv3d(3, 4, (1, 2, 2), stride=(1, 2, 2)), nn.Tanh(), depthwise, nn.ReLU()]
    return volume_case([*parts, nn.Conv3d(4, 4, (1, 2, 2)), nn.ReLU()], 4, (1, 8, 4, 6))


def strided_by_hand():
    """Seven frames, four timesteps of two frames each, the last of one."""
    first = nn.Conv3d(3, 4, (3, 3, 3), stride=(2, 2, 1), padding=1)
    second = nn.Conv3d(4, 4, (3, 1, 1), padding=(1, 0, 0))
    return volume_case([first, nn.ReLU(), second, nn.ReLU()], 4, (2, 7, 4, 4), 2)


def left_over():
    """Nine frames, four timesteps of two frames each: the last reads the one that is left over."""
    first = nn.Conv3d(3, 4, (3, 3, 3), stride=(2, 1, 1))
    return volume_case([first, nn.ReLU(), nn.AvgPool3d((1, 2, 2))], 4, (2, 9, 4, 6), 2)


def pooled_in_time():
    first = nn.Conv3d(3, 4, 3, padding=1)
    parts = [first, nn.ReLU(), nn.MaxPool3d((2, 2, 2)), nn.Conv3d(4, 5, 3, padding=1), nn.ReLU()]
    return volume_case(parts, 5, (2, 8, 4, 4), 2)


def causal_by_hand():
    first, second = nn.Conv3d(3, 4, (2, 3, 3)), nn.Conv3d(4, 5, (3, 1, 1))
    parts = [Before(1), first, nn.ReLU(), Before(2), second, nn.ReLU()]
    return volume_case(parts, 5, (2, 6, 4, 4))


def image_layers():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 3, 2),
        nn.ReLU(),
    )


def framewise(build, head_width=12, frames=5, after=()):
    """An encoder of frames to 12 features, and what reads them."""
    convolutions = image_layers()
    encoder = vivid(nn.Sequential(convolutions, nn.Flatten()), torch.randn(16, 3, 6, 6)).double()
    classifier = nn.Linear(head_width, CLASSES).double()
    layers, _ = slow.layers_of(convolutions, (3, frames, 6, 6))
    layers = [slow.volume(), *layers, slow.by_frame(), *after]
    return CaseByHand(
        build(encoder, classifier), layers, classifier, bounded_noise(2, frames, 3, 6, 6)
    )


def late_fusion_by_hand(aggregation):
    return framewise(lambda encoder, linear: LateFusion(encoder, linear, aggregation).eval())


def late_fusion_max():
    """A feature counts at its winning frame only, there as often as there are frames."""
    return framewise(
        lambda encoder, linear: LateFusion(encoder, linear, "max").eval(),
        after=[slow.Pointwise(lambda a: len(a) * np.where(a == a.max(0), a, 0))],
    )


def late_fusion_of_logits():
    return framewise(lambda encoder, linear: LateFusion(nn.Sequential(encoder, linear)).eval())


def early_fusion_by_hand():
    convolutions = nn.Sequential(nn.Conv2d(12, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 2))
    network = nn.Sequential(convolutions, nn.ReLU(), nn.Flatten(), nn.Linear(27, CLASSES))
    vivid(network, torch.randn(8, 12, 4, 4)).double()
    layers, _ = slow.layers_of(network[:2], (12, 1, 4, 4))
    layers = [slow.stacked(), *layers, slow.by_frame()]
    return CaseByHand(
        EarlyFusion(network, frames=4), layers, network[3], bounded_noise(2, 4, 3, 4, 4)
    )


@torch.no_grad()
def recurrent_by_hand(kind, readout="mean", candidates=False, **options):
    """A memory whose new content depends on the input alone, unless it has `candidates`."""
    memory = vivid(kind(12, 4, batch_first=True, **options), torch.randn(4, 5, 12)).double()
    backwards = (False, True) if memory.bidirectional else (False,)
    rows = {"LSTM": slice(8, 12), "GRU": slice(8, 12), "RNN": slice(None)}[kind.__name__]
    layers = []
    for layer in range(memory.num_layers):
        for name in memory._all_weights[layer * len(backwards) : (layer + 1) * len(backwards)]:
            if not candidates:
                getattr(memory, name[1])[rows] = 0
                getattr(memory, name[3])[rows] = 0
        one = [slow.Recurrent(memory, layer)]
        if memory.bidirectional:
            around = slow.reversed_time()
            back = [around, slow.Recurrent(memory, layer, True), slow.reversed_time()]
            one = [slow.Joined(one, back)]
        layers += one
    return framewise(
        lambda encoder, linear: FrameRecurrent(encoder, memory, linear, readout).eval(),
        4 * len(backwards),
        after=layers,
    )


# Relative to the largest relevance of a pixel: sums run in another order, and a sum whose parts
# cancel makes that larger. A memory starts with a state of zeros, and its first sum leaves them
# half of the epsilon of 1e-9, which a later cancelling sum makes larger too.
CASES = {
    "plain": (plain, 1e-13),
    "normalized": (lambda: plain(preprocessing=TINY), 1e-13),
    "residual": (residual, 1e-11),
    "aggregation": (aggregation, 1e-12),
    "strided": (strided_by_hand, 1e-13),
    "left over": (left_over, 1e-13),
    "pooled in time": (pooled_in_time, 1e-13),
    "causal": (causal_by_hand, 1e-13),
    "late fusion, mean": (lambda: late_fusion_by_hand("mean"), 1e-13),
    "late fusion, last": (lambda: late_fusion_by_hand("last"), 1e-13),
    "late fusion, max": (late_fusion_max, 1e-13),
    "late fusion of logits": (late_fusion_of_logits, 1e-13),
    "early fusion": (early_fusion_by_hand, 1e-13),
    "lstm": (lambda: recurrent_by_hand(nn.LSTM), 1e-7),
    "lstm, last": (lambda: recurrent_by_hand(nn.LSTM, "last"), 1e-7),
    "lstm, two layers, both ways": (
        lambda: recurrent_by_hand(nn.LSTM, num_layers=2, bidirectional=True),
        1e-7,
    ),
    "gru": (lambda: recurrent_by_hand(nn.GRU), 1e-7),
}
TARGETS = [4, 0, 2]


def assert_case_by_hand(case, target, contrastive, tolerance):
    """All fields of a result are those of the passes by hand."""
    batch = len(case.clip)
    with torch.no_grad():
        steps = case.model.frame_logits(case.clip)
    count = steps.logits.shape[1]
    method = ContrastiveLRPTemporal(case.model, contrastive=contrastive, composite=case.composite)
    found = method.explain(case.clip, target=target, rows=range(count))
    expected = [case.by_hand(b, target[b], contrastive) for b in range(batch)]

    def near(name, values, scale):
        values = np.stack(values)
        atol = tolerance * scale
        assert getattr(found, name).shape == values.shape
        np.testing.assert_allclose(getattr(found, name).numpy(), values, rtol=0, atol=atol)

    pixels = np.stack([one.pixels for one in expected])
    frames = np.stack([one.frame_matrix for one in expected])
    logits = np.stack([one.step_logits for one in expected])
    assert abs(pixels).max() > 0
    near("step_logits", logits, abs(logits).max())
    near("row_relevance", pixels, abs(pixels).max())
    near("frame_matrix", frames, abs(frames).max())
    matrix = slow.step_matrix(frames, case.model.frames_per_step)
    near("matrix", matrix, abs(matrix).max())
    near("row_error", [abs(one.row_error) for one in expected], 1)

    # Of the library's own matrix, so that a share next to sigma cannot fall on either side.
    lengths = ranges_of.ranges(found.matrix, 0.975)
    np.testing.assert_array_equal(found.ranges.numpy(), lengths)
    weights = steps.weights.numpy()
    averages = ranges_of.average_range(lengths, logits * weights)
    np.testing.assert_allclose(found.avg_atr.numpy(), averages, rtol=1e-12)
    highest = ranges_of.maximum_range(np.where(weights > 0, lengths, NAN))
    np.testing.assert_array_equal(found.max_atr.numpy(), highest)
    np.testing.assert_allclose(found.step_weights.numpy(), weights, rtol=0, atol=1e-15)
    return found


@pytest.mark.parametrize("contrastive", [True, False], ids=["contrastive", "plain"])
@pytest.mark.parametrize("name", CASES)
def test_one_signed_pass_is_two_passes_by_hand(name, contrastive):
    build, tolerance = CASES[name]
    case = build()
    assert_case_by_hand(case, TARGETS[: len(case.clip)], contrastive, tolerance)


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU], ids=lambda kind: kind.__name__)
def test_what_a_memory_reads_is_one_linear_layer(kind):
    assert_case_by_hand(recurrent_by_hand(kind, candidates=True), TARGETS[:2], False, 1e-7)


def test_two_biases_of_a_memory_are_one():
    case = recurrent_by_hand(nn.LSTM, candidates=True)
    before = matrices(case.model, case.clip, contrastive=False)
    memory = case.model.recurrent
    with torch.no_grad():
        memory.bias_ih_l0 += 1
        memory.bias_hh_l0 -= 1
    after = matrices(case.model, case.clip, contrastive=False)
    torch.testing.assert_close(after.step_logits, before.step_logits, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(after.matrix, before.matrix, rtol=1e-7, atol=1e-9)


@settings(max_examples=12, deadline=None)
@given(
    frames=st.integers(1, 6),
    side=st.tuples(st.integers(2, 4), st.integers(2, 4)),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 3),
    batch=st.integers(1, 2),
    relu=st.booleans(),
    contrastive=st.booleans(),
    target=st.integers(0, CLASSES - 1),
    seed=st.integers(0, 999),
)
def test_any_small_network(frames, side, kernel, stride, batch, relu, contrastive, target, seed):
    torch.manual_seed(seed)
    first = nn.Conv3d(3, 3, (kernel, 2, 2), (stride, 1, 1), (kernel // 2, 0, 0))
    second = nn.Conv3d(3, 4, (3, 1, 1), padding=(1, 0, 0))
    parts = [first, nn.ReLU() if relu else nn.Tanh(), second, nn.ReLU()]
    case = volume_case(parts, 4, (batch, frames, *side), stride)
    # With few frames, all that supports a class may be outweighed.
    assume(abs(case.by_hand(0, target, contrastive).pixels).max() > 0)
    assert_case_by_hand(case, [target] * batch, contrastive, 1e-12)


# Models whose matrix is known.


def elsewhere(matrix, rows, columns):
    """What a matrix has at any other place."""
    rest = matrix.clone()
    rest[:, rows, columns] = 0
    return rest


@pytest.mark.parametrize("contrastive", [True, False])
@pytest.mark.parametrize("name", ["late_fusion_mean", "late_fusion_max", "late_fusion_last"])
def test_late_fusion_reads_its_own_frame(name, contrastive):
    model, _ = family(name).build()
    # Of four frames each is the maximum of several features.
    clip = family(name).clip(torch.float64)[:, :4]
    found = matrices(model.double(), clip, 3, contrastive=contrastive)
    assert found.matrix.diagonal(dim1=1, dim2=2).abs().min() > 0
    assert torch.equal(found.matrix, torch.diag_embed(found.matrix.diagonal(dim1=1, dim2=2)))
    assert torch.equal(found.matrix, found.frame_matrix)
    assert (found.ranges == 1).all()
    assert (found.max_atr == 1).all()
    counted = found.step_logits[:, found.step_weights > 0].amax(1) > 0
    assert torch.equal(found.avg_atr == 1, counted)
    assert torch.equal(found.avg_atr.isnan(), ~counted)


class ShiftInTime(nn.Module):
    """Frame i becomes frame i - d; the first d are the last ones, or zeros."""

    def __init__(self, d, around):
        super().__init__()
        self.d, self.around = d, around

    def forward(self, x):
        if self.around:
            return torch.roll(x, self.d, 2)
        return F.pad(x, (0, 0, 0, 0, self.d, 0))[:, :, : x.shape[2]]


def shift_model(d, around, where):
    layers = [nn.Conv3d(3, 4, (1, 3, 3), padding=(0, 1, 1)), nn.ReLU()]
    layers.insert(where, ShiftInTime(d, around))
    network = vivid(Volume(nn.Sequential(*layers), 4), torch.randn(4, 3, 6, 4, 4)).double()
    return Conv3D(network, stages=["body"], classifier="fc")


@pytest.mark.parametrize(
    ("d", "where", "contrastive"),
    [(1, 0, True), (1, 2, False), (2, 0, False), (4, 2, True)],
    ids=["pixels", "features, plain", "pixels, plain", "features"],
)
def test_a_shift_by_d_puts_all_relevance_d_off_the_diagonal(d, where, contrastive):
    model, clip = shift_model(d, True, where), bounded_noise(2, 6, 3, 4, 4)
    found = matrices(model, clip, contrastive=contrastive)
    rows = torch.arange(6)
    assert found.matrix[:, rows, (rows - d) % 6].abs().min() > 0
    assert (elsewhere(found.matrix, rows, (rows - d) % 6) == 0).all()
    # From i - d to i are d + 1 timesteps; around the end, from i to i - d + 6.
    assert found.ranges.tolist() == [[7 - d] * d + [d + 1] * (6 - d)] * 2

    model = shift_model(d, False, where)
    found = matrices(model, clip, contrastive=contrastive)
    assert found.matrix[:, rows[d:], rows[: 6 - d]].abs().min() > 0
    assert (elsewhere(found.matrix, rows[d:], rows[: 6 - d]) == 0).all()
    assert found.ranges[:, :d].isnan().all()
    assert (found.ranges[:, d:] == d + 1).all()
    assert (found.step_logits[:, :d] != 0).all()
    if not contrastive:
        # What zeros outside the clip are there for is no pixel's, and the sinks say so.
        assert torch.equal(found.sink_relevance[:, :d], found.step_logits[:, :d])
        assert (found.sink_relevance[:, d:] == 0).all()
        assert found.row_error.max() < 1e-14


CAUSAL = {
    "convolution": lambda: causal_by_hand().model,
    "lstm": lambda: recurrent_by_hand(nn.LSTM, "last", candidates=True).model,
    "gru": lambda: recurrent_by_hand(nn.GRU, num_layers=2, candidates=True).model,
}


@pytest.mark.parametrize("contrastive", [True, False], ids=["contrastive", "plain"])
@pytest.mark.parametrize("name", CAUSAL)
def test_a_causal_model_reads_nothing_to_come(name, contrastive):
    model, clip = CAUSAL[name](), bounded_noise(2, 6, 3, 6, 6)
    found = matrices(model, clip, contrastive=contrastive)
    assert (found.matrix == found.matrix.tril()).all()
    places = torch.ones(6, 6).tril().bool()
    if name == "convolution":
        # Kernels of 2 and 3: three frames before its own.
        places &= torch.ones(6, 6).triu(-3).bool()
        assert (found.matrix[:, ~places] == 0).all()
    if contrastive:
        # What supports the class and what opposes it may cancel in a frame.
        assert (found.matrix.tril(-1).sum((1, 2)) > 0).all()
    else:
        assert (found.matrix[:, places] != 0).all()


def test_both_ways_is_not_causal():
    model = recurrent_by_hand(nn.LSTM, bidirectional=True, candidates=True).model
    found = matrices(model, bounded_noise(2, 5, 3, 6, 6))
    assert (found.matrix.triu(1).abs().sum((1, 2)) > 0).all()
    assert (found.matrix.tril(-1).abs().sum((1, 2)) > 0).all()


def pixels_within(model, batch, frames, side):
    """Clips of random pixels, as the model's normalization has them."""
    return model.normalization.apply(torch.rand(batch, frames, 3, side, side).double())


def volumes(name, frames, **options):
    """A reference architecture whose weights are positive, so that every tap of a kernel adds."""
    model = build_model(name, CLASSES, widths=(4, 8), **options)
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, nn.Conv3d):
                part.weight.abs_()
    return vivid(model, torch.randn(4, frames, 3, 16, 16)).double()


def reach_of(name, kernel):
    """From the docstrings, for two stages of one block."""
    return (2 if name == "tam2d" else 1 + 2 * 2) * (kernel // 2)


def reached(row):
    """The first and last frame with any relevance."""
    places = row.nonzero().flatten().tolist()
    return places[0], places[-1]


@pytest.mark.parametrize(
    ("name", "kernel"),
    [
        ("inflated-resnet", 3),
        ("inflated-resnet", 5),
        ("factorised-resnet", 3),
        ("factorised-resnet", 5),
        ("tam2d", 3),
        ("tam2d", 5),
        ("tam2d", 7),
    ],
)
def test_the_band_of_a_volume_network_is_its_receptive_field(name, kernel):
    reach = reach_of(name, kernel)
    frames = 2 * reach + 3
    model = volumes(name, frames, temporal_kernel=kernel)
    clip = pixels_within(model, 1, frames, 8)
    bare = ContrastiveLRPTemporal(model, contrastive=False).explain(clip, target=1)
    assert bare.step_logits.abs().min() > 0
    fields = [(max(0, i - reach), min(frames - 1, i + reach)) for i in range(frames)]
    assert [reached(row) for row in bare.frame_matrix[0]] == fields
    found = ContrastiveLRPTemporal(model).explain(clip, target=1)
    for row, (first, last) in zip(found.frame_matrix[0], fields, strict=True):
        assert (row[:first] == 0).all()
        assert (row[last + 1 :] == 0).all()
    assert (found.frame_matrix.sum(2) > 0).float().mean() > 0.5


def slowfast_fields(frames, alpha, lateral=5, kernel=3):
    """For two stages of one block: fast kernels at the stem and in both, slow ones in the second,
    after a lateral that reads the fast features of the first."""
    fast, half = (1 + 2 * 2) * (kernel // 2), lateral // 2 + (1 + 2) * (kernel // 2)
    slow_reach = 2 * (kernel // 2)
    fields = []
    for i in range(frames):
        read = [i - fast, i + fast]
        if i % alpha == 0:
            own = i // alpha
            slow_frames = range(
                max(0, own - slow_reach), min(frames // alpha, own + slow_reach + 1)
            )
            read += [alpha * slow_frames[0] - half, alpha * slow_frames[-1] + half]
        fields.append((max(0, min(read)), min(frames - 1, max(read))))
    return fields


@pytest.mark.parametrize("alpha", [2, 4])
def test_the_band_of_slowfast_is_that_of_its_pathways(alpha):
    model = volumes("slowfast", 24, alpha=alpha)
    model.merged_steps = 1
    with torch.no_grad():
        # A fast timestep has features that add, so that nothing is shared with the empty slots.
        model.classifier.weight.abs_()
    clip = pixels_within(model, 1, 24, 8)
    found = ContrastiveLRPTemporal(model, contrastive=False).explain(clip, target=1)
    assert [reached(row) for row in found.frame_matrix[0]] == slowfast_fields(24, alpha)


def test_early_fusion_has_one_timestep_that_reads_all():
    model = build_model("early-fusion", CLASSES, frames=6, widths=(4, 8))
    vivid(model, torch.randn(8, 6, 3, 8, 8)).double()
    clip = pixels_within(model, 2, 6, 8)
    logits = model(clip)[:, 2].detach()
    found = ContrastiveLRPTemporal(model, contrastive=False).explain(clip, target=2)
    torch.testing.assert_close(found.matrix[:, 0, 0], logits, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.frame_matrix.sum(2), logits[:, None], rtol=1e-12, atol=0)
    assert (found.frame_matrix != 0).all()
    for contrastive in (True, False):
        found = ContrastiveLRPTemporal(model, contrastive=contrastive).explain(clip, target=2)
        assert found.ranges.tolist() == [[1.0], [1.0]]
        assert found.max_atr.tolist() == [1.0, 1.0]
        assert found.avg_atr.isnan().tolist() == (logits <= 0).tolist()


# Conservation, and columns of several frames.

SUMMED = [
    case
    for case in SMALL
    if case.exactness != "none" and case.name not in ("zoo_slowfast", "zoo_tubelets")
]
UNKNOWN = ("zoo_input_cell_attention",)


@pytest.mark.parametrize("name", [case.name for case in SUMMED if case.name not in UNKNOWN])
def test_a_plain_row_sums_to_its_logit(name):
    model, _ = family(name).build()
    model, clip = model.double(), family(name).clip(torch.float64)
    target = [3, 1]
    found = matrices(model, clip, target, contrastive=False)
    with torch.no_grad():
        steps = model.frame_logits(clip)
        logits = model(clip)[range(2), target]
    expected = torch.stack([steps.logits[b, :, k] for b, k in enumerate(target)])
    assert torch.equal(found.target, torch.tensor(target))
    torch.testing.assert_close(found.step_logits, expected, rtol=1e-12, atol=1e-14)
    # A row whose parts cancel rounds as those do, so relative to the largest logit.
    atol = 1e-12 * expected.abs().max().item()
    for matrix in (found.matrix, found.frame_matrix):
        torch.testing.assert_close(matrix.sum(2), expected, rtol=1e-12, atol=atol)
        torch.testing.assert_close(matrix.sum((1, 2)), expected.sum(1), rtol=1e-12, atol=atol)
        weighted = (found.step_weights * matrix.sum(2)).sum(1)
        torch.testing.assert_close(weighted, logits, rtol=1e-12, atol=atol)
    error = (found.frame_matrix.sum(2) - expected).abs() / expected.abs()
    torch.testing.assert_close(found.row_error, error, rtol=0, atol=1e-13)


def test_what_an_epsilon_takes_of_a_row_is_in_its_sinks():
    case = plain()
    absorbing = replace(BOUNDED, pooling=Epsilon(0.1), linear=Epsilon(0.1))
    found = matrices(case.model, case.clip, composite=absorbing, contrastive=False)
    taken = found.step_logits - found.frame_matrix.sum(2)
    assert (taken / found.step_logits).abs().min() > 0.01
    torch.testing.assert_close(found.sink_relevance, taken, rtol=1e-11, atol=1e-14)
    assert found.row_error.max() < 1e-13


@pytest.mark.usefixtures("shapes_checked")
def test_timesteps_of_eight_frames_of_which_the_last_has_five():
    network = torchvision.models.video.r3d_18(num_classes=CLASSES)
    model = wrap(vivid(network, torch.randn(2, 3, 21, 12, 12)).double())
    clip = pixels_within(model, 1, 21, 12)
    found = ContrastiveLRPTemporal(model, contrastive=False).explain(clip, target=1)
    assert (model.frames_per_step, found.frames_per_step) == (8, 8)
    assert tuple(found.frame_matrix.shape) == (1, 3, 21)
    assert found.frame_matrix.abs().sum(1).min() > 0
    expected = slow.step_matrix(found.frame_matrix, 8)
    np.testing.assert_allclose(found.matrix.numpy(), expected, rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(found.matrix.sum(2), found.step_logits, rtol=1e-12, atol=1e-14)


def small_slowfast(alpha, frames, **options):
    model = build_model("slowfast", CLASSES, alpha=alpha, widths=(4, 8), **options)
    return vivid(model, torch.randn(8, frames, 3, 8, 8)).double()


@pytest.mark.parametrize(
    ("alpha", "frames", "options", "contrastive"),
    [(2, 8, {}, True), (4, 12, {}, False), (4, 12, {"ensemble": 4}, True)],
)
@pytest.mark.usefixtures("shapes_checked")
def test_the_pathways_of_slowfast_are_merged_in_blocks(alpha, frames, options, contrastive):
    model = small_slowfast(alpha, frames, **options)
    every = copy.deepcopy(model)
    every.merged_steps = 1
    clip = pixels_within(model, 2, frames, 8)
    target, count = [2, 4], frames // alpha
    one = ContrastiveLRPTemporal(model, contrastive=contrastive).explain(
        clip, target, rows=[count - 1, 0]
    )
    all_of_them = ContrastiveLRPTemporal(every, contrastive=contrastive).explain(clip, target)
    assert tuple(all_of_them.matrix.shape) == (2, frames, frames)
    for found, whole, expected in (
        (one.matrix, True, all_of_them.matrix),
        (one.frame_matrix, False, all_of_them.frame_matrix),
    ):
        summed = slow.blocks(expected, alpha, whole)
        np.testing.assert_allclose(found.numpy(), summed, rtol=1e-12, atol=1e-14)
    with torch.no_grad():
        steps, logits = model.frame_logits(clip), model(clip)
    own = torch.stack([steps.logits[b, :, k] for b, k in enumerate(target)])
    means = own.unflatten(1, (count, alpha)).mean(2)
    torch.testing.assert_close(one.step_logits, means, rtol=1e-12, atol=1e-14)
    assert one.step_weights.sum().item() == pytest.approx(1, abs=1e-14)
    together = (one.step_weights * one.step_logits).sum(1)
    torch.testing.assert_close(together, logits[range(2), target], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(
        one.row_relevance.sum((3, 4, 5)),
        one.frame_matrix[:, [count - 1, 0]],
        rtol=1e-12,
        atol=1e-14,
    )
    lengths = ranges_of.ranges(one.matrix, 0.975)
    np.testing.assert_array_equal(one.ranges.numpy(), lengths)
    weights = one.step_weights.numpy()
    assert (weights == 0).sum() == (2 if options else 0)
    averages = ranges_of.average_range(lengths, one.step_logits.numpy() * weights)
    np.testing.assert_allclose(one.avg_atr.numpy(), averages, rtol=1e-12)
    highest = ranges_of.maximum_range(np.where(weights > 0, lengths, NAN))
    np.testing.assert_array_equal(one.max_atr.numpy(), highest)


def test_an_ensemble_that_starts_inside_a_block_of_slowfast():
    model = small_slowfast(2, 8, ensemble=2)
    clip = pixels_within(model, 1, 8, 8)
    found = ContrastiveLRPTemporal(model).explain(clip, target=1)
    together = (found.step_weights * found.step_logits).sum(1)
    torch.testing.assert_close(together, found.logits[:, 1], rtol=1e-12, atol=1e-14)


def test_the_sinks_of_a_fast_timestep_tell_what_the_empty_slots_took():
    model = small_slowfast(2, 8)
    model.merged_steps = 1
    with torch.no_grad():
        # Between slow frames eight of ten features are empty, and no other supports the class:
        # by z+ nothing adds to the logit, so all share alike, and eight tenths are no pixel's.
        model.classifier.weight[1, 8:] = -1
        model.classifier.bias[1] = 1
    found = ContrastiveLRPTemporal(model, contrastive=False).explain(
        pixels_within(model, 2, 8, 8), target=1
    )
    part = found.sink_relevance / found.step_logits
    torch.testing.assert_close(part[:, 1::2], torch.full_like(part[:, 1::2], 0.8))
    assert found.row_error.max() < 1e-14


# Edges.


@torch.no_grad()
def speaking_against(case, target):
    """Make a class that every feature speaks against."""
    case.classifier.weight[target] = -case.classifier.weight[target].abs()
    case.classifier.bias[target] = -0.1


def said_of_ranges(found):
    """The lines of the summary on ranges, one a clip."""
    return [line for line in found.summary().splitlines() if "ATR" in line]


def test_no_timestep_speaks_for_the_class():
    case = plain()
    speaking_against(case, 1)
    found = matrices(case.model, case.clip, [1, 1])
    assert (found.step_logits < 0).all()
    assert found.avg_atr.isnan().all()
    # R alone goes to nothing in particular, R' to what speaks against the class.
    assert not found.ranges.isnan().any()
    assert torch.equal(found.max_atr, found.ranges.amax(1))
    bare = matrices(case.model, case.clip, [1, 1], contrastive=False)
    assert (bare.matrix <= 0).all()
    for highest, text in zip(found.max_atr, said_of_ranges(found), strict=True):
        assert "no timestep supports this class" in text
        assert f"at most {highest:.0f} of 6 timesteps" in text


@pytest.mark.parametrize("contrastive", [True, False])
def test_a_timestep_whose_logit_is_zero(contrastive):
    encoder = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Flatten()).double()
    model = LateFusion(encoder, nn.Linear(16, CLASSES, bias=False).double()).eval()
    clip = bounded_noise(2, 4, 3, 4, 4)
    clip[0, 2] = 0
    clip[1] = 0
    found = matrices(model, clip, contrastive=contrastive)
    assert found.step_logits[0, 2] == 0
    assert (found.matrix[0, 2] == 0).all()
    assert (found.matrix[0, [0, 1, 3]].abs().sum(1) > 0).all()
    assert found.ranges.isnan().tolist() == [[False, False, True, False], [True] * 4]
    assert found.max_atr.isnan().tolist() == [False, True]
    assert found.max_atr[0] == 1
    assert found.avg_atr[1].isnan()
    # Nothing was there to be lost.
    assert (found.row_error[found.step_logits == 0] == 0).all()


def test_a_share_of_one_reaches_all_that_has_any_relevance():
    case = plain()
    found = matrices(case.model, case.clip, TARGETS[:2], sigma=1.0)
    lengths = []
    for rows in found.matrix:
        for i, row in enumerate(rows):
            first, last = reached(row)
            lengths.append(max(last, i) - min(first, i) + 1)
    assert found.ranges.flatten().tolist() == lengths
    less = matrices(case.model, case.clip, TARGETS[:2], sigma=0.5)
    assert torch.equal(found.matrix, less.matrix)
    np.testing.assert_array_equal(less.ranges.numpy(), ranges_of.ranges(found.matrix, 0.5))
    assert (less.ranges < found.ranges).any()


def test_timesteps_that_are_not_read_have_no_part_in_the_averages():
    case = recurrent_by_hand(nn.LSTM, "last", bidirectional=True)
    found = matrices(case.model, case.clip, [4, 0], sigma=0.8)
    last = found.ranges[:, -1]
    assert (found.step_logits[:, -1] > 0).all()
    assert (last < found.ranges.amax(1)).all()
    assert torch.equal(found.max_atr, last)
    assert torch.equal(found.avg_atr, last)


@pytest.mark.parametrize("sigma", [0, -0.5, 1.5, NAN, "half", True])
def test_a_share_that_is_none(sigma):
    with pytest.raises(OptionError, match="sigma"):
        ContrastiveLRPTemporal(plain().model, sigma=sigma)


@pytest.mark.parametrize("rows_per_backward", [0, -1, 1.5])
def test_a_chunk_that_is_none(rows_per_backward):
    with pytest.raises(OptionError, match="rows_per_backward"):
        ContrastiveLRPTemporal(plain().model, rows_per_backward=rows_per_backward)


@pytest.mark.parametrize("target", [CLASSES, -CLASSES - 1, [0, 1, 2], [0, CLASSES], None, 1.5])
def test_a_target_that_is_none(target):
    case = plain()
    for method in (ContrastiveLRPTemporal(case.model, composite=BOUNDED), LRP(case.model, BOUNDED)):
        with pytest.raises(TargetError):
            method.attribute(case.clip, target=target)


def test_targets_in_every_form():
    case = plain()
    method = ContrastiveLRPTemporal(case.model, composite=BOUNDED)
    expected = method.attribute(case.clip, target=[4, 1])
    assert not torch.equal(expected[0], method.attribute(case.clip, target=1)[0])
    for target in ([-1, 1], torch.tensor([4, 1]), [(4,), (1,)], torch.tensor([-1, -4])):
        assert torch.equal(method.attribute(case.clip, target=target), expected)


@pytest.mark.parametrize("name", ["late_fusion_module", "step_own_readout"])
def test_a_model_whose_timesteps_do_not_add_up(name):
    model, _ = family(name).build()
    with pytest.raises(FrameLogitsError, match="add up"):
        matrices(model, family(name).clip())


def test_what_is_no_model_of_timesteps():
    case = plain()
    for function in (case.model.model, case.model.forward):
        with pytest.raises(FrameLogitsError):
            matrices(function, case.clip)


def test_a_model_in_training():
    case = plain()
    case.model.train()
    for method in (ContrastiveLRPTemporal(case.model, composite=BOUNDED), LRP(case.model, BOUNDED)):
        with pytest.raises(ModelError, match="training"):
            method.attribute(case.clip, target=1)


def test_pixels_beyond_black_and_white():
    case = plain(preprocessing=TINY)
    for value in (torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)):
        case.clip[0, :2] = TINY.normalization.apply(value.double())
        ContrastiveLRPTemporal(case.model).attribute(case.clip, target=1)
    case.clip[1, 3, 2, 0, 0] += 10
    for method in (ContrastiveLRPTemporal(case.model), LRP(case.model)):
        with pytest.raises(ClipError, match=r"within the bounds of z\^B.*1 of 720 values"):
            method.attribute(case.clip, target=1)


def test_bounds_that_are_not_known():
    case = plain()
    for method in (ContrastiveLRPTemporal(case.model), LRP(case.model)):
        with pytest.raises(ModelError, match=r"a model without a normalization.*Box\(low="):
            method.attribute(case.clip, target=1)
    ContrastiveLRPTemporal(case.model, composite=Composite(input=None)).attribute(case.clip, 1)


def test_arguments_that_no_model_of_timesteps_takes():
    case = plain()
    method = ContrastiveLRPTemporal(case.model, composite=BOUNDED)
    for call in (method.attribute, method.explain):
        with pytest.raises(ModelError, match="no additional arguments"):
            call(case.clip, target=1, additional_forward_args=2)


@pytest.mark.parametrize(("name", "contrastive"), [("strided", True), ("residual", False)])
def test_the_pixels_of_a_row_sum_to_its_frames(name, contrastive):
    case = CASES[name][0]()
    found = matrices(case.model, case.clip, contrastive=contrastive, rows=[2, 0])
    assert found.rows == (2, 0)
    assert found.row_relevance[:, 0].abs().max() > 0
    np.testing.assert_allclose(
        found.row_relevance.sum((3, 4, 5)).numpy(),
        found.frame_matrix[:, [2, 0]].numpy(),
        rtol=1e-12,
        atol=1e-15,
    )
    assert matrices(case.model, case.clip).row_relevance is None


@pytest.mark.parametrize("rows", [[6], [0, -1], [1.0], ["last"], [True]])
def test_a_row_that_there_is_not(rows):
    case = plain()
    with pytest.raises(OptionError, match="rows"):
        matrices(case.model, case.clip, rows=rows)


@pytest.mark.parametrize(
    ("name", "contrastive"), [("residual", True), ("lstm", False), ("left over", True)]
)
def test_rows_sent_back_together_are_rows_sent_back_alone(name, contrastive):
    case = CASES[name][0]()
    found = [
        matrices(
            case.model, case.clip, contrastive=contrastive, rows_per_backward=chunk, rows=[1, 3]
        )
        for chunk in (1, 3, 64, None)
    ]
    for other in found[1:]:
        for field in ("matrix", "frame_matrix", "row_relevance", "step_logits"):
            one = getattr(found[0], field)
            atol = 1e-13 * one.abs().max().item()
            torch.testing.assert_close(getattr(other, field), one, rtol=0, atol=atol)
        np.testing.assert_array_equal(other.ranges.numpy(), found[0].ranges.numpy())


# LRP of the clip.


def clip_case(name):
    """A case whose last layer by hand reads the mean over time."""
    case = CASES[name][0]()
    if name == "early fusion":
        return case
    if name == "late fusion, mean":
        return replace(case, layers=[*case.layers, slow.time_mean()])
    return replace(case, layers=[*case.layers[:-1], slow.whole_mean()])


WHOLE = ["plain", "normalized", "residual", "pooled in time", "late fusion, mean", "early fusion"]


@pytest.mark.parametrize("name", WHOLE)
def test_the_relevance_of_a_clip_is_a_pass_by_hand(name):
    case = clip_case(name)
    target = TARGETS[: len(case.clip)]
    method = LRP(case.model, case.composite)
    found = method.explain(case.clip, target=target)
    expected = [case.by_hand(b, k, False) for b, k in enumerate(target)]
    pixels = np.stack([one.pixels[0] for one in expected])
    scale = abs(pixels).max()
    np.testing.assert_allclose(
        found.attribution.numpy(), pixels, rtol=0, atol=CASES[name][1] * scale
    )
    logits = case.model(case.clip).detach()
    torch.testing.assert_close(found.logits, logits, rtol=1e-13, atol=1e-15)
    own = logits[range(len(target)), target]
    assert found.convergence_delta.abs().max() < 1e-13 * own.abs().max()
    frames = found.attribution.sum((2, 3, 4))
    torch.testing.assert_close(found.frame_scores, frames, rtol=1e-13, atol=1e-15)
    assert torch.equal(method.attribute(case.clip, target=target), found.attribution)
    assert found.target.tolist() == target


def test_what_lrp_lost_is_the_logit_less_the_sum():
    case = plain()
    method = LRP(case.model, replace(BOUNDED, linear=Epsilon(0.1)))
    attribution, delta = method.attribute(case.clip, target=[2, 0], return_convergence_delta=True)
    logits = case.model(case.clip)[[0, 1], [2, 0]].detach()
    lost = logits - attribution.sum((1, 2, 3, 4))
    assert lost.abs().min() > 1e-3
    torch.testing.assert_close(delta, lost, rtol=1e-12, atol=0)
    found = method.explain(case.clip, target=[2, 0])
    assert torch.equal(found.convergence_delta, delta)
    again = method.compute_convergence_delta(attribution, logits)
    torch.testing.assert_close(again, lost, rtol=1e-12, atol=0)


def weighted_rows(case, composite):
    """The relevance of the clip, and the weighted sum of its timesteps'."""
    steps = matrices(
        case.model,
        case.clip,
        composite=composite,
        contrastive=False,
        rows=range(case.clip.shape[1]),
    )
    weights = steps.step_weights[:, None, None, None, None]
    whole = LRP(case.model, composite).attribute(case.clip, target=1)
    return whole, (weights * steps.row_relevance).sum(1)


def difference(whole, rows):
    return ((whole - rows).abs().max() / whole.abs().max()).item()


def test_the_rows_add_up_to_the_clip_where_the_classifier_comes_first():
    # The mean of the logits is shared in proportion to the logits: each gets its own over their
    # number, which is what its row starts from. The mean's epsilon is a part in 10^9 of it.
    for case in (late_fusion_of_logits(), recurrent_by_hand(nn.LSTM, "last")):
        assert difference(*weighted_rows(case, BOUNDED)) < 1e-7


def test_a_readout_by_the_mean_is_a_pooling():
    assert difference(*weighted_rows(recurrent_by_hand(nn.LSTM, "mean"), BOUNDED)) < 1e-7


def test_the_rows_add_up_to_the_clip_where_the_classifier_is_linear_in_its_shares():
    # Mean first, classifier second. A timestep's feature gets f_d w_d / sum_d (mean f)_d w_d of the
    # clip's logit and f_d w_d / sum_d f_d w_d of its own; the denominators are those logits if
    # all of a w counts and there is no bias. z+ leaves parts out and shares the bias, so there the
    # two are different answers.
    case = late_fusion_by_hand("mean")
    assert difference(*weighted_rows(case, BOUNDED)) > 1e-2
    signed = replace(BOUNDED, linear=Epsilon(0.0))
    with torch.no_grad():
        assert difference(*weighted_rows(case, signed)) > 1e-2
        case.classifier.bias.zero_()
        assert difference(*weighted_rows(case, signed)) < 1e-6
        assert difference(*weighted_rows(case, BOUNDED)) > 1e-2
        # With no weight below 0 z+ leaves nothing out.
        case.classifier.weight.abs_()
        assert difference(*weighted_rows(case, BOUNDED)) < 1e-7


# What is said of it.


def test_the_summary_gives_the_ranges():
    case = plain()
    with torch.no_grad():
        case.classifier.bias[2] += 3
    found = matrices(case.model, case.clip, [2, 2], sigma=0.9)
    assert not found.avg_atr.isnan().any()
    numbers = zip(found.avg_atr, found.max_atr, said_of_ranges(found), strict=True)
    for average, highest, text in numbers:
        assert f"{average:.2f} on average, {highest:.0f} at most, of 6 timesteps" in text
    assert "90.0% of a row" in found.summary()


def test_the_summary_says_where_there_is_no_range():
    model = LateFusion(nn.Sequential(nn.Flatten(), nn.Linear(12, 3, bias=False).double())).eval()
    found = matrices(model, torch.zeros(1, 3, 3, 2, 2, dtype=torch.float64))
    assert "no timestep has any relevance for this class" in found.summary()
    assert "nan" not in found.summary().lower()
