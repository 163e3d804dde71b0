"""Timesteps of a named layer: against gradients taken one by one, and what they leave alone."""

import copy
import pickle
import threading

import pytest
import torch
from torch import nn
from torch.nn import functional

from temporal_attr import FrameLogitsError, ModelError, OptionError, UnsupportedModelError
from temporal_attr.models import LayerTimesteps
from tests.helpers import tails
from tests.helpers.checks import assert_near, assert_refused
from tests.helpers.families import CLASSES
from tests.helpers.tails.parts import Function, lively
from tests.references import layer_timesteps as reference

# Checks of shapes in every small function take as long as the functions; the contract has them.
pytestmark = pytest.mark.usefixtures("as_user")

STEPS, WIDTH = 5, 4


def random_clip(steps=STEPS, side=6, batch=2, dtype=torch.float64, seed=3):
    shape = (batch, steps, 3, side, side)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class Network(nn.Module):
    """A convolution over time, a layer `read` that arranges its output, and the rest."""

    def __init__(self, read, tail, **parts):
        super().__init__()
        self.conv = nn.Conv3d(3, WIDTH, 3, padding=1)
        self.read = Function(lambda _, volume: read(volume.tanh()))
        self.tail = Function(tail, **parts)

    def volume(self, clip):
        """What `read` arranges `(batch, time, channel, height, width)`."""
        return self.conv(clip.transpose(1, 2)).tanh().transpose(1, 2).detach()

    def forward(self, video):
        return self.tail(self.read(self.conv(video)))


def made(read, tail, **parts):
    torch.manual_seed(1)
    return lively(Network(read, tail, **parts).double())


def classifier():
    return nn.Linear(WIDTH, CLASSES)


# Where time is ------------------------------------------------------------------------------------

ARRANGEMENTS = {
    "channels_first": (lambda v: v, lambda h: h.mean((2, 3, 4)), 2),
    "counted_from_the_end": (lambda v: v, lambda h: h.mean((2, 3, 4)), -3),
    "channels_last": (lambda v: v.permute(0, 2, 3, 4, 1), lambda h: h.mean((1, 2, 3)), 1),
    "time_first": (lambda v: v.permute(2, 0, 1, 3, 4), lambda h: h.mean((0, 3, 4)), 0),
    "folded": (
        lambda v: v.transpose(1, 2).flatten(0, 1),
        lambda h: h.unflatten(0, (-1, STEPS)).mean((1, 3, 4)),
        0,
    ),
    "folded_time_first": (
        lambda v: v.permute(2, 0, 1, 3, 4).flatten(0, 1),
        lambda h: h.unflatten(0, (STEPS, -1)).mean((0, 3, 4)),
        0,
    ),
    "in_a_tuple": (lambda v: (v, v.sum()), lambda h: h[0].mean((2, 3, 4)), 2),
    "in_a_dict": (lambda v: {"map": v}, lambda h: h["map"].mean((2, 3, 4)), 2),
}


@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_timesteps_are_found_however_they_are_arranged(name):
    read, pool, axis = ARRANGEMENTS[name]
    network = made(read, lambda self, h: self.last(pool(h)), last=classifier())
    clip, last = random_clip(), network.tail.last
    expected, weights = reference.mean_steps(
        lambda volume: last(volume.mean((1, 3, 4))), network.volume(clip), 1
    )
    model = LayerTimesteps(network, "read", time_axis=axis)
    found = model.frame_logits(clip)
    assert expected.std(1).min() > 1e-2
    assert_near(found.logits, expected, 1e-10)
    assert_near(found.weights, weights, 1e-10)
    assert found.rest is None
    assert model.frames_per_step == 1
    for i in range(len(clip)):
        assert_near(model.frame_logits(clip[i : i + 1]).logits, expected[i : i + 1], 1e-12)


LAYOUTS = {
    "batch channel time height width": lambda x: x,
    "batch time height width channel": lambda x: x.permute(0, 4, 1, 2, 3),
    "(batch time) channel height width": lambda x: x.unflatten(0, (-1, STEPS)).transpose(1, 2),
    "batch (time channel) height width": lambda x: x.unflatten(1, (STEPS, 3)).transpose(1, 2),
    "time batch channel height width": lambda x: x.permute(1, 2, 0, 3, 4),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_network_is_handed_its_own_layout(layout):
    inner = made(lambda v: v, lambda self, h: self.last(h.mean((2, 3, 4))), last=classifier())
    network = Function(lambda self, x: self.inner(LAYOUTS[layout](x)), inner=inner).eval()
    clip = random_clip()
    found = LayerTimesteps(network, "inner.read", layout=layout).frame_logits(clip)
    expected = inner.tail.last(inner.volume(clip).mean((3, 4)))
    assert_near(found.logits, expected.detach(), 1e-10)


# What follows -------------------------------------------------------------------------------------


def trapezoid(h):
    return functional.avg_pool3d(h, (3, 6, 6), 1).mean((2, 3, 4))


MEANS = {
    "mean": lambda h: h.mean((2, 3, 4)),
    "trapezoid": trapezoid,
    "padded_windows": lambda h: functional.avg_pool3d(
        h, (3, 6, 6), 1, (1, 0, 0), count_include_pad=False
    ).mean((2, 3, 4)),
    "last": lambda h: h[:, :, -1].mean((2, 3)),
    "two_of_five": lambda h: (0.3 * h[:, :, 1] + 0.7 * h[:, :, 3]).mean((2, 3)),
    "weights_of_either_sign": lambda h: (2 * h[:, :, 0] - h[:, :, 3]).mean((2, 3)),
}


@pytest.mark.parametrize("name", MEANS)
def test_of_a_weighted_mean_timesteps_are_what_it_says_of_each(name):
    network = made(lambda v: v, lambda self, h: self.last(MEANS[name](h)), last=classifier())
    clip = random_clip()
    expected, weights = reference.mean_steps(network.tail, network.volume(clip).transpose(1, 2), 2)
    found = LayerTimesteps(network, "read").frame_logits(clip)
    assert_near(found.logits, expected, 1e-10)
    assert_near(found.weights, weights, 1e-10)
    assert_near(found.clip_logits(), network(clip.transpose(1, 2)).detach(), 1e-10)


def test_what_is_not_linear_by_itself_says_something_of_each_timestep():
    network = made(
        lambda v: v,
        lambda self, h: self.last(torch.relu(self.first(h.mean((3, 4)).transpose(1, 2)))).mean(1),
        first=nn.Linear(WIDTH, 7),
        last=nn.Linear(7, CLASSES),
    )
    clip, parts = random_clip(), network.tail
    found = LayerTimesteps(network, "read").frame_logits(clip)
    by_step = [
        parts.last(parts.first(step.mean((2, 3))).clamp(min=0))
        for step in network.volume(clip).unbind(1)
    ]
    assert_near(found.logits, torch.stack(by_step, 1).detach(), 1e-10)


def test_a_layer_over_all_timesteps_gives_each_weights_of_its_own():
    network = made(
        lambda v: v,
        lambda self, h: self.last(h.mean((3, 4)).flatten(1)),
        last=nn.Linear(WIDTH * STEPS, CLASSES),
    )
    clip = random_clip()
    expected, rest = reference.own_steps(network.tail, network.volume(clip).transpose(1, 2), 2)
    found = LayerTimesteps(network, "read").frame_logits(clip)
    assert_near(found.logits, expected, 1e-10)
    assert_near(found.rest, rest, 1e-10)
    assert_near(found.weights, torch.full((STEPS,), 1 / STEPS, dtype=torch.float64), 1e-12)


def test_in_single_precision():
    case = tails.case("encoder_layer_norm_first")
    expected, rest = reference.held_steps(case.piece, case.tokens, 1)
    network = case.network.float()
    model = LayerTimesteps(network, "read", time_axis=1, exactness="frozen")
    found = model.frame_logits(case.clip.float())
    assert found.logits.dtype == torch.float32
    assert_near(found.logits.double(), expected, 1e-4)
    assert_near(found.rest.double(), rest, 1e-4)


@pytest.mark.parametrize("name", ["sdpa", "group_norm", "max", "gated_unit"])
def test_clips_of_a_batch_are_held_each_by_itself(name):
    case = tails.case(name, batch=3)
    model = LayerTimesteps(case.network, "read", time_axis=1, exactness="frozen")
    whole = model.frame_logits(case.clip)
    for i in range(3):
        alone = model.frame_logits(case.clip[i : i + 1])
        assert_near(whole.logits[i : i + 1], alone.logits, 1e-11)
        assert_near(whole.rest[i : i + 1], alone.rest, 1e-11)


def test_frames_to_a_timestep_are_measured():
    torch.manual_seed(0)
    network = lively(
        nn.Sequential(
            nn.Conv3d(3, 4, 3, stride=(2, 1, 1), padding=1),
            nn.Conv3d(4, 4, 3, stride=(2, 1, 1), padding=1),
            nn.AdaptiveAvgPool3d(1),
            nn.Flatten(),
            nn.Linear(4, CLASSES),
        ).double()
    )
    model = LayerTimesteps(network, "1")
    assert model.frame_logits(random_clip(8)).logits.shape == (2, 2, CLASSES)
    assert model.frames_per_step == 4


# Modules that networks are made of ----------------------------------------------------------------


def in_place(layer="b", **options):
    """One ReLU that works in place before the layer and after it."""

    def run(self, x):
        return self.last(self.relu(self.b(self.relu(self.a(x)))).mean((3, 4)).mean(2))

    torch.manual_seed(2)
    parts = {"a": nn.Conv3d(3, 4, 3, padding=1), "relu": nn.ReLU(inplace=True)}
    parts |= {"b": nn.Conv3d(4, 4, 3, padding=1), "last": classifier()}
    network = lively(Function(run, **parts).double())
    return network, LayerTimesteps(network, layer, **options)


def test_what_works_in_place_does_not_reach_the_features():
    network, model = in_place(stages=["a"])
    clip = random_clip()
    features = model.features(clip)
    kept = features.detach().clone()
    logits = model.head(features)
    steps = model.frame_head(features)
    assert torch.equal(features, kept)
    expected = network(clip.transpose(1, 2)).detach()
    assert_near(logits.detach(), expected, 1e-12)
    assert_near(steps.clip_logits().detach(), expected, 1e-12)
    by_step = network.last(network.b(network.a(clip.transpose(1, 2)).relu()).relu().mean((3, 4)).mT)
    assert_near(steps.logits.detach(), by_step.detach(), 1e-10)


def test_gradients_reach_leaves_that_what_follows_works_on_in_place():
    network, model = in_place(stages=["a"])
    clip = random_clip()
    model.features(clip)
    first = network.a(clip.transpose(1, 2)).detach().requires_grad_()
    second = model.stages[1](first)
    leaf = second.detach().requires_grad_()
    (found,) = torch.autograd.grad(model.head(leaf).sum(), leaf)
    pooled = second.relu().mean((1, 3, 4))
    (expected,) = torch.autograd.grad(network.last(pooled).sum(), second, retain_graph=True)
    assert_near(found, expected, 1e-12)
    (early,) = torch.autograd.grad(second.sum(), first)
    assert_near(early, torch.autograd.grad(network.b(first.relu()).sum(), first)[0], 1e-12)


def test_hooks_of_the_user_run():
    network, _ = in_place()
    clip = random_clip()
    network.a.register_forward_hook(lambda _module, _args, output: 2 * output)
    network.b.register_forward_hook(lambda _module, _args, output: output - 0.5)
    network.last.register_forward_pre_hook(lambda _module, args: (args[0] * 3,))
    model = LayerTimesteps(network, "b")
    maps = network.b(
        (
            2 * functional.conv3d(clip.transpose(1, 2), network.a.weight, network.a.bias, padding=1)
        ).relu()
    )
    expected = functional.linear(
        3 * maps.relu().mean((3, 4)).mT, network.last.weight, network.last.bias
    )
    assert_near(model.frame_logits(clip).logits.detach(), expected.detach(), 1e-10)


def test_a_forward_that_was_put_on_a_module_is_run():
    network, _ = in_place()

    def doubled(self, x):
        return 2 * functional.linear(x, self.weight, self.bias)

    network.last.forward = doubled.__get__(network.last)
    clip = random_clip()
    model = LayerTimesteps(network, "b")
    plain = in_place()[1].frame_logits(clip).logits
    assert_near(model.frame_logits(clip).logits, 2 * plain, 1e-12)


class Listed(nn.Module):
    """Modules that are reached by a plain list and a dict, beside being registered."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(3, WIDTH)
        self.last = classifier()
        self.order = [self.embed]
        self.heads = {"video": (self.last,)}

    def forward(self, video):
        tokens = video.mean((3, 4)).transpose(1, 2)
        return self.heads["video"][0](self.order[0](tokens).mean(1))


def test_modules_in_plain_lists_are_found():
    torch.manual_seed(0)
    network = lively(Listed().double())
    order = network.order
    clip = random_clip()
    found = LayerTimesteps(network, "embed", time_axis=1).frame_logits(clip)
    expected = network.last(network.embed(clip.mean((3, 4))))
    assert_near(found.logits, expected, 1e-10)
    assert network.order is order
    assert order[0] is network.embed


def test_any_path_of_a_shared_layer_names_it():
    torch.manual_seed(0)
    network = Listed()
    network.again = nn.Sequential(network.embed)
    lively(network.double())
    clip = random_clip()
    first, second = (
        LayerTimesteps(network, path, time_axis=1).frame_logits(clip).logits
        for path in ("embed", "again.0")
    )
    assert torch.equal(first, second)


def test_substitutes_run_in_place_of_modules():
    torch.manual_seed(0)
    network = nn.Sequential(in_place()[0], nn.Softmax(1)).eval()
    clip = random_clip()
    model = LayerTimesteps(network, "0.b", substitutes={"1": nn.Identity()})
    assert_near(model.frame_logits(clip).logits, in_place()[1].frame_logits(clip).logits, 1e-12)
    assert_near(model(clip).detach(), network[0](clip.transpose(1, 2)).detach(), 1e-12)
    assert isinstance(network[1], nn.Softmax)


def test_logits_are_taken_out_of_what_the_network_returns():
    inner, plain = in_place()
    network = Function(lambda self, x: {"scores": self.inner(x), "video": x}, inner=inner).eval()
    clip = random_clip()
    model = LayerTimesteps(network, "inner.b", output=lambda returned: returned["scores"])
    assert_near(model.frame_logits(clip).logits, plain.frame_logits(clip).logits, 1e-12)


def test_a_memory_is_a_layer_whose_first_output_counts():
    torch.manual_seed(0)

    def run(self, video):
        outputs, _ = self.memory(self.embed(video.mean((3, 4)).transpose(1, 2)))
        return self.last(outputs.mean(1))

    parts = {"embed": nn.Linear(3, 4), "memory": nn.LSTM(4, 6, batch_first=True)}
    network = lively(Function(run, **parts, last=nn.Linear(6, CLASSES)).double())
    clip = random_clip()
    found = LayerTimesteps(network, "memory", time_axis=1).frame_logits(clip)
    expected = network.last(network.memory(network.embed(clip.mean((3, 4))))[0])
    assert_near(found.logits.detach(), expected.detach(), 1e-10)


# Errors -------------------------------------------------------------------------------------------


def softmax_head():
    return nn.Sequential(in_place()[0], nn.Softmax(1)).eval()


def lstm_in_the_tail():
    def run(self, video):
        tokens = self.embed(video.mean((3, 4)).transpose(1, 2))
        return self.last(self.memory(tokens)[0][:, -1])

    parts = {"embed": nn.Linear(3, 4), "memory": nn.LSTM(4, 6, batch_first=True)}
    parts |= {"last": nn.Linear(6, CLASSES), "never": nn.ReLU()}
    return lively(Function(run, **parts).double())


def with_a_shortcut():
    def run(self, video):
        tokens = video.mean((3, 4)).transpose(1, 2)
        return self.last((self.embed(tokens) + tokens.repeat(1, 1, 2)[..., :4]).mean(1))

    parts = {"embed": nn.Linear(3, 4), "last": nn.Linear(4, CLASSES)}
    return lively(Function(run, **parts).double())


def detached():
    def run(self, video):
        return self.last(self.embed(video.mean((3, 4)).transpose(1, 2)).detach().mean(1))

    parts = {"embed": nn.Linear(3, 4), "last": nn.Linear(4, CLASSES)}
    return lively(Function(run, **parts).double())


def by_a_closure():
    network = with_a_shortcut()
    embed = network.embed

    def run(self, video):
        return self.last(embed(video.mean((3, 4)).transpose(1, 2)).mean(1))

    return Function(run, embed=embed, last=network.last).eval()


REFUSED = {
    "no_such_layer": (
        ModelError,
        "'c' of Function, got submodules a, relu, b, last",
        in_place,
        "c",
    ),
    "twice": (
        FrameLogitsError,
        "once for a clip, at 'relu', got one that runs 2",
        in_place,
        "relu",
    ),
    "never": (FrameLogitsError, "at 'never', got one that runs 0", lstm_in_the_tail, "never"),
    "closure": (FrameLogitsError, "at 'embed', got one that runs 0", by_a_closure, "embed"),
    "shortcut": (ModelError, "Something passes by the layer", with_a_shortcut, "embed"),
    "not_a_sum": (FrameLogitsError, '"frozen", which holds', lstm_in_the_tail, "embed"),
    "memory": (FrameLogitsError, "got lstm", lstm_in_the_tail, "embed", {"exactness": "frozen"}),
    "probabilities": (
        FrameLogitsError,
        r"softmax.*substitutes=\{path: torch.nn.Identity\(\)\}",
        softmax_head,
        "0.b",
        {"exactness": "frozen"},
    ),
    "detached": (FrameLogitsError, "logits that carry no gradient", detached, "embed"),
    "no_axis": (OptionError, "output with 5 axes, got 7", in_place, "b", {"time_axis": 7}),
    "no_exactness": (OptionError, "got 'some'", in_place, "b", {"exactness": "some"}),
    "no_layout": (OptionError, "layout over batch", in_place, "b", {"layout": "b c t h w"}),
    "no_substitute": (
        ModelError,
        "submodule 'x'",
        in_place,
        "b",
        {"substitutes": {"x": nn.ReLU()}},
    ),
    "substituted": (
        ModelError,
        "at 'b', got one that runs 0",
        in_place,
        "b",
        {"substitutes": {"b": nn.ReLU()}},
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused(name):
    kind, text, make, layer, *options = REFUSED[name]
    network = make()
    network = network[0] if isinstance(network, tuple) else network
    options = {"time_axis": 2 if layer in ("b", "0.b", "relu") else 1} | dict(*options)
    clip = random_clip()
    before = everything_of(network)
    assert_refused(kind, text, lambda: LayerTimesteps(network, layer, **options).frame_logits(clip))
    assert everything_of(network) == before


def test_a_scripted_network_is_refused():
    network = nn.Sequential(nn.Conv3d(3, 4, 1), nn.AdaptiveAvgPool3d(1), nn.Flatten()).eval()
    with pytest.warns(FutureWarning):
        scripted = torch.jit.script(network)
    for model in (scripted, nn.Sequential(scripted)):
        assert_refused(
            UnsupportedModelError,
            "scripted or traced",
            lambda model=model: LayerTimesteps(model, "0").frame_logits(random_clip()),
        )


def test_features_of_no_clip_that_was_seen():
    _, model = in_place()
    assert_refused(
        ModelError, "has seen", model.head, torch.zeros(1, STEPS, 4, 3, 3, dtype=torch.float64)
    )


# What is left alone -------------------------------------------------------------------------------


def everything_of(network):
    """Every attribute of every module, of tensors their values, versions and flags."""

    def seen(value):
        if isinstance(value, torch.Tensor):
            grad = None if value.grad is None else value.grad.tolist()
            return id(value), value._version, value.requires_grad, grad, value.detach().tolist()
        if isinstance(value, dict):
            return [(name, seen(entry)) for name, entry in value.items()]
        return id(value) if not isinstance(value, (bool, int, float, str)) else value

    return [
        (path, [(name, seen(value)) for name, value in vars(part).items()])
        for path, part in network.named_modules()
    ]


class Counting(nn.Module):
    """A network that notes its calls, in an attribute and in a buffer."""

    def __init__(self):
        super().__init__()
        self.inner = in_place()[0]
        self.calls = 0
        self.register_buffer("count", torch.zeros(()))

    def forward(self, video):
        self.calls = self.calls + 1
        self.count = self.count + 1
        return self.inner(video)


@pytest.mark.parametrize("exactness", ["linear", "frozen"])
def test_nothing_of_the_network_changes(exactness):
    network, model = in_place(exactness=exactness, stages=["a"])
    network.b.weight.requires_grad_(requires_grad=False)
    network.last.register_forward_hook(lambda _module, _args, output: output)
    clip = random_clip()
    given, before = clip.clone(), everything_of(network)
    model.frame_logits(clip)
    model.head(model.features(clip))
    assert everything_of(network) == before
    assert torch.equal(clip, given)


@pytest.mark.parametrize("part", ["a", "b", "last"])
def test_nothing_changes_after_an_exception(part):
    network, model = in_place(exactness="frozen", stages=["a"])

    def fails(_module, _args, _output):
        raise KeyError("in the middle")

    handle = getattr(network, part).register_forward_hook(fails)
    before = everything_of(network)
    with pytest.raises(KeyError, match="in the middle"):
        model.frame_logits(random_clip())
    assert everything_of(network) == before
    handle.remove()
    assert_near(
        model.frame_logits(random_clip()).clip_logits().detach(),
        network(random_clip().transpose(1, 2)).detach(),
        1e-12,
    )


def test_what_a_network_counts_is_counted_once_for_each_call_of_it():
    network = lively(Counting().double())
    model = LayerTimesteps(network, "inner.b")
    model.prepare(random_clip())
    assert (network.calls, float(network.count)) == (0, 0)
    model(random_clip())
    assert (network.calls, float(network.count)) == (1, 1)


def test_statistics_of_batch_norm_do_not_move_while_a_clip_is_tried():
    network = nn.Sequential(
        nn.Conv3d(3, 4, 3, padding=1),
        nn.BatchNorm3d(4),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(4, CLASSES),
    )
    lively(network.double()).train()
    before = everything_of(network)
    LayerTimesteps(network, "1").prepare(random_clip())
    assert everything_of(network) == before


# Another time -------------------------------------------------------------------------------------


@pytest.mark.parametrize("exactness", ["linear", "frozen"])
def test_clips_of_other_sizes(exactness):
    _, model = in_place(exactness=exactness)
    for steps, side in ((5, 6), (7, 6), (4, 9), (1, 5), (5, 6)):
        clip = random_clip(steps, side)
        found = model.frame_logits(clip)
        assert found.logits.shape == (2, steps, CLASSES)
        expected = in_place(exactness=exactness)[1].frame_logits(clip)
        assert_near(found.logits, expected.logits, 1e-12)


@torch.no_grad()
def test_weights_that_were_replaced_are_seen():
    network, model = in_place()
    clip = random_clip()
    before = model.frame_logits(clip).logits
    network.last.weight.mul_(2)
    network.b.weight = nn.Parameter(network.b.weight * 0.5)
    network.a = lively(nn.Conv3d(3, 4, 3, padding=1).double())
    expected = network.last(
        network.b(network.a(clip.transpose(1, 2)).relu()).relu().mean((3, 4)).mT
    )
    assert (before - expected).abs().max() > 0.1
    assert_near(model.frame_logits(clip).logits, expected, 1e-10)


@torch.no_grad()
def test_weights_over_time_that_were_trained_are_measured_again():
    def over_time(self, h):
        return self.last(h.mean((3, 4)) @ self.pool.weight[0])

    network = made(lambda v: v, over_time, pool=nn.Linear(STEPS, 1), last=classifier())
    model, clip = LayerTimesteps(network, "read"), random_clip()
    for _ in range(2):
        network.tail.pool.weight.uniform_(0, 1).div_(network.tail.pool.weight.sum())
        found = model.frame_logits(clip)
        assert_near(found.weights, network.tail.pool.weight[0], 1e-10)
        assert_near(found.logits, network.tail.last(network.volume(clip).mean((3, 4))), 1e-10)


def test_another_precision_in_between():
    _, model = in_place(exactness="frozen")
    clip = random_clip()
    expected = model.frame_logits(clip).logits
    model.float()
    assert_near(model.frame_logits(clip.float()).logits, expected, 1e-4)
    model.double()
    assert_near(model.frame_logits(clip).logits, expected, 1e-5)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_of_a_wrapper_give_the_same(again):
    torch.manual_seed(0)
    network = lively(
        nn.Sequential(
            nn.Conv3d(3, 4, 3, padding=1),
            nn.AvgPool3d((3, 6, 6), 1),
            nn.Conv3d(4, CLASSES, 1),
            nn.AdaptiveAvgPool3d(1),
            nn.Flatten(),
        ).double()
    )
    model, clip = LayerTimesteps(network, "0"), random_clip()
    fresh, expected = again(model), model.frame_logits(clip)
    for other in (fresh, again(model)):
        found = other.frame_logits(clip)
        assert torch.equal(found.logits, expected.logits)
        assert torch.equal(found.weights, expected.weights)
        assert other.model is not network


def test_threads_that_take_different_layers_of_one_network():
    network, at_b = in_place(exactness="frozen")
    at_a = LayerTimesteps(network, "a", exactness="frozen")
    clips = [random_clip(steps, seed=steps) for steps in (2, 3, 4, 5)]
    expected = {
        model.layer: [model.frame_logits(clip).logits for clip in clips] for model in (at_a, at_b)
    }
    fresh = [LayerTimesteps(network, layer, exactness="frozen") for layer in ("a", "b")]
    found, failed = {}, []

    def run(model, key):
        try:
            found[key] = [model.frame_logits(clip).logits for clip in clips]
        except BaseException as error:  # noqa: BLE001 - it is raised below
            failed.append(error)

    threads = [threading.Thread(target=run, args=(fresh[i % 2], i)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed
    for i in range(4):
        for one, other in zip(found[i], expected["ab"[i % 2]], strict=True):
            assert torch.equal(one, other)
