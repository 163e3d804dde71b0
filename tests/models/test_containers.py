"""What networks come in: taken off where it changes no number, and said; left where it does."""

import sys

import pytest
import torch
import torchvision
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from temporal_attr import (
    Conv3D,
    LateFusion,
    ModelError,
    OptionError,
    TemporalGradient,
    UnsupportedModelError,
    wrap,
)
from temporal_attr.models import require_wrapped
from temporal_attr.models._containers import unwrapped
from tests.helpers.checks import assert_refused


def image_network():
    """A small network of torchvision, whose logits vary."""
    torch.manual_seed(0)
    kind = torchvision.models.ResNet
    network = kind(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=4).train()
    with torch.no_grad():
        for _ in range(20):
            network(torch.randn(8, 3, 32, 32))
    return network.eval()


NETWORK = image_network()
CLIP = torch.randn(1, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


class Own(nn.Module):
    """A module of one's own around a network, beside which it has others."""

    def __init__(self, network=NETWORK):
        super().__init__()
        self.network = network
        self.loss = nn.CrossEntropyLoss(weight=torch.ones(4))
        self.seen = []
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        self.seen.append(x.shape)
        self.count += 1
        return self.network(x)


class ByKeyword(Own):
    def forward(self, x):
        return self.network(x=x)


def spread(network):
    """As it is in a process among others, without the others."""
    module = DistributedDataParallel.__new__(DistributedDataParallel)
    nn.Module.__init__(module)
    module.module = network
    return module


HOLDS = {
    "DataParallel": nn.DataParallel,
    "DistributedDataParallel": spread,
    "OptimizedModule": lambda network: torch.compile(network, backend="eager"),
    "Own": Own,
    "ByKeyword": ByKeyword,
    "Sequential": nn.Sequential,
}


def frozen(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("name", HOLDS)
def test_a_network_is_found_in_what_holds_it(name):
    held = HOLDS[name](NETWORK).eval()
    before = frozen(held)
    model = wrap(held)
    assert isinstance(model, LateFusion)
    assert model.encoder is NETWORK
    (note,) = model.notes
    assert note.startswith(f"{name} was taken off: it only runs its `")
    assert note in repr(model)
    expected = torch.stack([NETWORK(frame[None])[0] for frame in CLIP[0]]).mean(0)
    assert expected.std() > 0.1
    torch.testing.assert_close(model(CLIP)[0], expected, rtol=1e-5, atol=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in held.state_dict().items())
    assert not getattr(held, "seen", None)


def test_containers_in_containers_are_taken_off_from_the_outside_in():
    held = nn.DataParallel(torch.compile(Own(NETWORK), backend="eager")).eval()
    kinds = [note.split()[0] for note in wrap(held).notes]
    assert kinds == ["DataParallel", "OptimizedModule", "Own"]
    assert wrap(NETWORK).notes == ()


def test_a_weight_average_is_taken_off_and_not_the_network_that_it_averages():
    average = AveragedModel(NETWORK).eval()
    with torch.no_grad():
        average.module.fc.bias.add_(1)
    model = wrap(average)
    assert model.encoder is average.module
    torch.testing.assert_close(model(CLIP), wrap(NETWORK)(CLIP) + 1)


def modules_of(library):
    name = {"lightning": "lightning.pytorch", "pytorch_lightning": "pytorch_lightning"}[library]
    return pytest.importorskip(name).LightningModule


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("library", ["lightning", "pytorch_lightning"])
def test_lightning_modules(library):
    class Trained(modules_of(library)):
        def __init__(self):
            super().__init__()
            self.net = NETWORK
            self.loss = nn.CrossEntropyLoss(weight=torch.ones(4))

        def forward(self, frames):
            return self.net(frames)

    class Scaled(Trained):
        def forward(self, frames):
            return self.net(frames) / 2

    assert wrap(Trained().eval()).encoder is NETWORK
    assert unwrapped(Scaled())[1] == ()
    # What does more is a network of its own, which is run as it is.
    scaled, frames = Scaled().eval(), torch.rand(2, 3, 64, 64)
    assert torch.equal(wrap(scaled).encode(frames), NETWORK(frames) / 2)


class OfLogits(nn.Module):
    """Gives an object, as networks of the transformers library do."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 4)

    def forward(self, pixel_values, labels=None):
        return type("Output", (), {"logits": self.linear(pixel_values)})()


def test_a_container_may_return_the_logits_of_an_output_alone():
    class Plain(Own):
        def forward(self, x):
            return self.network(pixel_values=x).logits

    class ByName(Own):
        def forward(self, x):
            return self.network(x)["logits"]

    for kind in (Plain, ByName):
        network = OfLogits()
        assert unwrapped(kind(network))[0] is network


CHANGES = {
    "scales": lambda own, x: own.network(x) * 2,
    "adds": lambda own, x: own.network(x) + own.count,
    "softmax": lambda own, x: own.network(x).softmax(-1),
    "swaps axes": lambda own, x: own.network(x.transpose(1, 2)),
    "swaps axes of clips": lambda own, x: own.network(x.transpose(1, 2) if x.ndim == 5 else x),
    "swaps where colours are second": lambda own, x: own.network(
        x.transpose(1, 2) if x.shape[1] == 3 else x
    ),
    "draws": lambda own, x: own.network(x + torch.rand(())),
    "half of it": lambda own, x: own.network(x[:, ::2]),
    "in a list": lambda own, x: own.network([x]),
    "with more": lambda own, x: own.network(x, None),
    "as another argument": lambda own, x: own.network(labels=x),
    "twice": lambda own, x: own.network(own.network(x)),
    "a part": lambda own, x: own.network.conv1(x),
    "of a tuple": lambda own, x: own.network(x)[0],
    "raises": lambda own, x: 1 / 0,
    "nothing": lambda own, x: x,
    "writes to its input": lambda own, x: own.network(x.mul_(2)),
    "writes to the output": lambda own, x: own.network(x).add_(1),
}


@pytest.mark.parametrize("how", CHANGES)
def test_what_changes_the_numbers_is_not_taken_off(how):
    class Changes(Own):
        def forward(self, x):
            return CHANGES[how](self, x)

    held = Changes()
    state = torch.get_rng_state()
    assert unwrapped(held) == (held, ())
    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_done_to_some_sizes_only_is_told_by_a_clip():
    class Doubles(Own):
        def forward(self, x):
            return self.network(x.mul_(2) if x.shape[-1] == 32 else x)

    frames = CLIP[0]
    before = frames.clone()
    with pytest.raises(ModelError, match="a Doubles that gives what the ResNet in it gives"):
        unwrapped(Doubles(), frames)
    assert torch.equal(frames, before)
    assert unwrapped(Own(), frames)[0] is NETWORK


@pytest.mark.parametrize("name", HOLDS)
@pytest.mark.parametrize(
    "hook", ["register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"]
)
def test_hooks_of_a_container_are_not_lost(name, hook):
    held = HOLDS[name](NETWORK)
    getattr(held, hook)(lambda *_: None)
    assert_refused(
        UnsupportedModelError, f"{name} that only runs .* got one with hooks", wrap, held
    )


def test_a_wrapper_inside_comes_back_itself():
    inside = LateFusion(NETWORK)
    assert wrap(nn.DataParallel(inside)) is inside
    assert inside.notes == ()
    with pytest.raises(OptionError, match="class_names with a model that is yet to be wrapped"):
        wrap(nn.DataParallel(inside), class_names=["a"] * 4)


def test_a_video_network_inside_takes_its_preset():
    network = torchvision.models.video.mc3_18(num_classes=3).eval()
    model = wrap(nn.DataParallel(network))
    assert isinstance(model, Conv3D)
    assert model.preprocessing == wrap(network).preprocessing


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("name", ["DataParallel", "DistributedDataParallel", "OptimizedModule"])
def test_a_bare_network_in_a_container_is_told_to_be_wrapped(name):
    held = HOLDS[name](NETWORK).eval()
    with pytest.raises(ModelError, match=r"the bare network ResNet.*Pass wrap\(model\)"):
        require_wrapped(held)
    with pytest.raises(ModelError, match="the bare network ResNet"):
        TemporalGradient(held)


def test_a_sharded_network_is_refused():
    kind = type("FullyShardedDataParallel", (Own,), {})
    assert_refused(UnsupportedModelError, "a network with all of its weights", wrap, kind())


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("held", [False, True])
def test_torchscript_is_refused_with_what_is_left(held):
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU()).eval()
    scripted = torch.jit.script(network)
    given = nn.DataParallel(scripted) if held else scripted
    text = r"Sequential as scripted or traced code .*TemporalGradient, ShuffleProbe and Frame"
    assert_refused(UnsupportedModelError, text, wrap, given)


def test_nothing_is_imported_to_look_for_containers():
    before = set(sys.modules)
    unwrapped(Own())
    assert not {name for name in set(sys.modules) - before if name.startswith("torch._dynamo")}
