"""What every method says that a call will cost, against what the run says that it did."""

import copy
import sys
from contextlib import contextmanager

import pytest
import torch
from captum.attr import IntegratedGradients, Saliency
from torch import nn

from temporal_attr import (
    LRP,
    Blocks,
    ContrastiveLRPTemporal,
    FrameMaskingTSR,
    ShuffleProbe,
    TemporalGradient,
)
from temporal_attr._errors import OptionError, TemporalAttrError
from temporal_attr._run import RunContext, started
from temporal_attr.attributions import Estimate, VideoMethod
from temporal_attr.clips import IDENTITY
from temporal_attr.models import FramewiseModel
from temporal_attr.relevance import Composite
from tests.helpers.families import ATTENDING, SMALL, family
from tests.helpers.methods import METHODS

# Checks of shapes in every small function take as long as the functions; the contract has them.
pytestmark = pytest.mark.usefixtures("as_user")

on_every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
TARGET = [1, 2]


def agree(estimate, run):
    if estimate.certainty == "exact":
        assert estimate.forward_passes == pytest.approx(run.forward_passes, abs=1e-12)
        assert estimate.backward_passes == pytest.approx(run.backward_passes, abs=1e-12)
    else:
        assert estimate.certainty == "at most"
        assert estimate.forward_passes >= run.forward_passes - 1e-12
        assert estimate.backward_passes >= run.backward_passes - 1e-12


def runs_of(method, monkeypatch):
    """The runs that a method starts from now on; `attribute` gives only a tensor."""
    module, found = sys.modules[type(method).attribute.__module__], []

    @contextmanager
    def noted(*args, **kwargs):
        with started(*args, **kwargs) as run:
            found.append(run)
            yield run

    monkeypatch.setattr(module, "started", noted)
    return found


# All families take minutes.
QUICK = ("late_fusion_max", "conv3d_windows", "gru_mean")


@pytest.mark.parametrize(
    ("method", "case"),
    [
        pytest.param(
            method,
            case,
            id=f"{method.name}-{case.name}",
            marks=[] if case.name in (method.models or QUICK) else [pytest.mark.simulation],
        )
        for method in METHODS
        for case in SMALL + ATTENDING
    ],
)
def test_counts_are_those_of_the_run(method, case, monkeypatch):
    wrapper, _ = case.build()
    if method.framewise_only and not isinstance(wrapper, FramewiseModel):
        pytest.skip("needs a framewise model")
    wrapper, clip = wrapper.double(), case.clip(torch.float64)
    made = method.build(wrapper, 5)
    try:
        estimate = made.estimate(clip, TARGET)
    except TemporalAttrError as error:
        # What cannot be explained has no cost either, for the same reason.
        with pytest.raises(type(error), match=error.expected[:20]):
            made.explain(clip, TARGET)
        return
    agree(estimate, made.explain(clip, TARGET).run)
    assert estimate.frames == clip.shape[0] * clip.shape[1]
    assert estimate.seconds > 0
    framewise = isinstance(wrapper, FramewiseModel)
    exact = method.exact_cost and not (method.kind is FrameMaskingTSR and framewise)
    assert (estimate.certainty == "exact") == exact
    runs = runs_of(made, monkeypatch)
    made.attribute(clip, TARGET)
    agree(made.estimate(clip, TARGET, of="attribute"), runs[0].finished(estimate.frames))


@on_every_method
def test_an_estimate_changes_nothing(method):
    wrapper, _ = family(method.model).build()
    clip = family("gru_mean").clip()
    made = method.build(wrapper, None)
    made.estimate(clip, TARGET)
    state = copy.deepcopy(wrapper.state_dict())
    copied, random = clip.clone(), torch.random.get_rng_state()
    modules = list(wrapper.modules())
    hooks = [len(one._forward_hooks) + len(one._forward_pre_hooks) for one in modules]
    made.estimate(clip, TARGET)
    assert torch.equal(clip, copied)
    assert not clip.requires_grad
    assert torch.equal(torch.random.get_rng_state(), random)
    assert all(torch.equal(value, state[name]) for name, value in wrapper.state_dict().items())
    assert all(one.grad is None and one.requires_grad for one in wrapper.parameters())
    assert not any(one.training for one in modules)
    assert hooks == [len(one._forward_hooks) + len(one._forward_pre_hooks) for one in modules]


class Counter:
    """Counts what goes forward and back through a module, in frames."""

    def __init__(self, module):
        self.forward = self.backward = 0
        module.register_forward_hook(self.count)

    def count(self, module, inputs, output):
        self.forward += len(output)
        if output.requires_grad:
            output.register_hook(self.gone_back)

    def gone_back(self, gradient):
        self.backward += len(gradient)


@pytest.mark.usefixtures("without_trials")
@on_every_method
def test_it_takes_a_few_passes(method):
    wrapper, _ = family(method.model).build()
    clip = torch.randn(1, 30, 3, 16, 16)
    made = method.build(wrapper, None)
    if method.finds_layers:
        made.attribute(clip, 1)
    counter = Counter(wrapper.encoder)
    made.estimate(clip, 1)
    # By clip every attribution counts a pass forward and back; masks by frame are tried out thrice.
    assert counter.forward <= 7 * 30 + 1
    assert counter.backward <= 6 * 30


def test_chosen_rows_cost_less():
    wrapper, _ = family("conv3d_windows").build()
    clip = family("conv3d_windows").clip()
    method = TemporalGradient(wrapper)
    for influence in (False, [0], [1, -1], True):
        estimate = method.estimate(clip, TARGET, influence=influence)
        agree(estimate, method.explain(clip, TARGET, influence=influence).run)
        assert estimate.certainty == "exact"
    with pytest.raises(OptionError, match=r"from -6 to 5, got 6"):
        method.estimate(clip, TARGET, influence=[6])


@pytest.mark.parametrize("name", ["gru_mean", "conv3d_windows"])
@pytest.mark.parametrize("memory", ["whole", "framewise", "checkpoint", "offload", "half"])
def test_every_memory_path_is_counted(name, memory):
    wrapper, _ = family(name).build()
    if memory == {"gru_mean": "checkpoint", "conv3d_windows": "framewise"}[name]:
        pytest.skip("no such path")
    clip = family(name).clip()
    method = TemporalGradient(wrapper, memory=memory, chunk_size=4)
    agree(method.estimate(clip, TARGET), method.explain(clip, TARGET).run)


@pytest.mark.parametrize("name", ["lstm_last", "conv3d_global"])
def test_segments_of_the_probe_are_counted(name):
    wrapper, _ = family(name).build()
    clip = torch.randn(2, 9, 3, 16, 16)
    method = ShuffleProbe(wrapper, shuffles=2, segment=4, normalization=IDENTITY)
    estimates = [method.estimate(clip, TARGET, segments=segments) for segments in (False, True)]
    for estimate, segments in zip(estimates, (False, True), strict=True):
        agree(estimate, method.explain(clip, TARGET, segments=segments).run)
    assert estimates[1].forward_passes > estimates[0].forward_passes


def test_a_threshold_makes_it_a_bound():
    wrapper, _ = family("conv3d_global").build()
    clip = family("conv3d_global").clip()
    for options in ({"quantile": 0.7}, {"threshold": 1e9}, {"window": 2}):
        method = FrameMaskingTSR(wrapper, "two", Blocks(8, 16), **options)
        estimate = method.estimate(clip, TARGET)
        run = method.explain(clip, TARGET).run
        agree(estimate, run)
        assert (estimate.certainty == "exact") == ("window" in options)
        assert (estimate.forward_passes > run.forward_passes) == ("window" not in options)


@pytest.mark.parametrize("batch", [1, 2])
def test_methods_of_captum_are_counted_by_running_them_once(batch):
    wrapper, _ = family("conv3d_global").build()
    clip, target = torch.randn(batch, 6, 3, 16, 16), [1, 2][:batch]
    integrated = IntegratedGradients(wrapper)
    for method in (
        FrameMaskingTSR(integrated, method_arguments={"n_steps": 4}),
        ShuffleProbe(integrated, 2, method_arguments={"n_steps": 4}, normalization=IDENTITY),
        FrameMaskingTSR(Saliency(wrapper), perturbations_per_eval=2),
    ):
        estimate = method.estimate(clip, target)
        agree(estimate, method.explain(clip, target).run)
        assert estimate.certainty == "exact"
        assert f"by {method.method.get_name()}" in estimate.timed


def test_arguments_after_the_clip_go_along():
    wrapper, _ = family("conv3d_global").build()
    clip = torch.randn(2, 6, 3, 16, 16)
    shift = torch.randn(2, 5)

    def moved(clip, shift):
        return wrapper(clip) + shift

    relevance = LRP(moved, Composite(input=None))
    for method in (TemporalGradient(moved), FrameMaskingTSR(moved), relevance):
        options = {"influence": False} if isinstance(method, TemporalGradient) else {}
        estimate = method.estimate(clip, TARGET, shift, **options)
        agree(estimate, method.explain(clip, TARGET, shift, **options).run)


def test_what_cannot_be_counted_is_not_known():
    def model(clip):
        return clip.mean((1, 3, 4))

    method = FrameMaskingTSR(Saliency(model))
    estimate = method.estimate(torch.rand(1, 4, 3, 8, 8), 1)
    assert (estimate.forward_passes, estimate.forward_frames) == (None, None)
    assert "passes not known" in estimate.summary()
    assert method.explain(torch.rand(1, 4, 3, 8, 8), 1).run.forward_passes is None


def test_rules_of_transformers_are_found_out_once():
    from temporal_attr.zoo import build_model

    for kind in (LRP, ContrastiveLRPTemporal):
        model = build_model("tubelet-transformer", classes=4, frames=6, size=16, depth=1)
        clip = torch.rand(2, 6, 3, 16, 16)
        estimate = kind(model).estimate(clip, TARGET)
        agree(estimate, kind(model).explain(clip, TARGET).run)
        agree(kind(model).estimate(clip, TARGET), kind(model).explain(clip, TARGET).run)


def test_the_graph_is_measured():
    """Two linear layers and a tanh between them keep what their backward passes read."""
    first, second = nn.Linear(48, 7, bias=False), nn.Linear(7, 5, bias=False)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = first, second

        def forward(self, clip):
            return self.second(torch.tanh(self.first(clip.flatten(2)))).mean(1)

    clip = torch.rand(2, 3, 3, 4, 4)
    found = TemporalGradient(Model().eval()).estimate(clip, 1, influence=False)
    # Weights are the model's own; of activations, tanh keeps its output, and so does what follows,
    # and the first layer its input for the gradient of its weight.
    kept = {"clip": clip.numel(), "tanh": 2 * 3 * 7}
    assert found.graph_bytes == 4 * sum(kept.values())


def test_seconds_are_of_the_order_of_the_run():
    wrapper, _ = family("conv3d_windows").build()
    clip = torch.randn(4, 6, 3, 64, 64)
    method = TemporalGradient(wrapper)
    method.explain(clip, 1)
    took = min(method.explain(clip, 1).run.seconds for _ in range(3))
    # A machine that is busy with other things makes single timings several times longer.
    told = min(method.estimate(clip, 1).seconds for _ in range(3))
    assert took / 10 < told < took * 10


@pytest.mark.usefixtures("as_user")
def test_options_that_cost_nothing_are_named():
    wrapper, _ = family("gru_mean").build()
    clip = family("gru_mean").clip()
    with pytest.raises(OptionError, match="cost of LRP depends: none, got segments"):
        LRP(wrapper, Composite(input=None)).estimate(clip, TARGET, segments=True)
    with pytest.raises(OptionError, match="TemporalGradient depends: influence, got show_progress"):
        TemporalGradient(wrapper).estimate(clip, TARGET, show_progress=True)
    with pytest.raises(OptionError, match='of to be "explain" or "attribute"'):
        TemporalGradient(wrapper).estimate(clip, TARGET, of="everything")
    with pytest.raises(OptionError, match="segments to be True or False, got 3"):
        ShuffleProbe(wrapper, normalization=IDENTITY).estimate(clip, TARGET, segments=3)


def test_a_method_of_ones_own_that_does_not_say():
    class Mine(VideoMethod):
        name = "Mine"

        def explain(self, inputs, target=None):
            raise AssertionError("not run")

    with pytest.raises(OptionError, match="Mine, which does not"):
        Mine(torch.nn.Identity().eval()).estimate(torch.rand(1, 4, 3, 8, 8), 1)


def test_an_estimate_reads_well():
    known = Estimate("Mine", "explain", 12.5, 100.0, "at most", 8, 3725.0, "a pass", 2_500_000)
    assert repr(known) == (
        "Estimate(Mine.explain: at most 12.5 forward and 100 backward pass(es), about 1 h 2 min)"
    )
    assert known.summary().splitlines()[1:] == [
        "  100 frames forward, 800 frames back",
        "  seconds from timing a pass on these clips",
        "  the graph of a pass over these clips holds 2.5 MB",
    ]
    with pytest.raises(OptionError, match="seconds"):
        Estimate("Mine", "explain", 1.0, 1.0, "exact", 8, -1.0, "a pass")


def test_parts_that_are_repeated():
    part, run = RunContext(), RunContext()
    part.ran(forward=6, backward=4)
    run.repeat(part, 1.5)
    record = run.finished(frames=3)
    assert (record.forward_passes, record.backward_passes) == (3.0, 2.0)
