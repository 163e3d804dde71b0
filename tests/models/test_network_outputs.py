"""Networks that return something else than logits: of timesteps, to be reduced, or of a layer."""

import copy
import pickle
import threading

import pytest
import torch
from torch import nn

import temporal_attr as ta
from temporal_attr.models import (
    FramewiseModel,
    ReducedOutput,
    StepOutputs,
    at_timestep,
    layer_features,
    linear_outputs,
    rather_than,
    similarity_to,
)
from temporal_attr.relevance import Box, Composite
from tests.helpers.checks import assert_near, assert_refused
from tests.helpers.families import CLASSES, SmallConv3D, family, vivid

# Checks of shapes in every small function take as long as the functions; the contract has them.
pytestmark = pytest.mark.usefixtures("as_user")

WIDE = Composite(input=Box(low=-9.0, high=9.0))


@pytest.fixture
def clip():
    return torch.randn(2, 6, 3, 16, 16, generator=torch.Generator().manual_seed(7)).double()


@pytest.fixture
def network():
    """Convolutions over (batch, channel, time, height, width), in float64."""
    network = SmallConv3D(nn.AdaptiveAvgPool3d(1))
    return vivid(network, torch.randn(4, 3, 6, 16, 16)).double()


def maps_of(network, clip):
    return network.layer(network.stem(clip.transpose(1, 2)))


# Outputs of timesteps.


class Segmenter(nn.Module):
    """Logits of every second frame, in a dict with something else."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv3d(3, CLASSES, 3, stride=(2, 1, 1), padding=1)

    def forward(self, volume):
        return {"loss": None, "logits": self.convolution(volume).mean((3, 4)).transpose(1, 2)}


def test_steps_are_the_network_s_outputs_and_forward_their_mean(clip):
    network = vivid(Segmenter(), torch.randn(4, 3, 6, 16, 16)).double()
    model = StepOutputs(network)
    outputs = network(clip.transpose(1, 2))["logits"]
    steps = model.frame_logits(clip)
    assert torch.equal(steps.logits, outputs)
    assert_near(model(clip), outputs.mean(1))
    assert (model.exactness, model.frames_per_step, outputs.shape[1]) == ("linear", 2, 3)
    whole = ta.LRP(model, WIDE).attribute(clip, target=1)
    parts = [ta.LRP(model, WIDE).attribute(clip, target=(time, 1)) for time in range(3)]
    assert_near(whole, sum(parts) / 3, 1e-7)
    rows = ta.ContrastiveLRPTemporal(model, WIDE, contrastive=False).explain(clip, target=1)
    for time, part in enumerate(parts):
        assert_near(rows.frame_matrix[:, time], part.sum((2, 3, 4)), 1e-7)
    assert rows.frames_per_step == 2


@pytest.mark.parametrize(
    ("pick", "got"),
    [
        (lambda output: output["logits"].mean(1), r"shape \(2, 5\)"),
        (lambda output: output["logits"][:1], r"shape \(1, 3, 5\)"),
        (lambda output: output["loss"], "None"),
    ],
)
def test_what_is_not_of_every_timestep(clip, pick, got):
    model = StepOutputs(vivid(Segmenter(), torch.randn(4, 3, 6, 16, 16)).double(), pick)
    text = rf"outputs of every timestep \(batch, steps, classes\) with a batch of 2, got .*{got}"
    assert_refused(ta.ModelError, text, model, clip)


def test_outputs_that_are_no_numbers(clip):
    network = vivid(Segmenter(), torch.randn(4, 3, 6, 16, 16)).double()
    model = StepOutputs(network, lambda output: output["logits"] / 0)
    assert_refused(ta.ModelError, "logits that are numbers", model, clip)


@pytest.mark.parametrize(
    "layout", ["batch time height width", "batch time time height channel", ""]
)
def test_a_layout_names_every_axis_once(layout):
    text = "layout over batch, time, channel, height, width, each once"
    assert_refused(ta.OptionError, text, StepOutputs, Segmenter(), layout=layout)


def test_another_layout(clip):
    class ChannelsLast(nn.Module):
        def forward(self, volume):
            return volume.mean((2, 3))

    model = StepOutputs(ChannelsLast().eval(), layout="batch time height width channel")
    assert_near(model.frame_logits(clip).logits, clip.mean((3, 4)))


# Outputs that are reduced.


def test_a_reduced_output_is_explained_as_the_function_is(network, clip):
    mask = torch.zeros(6, 8, 8).double()
    mask[1:3, 2:5, 4:] = 1 / 24
    segmenter = nn.Sequential(network.stem, network.layer)
    model = ReducedOutput(segmenter, lambda maps: (maps * mask).sum((2, 3, 4)))
    leaf = clip.clone().requires_grad_()
    expected = (maps_of(network, leaf) * mask).sum((2, 3, 4))
    (gradient,) = torch.autograd.grad(expected[:, 4].sum(), leaf)
    result = ta.TemporalGradient(model, activation="none").explain(clip, 4, influence=False)
    assert_near(result.attribution, gradient)
    assert_near(result.logits, expected.detach())
    assert "probability" not in result.summary()
    relevance = ta.LRP(model, WIDE).explain(clip, target=4)
    assert_near(relevance.attribution.flatten(1).sum(1), expected[:, 4].detach(), 1e-6)
    text = r"a ReducedOutput, which has one row .*influence=False"
    assert_refused(ta.FrameLogitsError, text, ta.TemporalGradient(model).explain, clip, 4)
    assert_refused(ta.FrameLogitsError, text, ta.TemporalGradient(model).explain, clip, (1, 4))
    assert_refused(ta.FrameLogitsError, ".", ta.ContrastiveLRPTemporal(model).attribute, clip, 4)


def test_a_reduction_that_gives_no_row_for_each_clip(network, clip):
    model = ReducedOutput(network, lambda logits: logits.mean(0))
    assert_refused(ta.ModelError, r"with a batch of 2, got shape \(5,\)", model, clip)


# Features of a layer.


def test_channels_of_a_layer_over_time(network, clip):
    base = ta.Conv3D(network, stages=["stem", "layer"], pool="pool", classifier="fc")
    maps = maps_of(network, clip)
    model = layer_features(base, "model.layer", time_axis=2)
    assert_near(model(clip), maps.mean((2, 3, 4)))
    steps = model.frame_logits(clip)
    assert_near(steps.logits, maps.mean((3, 4)).transpose(1, 2))
    assert_near(steps.clip_logits(), maps.mean((2, 3, 4)))
    assert model.class_names[5] == "channel 5 of model.layer"
    # Without a time axis it is the same number, and has no timesteps.
    plain = layer_features(base, "model.layer", channel_axis=-4)
    assert_near(plain(clip), model(clip))
    assert plain.exactness == "none"
    assert_refused(ta.FrameLogitsError, "the time_axis", plain.frame_logits, clip)
    leaf = clip.clone().requires_grad_()
    (expected,) = torch.autograd.grad(maps_of(network, leaf)[:, 3].mean((1, 2, 3)).sum(), leaf)
    for one in (model, plain):
        assert_near(ta.TemporalGradient(one).attribute(clip, target=3), expected)


def test_what_the_next_layer_overwrites_is_told_before(clip):
    network = nn.Sequential(
        nn.Conv3d(3, 4, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool3d(1), nn.Flatten()
    ).double()
    base = ta.Conv3D(network)
    expected = network[0](clip.transpose(1, 2)).mean((2, 3, 4))
    assert (expected < 0).any()
    assert_near(layer_features(base, "model.0")(clip), expected)


def test_a_direction_of_channels_is_a_linear_layer_to_relevance(network, clip):
    base = ta.Conv3D(network, stages=["stem", "layer"], pool="pool", classifier="fc")
    weights = torch.randn(2, 6, generator=torch.Generator().manual_seed(3)).double()
    channels = layer_features(base, "model.layer", time_axis=2)
    model = linear_outputs(channels, weights, ["fast", "slow"])
    assert_near(model(clip), maps_of(network, clip).mean((2, 3, 4)) @ weights.T)
    # The network itself with that classifier.
    twin = copy.deepcopy(network)
    twin.fc = nn.Linear(6, 2, bias=False).double()
    twin.fc.weight.data = weights.clone()
    other = ta.Conv3D(twin, stages=["stem", "layer"], pool="pool", classifier="fc")
    for contrastive in (True, False):
        found, expected = (
            ta.ContrastiveLRPTemporal(one, WIDE, contrastive).explain(clip, target=1)
            for one in (model, other)
        )
        assert_near(found.matrix, expected.matrix, 1e-9)
    assert found.class_label() == "slow (1)"


def test_a_layer_of_the_encoder_stays_framewise():
    base, _ = family("gru_mean").build()
    base, clip = base.double(), family("gru_mean").clip(torch.float64)
    model = layer_features(base, "encoder.2")
    assert isinstance(model, FramewiseModel)
    rows = base.encoder[:3](clip.flatten(0, 1)).mean((2, 3)).unflatten(0, (2, 6))
    assert_near(model(clip), rows.mean(1))
    assert_near(model.frame_logits(clip).logits, rows)
    whole, framewise = (
        ta.TemporalGradient(model, memory=memory).explain(clip, target=1)
        for memory in ("whole", "framewise")
    )
    assert_near(framewise.attribution, whole.attribution)
    assert_near(framewise.influence, whole.influence)
    assert (whole.influence[0] > 0).tolist() == torch.eye(6).bool().tolist()
    # The recurrent layer returns a tuple, of which the first entry is meant.
    outputs = layer_features(base, "recurrent", channel_axis=2, time_axis=1)
    features = base.encoder(clip.flatten(0, 1)).unflatten(0, (2, 6))
    assert_near(outputs.frame_logits(clip).logits, base.recurrent(features)[0])


def test_layers_that_cannot_be_read(network, clip):
    base = ta.Conv3D(network, stages=["stem", "layer"], pool="pool", classifier="fc")
    assert_refused(
        ta.OptionError, "such as model.layer, got 'layer'", layer_features, base, "layer"
    )
    assert_refused(ta.OptionError, "such as .*, got 'layer9'", layer_features, base, "layer9")
    assert_refused(ta.OptionError, "other than the time_axis", layer_features, base, "model", 2, 2)
    for axes in ({"channel_axis": 5}, {"time_axis": 7}, {"channel_axis": 0}):
        model = layer_features(base, "model.layer", **axes)
        assert_refused(ta.ModelError, "features of 'model.layer' for a batch of 2", model, clip)

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Conv3d(3, 3, 1)

        def forward(self, volume):
            return self.inner(self.inner(volume)).mean((2, 3, 4))

    model = layer_features(ta.Conv3D(Twice().double()), "model.inner")
    assert_refused(ta.ModelError, "runs once in a forward pass.*got 2 runs", model, clip)


def test_no_hook_stays_also_after_an_error(network, clip):
    base = ta.Conv3D(network, stages=["stem", "layer"], pool="pool", classifier="fc")
    model = layer_features(base, "model.layer", time_axis=2)
    model(clip)
    broken = network.fc.register_forward_pre_hook(lambda layer, given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model(clip)
    broken.remove()
    assert not network.layer._forward_hooks
    assert not network.layer._backward_hooks


def test_threads_get_their_own_features(network, clip):
    base = ta.Conv3D(network, stages=["stem", "layer"], pool="pool", classifier="fc")
    model = layer_features(base, "model.layer", time_axis=2)
    clips = [clip * (1 + at) for at in range(4)]
    expected = [model(one) for one in clips]
    found = [None] * 4

    def run(at):
        for _ in range(5):
            found[at] = model(clips[at])

    threads = [threading.Thread(target=run, args=(at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


# Similarity.


def test_similarity_of_embeddings_with_and_without_a_scale(network, clip):
    embedder = ReducedOutput(network, lambda logits: logits)
    references = torch.randn(3, CLASSES, generator=torch.Generator().manual_seed(5)).double()
    references.requires_grad_()
    model = similarity_to(embedder, references, ["a dog", "a cat", "a fish"])
    cosines = nn.functional.cosine_similarity(embedder(clip)[:, None], references[None], dim=2)
    assert_near(model(clip), cosines.detach())
    assert model.class_names[2] == "similarity to a fish"
    result = ta.TemporalGradient(model).explain(clip, target=2, influence=False)
    assert "probability" not in result.summary()
    assert references.grad is None
    classes = similarity_to(embedder, references, ["a dog", "a cat", "a fish"], scale=100.0)
    result = ta.TemporalGradient(classes, "probability").explain(clip, 2, influence=False)
    assert_near(result.probabilities, (100 * cosines).softmax(1).detach())
    assert result.class_label() == "a fish (2)"


def test_relevance_of_a_similarity_holds_the_length(network, clip):
    references = torch.randn(2, CLASSES, generator=torch.Generator().manual_seed(5)).double()
    base = ta.Conv3D(network, stages=["stem", "layer"], pool="pool", classifier="fc")
    model = similarity_to(base, references)
    found = ta.LRP(model, WIDE).explain(clip, target=1)
    assert_near(found.attribution.flatten(1).sum(1), model(clip)[:, 1].detach(), 1e-6)
    lengths = base(clip).norm(dim=1).detach()
    weights = references / references.norm(dim=1, keepdim=True)
    plain = ta.LRP(linear_outputs(base, weights), WIDE).attribute(clip, target=1)
    assert_near(found.attribution, plain / lengths[:, None, None, None, None], 1e-9)


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda base: similarity_to(base, torch.zeros(1, 5)), ta.DataError, "one of zeros only"),
        (
            lambda base: similarity_to(base, torch.full((1, 5), torch.nan)),
            ta.DataError,
            "finite ref",
        ),
        (lambda base: similarity_to(base, torch.ones(2, 5), ["a"]), ta.OptionError, "2 references"),
        (lambda base: similarity_to(base, torch.ones(1, 5), scale=0.0), ta.OptionError, "above 0"),
        (lambda base: linear_outputs(base, torch.ones(0, 5)), ta.DataError, "finite weights"),
        (lambda base: linear_outputs(base, torch.ones(1, 5), "dog"), ta.OptionError, "class_names"),
    ],
)
def test_references_and_weights_that_are_refused(network, make, kind, text):
    assert_refused(kind, text, make, ReducedOutput(network, lambda logits: logits))


@pytest.mark.parametrize("make", [similarity_to, linear_outputs])
def test_rows_of_another_length_than_the_outputs(network, clip, make):
    model = make(ReducedOutput(network, lambda logits: logits), torch.ones(1, 4))
    assert_refused(ta.ModelError, "a model of 4 .*, got 5", model, clip)


# All of them as modules.


def test_models_made_of_others_can_be_copied_kept_and_moved():
    base, _ = family("gru_mean").build()
    clip = family("gru_mean").clip()
    before = {name: value.clone() for name, value in base.state_dict().items()}
    flags = [parameter.requires_grad for parameter in base.parameters()]
    for model in (
        rather_than(base, 1),
        at_timestep(base, -1),
        linear_outputs(base, torch.ones(2, CLASSES)),
        similarity_to(base, torch.ones(2, CLASSES)),
        layer_features(base, "encoder.2"),
    ):
        expected = model(clip)
        assert not model.training
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert torch.equal(twin(clip), expected)
        assert_near(copy.deepcopy(model).double()(clip.double()), expected.double(), 1e-5)
        ta.TemporalGradient(model).explain(clip, target=1)
    assert all(torch.equal(base.state_dict()[name], value) for name, value in before.items())
    assert [parameter.requires_grad for parameter in base.parameters()] == flags
    assert all(parameter.grad is None for parameter in base.parameters())
