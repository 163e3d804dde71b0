"""Models whose outputs are made of others': what they give, and what the methods make of them."""

import pytest
import torch
from captum._utils.common import _select_targets
from captum.attr import NoiseTunnel, Saliency
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import temporal_attr as ta
from temporal_attr.models import (
    FramewiseModel,
    StepOutputs,
    at_timestep,
    linear_outputs,
    rather_than,
    similarity_to,
)
from temporal_attr.relevance import Box, Composite, composites
from tests.helpers.checks import assert_near, assert_refused, examples
from tests.helpers.families import CLASSES, family, vivid

# Checks of shapes in every small function take as long as the functions; the contract has them.
pytestmark = pytest.mark.usefixtures("as_user")

NAMES = ("sit", "walk", "run", "jump", "fall")
WEIGHTS = torch.randn(3, CLASSES, generator=torch.Generator().manual_seed(1)).double()
REFERENCES = torch.randn(4, CLASSES, generator=torch.Generator().manual_seed(2)).double()
WIDE = Composite(input=Box(low=-9.0, high=9.0))

# Framewise and not; of one timestep and several; linear, frozen and none.
BASES = [
    "late_fusion_mean", "late_fusion_max", "late_fusion_module", "gru_mean", "lstm_last",
    "early_fusion", "conv3d_windows", "zoo_slowfast", "step_own_readout",
]  # fmt: skip


def cosines(embeddings):
    dots = torch.einsum("be,re->br", embeddings, REFERENCES)
    return dots / embeddings.norm(dim=1)[:, None] / REFERENCES.norm(dim=1)


# What is made of a model, and the same of its logits, written out.
KINDS = {
    "rather_than": (
        lambda model: rather_than(model, 2),
        lambda logits: torch.stack([one - logits[:, 2] for one in logits.unbind(1)], 1),
    ),
    "linear_outputs": (
        lambda model: linear_outputs(model, WEIGHTS),
        lambda logits: torch.einsum("bc,dc->bd", logits, WEIGHTS),
    ),
    "similarity_to": (lambda model: similarity_to(model, REFERENCES), cosines),
}
on_kinds = pytest.mark.parametrize("kind", KINDS)
on_bases = pytest.mark.parametrize("name", BASES)


def base_and_clip(name):
    wrapper, bare = family(name).build()
    return wrapper.double(), bare, family(name).clip(torch.float64)


@on_kinds
@on_bases
def test_outputs_are_those_of_the_bare_network_by_hand(kind, name):
    build, by_hand = KINDS[kind]
    base, bare, clip = base_and_clip(name)
    model = build(base)
    with torch.no_grad():
        expected, found, steps = by_hand(bare(clip)), model(clip), model.frame_logits(clip)
        assert_near(model.head(model.features(clip)), found)
        singles = torch.cat([model(one) for one in clip.split(1)])
    assert expected.std() > 1e-2
    assert_near(found, expected, 1e-11)
    assert_near(singles, found)
    assert steps.logits.shape == (2, family(name).steps, expected.shape[1])
    if base.exactness == "none":
        assert model.exactness == "none"
    else:
        assert model.exactness == ("frozen" if kind == "similarity_to" else base.exactness)
        assert_near(steps.clip_logits(), expected, 1e-11)
    assert isinstance(model, FramewiseModel) == isinstance(base, FramewiseModel)
    for trait in ("layout", "frames_per_step", "merged_steps", "channels", "normalization"):
        assert getattr(model, trait) == getattr(base, trait)
    assert len(model.stages) == len(base.stages)


@on_kinds
def test_a_function_gets_the_same_outputs_as_its_wrapper(kind):
    build, by_hand = KINDS[kind]
    _, bare, clip = base_and_clip("gru_mean")
    changed = build(bare)
    assert_near(changed(clip), by_hand(bare(clip)))
    attribution = ta.TemporalGradient(changed).attribute(clip, target=1)
    leaf = clip.clone().requires_grad_()
    (expected,) = torch.autograd.grad(by_hand(bare(leaf))[:, 1].sum(), leaf)
    assert_near(attribution, expected)


@pytest.mark.parametrize("memory", ["whole", "framewise", "checkpoint", "offload"])
@on_kinds
def test_the_gradient_is_autograd_s_on_every_path(kind, memory):
    build, by_hand = KINDS[kind]
    name = "conv3d_windows" if memory == "checkpoint" else "gru_mean"
    base, bare, clip = base_and_clip(name)
    method = ta.TemporalGradient(build(base), memory=memory)
    result = method.explain(clip, target=[0, -1])
    leaf = clip.clone().requires_grad_()
    outputs = by_hand(bare(leaf))
    (expected,) = torch.autograd.grad(outputs[0, 0] + outputs[1, -1], leaf)
    assert result.run.path == memory
    assert_near(result.attribution, expected, 1e-10)
    assert_near(result.logits, outputs.detach(), 1e-11)


# Differences of classes.


@pytest.mark.parametrize("rules", [Composite, composites.transformer, composites.cp_lrp])
@pytest.mark.parametrize("name", ["gru_mean", "conv3d_windows", "zoo_slowfast"])
def test_relevance_of_a_difference_is_that_of_one_class_less_that_of_the_other(name, rules):
    base, _, clip = base_and_clip(name)
    rules = (
        rules()
        if rules is composites.cp_lrp
        else ta.relevance.Composite(**{**vars(rules()), "input": WIDE.input})
    )
    found = ta.LRP(rather_than(base, 2), rules).attribute(clip, target=[0, 4])
    one, other = (ta.LRP(base, rules).attribute(clip, target=at) for at in ([0, 4], 2))
    assert one.abs().max() > 0
    assert_near(found, one - other, 1e-6)
    if rules.input is not None:  # z+ and the like lose nothing
        with torch.no_grad():
            logits = base(clip)
        differences = torch.stack([logits[0, 0] - logits[0, 2], logits[1, 4] - logits[1, 2]])
        assert_near(found.flatten(1).sum(1), differences, 1e-5)


def test_rows_of_a_difference_are_those_of_one_class_less_those_of_the_other():
    base, _, clip = base_and_clip("conv3d_windows")
    plain = {"composite": WIDE, "contrastive": False}
    found = ta.ContrastiveLRPTemporal(rather_than(base, 2), **plain).explain(clip, target=1)
    one, other = (
        ta.ContrastiveLRPTemporal(base, **plain).explain(clip, target=at) for at in (1, 2)
    )
    assert_near(found.matrix, one.matrix - other.matrix, 1e-7)
    assert_near(found.step_logits, one.step_logits - other.step_logits, 1e-10)
    assert found.row_error.abs().max() < 1e-6
    assert found.class_label() == "class 1 rather than class 2 (1)"


def test_contrastive_relevance_of_a_difference_is_refused():
    base, _, clip = base_and_clip("conv3d_windows")
    method = ta.ContrastiveLRPTemporal(rather_than(base, 2), WIDE)
    assert_refused(
        ta.OptionError, "contrastive=False for differences of classes", method.explain, clip, 1
    )


def test_equal_logits_have_no_relevance_and_no_error():
    network = nn.Linear(12, 3, bias=False).double()
    network.weight.data[1] = network.weight.data[0]
    model = rather_than(lambda clip: network(clip.flatten(1)), 1)
    clip = torch.rand(1, 1, 3, 2, 2, dtype=torch.float64)
    found = ta.LRP(model, Composite(input=None)).attribute(clip, target=[0])
    assert not found.any()


def test_the_sigmoid_of_a_difference_is_the_probability_among_the_two():
    base, _, clip = base_and_clip("gru_mean")
    base.class_names = NAMES
    result = ta.TemporalGradient(rather_than(base, "run"), "probability").explain(clip, target=1)
    both = base(clip).detach()[:, [1, 2]].softmax(1)[:, 0]
    assert_near(result.probabilities[:, 1], both)
    assert result.class_label() == "walk rather than run (1)"
    assert "target walk rather than run (1), logit" in result.summary()
    assert "1 walk rather than run" in " ".join(result.top_classes())
    assert set(result.to_dataframe().class_name) == {"walk rather than run"}


@pytest.mark.parametrize(
    ("activation", "after"),
    [(None, "sigmoid"), ("softmax", "sigmoid"), ("sigmoid", "none"), ("none", "none")],
)
def test_only_logits_of_a_softmax_have_a_probability_among_two(activation, after):
    base, _, _ = base_and_clip("gru_mean")
    base.activation = activation
    assert rather_than(base, 2).activation == after
    assert base.activation == activation


def test_classes_that_cannot_be_compared():
    base, _, clip = base_and_clip("gru_mean")
    text = "other as a class number, got 'run'"
    assert_refused(ta.OptionError, text, rather_than, base, "run")
    assert_refused(ta.TargetError, "other from 0 to 4, got 5", rather_than(base, 5), clip)
    assert_near(rather_than(base, -3)(clip), rather_than(base, 2)(clip))
    base.class_names = NAMES
    text = "classes: sit, walk, run, jump, fall, got 'ran'"
    assert_refused(ta.OptionError, text, rather_than, base, "ran")
    assert_refused(ta.TargetError, "other from 0 to 4, got -6", rather_than, base, -6)
    single = rather_than(lambda clip: clip.mean((1, 2, 3, 4))[:, None], 0)
    assert_refused(ta.ModelError, "at least two classes", single, clip)
    chances = rather_than(lambda clip: base(clip).softmax(1), 0)
    assert_refused(ta.ModelError, "outputs that are probabilities already", chances, clip)


def test_no_model_and_no_function():
    assert_refused(ta.ModelError, "model to be a VideoModel or a function", rather_than, 3, 0)
    assert_refused(ta.ModelError, "got the class Linear", rather_than, nn.Linear, 0)


# Timesteps.


@on_bases
def test_at_a_timestep_the_output_is_its_logits(name):
    base, _, clip = base_and_clip(name)
    merged = base.merged_steps
    with torch.no_grad():
        steps = base.frame_logits(clip)
        for time in {0, -1, family(name).steps // merged // 2}:
            model = at_timestep(base, time)
            place = time % (family(name).steps // merged)
            block = steps.logits[:, place * merged : (place + 1) * merged]
            weights = steps.weights[place * merged : (place + 1) * merged]
            weights = weights / weights.sum() if weights.sum() > 0 else torch.ones_like(weights)
            expected = sum(w * one for w, one in zip(weights, block.unbind(1), strict=True))
            assert_near(model(clip), expected)
            assert_near(model.head(model.features(clip)), expected)
            own = model.frame_logits(clip)
            assert_near(own.clip_logits(), expected)
            assert_near(own.logits, steps.logits)
            assert own.weights.sum().item() == pytest.approx(1)
    assert model.exactness == ("linear" if base.exactness == "none" else base.exactness)
    assert isinstance(model, FramewiseModel) == isinstance(base, FramewiseModel)


@pytest.mark.usefixtures("as_user")
def test_a_timestep_that_is_not_there():
    base, bare, clip = base_and_clip("gru_mean")
    text = "a timestep from 0 to 5, as the clip has 6, got 6"
    assert_refused(ta.TargetError, text, at_timestep(base, 6), clip)
    assert_refused(ta.TargetError, "got -7", ta.LRP(base, WIDE).attribute, clip, (-7, 0))
    text = "a VideoModel, whose timesteps each have logits"
    assert_refused(ta.FrameLogitsError, text, at_timestep, bare, 0)
    assert_refused(
        ta.FrameLogitsError, text, ta.TemporalGradient(bare).attribute, clip, target=(1, 0)
    )


def test_names_say_the_timestep():
    base, _, clip = base_and_clip("gru_mean")
    result = ta.TemporalGradient(base).explain(clip, target=(-1, 3))
    assert result.class_label() == "class 3 at timestep 5 (3)"
    base.class_names = NAMES
    result = ta.LRP(base, WIDE).explain(clip, target=(2, 3))
    assert result.class_label() == "jump at timestep 2 (3)"
    assert "target jump at timestep 2 (3)" in result.summary()
    nested = at_timestep(rather_than(base, "sit"), 2)
    assert nested.class_names[3] == "jump rather than sit at timestep 2"
    assert base.class_names == NAMES


@st.composite
def targets(draw, batch=2, steps=6, classes=CLASSES):
    pair = st.tuples(st.integers(-steps, steps - 1), st.integers(-classes, classes - 1))
    return draw(st.one_of(pair, st.lists(pair, min_size=batch, max_size=batch)))


@pytest.fixture(scope="module")
def network_of_steps():
    """A network with outputs (batch, time, classes), in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv3d(3, 6, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool3d((None, 1, 1)),
            nn.Flatten(2), nn.Conv1d(6, CLASSES, 1),
        )  # fmt: skip
        vivid(network, torch.randn(4, 3, 6, 8, 8))
    return network.double()


@pytest.fixture(scope="module")
def short_clip():
    return torch.randn(2, 6, 3, 8, 8, generator=torch.Generator().manual_seed(7)).double()


@examples(25)
@given(target=targets())
def test_pairs_are_what_captum_selects(network_of_steps, short_clip, target):
    model = StepOutputs(network_of_steps, lambda outputs: outputs.transpose(1, 2))
    leaf = short_clip.clone().requires_grad_()
    outputs = network_of_steps(leaf.transpose(1, 2)).transpose(1, 2)
    (expected,) = torch.autograd.grad(_select_targets(outputs, target).sum(), leaf)
    assert_near(ta.TemporalGradient(model).attribute(short_clip, target=target), expected)


METHODS = {
    "gradient": ta.TemporalGradient,
    "lrp": lambda model: ta.LRP(model, WIDE),
    "rows": lambda model: ta.ContrastiveLRPTemporal(model, WIDE),
    "shuffles": lambda model: ta.ShuffleProbe(model, shuffles=3),
    "masks": lambda model: ta.FrameMaskingTSR(ta.TemporalGradient(model)),
}
on_methods = pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)


@on_methods
def test_pairs_of_a_batch_are_its_clips_one_by_one(make, network_of_steps, short_clip):
    model = StepOutputs(network_of_steps, lambda outputs: outputs.transpose(1, 2))
    found = make(model).attribute(short_clip, target=[(1, 0), (4, 2)])
    singles = [
        make(at_timestep(model, time)).attribute(short_clip[at : at + 1], target=number)
        for at, (time, number) in enumerate([(1, 0), (4, 2)])
    ]
    assert found.nan_to_num().any()
    assert_near(found, torch.cat(singles), 1e-10, equal_nan=True)
    (in_tuple,) = make(model).attribute((short_clip.flip(0),), target=[(4, 2), (1, 0)])
    assert_near(in_tuple, found.flip(0), 1e-10, equal_nan=True)


@on_methods
def test_results_are_of_one_timestep(make, network_of_steps, short_clip):
    model = StepOutputs(network_of_steps, lambda outputs: outputs.transpose(1, 2))
    text = r"one timestep for all clips of explain\(\), got 1, 4"
    explain = make(model).explain
    options = {"flow": None} if make is METHODS["shuffles"] else {}
    assert_refused(ta.TargetError, text, explain, short_clip, [(1, 0), (4, 2)], **options)
    result = explain(short_clip, [(1, 0), (1, 2)], **options)
    assert result.target.tolist() == [0, 2]
    assert_near(result.logits, model.frame_logits(short_clip).logits[:, 1].detach())
    assert result.class_label(1) == "class 2 at timestep 1 (2)"


def test_a_convergence_delta_comes_with_pairs_too(network_of_steps, short_clip):
    model = StepOutputs(network_of_steps, lambda outputs: outputs.transpose(1, 2))
    method = ta.LRP(model, WIDE)
    found, delta = method.attribute(
        short_clip, target=[(5, 0), (0, 0)], return_convergence_delta=True
    )
    chosen = model.frame_logits(short_clip).logits[[0, 1], [5, 0], 0].detach()
    assert_near(found.flatten(1).sum(1) + delta, chosen)


def test_pairs_reach_a_method_of_captum_inside(network_of_steps, short_clip):
    model = StepOutputs(network_of_steps, lambda outputs: outputs.transpose(1, 2))
    inside = Saliency(model)
    found = ta.FrameMaskingTSR(inside).attribute(short_clip, target=(3, 1))
    expected = ta.FrameMaskingTSR(Saliency(at_timestep(model, 3))).attribute(short_clip, target=1)
    assert_near(found, expected, 1e-10)
    assert inside.forward_func is model
    tunnel = NoiseTunnel(ta.TemporalGradient(model))
    noisy = tunnel.attribute(short_clip, nt_samples=1, stdevs=0.0, target=(3, 1))
    assert_near(noisy, ta.TemporalGradient(model).attribute(short_clip, target=(3, 1)))


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ([(1, 0), 2], r"tuples \(timestep, class\) for all examples, or for none, got 1 among 2"),
        ([(1, 0)] * 3, "one for each of 2 examples, got 3"),
        ((1, 0, 2), r"class numbers, as the output is \(batch, classes\), got \(1, 0, 2\)"),
        ((1.5, 0), r"class numbers.*got 1\.5"),
        ((1, 9), "a target from 0 to 4, got 9"),
        (torch.tensor([[1, 0], [2, 0]]), "timesteps with them as a list of tuples"),
    ],
)
def test_pairs_that_name_nothing(network_of_steps, short_clip, target, text):
    model = StepOutputs(network_of_steps, lambda outputs: outputs.transpose(1, 2))
    attribute = ta.TemporalGradient(model).attribute
    assert_refused(ta.TargetError, text, attribute, short_clip, target)
