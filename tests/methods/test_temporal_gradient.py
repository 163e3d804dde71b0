"""TemporalGradient against autograd, finite differences and closed forms, on every memory path."""

import copy
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.overrides import TorchFunctionMode

from temporal_attr import (
    ClipError,
    FrameLogits,
    FrameLogitsError,
    FramewiseModel,
    HalfPrecisionWarning,
    LateFusion,
    ModelError,
    OptionError,
    TemporalGradient,
    VideoModel,
    frame_scores,
)
from temporal_attr.gradients import OBJECTIVES, is_out_of_memory, native_recurrence
from tests.helpers.checks import assert_near
from tests.helpers.families import CLASSES, LARGE, SMALL, family, head, image_encoder
from tests.references import definitions as references

EXACT = {"rtol": 0, "atol": 1e-12}


def autograd(bare, clip, target, objective=lambda logits, target: logits[:, target]):
    leaf = clip.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(objective(bare(leaf), target).sum(), leaf)
    return gradient


def paths_of(model):
    if isinstance(model, FramewiseModel):
        return ["whole", "framewise", "offload"]
    return ["whole", "offload"] + (["checkpoint"] if len(model.stages) > 1 else [])


@pytest.mark.parametrize(
    "case", SMALL + [c for c in LARGE if c.name != "s3d"], ids=lambda case: case.name
)
def test_every_path_gives_the_gradient_of_the_bare_model(case):
    wrapper, bare = case.build()
    wrapper, clip = wrapper.double(), case.clip(torch.float64)
    expected = autograd(bare, clip, 3)
    assert expected.abs().max() > 0
    for memory in paths_of(wrapper):
        method = TemporalGradient(wrapper, memory=memory, chunk_size=5)
        assert_near(method.attribute(clip, target=3), expected)


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)
def test_every_path_gives_the_same_influence(case):
    wrapper, _ = case.build()
    wrapper, clip = wrapper.double(), case.clip(torch.float64)
    leaf = clip.clone().requires_grad_()
    logits = wrapper.frame_logits(leaf).logits[..., 2]
    rows = []
    for step in range(logits.shape[1]):
        (gradient,) = torch.autograd.grad(logits[:, step].sum(), leaf, retain_graph=True)
        rows.append(gradient.square().sum((2, 3, 4)).sqrt())
    expected = torch.stack(rows, 1)
    for memory in paths_of(wrapper):
        result = TemporalGradient(wrapper, memory=memory, chunk_size=5).explain(clip, target=2)
        assert result.run.path == memory
        assert_near(result.influence, expected)
        assert_near(
            result.frame_scores, torch.from_numpy(references.frame_norms(result.attribution))
        )


@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_objectives_against_finite_differences(objective):
    wrapper, _ = family("gru_mean").build()
    wrapper.double()
    clip = torch.rand(2, 3, 3, 4, 4, dtype=torch.float64)
    target = [1, 4]

    def total(values):
        with torch.no_grad():
            logits = wrapper(values)
        return sum(references.objective_values(logits, target, objective))

    expected = references.numeric_gradient(total, clip)
    found = TemporalGradient(wrapper, objective).attribute(clip, target=target)
    # Central differences with a step of 1e-5 are good to about its square.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)
    assert expected.abs().max() > 1e-4


@pytest.mark.parametrize("name", ["late_fusion_max", "lstm_last", "step_mean", "conv3d_windows"])
def test_influence_against_finite_differences(name):
    wrapper, _ = family(name).build()
    wrapper.double()
    clip = torch.rand(2, 4, 3, 8, 8, dtype=torch.float64)
    target = torch.tensor([1, 4])
    if name == "conv3d_windows":
        wrapper.model.pool = nn.AvgPool3d((3, 2, 2)).eval()

    def step_logits(values):
        with torch.no_grad():
            logits = wrapper.frame_logits(values).logits
        return torch.stack([logits[b, :, k] for b, k in enumerate(target)])

    expected = references.numeric_influence(step_logits, clip, 4)
    found = TemporalGradient(wrapper).explain(clip, target=target).influence
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", ["lstm_last", "gru_mean", "rnn_last", "step_mean"])
@pytest.mark.parametrize("memory", ["whole", "framewise"])
def test_a_model_that_reads_forward_is_not_influenced_by_the_future(name, memory):
    wrapper, _ = family(name).build()
    result = TemporalGradient(wrapper, memory=memory, chunk_size=1).explain(
        family(name).clip(), target=0
    )
    steps = torch.arange(6)
    future = steps[None, :] > steps[:, None]
    assert (result.influence[:, future] == 0).all()
    assert (result.influence[:, ~future] > 0).all()


@pytest.mark.parametrize("name", ["late_fusion_mean", "late_fusion_last"])
def test_influence_of_late_fusion_is_diagonal(name):
    wrapper, _ = family(name).build()
    influence = TemporalGradient(wrapper).explain(family(name).clip(), target=0).influence
    diagonal = torch.eye(6, dtype=torch.bool)
    assert (influence[:, ~diagonal] == 0).all()
    assert (influence[:, diagonal] > 0).all()


def test_influence_of_a_convolution_is_banded():
    wrapper, _ = family("conv3d_global").build()
    clip = family("conv3d_global").clip()
    influence = TemporalGradient(wrapper).explain(clip, target=0).influence
    reach = torch.from_numpy(references.temporal_reach(6, [(3, 1, 1), (3, 1, 1)]))
    assert torch.equal(influence[0] > 0, reach)


class ShiftModel(VideoModel):
    """Timestep i reads exactly frame i - distance, and the first ones read nothing."""

    layout = "batch time channel height width"

    def __init__(self, distance):
        super().__init__()
        self.distance = distance
        self.classifier = nn.Linear(12, 2)
        self.eval()

    def features(self, clip, run=None):
        shifted = torch.zeros_like(clip)
        shifted[:, self.distance :] = clip[:, : clip.shape[1] - self.distance]
        return shifted.flatten(2)

    def head(self, features):
        return self.frame_head(features).clip_logits()

    def frame_head(self, features):
        steps = features.shape[1]
        return FrameLogits(self.classifier(features), features.new_full((steps,), 1 / steps))


@pytest.mark.parametrize("distance", [0, 1, 3])
def test_a_fixed_shift_puts_all_influence_off_the_diagonal(distance):
    model = ShiftModel(distance)
    result = TemporalGradient(model).explain(torch.rand(1, 6, 3, 2, 2), target=1)
    weight = torch.linalg.vector_norm(model.classifier.weight[1]).item()
    expected = torch.diag(torch.full((6 - distance,), weight), -distance)[:6, :6]
    torch.testing.assert_close(result.influence[0], expected)
    # The clip's logit is the mean over timesteps, and the last frames are read by none.
    scores = torch.tensor([weight / 6] * (6 - distance) + [0.0] * distance)
    torch.testing.assert_close(result.frame_scores[0], scores)


def test_one_frame():
    wrapper, bare = family("gru_mean").build()
    clip = family("gru_mean").clip()[:, :1]
    result = TemporalGradient(wrapper).explain(clip, target=1)
    assert_near(result.attribution, autograd(bare, clip, 1), 1e-6)
    torch.testing.assert_close(result.influence[:, 0], result.frame_scores, rtol=1e-5, atol=0)


def test_a_plain_function_gives_the_same_as_its_wrapper():
    wrapper, bare = family("gru_mean").build()
    clip = family("gru_mean").clip()
    method = TemporalGradient(bare)
    assert_near(
        method.attribute(clip, target=1), TemporalGradient(wrapper).attribute(clip, 1), 1e-6
    )
    with pytest.raises(
        FrameLogitsError, match="got bare, known by its output only.*FrameRecurrent"
    ):
        method.explain(clip, target=1)
    result = method.explain(clip, target=1, influence=False)
    assert (result.influence, result.step_logits, result.step_weights) == (None, None, None)
    assert_near(result.frame_scores, frame_scores(method.attribute(clip, target=1)))


def test_several_pathways():
    def model(slow, fast, scale):
        return scale * torch.stack([slow.sum((1, 2, 3, 4)), fast.square().sum((1, 2, 3, 4))], 1)

    slow, fast = torch.rand(2, 2, 3, 4, 4), torch.rand(2, 8, 3, 4, 4)
    method = TemporalGradient(model)
    found = method.attribute((slow, fast), target=[0, 1], additional_forward_args=3.0)
    expected_slow, expected_fast = torch.zeros_like(slow), torch.zeros_like(fast)
    expected_slow[0], expected_fast[1] = 3.0, 6.0 * fast[1]
    torch.testing.assert_close(found, (expected_slow, expected_fast))


@pytest.mark.usefixtures("as_user")
def test_several_pathways_have_no_one_result():
    method = TemporalGradient(lambda slow, fast: slow.flatten(1) + fast.flatten(1))
    slow, fast = torch.rand(2, 2, 3, 4, 4), torch.rand(2, 2, 3, 4, 4)
    with pytest.raises(ClipError, match="one clip to explain, got 2"):
        method.explain((slow, fast), target=0, influence=False)


def test_additional_arguments_reach_a_function():
    def model(clip, scale, shift):
        return scale * clip.flatten(1)[:, :4] + shift

    clip = torch.rand(1, 2, 3, 2, 2)
    found = TemporalGradient(model).attribute(clip, 2, additional_forward_args=(5.0, 1.0))
    expected = torch.zeros(24)
    expected[2] = 5.0
    assert torch.equal(found.flatten(), expected)


def test_additional_arguments_are_refused_by_a_wrapper():
    wrapper, _ = family("gru_mean").build()
    clip = family("gru_mean").clip()
    with pytest.raises(ModelError, match="no additional arguments for a FrameRecurrent"):
        TemporalGradient(wrapper).attribute(clip, 0, additional_forward_args=1.0)


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(-8, 8).filter(lambda s: abs(s) > 0.1), order=st.permutations(range(3)))
def test_scaling_and_permutation(scale, order):
    torch.manual_seed(0)
    wrapper, _ = family("late_fusion_mean").build()
    wrapper.double()
    clip = torch.rand(3, 4, 3, 8, 8, dtype=torch.float64)
    target = torch.tensor([0, 3, 1])
    found = TemporalGradient(wrapper).attribute(clip, target=target)
    scaled = TemporalGradient(wrapper, lambda logits, t: scale * OBJECTIVES["logit"](logits, t))
    assert_near(scaled.attribute(clip, target=target), scale * found)
    permuted = TemporalGradient(wrapper).attribute(clip[list(order)], target=target[list(order)])
    assert_near(permuted, found[list(order)])


def test_frames_of_an_order_blind_model_move_with_their_gradients():
    wrapper, _ = family("late_fusion_mean").build()
    wrapper.double()
    clip = family("late_fusion_mean").clip(torch.float64)
    order = torch.tensor([3, 0, 5, 1, 2, 4])
    method = TemporalGradient(wrapper)
    assert_near(method.attribute(clip[:, order], 1), method.attribute(clip, 1)[:, order])


class Counting(LateFusion):
    """Late fusion that runs out of memory when more than `limit` frames are held in a graph."""

    def __init__(self, limit):
        super().__init__(image_encoder(), head())
        self.limit = limit
        self.held = []

    def encode(self, frames):
        if torch.is_grad_enabled():
            self.held.append(len(frames))
            if len(frames) > self.limit:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 EiB.")
        return super().encode(frames)


@pytest.mark.parametrize(
    ("limit", "path", "size", "tried"),
    [
        (100, "whole", None, ()),
        # The influence needs the graph of 16 of the 20 frames only, which does fit.
        (16, "framewise, then whole", 16, ("whole",)),
        (5, "framewise", 4, ("whole", "framewise with 16 frames", "framewise with 8 frames")),
    ],
)
def test_auto_moves_down_only_as_far_as_it_must(limit, path, size, tried):
    model = Counting(limit)
    clip = torch.randn(2, 10, 3, 16, 16)
    expected = TemporalGradient(Counting(10**6), memory="whole")
    expected.model.load_state_dict(model.state_dict())
    found = TemporalGradient(model).explain(clip, target=1)
    assert (found.run.path, found.run.chunk_size, found.run.tried) == (path, size, tried)
    assert found.run.precision == "full"
    assert_near(found.attribution, expected.attribute(clip, target=1), 1e-5)


def test_a_chunk_size_that_was_asked_for_is_kept():
    with pytest.raises(torch.OutOfMemoryError):
        TemporalGradient(Counting(3), memory="framewise", chunk_size=4).attribute(
            torch.randn(1, 10, 3, 16, 16), target=1
        )


def test_the_framewise_path_holds_one_chunk():
    model = Counting(100)
    TemporalGradient(model, memory="framewise", chunk_size=4).attribute(
        torch.randn(2, 9, 3, 16, 16), target=1
    )
    assert model.held == [4, 4, 4, 4, 2]


class Faulty(nn.Module):
    """A model of clips that fails with a given error while a graph of full precision is kept."""

    def __init__(self, error, until_half=False):
        super().__init__()
        self.error, self.until_half = error, until_half
        self.calls = 0
        self.linear = nn.Linear(12, 3)
        self.eval()

    def forward(self, clip):
        self.calls += 1
        if not (self.until_half and torch.is_autocast_enabled("cpu")):
            raise self.error
        return self.linear(clip.flatten(2)).mean(1)


def test_half_precision_comes_last_and_says_so():
    model = Faulty(RuntimeError("[enforce] DefaultCPUAllocator: can't allocate memory"), True)
    clip = torch.rand(1, 4, 3, 2, 2)
    with pytest.warns(HalfPrecisionWarning, match="every path of full precision"):
        result = TemporalGradient(model).explain(clip, target=1, influence=False)
    assert (result.run.path, result.run.precision) == ("half", "bfloat16")
    assert result.run.tried == ("whole",)
    assert "NOT full precision" in result.summary()
    assert result.attribution.dtype == result.logits.dtype == torch.float32
    expected = model.linear.weight[1].detach().reshape(3, 2, 2) / 4
    # bfloat16 has 8 significant bits.
    torch.testing.assert_close(result.attribution[0, 0], expected, rtol=2**-7, atol=0)
    assert not torch.equal(result.attribution[0, 0], expected)


@pytest.mark.parametrize("name", ["late_fusion_mean", "conv3d_global", "early_fusion"])
def test_half_precision_can_be_asked_for(name):
    wrapper, _ = family(name).build()
    clip = family(name).clip()
    half = TemporalGradient(wrapper, memory="half").explain(clip, target=1)
    full = TemporalGradient(wrapper).attribute(clip, target=1)
    assert half.run.precision == "bfloat16"
    error = (half.attribution - full).norm() / full.norm()
    assert 1e-6 < error < 0.1


@pytest.mark.parametrize(
    "error", [ValueError("no"), RuntimeError("shapes differ"), KeyboardInterrupt()], ids=repr
)
def test_other_errors_are_the_users_to_see(error):
    model = Faulty(error)
    with pytest.raises(type(error)) as caught:
        TemporalGradient(model).attribute(torch.rand(1, 4, 3, 2, 2), target=1)
    assert caught.value is error
    # What may be about the size of the clip is tried at others first, before the method begins.
    assert model.calls == 1 or not isinstance(error, KeyboardInterrupt)


def test_what_counts_as_out_of_memory():
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("any"))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: ...)"))
    assert not is_out_of_memory(ValueError("out of memory"))
    assert not is_out_of_memory(RuntimeError("expected scalar type Float"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)


@pytest.mark.usefixtures("without_trials")
def test_checkpoints_are_recomputed():
    wrapper, _ = family("conv3d_global").build()
    clip = family("conv3d_global").clip()
    calls = []
    wrapper.frame_logits(clip)  # the parts have been checked now
    hook = wrapper.model.stem.register_forward_pre_hook(lambda *_: calls.append(1))
    TemporalGradient(wrapper, memory="checkpoint").attribute(clip, target=0)
    assert len(calls) == 2
    hook.remove()


def test_recurrent_calls_leave_cudnn_and_nothing_else_does(monkeypatch):
    # No GPU here: what can be checked is which calls see cuDNN switched off.
    seen = {}

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            name = getattr(func, "__name__", "")
            if name in ("conv2d", "lstm", "gru", "rnn_tanh", "linear"):
                seen.setdefault(name, set()).add(torch.backends.cudnn.enabled)
            return func(*args, **(kwargs or {}))

    layers = [nn.LSTM(4, 4), nn.GRU(4, 4), nn.RNN(4, 4)]
    x = torch.rand(3, 1, 4)
    with Watch(), native_recurrence(on_cuda=True):
        for layer in layers:
            layer(x)
        nn.functional.linear(x, torch.rand(4, 4))
        nn.functional.conv2d(torch.rand(1, 1, 4, 4), torch.rand(1, 1, 2, 2))
    assert seen == {
        "lstm": {False},
        "gru": {False},
        "rnn_tanh": {False},
        "linear": {True},
        "conv2d": {True},
    }
    assert torch.backends.cudnn.enabled


def test_native_recurrence_inside_of_itself_comes_to_an_end():
    """As where a gradient is explained inside of another method; a second thread tells a hang."""
    lstm, clip, found = nn.LSTM(3, 4, batch_first=True).eval(), torch.rand(1, 5, 3), []

    def nested():
        with native_recurrence(on_cuda=True), native_recurrence(on_cuda=True):
            found.append((lstm(clip)[0].detach(), torch.backends.cudnn.enabled))

    thread = threading.Thread(target=nested, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive(), "it waits for itself"
    ((inside, enabled),) = found
    assert enabled, "the flag is off only while the layer itself runs"
    assert_near(inside, lstm(clip)[0].detach())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["lstm_last", "gru_mean", "rnn_last"])
def test_gradients_through_recurrent_models_on_cuda(name):
    wrapper, _ = family(name).build()
    clip = family(name).clip()
    expected = TemporalGradient(wrapper).explain(clip, target=1)
    on_device = TemporalGradient(copy.deepcopy(wrapper).cuda())
    for memory in ("whole", "framewise", "offload"):
        on_device.memory = memory
        found = on_device.explain(clip.cuda(), target=1)
        assert_near(found.attribution.cpu(), expected.attribution, 1e-3)
        assert_near(found.influence.cpu(), expected.influence, 1e-3)


@pytest.mark.usefixtures("as_user")
def test_options_are_checked():
    wrapper, bare = family("gru_mean").build()
    clip = family("gru_mean").clip()
    with pytest.raises(OptionError, match="objective to be .*got 'score'"):
        TemporalGradient(wrapper, "score")
    with pytest.raises(OptionError, match="chunk_size a whole number at least 1, got 0"):
        TemporalGradient(wrapper, chunk_size=0)
    with pytest.raises(OptionError, match='"framewise", "offload", "half" for this FrameRecurrent'):
        TemporalGradient(wrapper, memory="checkpoint").attribute(clip, 0)
    with pytest.raises(OptionError, match='"framewise" needs a FramewiseModel'):
        TemporalGradient(bare, memory="framewise").attribute(clip, 0)
    with pytest.raises(ModelError, match="one number for each of 2 examples from the objective"):
        TemporalGradient(wrapper, lambda logits, target: logits.sum()).attribute(clip, 0)


def test_a_model_that_cuts_the_graph_is_named():
    with pytest.raises(ModelError, match="one that carries no gradient. Remove detach"):
        TemporalGradient(lambda clip: clip.detach().flatten(1)[:, :3]).attribute(
            torch.rand(1, 2, 3, 4, 4), 0
        )


def test_summary_and_dictionary():
    import json

    wrapper, _ = family("lstm_last").build()
    result = TemporalGradient(wrapper, "probability").explain(family("lstm_last").clip(), [1, 2])
    text = result.summary()
    assert "TemporalGradient: 3 forward and 7 backward pass(es), path whole" in text
    for example, target in enumerate([1, 2]):
        probability = result.logits[example].softmax(0)[target].item()
        assert f"clip {example}: target {target}, logit" in text
        assert f"probability {probability:.1%}" in text
        best = result.frame_scores[example].argmax().item()
        assert f"frames with most of the probability's sensitivity: {best} (" in text
    record = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert record["attribution"]["shape"] == list(result.attribution.shape)
    assert record["frame_scores"] == result.frame_scores.tolist()
    assert record["target"] == [1, 2]
    assert record["run"]["path"] == "whole"
    assert set(record["run"]["versions"]) == {"temporal-attr", "torch", "captum"}
    assert text.splitlines()[0] in result._repr_html_()
    names = {"attribution", "frame_scores", "influence", "logits", "step_logits", "step_weights"}
    assert set(result.tensors()) == {*names, "target"}


def test_the_reach_in_the_summary_counts_frames():
    model = ShiftModel(1)
    result = TemporalGradient(model).explain(torch.rand(1, 4, 3, 2, 2), target=1)
    # Three timesteps read one frame each; the first reads none and does not count.
    assert "90% of a timestep's sensitivity lies on 1.0 of 4 frames on average" in result.summary()


@pytest.mark.parametrize("norm", ["l2", "l1", "max", "sum"])
def test_frame_scores_match_the_definition(norm):
    attribution = torch.randn(2, 3, 3, 4, 5, dtype=torch.float64)
    expected = torch.from_numpy(references.frame_norms(attribution, norm))
    torch.testing.assert_close(frame_scores(attribution, norm), expected, **EXACT)


@pytest.mark.usefixtures("as_user")
def test_frame_scores_refuse_what_is_no_attribution():
    with pytest.raises(ClipError, match=r"got shape \(2, 3\)"):
        frame_scores(torch.rand(2, 3))
    with pytest.raises(
        OptionError, match='reduction to be "l2", "l1", "max", "sum" or a function, got \'mean\''
    ):
        frame_scores(torch.rand(1, 2, 3, 4, 4), "mean")


def test_targets_are_read_from_every_class():
    wrapper, bare = family("early_fusion").build()
    clip = family("early_fusion").clip()
    found = [TemporalGradient(wrapper).attribute(clip, target=k) for k in range(CLASSES)]
    for k in range(CLASSES):
        assert_near(found[k], autograd(bare, clip, k), 1e-5)


class EncoderCut(nn.Module):
    """A recurrent model that looks at frames without a graph."""

    def __init__(self):
        super().__init__()
        self.cnn, self.fc = nn.Flatten(), nn.Linear(12, 3)
        self.eval()

    def forward(self, clip):
        with torch.no_grad():
            features = self.cnn(clip.flatten(0, 1))
        return self.fc(features).unflatten(0, clip.shape[:2]).mean(1)


def test_a_graph_that_is_cut_before_trained_layers_is_named_too():
    # The output requires a gradient, because the classifier's weights do.
    with pytest.raises(ModelError, match="one that carries no gradient"):
        TemporalGradient(EncoderCut()).attribute(torch.rand(1, 4, 3, 2, 2), 0)


def test_checkpointing_stages_that_work_in_place():
    from temporal_attr import Conv3D

    network = nn.Sequential(
        nn.Conv3d(3, 4, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv3d(4, 4, 3, padding=1),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )
    wrapper = Conv3D(network.eval(), ["0", "1", "2"], "3", "5").double()
    clip = torch.randn(2, 4, 3, 6, 6, dtype=torch.float64)
    whole = TemporalGradient(wrapper, memory="whole").attribute(clip, 1)
    assert_near(TemporalGradient(wrapper, memory="checkpoint").attribute(clip, 1), whole)


def test_late_fusion_needs_one_backward_pass_for_all_timesteps():
    passes = []

    class Counted(LateFusion):
        def encode(self, frames):
            encoded = super().encode(frames)
            if encoded.requires_grad:
                encoded.register_hook(lambda gradient: passes.append(1))
            return encoded

    model = Counted(image_encoder(), head())
    TemporalGradient(model).explain(torch.randn(1, 6, 3, 16, 16), target=1)
    # One for the attribution, one for all six rows of the influence.
    assert len(passes) == 2
