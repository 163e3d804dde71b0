"""Windows in place of whole clips: what a model still gets right, against the definition."""

import dataclasses
from collections import OrderedDict

import pytest
import torch
from torch import nn

from temporal_attr import (
    ClipError,
    Conv3D,
    FrameLogitsError,
    FrameRecurrent,
    ModelError,
    OptionError,
    TargetError,
)
from temporal_attr.evaluation import accuracy_by_window, windowed_logits
from temporal_attr.measures import (
    shortest_runs,
    window_bounds,
    windowed_clip,
)
from tests.helpers.checks import assert_near, assert_refused
from tests.helpers.families import CLASSES, family, head, image_encoder, small_conv3d, vivid
from tests.helpers.matrices import random_matrices
from tests.references import ranges as slow

pytestmark = pytest.mark.usefixtures("one_thread")


def strided_model():
    """Four timesteps of seven frames, two each but for the last."""
    network = nn.Sequential(
        OrderedDict(
            stem=nn.Conv3d(3, 6, (5, 3, 3), stride=2, padding=(2, 1, 1)),
            squash=nn.Tanh(),
            pool=nn.AdaptiveAvgPool3d(1),
            flat=nn.Flatten(),
            fc=nn.Linear(6, CLASSES),
        )
    )
    vivid(network, torch.randn(2, 3, 7, 8, 8))
    names = {"stages": ["stem", "squash"], "pool": "pool", "classifier": "fc"}
    return Conv3D(network, **names, frames_per_step=2).double()


def shift_model(by, pairs=False):
    """A model whose timestep i reads frame i - by and nothing else, or i as well."""
    width = 2 * abs(by) + 1
    network = nn.Sequential(
        OrderedDict(
            shift=nn.Conv3d(3, 6, (width, 1, 1), padding=(abs(by), 0, 0)),
            squash=nn.Tanh(),
            pool=nn.AdaptiveAvgPool3d(1),
            flat=nn.Flatten(),
            fc=nn.Linear(6, CLASSES),
        )
    )
    vivid(network, torch.randn(2, 3, width, 4, 4))
    with torch.no_grad():
        read = [abs(by) - by, abs(by)] if pairs else [abs(by) - by]
        taps = 5 * network.shift.weight[:, :, read]
        network.shift.weight.zero_()[:, :, read] = taps
        if pairs:
            # So that the model does not say the same of every clip.
            network.shift.bias.zero_()
            network.fc.bias.zero_()
    names = {"stages": ["shift", "squash"], "pool": "pool", "classifier": "fc"}
    return Conv3D(network, **names).double()


def built(name):
    """A family's wrapper and clip, in double precision."""
    if name == "strided":
        return strided_model(), torch.randn(3, 7, 3, 8, 8, dtype=torch.float64)
    case = family(name)
    return case.build()[0].double(), case.clip(torch.float64)


WINDOWED = [
    "conv3d_global",
    "conv3d_windows",
    "early_fusion",
    "gru_bidirectional",
    "late_fusion_max",
    "late_fusion_mean",
    "lstm_last",
    "strided",
    "zoo_tubelets",
]


@pytest.mark.parametrize("name", WINDOWED)
def test_windowed_logits_match_the_definition(name):
    model, clip = built(name)
    per_step, frames = model.frames_per_step, clip.shape[1]
    steps = -(-frames // per_step)
    runs = shortest_runs(random_matrices(len(clip), steps), 0.6)
    for windows in (1, 2, 3, torch.rand(len(clip), steps) * steps + 0.01, runs):
        bounds = slow.window_bounds(windows, steps, frames, per_step)
        expected = slow.windowed_logits(model, clip, bounds)
        assert_near(windowed_logits(model, clip, windows), expected)


@pytest.mark.parametrize("name", ["conv3d_windows", "gru_bidirectional", "strided"])
def test_windows_of_other_sizes_give_other_logits(name):
    # Otherwise the test above, and those below, would say nothing.
    model, clip = built(name)
    found = [windowed_logits(model, clip, size) for size in (1, 2, 3)]
    for number, logits in enumerate(found):
        for other in found[:number]:
            assert (logits - other).abs().max() > 1e-4 * logits.std()


@pytest.mark.parametrize("name", WINDOWED)
def test_full_windows_give_the_models_own_logits(name):
    model, clip = built(name)
    steps = -(-clip.shape[1] // model.frames_per_step)
    whole = torch.tensor([0, steps - 1]).expand(len(clip), steps, 2)
    with torch.no_grad():
        expected = model(clip)
    for windows in (steps, steps + 5, torch.full((len(clip), steps), float(steps)), whole):
        assert_near(windowed_logits(model, clip, windows), expected)


@pytest.mark.parametrize("name", ["late_fusion_mean", "late_fusion_last"])
def test_any_window_is_enough_for_late_fusion(name):
    model, clip = built(name)
    with torch.no_grad():
        expected = model(clip)
    runs = shortest_runs(random_matrices(2, 6), 0.6)
    for windows in (1, 2, 3, torch.rand(2, 6) * 6 + 0.01, runs):
        assert_near(windowed_logits(model, clip, windows), expected)


@pytest.mark.parametrize("by", [-2, -1, 1, 2, 3])
def test_a_shift_needs_a_window_that_reaches_as_far_and_no_farther(by):
    model, clip = shift_model(by), torch.randn(2, 9, 3, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        expected = model(clip)
    reach = 2 * abs(by) + 1
    assert_near(windowed_logits(model, clip, reach), expected)
    short = windowed_logits(model, clip, reach - 2)
    assert (short - expected).abs().max() > 1e-2 * expected.std()
    # A run to the frame itself is enough, and one frame less is not.
    step = torch.arange(9)
    read = (step - by).clamp(0, 8)
    runs = torch.stack([torch.minimum(step, read), torch.maximum(step, read)], 1).expand(2, 9, 2)
    assert_near(windowed_logits(model, clip, runs), expected)
    shorter = runs.clone()
    shorter[:, 4] += torch.tensor([1, 0] if by > 0 else [0, -1])
    found = windowed_logits(model, clip, shorter)
    assert (found - expected).abs().max() > 1e-3 * expected.std()


def test_windows_from_ranges_of_a_shift_are_enough():
    # The relevance of a shift by 2 is known: all of it lies on frame i - 2.
    model, clip = shift_model(2), torch.randn(2, 9, 3, 4, 4, dtype=torch.float64)
    matrix = torch.diag(torch.ones(7), -2)[None].expand(2, 9, 9)
    with torch.no_grad():
        expected = model(clip)
    assert_near(windowed_logits(model, clip, shortest_runs(matrix)), expected)


@pytest.mark.parametrize("name", ["conv3d_windows", "lstm_last", "strided"])
@pytest.mark.parametrize("chunk_size", [None, 1, 2, 4, 50])
def test_chunks_change_nothing(name, chunk_size):
    model, clip = built(name)
    steps = -(-clip.shape[1] // model.frames_per_step)
    expected = slow.windowed_logits(
        model, clip, slow.window_bounds(2, steps, clip.shape[1], model.frames_per_step)
    )
    assert_near(windowed_logits(model, clip, 2, perturbations_per_eval=chunk_size), expected)


@pytest.mark.parametrize("name", ["conv3d_windows", "gru_bidirectional"])
def test_a_batch_of_videos_is_its_videos_one_by_one(name):
    model, clip = built(name)
    sizes = torch.tensor([[1.0, 2, 3, 4, 5, 6], [6.0, 5, 4, 3, 2, 1]])
    singles = [windowed_logits(model, clip[b : b + 1], sizes[b : b + 1]) for b in range(2)]
    assert_near(windowed_logits(model, clip, sizes), torch.cat(singles))


class Witness:
    """Notes of a module how many examples it is shown, and whether gradients are recorded."""

    def __init__(self, module):
        self.examples, self.gradients = [], []
        module.register_forward_pre_hook(self.note)

    def note(self, module, inputs):
        self.examples.append(len(inputs[0]))
        self.gradients.append(torch.is_grad_enabled())


@pytest.mark.parametrize(
    ("chunk_size", "timesteps"),
    [(None, [1] * 4), (1, [1] * 4), (2, [2, 2]), (3, [3, 1]), (4, [4]), (9, [4])],
)
def test_only_as_many_timesteps_as_asked_for_and_only_those_with_weight_go_through_at_once(
    chunk_size, timesteps
):
    # Means of two timesteps, three apart, leave out the third and the sixth.
    pool = nn.AvgPool3d((2, 5, 4), stride=(3, 5, 4))
    model, clip = small_conv3d(lambda: pool)()[0].double(), torch.randn(2, 6, 3, 16, 16).double()
    with torch.no_grad():
        weights = model.frame_logits(clip).weights
    assert weights.tolist() == [0.25, 0.25, 0, 0.25, 0.25, 0]
    witness = Witness(model.model.stem)
    found = windowed_logits(model, clip, 1, perturbations_per_eval=chunk_size)
    # One look at the whole clip tells the weights.
    assert witness.examples in (
        [*look, *(2 * count for count in timesteps)] for look in ([], [1], [2])
    )
    assert not any(witness.gradients)
    assert not found.requires_grad
    expected = slow.windowed_logits(model, clip, slow.window_bounds(1, 6, 6, 1))
    assert_near(found, expected)


def test_a_framewise_model_reads_the_last_timestep_only_and_encodes_each_frame_once():
    encoder, memory = image_encoder(), nn.GRU(24, 7, batch_first=True).eval()
    model = FrameRecurrent(encoder, memory, head(7), "last")
    clip = torch.randn(2, 6, 3, 16, 16)
    frames, sequences = Witness(encoder), Witness(memory)
    found = windowed_logits(model, clip, 2)
    assert sum(frames.examples) == 12
    assert sum(sequences.examples) <= 2 * 2
    with torch.no_grad():
        alone = torch.cat([clip[:, 4:5]] * 5 + [clip[:, 5:]], 1)
        # Single precision.
        torch.testing.assert_close(found, model(alone), rtol=0, atol=1e-6)


def test_the_model_and_the_clip_are_left_alone():
    model, clip = built("conv3d_windows")
    before, state = clip.clone(), {k: v.clone() for k, v in model.state_dict().items()}
    clip.requires_grad_()
    windowed_logits(model, clip, 3)
    assert torch.equal(clip, before)
    assert clip.grad is None
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert not any(part._forward_hooks for part in model.modules())


def in_place(framewise):
    """A model that overwrites what it is given."""
    if framewise:
        encoder = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(48, 24)).eval()
        memory = nn.GRU(24, 7, batch_first=True).eval()
        return FrameRecurrent(encoder, memory, head(7), "mean").double()
    network = nn.Sequential(nn.ReLU(inplace=True), *shift_model(1, pairs=True).model).eval()
    return Conv3D(network, stages=["0", "1", "2"], pool="3", classifier="5").double()


@pytest.mark.parametrize("framewise", [False, True])
@pytest.mark.parametrize("size", [1, 3, 6])
def test_a_model_that_works_in_place_leaves_the_clip_alone(framewise, size):
    model, clip = in_place(framewise), torch.randn(1, 6, 3, 4, 4, dtype=torch.float64)
    before = clip.clone()
    expected = slow.windowed_logits(model, before, slow.window_bounds(size, 6, 6, 1))
    assert_near(windowed_logits(model, clip, size), expected)
    assert torch.equal(clip, before)
    found = accuracy_by_window(model, [(clip, torch.from_numpy(expected).argmax(1))], [size])
    assert found.accuracy == (1.0,)
    assert torch.equal(clip, before)


def labelled(model, videos, wrong):
    """Clips of plain frames, and what the model says of them, but for the first few."""
    # On noise, which averages out over a frame, a model would say the same of every clip.
    clips = torch.randn(videos, 9, 3, 1, 1, dtype=torch.float64).repeat(1, 1, 1, 4, 4)
    with torch.no_grad():
        labels = model(clips).argmax(1)
    assert len(labels.unique()) >= 3
    labels[:wrong] = (labels[:wrong] + 1) % CLASSES
    return clips, labels


def test_accuracy_by_window_matches_the_definition():
    model = shift_model(2, pairs=True)
    clips, labels = labelled(model, 24, wrong=5)
    sizes, seen = (5, 1, 3, 2, 20), []

    def batches():
        for start in range(0, 24, 7):
            seen.append(start)
            yield clips[start : start + 7], labels[start : start + 7]

    found = accuracy_by_window(model, batches(), sizes, perturbations_per_eval=3)
    assert seen == [0, 7, 14, 21]
    assert (found.sizes, found.videos) == (sizes, 24)
    expected = []
    for size in sizes:
        bounds = slow.window_bounds(size, 9, 9, 1)
        expected.append(
            slow.share_right(slow.windowed_logits(model, clips, bounds), labels.tolist())
        )
    assert found.accuracy == pytest.approx(expected, abs=1e-12)
    # The window that reaches as far as the shift, and the one that is too long, are the whole clip.
    assert found.full == pytest.approx(19 / 24, abs=1e-12)
    assert found.accuracy[0] == found.accuracy[4] == found.full
    assert len(set(found.accuracy)) >= 3
    assert isinstance(found.accuracy, tuple)
    assert {type(share) for share in (*found.accuracy, found.full)} == {float}
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.videos = 1


@pytest.mark.parametrize("label", [-1, CLASSES, 255])
def test_labels_that_are_no_classes_are_refused(label):
    model = shift_model(1, pairs=True)
    batches = [(torch.rand(2, 3, 3, 4, 4, dtype=torch.float64), torch.tensor([0, label]))]
    assert_refused(TargetError, f"got {label}", accuracy_by_window, model, batches, [1])


def test_accuracy_does_not_hang_on_the_batches_or_the_order_of_sizes():
    model = shift_model(1, pairs=True)
    clips, labels = labelled(model, 12, wrong=2)
    whole = accuracy_by_window(model, [(clips, labels)], [1, 2, 3])
    batches = list(zip(clips.split([1, 2, 4, 5]), labels.split([1, 2, 4, 5]), strict=True))
    split = accuracy_by_window(model, batches, [3, 1, 2])
    assert whole.full == split.full == pytest.approx(10 / 12, abs=1e-12)
    assert [whole.accuracy[i] for i in (2, 0, 1)] == list(split.accuracy)
    assert whole.accuracy[2] == whole.full
    assert whole.accuracy[0] < whole.full


@pytest.mark.usefixtures("as_user")
def test_windows_of_a_model_without_a_sum_over_timesteps():
    for name in ("late_fusion_module", "step_own_readout"):
        wrapper, _ = family(name).build()
        text = f"got .*{type(wrapper).__name__}"
        assert_refused(FrameLogitsError, text, windowed_logits, wrapper, family(name).clip(), 3)


@pytest.mark.usefixtures("as_user")
def test_windows_of_a_model_that_is_not_wrapped():
    _, bare = family("gru_mean").build()
    clip = family("gru_mean").clip()
    text = "a VideoModel, .*got {}.*Wrap the model"
    assert_refused(FrameLogitsError, text.format("bare"), windowed_logits, bare, clip, 3)
    batches = [(clip, torch.tensor([0, 1]))]
    plain = nn.Flatten()
    assert_refused(
        FrameLogitsError, text.format("Flatten"), accuracy_by_window, plain, batches, [1]
    )


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("size", [0, -2])
def test_windows_without_a_timestep(size):
    assert_refused(OptionError, f"at least 1, got {size}", window_bounds, size, 4, 4, 1)
    model, clip = built("conv3d_global")
    assert_refused(OptionError, f"at least 1, got {size}", windowed_logits, model, clip, size)
    assert_refused(
        OptionError,
        f"at least 1, got {size}",
        accuracy_by_window,
        model,
        [(clip, torch.tensor([0, 1]))],
        [1, size],
    )
    assert_refused(
        OptionError,
        f"perturbations_per_eval .*, got {size}",
        windowed_logits,
        model,
        clip,
        1,
        perturbations_per_eval=size,
    )


@pytest.mark.usefixtures("as_user")
def test_a_clip_or_a_model_that_is_not_ready():
    model, clip = built("conv3d_global")
    assert_refused(ClipError, "got 4 axes", windowed_clip, clip[0], torch.tensor([[0, 3]]))
    assert_refused(ClipError, "got 4 axes", windowed_logits, model, clip[0], 2)
    model.train()
    assert_refused(ModelError, "evaluation mode, got .* training", windowed_logits, model, clip, 2)


@pytest.mark.usefixtures("as_user")
def test_accuracy_of_nothing():
    model, clip = built("conv3d_global")
    labels = torch.tensor([0, 1])
    assert_refused(
        OptionError, "got .*(none|no|0|empty)", accuracy_by_window, model, [(clip, labels)], []
    )
    assert_refused(OptionError, "got .*(none|no|0|empty)", accuracy_by_window, model, [], [1])
    assert_refused(OptionError, "2.*got .*1", accuracy_by_window, model, [(clip, labels[:1])], [1])
