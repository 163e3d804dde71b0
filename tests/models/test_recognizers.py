"""Networks of public repositories, known by their structure, against what their modules say.

The reference of each takes the layers of its network one by one, frame by frame and in float64, and
knows nothing of wrappers.
"""

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

import temporal_attr as ta
from temporal_attr import EarlyFusion, ModelError, UnsupportedModelError, wrap
from tests.helpers.checks import assert_near, assert_near_by_spread, assert_refused
from tests.helpers.families import vivid
from tests.helpers.recognizers import (
    CLASSES,
    FoldedNetwork,
    SegmentNetwork,
    VolumeNetwork,
)
from tests.helpers.recognizers_with_heads import (
    FrameBackbone,
    HiddenLayerHead,
    HiddenPathwayNetwork,
    LinearThenMean,
    MeanThenLinear,
    PathwayNetwork,
    Recognizer2D,
    Recognizer3D,
    TwoPathways,
    VolumeBackbone,
    VolumeHead,
)

# Checks of shapes in every small function take as long as the functions; the contract has them.
pytestmark = pytest.mark.usefixtures("as_user")

FRAMES = 6


@dataclass(frozen=True)
class Case:
    """A network, how it is called on a canonical clip, and its timesteps' logits without wrapper.

    `steps` returns logits `(batch, steps, classes)` and their weights.
    """

    name: str
    build: Any
    call: Any
    steps: Any
    time: int = FRAMES
    exactness: str = "linear"

    def clip(self, dtype=torch.float64):
        shape = (2, self.time, 3, 16, 16)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(3))
        # Within black and white of all normalizations here, as the rule for pixels needs.
        return noise.clamp(-1.7, 1.7).to(dtype)

    def network(self):
        return vivid(self.build(), *self.inputs(self.clip(torch.float32)))

    def inputs(self, clip):
        return (stacked(clip),) if self.call is as_channels else self.call.inputs(clip)


def stacked(clip):
    """Frames one after another as channels, by a loop."""
    return torch.cat([clip[:, t] for t in range(clip.shape[1])], 1)


def as_channels(network, clip):
    return network(stacked(clip))


class Called:
    """How a network takes a clip."""

    def __init__(self, inputs, **options):
        self.inputs, self.options = inputs, options

    def __call__(self, network, clip):
        return network(*self.inputs(clip), **self.options)


as_volume = Called(lambda clip: (clip.transpose(1, 2),))
as_frames = Called(lambda clip: (clip,), stage="head")
as_views = Called(lambda clip: (clip.transpose(1, 2)[:, None],), stage="head")
as_list = Called(lambda clip: ([clip.transpose(1, 2)],))


def uniform(logits):
    return logits, torch.full((logits.shape[1],), 1 / logits.shape[1], dtype=logits.dtype)


def heard(network, path, run):
    """What a submodule returns during a run."""
    found = []
    hook = network.get_submodule(path).register_forward_hook(lambda *entries: found.append(entries))
    run()
    hook.remove()
    return found[0][2]


def last_linear(path):
    """Logits `(batch * steps, classes)` of the last linear layer, clip after clip."""

    def steps(network, clip):
        rows = heard(network, path, lambda: as_channels(network, clip))
        return uniform(torch.stack(rows.chunk(len(clip))))

    return steps


def of_volume(network, clip):
    rows = heard(network, "fc", lambda: as_volume(network, clip))
    return uniform(torch.stack(rows.chunk(len(clip))))


def of_frames(network, clip):
    """Each frame's map, pooled and classified."""
    maps = heard(network, "backbone", lambda: as_frames(network, clip))
    rows = [network.cls_head.fc_cls(one.mean((1, 2))) for one in maps]
    return uniform(torch.stack([torch.stack(part) for part in _chunks(rows, len(clip))]))


def _chunks(rows, count):
    size = len(rows) // count
    return [rows[at * size : (at + 1) * size] for at in range(count)]


def of_views(network, clip):
    maps = heard(network, "backbone", lambda: as_views(network, clip))
    steps = [network.cls_head.fc_cls(one.mean((2, 3))) for one in maps.unbind(2)]
    return uniform(torch.stack(steps, 1))


def of_pathway(kernel):
    """Each timestep's map under the kernel's windows, and how many windows see the timestep."""

    def steps(network, clip):
        (maps,) = heard(network, "s5", lambda: as_list(network, clip))
        size = tuple(maps.shape[2:]) if kernel is None else kernel
        count = maps.shape[2] - size[0] + 1
        weights = torch.zeros(maps.shape[2], dtype=maps.dtype)
        for start in range(count):
            weights[start : start + size[0]] += 1 / (size[0] * count)
        logits = []
        for one in maps.unbind(2):
            places = [
                one[:, :, y : y + size[1], x : x + size[2]].mean((2, 3))
                for y in range(one.shape[2] - size[1] + 1)
                for x in range(one.shape[3] - size[2] + 1)
            ]
            logits.append(network.head.projection(torch.stack(places).mean(0)))
        return torch.stack(logits, 1), weights

    return steps


def hidden_layer(network, clip):
    """A hidden layer whose activations are held at the clip's values; contributions of steps."""
    maps = heard(network, "backbone", lambda: as_views(network, clip))
    head = network.cls_head
    hidden = head.fc1(maps.mean((2, 3, 4)))
    gate = (hidden > 0).to(maps)
    steps = [head.fc2(gate * head.fc1(one.mean((2, 3)))) for one in maps.unbind(2)]
    return uniform(torch.stack(steps, 1))


def hidden_pathway(network, clip):
    maps = heard(network, "head.conv_5_relu", lambda: as_list(network, clip))
    head = network.head
    weight = head.lin_5.weight.flatten(1)
    gate = (maps.mean((2, 3, 4)) @ weight.T > 0).to(maps)
    steps = [head.projection(gate * (one.mean((2, 3)) @ weight.T)) for one in maps.unbind(2)]
    return uniform(torch.stack(steps, 1))


def tsn(**options):
    return lambda: SegmentNetwork(FRAMES, **options)


def tam(**options):
    return lambda: FoldedNetwork(FRAMES, **options)


def recognizer_2d(backbone, head):
    return lambda: Recognizer2D(backbone(), head())


def recognizer_3d(head):
    return lambda: Recognizer3D(VolumeBackbone(), head())


CASES = [
    Case("tsn", tsn(is_shift=False), as_channels, last_linear("new_fc")),
    Case("tsm", tsn(), as_channels, last_linear("new_fc")),
    Case("tsm_without_dropout", tsn(dropout=0), as_channels, last_linear("base_model.fc")),
    Case("tsm_pooled", tsn(temporal_pool=True), as_channels, last_linear("new_fc")),
    Case("tsn_probabilities", tsn(before_softmax=False), as_channels, last_linear("softmax")),
    Case("tam", FoldedNetwork, as_channels, last_linear("fc")),
    Case(
        "tam_pooled", lambda: FoldedNetwork(without_t_stride=False), as_channels, last_linear("fc")
    ),
    Case("tsn_of_tam", tam(tam=False), as_channels, last_linear("fc")),
    Case("i3d", VolumeNetwork, as_volume, of_volume, time=8),
    Case("recognizer_tsn", recognizer_2d(FrameBackbone, MeanThenLinear), as_frames, of_frames),
    Case(
        "recognizer_tsm",
        recognizer_2d(lambda: FrameBackbone(FRAMES), lambda: LinearThenMean(FRAMES)),
        as_frames,
        of_frames,
    ),
    Case("recognizer_i3d", recognizer_3d(VolumeHead), as_views, of_views, 8),
    Case("recognizer_x3d", recognizer_3d(HiddenLayerHead), as_views, hidden_layer, 8, "frozen"),
    Case("pathway", lambda: PathwayNetwork(act="none"), as_list, of_pathway(None), 8),
    Case(
        "pathway_windows",
        lambda: PathwayNetwork((3, 5, 8), act="none"),
        as_list,
        of_pathway((3, 5, 8)),
        8,
    ),
    Case("pathway_x3d", HiddenPathwayNetwork, as_list, hidden_pathway, exactness="frozen"),
]
every = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def bare_logits(case, network, clip):
    """The network's own, of probabilities the logits up to a constant where it softmaxes last."""
    output = case.call(network, clip)
    return output.log() if case.name == "pathway_x3d" else output


def up_to_a_constant(case, logits):
    return logits - logits.mean(-1, keepdim=True) if case.name == "pathway_x3d" else logits


@every
@torch.no_grad()
def test_forward_is_the_network_and_timesteps_are_those_of_its_modules(case):
    network, clip = case.network().double(), case.clip()
    model = wrap(network)
    expected = up_to_a_constant(case, bare_logits(case, network, clip))
    other = up_to_a_constant(case, bare_logits(case, network, clip.flip(1) * 1.7 + 0.3))
    # On a constant network the rest would say nothing.
    assert (expected - other).abs().max() > 1e-2 * expected.std()
    assert_near_by_spread(up_to_a_constant(case, model(clip)), expected, 1e-12)
    steps = model.frame_logits(clip)
    logits, weights = case.steps(network, clip)
    assert_near(steps.weights, weights)
    assert_near_by_spread(steps.logits, logits, 1e-11)
    assert (logits[:, 0] - logits[:, 1]).abs().max() > 1e-2 * logits.std()
    assert_near_by_spread(steps.clip_logits(), model(clip), 1e-11)
    assert model.exactness == case.exactness


@every
@torch.no_grad()
def test_a_batch_gives_what_its_clips_give(case):
    network, clip = case.network().double(), case.clip()
    model = wrap(network)
    singles = torch.cat([model.frame_logits(one).logits for one in clip.split(1)])
    assert_near(model.frame_logits(clip).logits, singles)


@every
def test_gradients_are_those_of_the_network(case):
    network, clip = case.network().double(), case.clip().requires_grad_()
    output = up_to_a_constant(case, bare_logits(case, network, clip))[0, 1]
    (expected,) = torch.autograd.grad(output, clip)
    other = clip.detach().clone().requires_grad_()
    output = up_to_a_constant(case, wrap(network)(other))[0, 1]
    (found,) = torch.autograd.grad(output, other)
    assert_near(found, expected, 1e-10)


# Biases of layers take a part where rules count them; the default rules do not.
@every
def test_relevance_is_conserved(case):
    clip = case.clip()[:1]
    method = ta.LRP(wrap(case.network().double()))
    if case.name == "tsn_probabilities":
        with pytest.raises(ta.ModelError, match="not probabilities averaged over frames"):
            method.explain(clip, target=1)
        return
    result = method.explain(clip, target=1)
    total = result.attribution.sum() + sum(result.sinks.values())
    assert total.item() == pytest.approx(result.logits[0, 1].item(), rel=1e-9)
    assert result.attribution.abs().sum() > 1e-3 * abs(result.logits[0, 1])


@every
def test_the_network_is_left_as_it_was(case):
    network, clip = case.network(), case.clip(torch.float32)
    before = copy.deepcopy(network)
    model = wrap(network)
    kept = clip.clone()
    ta.TemporalGradient(model, memory="checkpoint").attribute(clip, target=0)
    if case.name != "tsn_probabilities":  # whose relevance is refused
        ta.ContrastiveLRPTemporal(model).attribute(clip[:1], target=0)
    assert torch.equal(clip, kept)
    states = zip(before.state_dict().items(), network.state_dict().items(), strict=True)
    assert all(one == other and torch.equal(a, b) for (one, a), (other, b) in states)
    for part, other in zip(network.modules(), before.modules(), strict=True):
        assert type(part) is type(other)
        assert part.training == other.training
        assert not part._forward_hooks
        assert part.__dict__.keys() == other.__dict__.keys()
    assert torch.equal(case.call(network, clip), case.call(before, clip))


@pytest.mark.parametrize("name", ["tsm", "tam", "i3d", "recognizer_tsm", "pathway"])
def test_recomputing_from_block_to_block_gives_the_same_gradient(name):
    case = next(case for case in CASES if case.name == name)
    model, clip = wrap(case.network().double()), case.clip()
    assert len(model.stages) > 1
    whole = ta.TemporalGradient(model, memory="whole").attribute(clip, target=0)
    again = ta.TemporalGradient(model, memory="checkpoint").attribute(clip, target=0)
    assert_near(again, whole, 1e-12)


def test_a_shift_reads_the_frames_beside_and_a_tsn_its_own_frame_only():
    reaches = {}
    for name in ("tsn", "tsm"):
        case = next(case for case in CASES if case.name == name)
        model, clip = wrap(case.network().double()), case.clip()[:1].requires_grad_()
        logits = model.frame_logits(clip).logits
        (gradient,) = torch.autograd.grad(logits[0, 2].sum(), clip)
        reaches[name] = gradient.abs().sum((0, 2, 3, 4)) > 0
    assert reaches["tsn"].tolist() == [False, False, True, False, False, False]
    # Three blocks, each of which shifts by one frame to both sides.
    assert reaches["tsm"].tolist() == [True] * 6


def test_probabilities_are_left_out_at_the_end_and_kept_before_a_mean():
    case = next(case for case in CASES if case.name == "pathway")
    network = vivid(PathwayNetwork(act="softmax"), *case.inputs(case.clip(torch.float32))).double()
    model, clip = wrap(network), case.clip()
    assert_near(model(clip).softmax(1), as_list(network, clip))
    assert model.activation is None
    assert "Softmax was left out" in model.notes[0]
    assert isinstance(network.head.act, nn.Softmax)
    network.head.act = nn.Sigmoid()
    assert wrap(network).activation == "sigmoid"
    assert_near(wrap(network)(clip).sigmoid(), as_list(network, clip))
    before_mean = next(case for case in CASES if case.name == "tsn_probabilities")
    model = wrap(before_mean.network())
    assert model.activation == "identity"
    assert torch.allclose(model(before_mean.clip(torch.float32)).sum(1), torch.ones(2))


def test_a_swish_with_a_backward_pass_of_its_own_is_run_as_silu():
    case = next(case for case in CASES if case.name == "pathway_x3d")
    model, clip = wrap(case.network().double()), case.clip()[:1].requires_grad_()
    assert set(model.network.substitutes) == {"network.s2.pathway0_res0.2", "network.head.act"}
    (gradient,) = torch.autograd.grad(model(clip)[0, 0], clip, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), clip)
    assert second.any()


def test_preprocessing_is_what_the_network_says():
    imagenet = ta.Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    expected = ta.Preprocessing(256, (224, 224), imagenet)
    for network in (SegmentNetwork(), FoldedNetwork(), VolumeNetwork()):
        assert wrap(network.eval()).preprocessing == expected
    network = Recognizer3D(VolumeBackbone(), VolumeHead()).eval()
    found = wrap(network).preprocessing
    assert found.normalization.mean == pytest.approx(imagenet.mean, abs=1e-6)
    assert found.normalization.std == pytest.approx(imagenet.std, abs=1e-6)
    kinetics = ta.Normalization((0.45,) * 3, (0.225,) * 3)
    network = PathwayNetwork().eval()
    assert wrap(network).preprocessing == ta.Preprocessing(256, (256, 256), kinetics)
    # Bytes, blue first: no preset of ours.
    network = SegmentNetwork()
    network.input_mean, network.input_std = [104, 117, 128], [1]
    assert wrap(network.eval()).preprocessing is None
    assert wrap(network, ta.Preprocessing(64)).preprocessing == ta.Preprocessing(64)


def test_how_many_frames_they_take_is_known():
    assert wrap(SegmentNetwork(8).eval()).clip_frames == 8
    assert wrap(FoldedNetwork(4).eval()).clip_frames == 4
    assert wrap(VolumeNetwork().eval()).clip_frames is None
    network = Recognizer2D(FrameBackbone(5), LinearThenMean(5)).eval()
    assert wrap(network).clip_frames == 5


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: SegmentNetwork(consensus_type="identity"), "consensus 'identity'"),
        (lambda: SegmentNetwork(modality="Flow"), "modality 'Flow'"),
        (lambda: Recognizer3D(TwoPathways(), VolumeHead()), "two pathways: use SlowFast"),
        (lambda: PathwayNetwork(num_pathways=2), "two pathways: use SlowFast"),
        (
            lambda: Recognizer3D(VolumeBackbone(), VolumeHead(), neck=nn.Identity()),
            "Recognizer3D with a neck",
        ),
    ],
)
def test_what_cannot_be_wrapped_is_named(build, text):
    assert_refused(UnsupportedModelError, f"(?i){text}", wrap, build().eval())


def test_a_network_that_detects_or_takes_blue_first_is_refused():
    network = PathwayNetwork().eval()
    network.cfg.DATA.REVERSE_INPUT_CHANNEL = True
    assert_refused(UnsupportedModelError, "takes blue first", wrap, network)
    network.enable_detection = True
    assert_refused(UnsupportedModelError, "detects boxes", wrap, network)


@pytest.mark.parametrize("build", [SegmentNetwork, FoldedNetwork], ids=["tsm", "tam"])
def test_early_fusion_of_a_network_with_timesteps_is_refused(build):
    # It would say that the first layer mixes all frames, and that there is one timestep.
    assert_refused(ModelError, r"Use wrap\(model\)", EarlyFusion, build().eval(), 6)


@pytest.mark.parametrize("name", ["tsm", "tam", "recognizer_tsm"])
def test_another_number_of_frames_is_named(name, as_user):
    case = next(case for case in CASES if case.name == name)
    model = wrap(case.network())
    for frames in (5, 12):
        clip = torch.rand(1, frames, 3, 16, 16)
        assert_refused(ta.ClipError, f"6 frames.*got {frames}", model, clip)
        assert_refused(ta.ClipError, f"6 frames.*got {frames}", model.frame_logits, clip)


def test_clips_need_not_be_contiguous():
    for case in CASES:
        model, clip = wrap(case.network().double()), case.clip()
        strided = clip.permute(4, 3, 2, 1, 0).contiguous().permute(4, 3, 2, 1, 0)
        assert not strided.is_contiguous()
        with torch.no_grad():
            assert_near(model(strided), model(clip), 1e-12)
        assert model(clip).shape[1] == CLASSES
