"""In which layout a network takes clips: what is found, what stays open; nothing is changed."""

from types import SimpleNamespace

import pytest
import torch
import torchvision
from torch import nn

from temporal_attr import ClipError, ModelError, UnsupportedModelError
from temporal_attr.models.discovery._layouts import taken_layouts
from temporal_attr.models.discovery._signature import Signature, read_signature
from temporal_attr.models.discovery._taken import (
    CANONICAL,
    CHANNELS_FIRST,
    CHANNELS_LAST,
    FOLDED,
    STACKED,
)
from temporal_attr.models.trials._clip_sizes import declared_size, sizes_to_try
from tests.helpers.checks import assert_refused

CLASSES = 5


def clip(batch=1, frames=8, size=32):
    random = torch.Generator().manual_seed(1)
    return torch.rand(batch, frames, 3, size, size, generator=random)


class Of(nn.Module):
    """A network whose forward is a function of itself and its input."""

    def __init__(self, function, channels=3):
        super().__init__()
        torch.manual_seed(0)
        self.function = function
        self.conv3d = nn.Conv3d(channels, 4, 3, padding=1)
        self.conv2d = nn.Conv2d(channels, 4, 3, padding=1)
        self.linear = nn.Linear(4, CLASSES)
        self.register_buffer("count", torch.zeros(()))
        self.seen = []
        self.eval()

    def forward(self, x):
        return self.function(self, x)

    def frames(self, x):
        return self.linear(self.conv2d(x).relu().mean((2, 3)))


def of_volume(own, x):
    return own.linear(own.conv3d(x).relu().mean((2, 3, 4)))


def in_turn(own, x):
    return torch.stack([own.frames(frame) for frame in x.unbind(1)], 1).mean(1)


def in_groups_of(frames):
    return lambda own, x: own.frames(x).unflatten(0, (-1, frames)).mean(1)


TAKES = {
    "3D convolution": (of_volume, 3, CHANNELS_FIRST, (2, CLASSES)),
    "frames in turn": (in_turn, 3, CANONICAL, (2, CLASSES)),
    "frames by themselves": (lambda own, x: own.frames(x), 3, FOLDED, (16, CLASSES)),
    "folded frames, a row a clip": (in_groups_of(8), 3, FOLDED, (2, CLASSES)),
    "stacked frames": (lambda own, x: own.frames(x), 24, STACKED, (2, CLASSES)),
    "stacked frames of another number": (lambda own, x: own.frames(x), 12, STACKED, (2, CLASSES)),
    "colours last": (
        lambda own, x: of_volume(own, x.permute(0, 4, 1, 2, 3)),
        3,
        CHANNELS_LAST,
        (2, CLASSES),
    ),
    "in a list": (lambda own, x: of_volume(own, x[0]), 3, CHANNELS_FIRST, (2, CLASSES)),
    "an object": (
        lambda own, x: SimpleNamespace(logits=of_volume(own, x)),
        3,
        CHANNELS_FIRST,
        (2, CLASSES),
    ),
    "a dict": (lambda own, x: {"out": of_volume(own, x)}, 3, CHANNELS_FIRST, (2, CLASSES)),
    "a tuple": (lambda own, x: (of_volume(own, x),), 3, CHANNELS_FIRST, (2, CLASSES)),
    "a row for each timestep": (
        lambda own, x: own.linear(own.conv3d(x).mean((3, 4)).transpose(1, 2)),
        3,
        CHANNELS_FIRST,
        (2, 8, CLASSES),
    ),
}


@pytest.mark.parametrize("given", [False, True], ids=["made", "given"])
@pytest.mark.parametrize("name", TAKES)
def test_the_layout_is_found(name, given):
    function, channels, layout, shape = TAKES[name]
    network = Of(function, channels)
    if given and name == "stacked frames of another number":
        return
    found = taken_layouts(network, clip(2) if given else None)
    trial = found.require()
    assert (trial.layout, trial.shape, trial.listed) == (layout, shape, name == "in a list")
    assert trial.of_frames == (shape[0] == 16)
    # What it says is how to call the network: the same numbers as by hand.
    shown = clip(2, trial.size[1])
    by_hand = {
        CANONICAL: shown,
        CHANNELS_FIRST: shown.transpose(1, 2),
        FOLDED: shown.reshape(-1, 3, 32, 32),
        STACKED: shown.reshape(2, -1, 32, 32),
        CHANNELS_LAST: shown.permute(0, 1, 3, 4, 2),
    }[layout]
    output = network([by_hand] if trial.listed else by_hand)
    output = output["out"] if isinstance(output, dict) else output
    output = output[0] if isinstance(output, tuple) else getattr(output, "logits", output)
    assert torch.equal(trial.run(network, shown), output)


@pytest.mark.parametrize("function", [of_volume, in_turn], ids=["channels first", "canonical"])
def test_three_frames_are_told_from_three_colours(function):
    found = taken_layouts(Of(function), clip(frames=3))
    assert found.require().layout == (CHANNELS_FIRST if function is of_volume else CANONICAL)


def test_three_frames_of_which_there_must_be_three_stay_open():
    def of_three(own, x):
        assert x.shape[1:3] == (3, 3)
        return in_turn(own, x)

    found = taken_layouts(Of(of_three), clip(frames=3))
    assert {trial.layout for trial in found.taken} == {CANONICAL, CHANNELS_FIRST}
    assert found.known is None
    text = r"(?s)clips in one layout, got 2 that it takes, with other outputs.*Say which"
    assert_refused(UnsupportedModelError, text, found.require)


def test_a_network_of_any_layout_is_not_known_unless_it_makes_no_difference():
    def flexible(own, x):
        return own.linear(x.flatten(2).mean(2)[:, :2].repeat(1, 2))

    found = taken_layouts(Of(flexible))
    assert len(found.taken) > 1
    assert found.known is None

    def of_all(own, x):
        return own.linear(x.flatten(1).mean(1, keepdim=True).expand(-1, 4))

    found = taken_layouts(Of(of_all), clip())
    folded = [trial for trial in found.taken if trial.layout == FOLDED]
    assert len(found.taken) == 5
    assert len(folded) == 1  # other rows, so another function
    assert found.known is None


def test_layouts_that_are_one_function_are_known_unless_it_is_constant():
    def segments(own, x):
        assert x.shape[-3] % 3 == 0
        return in_groups_of(8)(own, x.reshape(-1, 3, 32, 32))

    found = taken_layouts(Of(segments))
    assert {trial.layout for trial in found.taken} == {CANONICAL, FOLDED, STACKED}
    assert found.alike
    assert found.require().layout == CANONICAL
    assert "one function of a clip" in found.describe() or "the same function" in found.describe()
    constant = Of(segments)
    nn.init.zeros_(constant.linear.weight)
    found = taken_layouts(constant)
    assert len(found.taken) == 3
    assert found.known is None


class OfPositions(nn.Module):
    """Takes so many frames of so many pixels, as transformers do, with no word of its own."""

    def __init__(self, frames, side, class_token=False, declared=False):
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv3d(3, 4, 8, 8)
        self.positions = nn.Parameter(torch.randn(frames // 8 * (side // 8) ** 2 + class_token, 4))
        self.token = nn.Parameter(torch.zeros(1, 1, 4)) if class_token else None
        self.linear = nn.Linear(4, CLASSES)
        if declared:
            self.config = type("Config", (), {"num_frames": frames, "image_size": (side, side)})()
        self.eval()

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        if self.token is not None:
            tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1)
        return self.linear((tokens + self.positions).relu().mean(1))


@pytest.mark.parametrize("declared", [False, True])
@pytest.mark.parametrize("class_token", [False, True])
@pytest.mark.parametrize(("frames", "side"), [(16, 32), (8, 64), (8, 112), (16, 112)])
def test_the_size_that_a_network_takes_is_found(frames, side, class_token, declared):
    found = taken_layouts(OfPositions(frames, side, class_token, declared))
    trial = found.require()
    assert (trial.layout, trial.size) == (CHANNELS_FIRST, (2, frames, 3, side, side))


def test_a_clip_of_another_size_is_told_what_size_it_takes():
    found = taken_layouts(OfPositions(16, 64), clip(frames=8, size=64))
    assert_refused(
        ClipError, "16 frames, as OfPositions takes, got 8 frames. Load the", found.require
    )
    found = taken_layouts(OfPositions(8, 64), clip(frames=8, size=32))
    assert_refused(ClipError, "64 x 64 pixels, as .*got 32 x 32 pixels", found.require)


def test_a_network_that_takes_nothing_says_what_came_of_each():
    def refuses(own, x):
        own.conv3d(x)
        raise AssertionError("two pathways, please")

    error = assert_refused(
        UnsupportedModelError,
        r"(?s)none that it takes \(batch channel time height width came furthest.*size of the clip",
        taken_layouts(Of(refuses)).require,
    )
    assert error.remedy.count("\n    ") == 6
    assert "batch channel time height width: AssertionError: two pathways, please" in error.remedy
    assert "batch time channel height width: RuntimeError: Given groups=1" in error.remedy


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (lambda own, x: of_volume(own, x).sum(0, keepdim=True), r"shape \(1, 5\) for 2 clips of 8"),
        (lambda own, x: of_volume(own, x).argmax(1), "gives torch.int64 of shape"),
        (lambda own, x: of_volume(own, x).to(torch.complex64), "gives torch.complex64"),
        (lambda own, x: {"a": of_volume(own, x), "b": 1}, "which gives dict with a, b"),
        (lambda own, x: of_volume(own, x).sum(), r"an output of shape \(\)"),
        (lambda own, x: None, "which gives NoneType"),
    ],
)
def test_outputs_that_are_no_logits_are_told(output, text):
    def function(own, x):
        own.conv3d(x)
        return output(own, x)

    assert_refused(UnsupportedModelError, text, taken_layouts(Of(function)).require)


def changing(own, x):
    own.count += 1
    own.seen.append(x)
    own.last = x
    own.register_buffer("cache", torch.ones(1))
    x.mul_(2)
    return of_volume(own, x)


def test_nothing_is_changed_and_what_would_be_is_told():
    network, shown = Of(changing), clip(2)
    before, state = shown.clone(), torch.get_rng_state()
    keys = set(vars(network))
    found = taken_layouts(network, shown)
    assert found.require().state == ("count", "cache")
    assert "each pass changes count" in found.describe()
    assert torch.equal(shown, before)
    assert network.count == 0
    assert network.seen == []
    assert set(vars(network)) == keys
    assert set(dict(network.named_buffers())) == {"count"}
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(
        one.requires_grad is False or one.grad is not None for one in network.parameters()
    )


def test_a_network_that_draws_or_remembers_is_refused():
    def draws(own, x):
        return of_volume(own, x + torch.rand_like(x))

    def remembers(own, x):
        own.count += 1
        return of_volume(own, x) * own.count

    for function in (draws, remembers):
        network = Of(function)
        text = "the same clips the same output, got Of, which does not"
        assert_refused(ModelError, text, taken_layouts, network)
        assert network.count == 0


def test_a_network_in_training_mode_is_refused():
    network = nn.Sequential(nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4))
    assert_refused(ModelError, "a model in evaluation mode", taken_layouts, network)


def test_memory_that_runs_out_is_no_layout_that_is_refused():
    def too_much(own, x):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(torch.OutOfMemoryError):
        taken_layouts(Of(too_much))


# The signature


class Several(Of):
    def forward(self, x, lengths, mask=None):
        return of_volume(self, x)


class ByKeyword(Of):
    def forward(self, *, video, mask=None):
        return of_volume(self, video)


class NotFirst(Of):
    def forward(self, input_ids=None, pixel_values=None):
        return of_volume(self, pixel_values)


class Anything(Of):
    def forward(self, *args, **kwargs):
        return of_volume(self, *args)


def test_arguments_that_a_network_needs_are_named():
    assert read_signature(Several(None)) == Signature(None, ("lengths",))
    found = taken_layouts(Several(None))
    text = r"(?s)an argument more.*needs lengths beside.*lambda clip: network\(clip, lengths\)"
    assert_refused(UnsupportedModelError, text, found.require)


@pytest.mark.parametrize(
    ("kind", "keyword"), [(ByKeyword, "video"), (NotFirst, "pixel_values"), (Anything, None)]
)
def test_the_clip_is_given_as_the_argument_that_it_is(kind, keyword):
    trial = taken_layouts(kind(None)).require()
    assert (trial.layout, trial.keyword) == (CHANNELS_FIRST, keyword)


# Sizes


def test_numbers_that_networks_declare():
    network = nn.Identity()
    assert declared_size(network) == (None, None)
    network.num_segments, network.img_size = 8, (96, 96)
    assert declared_size(network) == (8, 96)
    network.num_segments = True
    assert declared_size(network) == (None, 96)


@pytest.mark.parametrize(
    ("error", "size"),
    [
        ("The size of tensor a (785) must match the size of tensor b (1569) at", (16, 32)),
        ("The size of tensor a (32) must match the size of tensor b (128) at", (8, 64)),
        ("shape '[-1, 12, 4]' is invalid for input of size 64", (12, 32)),
        ("mat1 and mat2 shapes cannot be multiplied (2x3072 and 768x5)", (2, 32)),
        ("Wrong input size", (8, 112)),
    ],
)
def test_sizes_are_read_from_what_a_network_says(error, size):
    tried = sizes_to_try(8, 32, [error])
    assert size in tried
    assert (8, 32) not in tried
    assert all(frames * side * side <= 64 * 224 * 224 for frames, side in tried)


# Networks of libraries


@pytest.mark.parametrize(
    ("build", "layout"),
    [
        (torchvision.models.video.mc3_18, CHANNELS_FIRST),
        (torchvision.models.resnet18, FOLDED),
    ],
)
def test_networks_of_torchvision(build, layout):
    assert taken_layouts(build().eval()).require().layout == layout


def test_networks_of_transformers():
    library = pytest.importorskip("transformers")
    small = {
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 16, "image_size": 48, "num_frames": 6,
    }  # fmt: skip
    network = library.VideoMAEForVideoClassification(library.VideoMAEConfig(**small)).eval()
    trial = taken_layouts(network).require()
    assert (trial.layout, trial.size) == (CANONICAL, (2, 6, 3, 48, 48))
