"""Recurrent layers in all their forms, and modules with hooks."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence

from temporal_attr.relevance import Composite, trace
from tests.references.lrp import Recurrent

# Checks of shapes in every small function would take as long as the functions again.
pytestmark = pytest.mark.usefixtures("as_user")

PLAIN = Composite(input=None)
LENGTHS = (3, 5, 2)
LAYERS = {
    "lstm": lambda **options: nn.LSTM(4, 3, **options),
    "lstm with projection": lambda **options: nn.LSTM(4, 3, proj_size=2, **options),
    "gru": lambda **options: nn.GRU(4, 3, **options),
    "rnn": lambda **options: nn.RNN(4, 3, **options),
}


def sequences(count=3, seed=0):
    return torch.randn(count, 5, 4, dtype=torch.float64, generator=seeded(seed))


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def traced(function, x):
    return trace(function, x, None, PLAIN, function)


@pytest.fixture
def built():
    def build(name, **options):
        torch.manual_seed(1)
        return LAYERS[name](batch_first=True, **options).double().eval()

    return build


def flat_state(state):
    """The last states of all layers, sequences first."""
    states = state if isinstance(state, tuple) else (state,)
    return torch.cat([entry.transpose(0, 1).flatten(1) for entry in states], 1)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_over_time_is_the_slow_reference(built, name):
    layer, x = built(name), sequences(1)
    run = traced(lambda x: layer(x)[0], x)
    torch.testing.assert_close(run.output, layer(x)[0], rtol=1e-12, atol=1e-14)
    start = torch.randn(run.output.shape, dtype=x.dtype, generator=seeded(2))
    slow = Recurrent(layer)
    np.testing.assert_allclose(slow.forward(x[0].numpy()), run.output[0].detach(), atol=1e-13)
    expected = slow.back(start[0].numpy())
    # In the first step what is kept of an empty memory takes half of the sum's epsilon of 1e-9.
    np.testing.assert_allclose(
        run.relevance(start)[0], expected, rtol=0, atol=1e-9 * abs(expected).max()
    )


@pytest.mark.parametrize(("bidirectional", "bias"), [(False, True), (True, False)])
@pytest.mark.parametrize("name", LAYERS)
def test_packed_sequences_are_each_as_alone(built, name, bidirectional, bias):
    layer = built(name, num_layers=2, bidirectional=bidirectional, bias=bias)
    x = sequences()

    def packed(x):
        # In their own order, which packing sorts.
        read, state = layer(pack_padded_sequence(x, torch.tensor(LENGTHS), True, False))
        return torch.cat([pad_packed_sequence(read, True)[0].flatten(1), flat_state(state)], 1)

    def alone(x):
        read, state = layer(x)
        return torch.cat([read.flatten(1), flat_state(state)], 1)

    run = traced(packed, x)
    torch.testing.assert_close(run.output, packed(x), rtol=1e-12, atol=1e-14)
    features = layer(x)[0].shape[2]
    start = torch.randn(run.output.shape, dtype=x.dtype, generator=seeded(3))
    found = torch.zeros_like(start)
    for place, length in enumerate(LENGTHS):
        # Nothing starts where a shorter sequence was padded.
        found[place, : length * features] = start[place, : length * features]
        found[place, 5 * features :] = start[place, 5 * features :]
    relevance = run.relevance(found)
    for place, length in enumerate(LENGTHS):
        single = traced(alone, x[place : place + 1, :length])
        own = torch.cat([start[place, : length * features], start[place, 5 * features :]])
        expected = single.relevance(own[None])
        scale = expected.abs().max().item()
        torch.testing.assert_close(
            relevance[place, :length], expected[0], rtol=0, atol=1e-12 * scale
        )
        assert not relevance[place, length:].any()
    # The default rules conserve what starts, up to the largest part that cancels in a sum.
    lost = (relevance.sum() - found.sum()).abs()
    assert lost < 1e-11 * relevance.abs().sum()


def test_sequences_that_are_packed_as_they_are():
    layer, x = nn.GRU(4, 3).double(), sequences(2)
    run = traced(lambda x: layer(pack_sequence([x[0], x[1, :3]]))[0].data, x)
    expected = traced(lambda x: layer(x)[0], x[0, :, None])
    alone = expected.relevance(expected.output.detach())
    # The first of a packed pair is at the first place of every step.
    start = torch.zeros_like(run.output)
    places = torch.tensor([0, 2, 4, 6, 7])
    start[places] = expected.output.detach()[:, 0]
    torch.testing.assert_close(run.relevance(start)[0], alone[:, 0], rtol=0, atol=1e-13)


class Stepwise(nn.Module):
    """A cell over the steps of a sequence."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, x):
        state, read = None, []
        for step in x.unbind(1):
            state = self.cell(step, state)
            read.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(read, 1)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_a_cell_step_by_step_is_its_layer(kind, bias):
    torch.manual_seed(2)
    layer = getattr(nn, kind)(4, 3, batch_first=True, bias=bias).double()
    cell = getattr(nn, f"{kind}Cell")(4, 3, bias=bias).double()
    cell.load_state_dict({name.removesuffix("_l0"): w for name, w in layer.state_dict().items()})
    x, stepwise = sequences(), Stepwise(cell)
    run, expected = traced(stepwise, x), traced(lambda x: layer(x)[0], x)
    torch.testing.assert_close(run.output, stepwise(x), rtol=1e-12, atol=1e-14)
    start = torch.randn(run.output.shape, dtype=x.dtype, generator=seeded(4))
    assert torch.equal(run.relevance(start), expected.relevance(start))
    assert run.relevance(start).abs().max() > 0.1


class Branched(nn.Module):
    """Convolutions that work in place, a sum, and a recurrent layer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True))
        self.second = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Identity(), nn.ReLU(inplace=True))
        self.last = nn.LSTM(6, 2, batch_first=True)

    def forward(self, x):
        first = self.first(x)
        return self.last((self.second(first) + first).flatten(1, 2))[0]


def test_full_backward_hooks_of_modules_are_passed_and_not_called():
    torch.manual_seed(3)
    plain = Branched().double().eval()
    hooked, called = copy.deepcopy(plain), []
    for part in hooked.modules():
        part.register_full_backward_hook(lambda *_: called.append("hook"))
        part.register_full_backward_pre_hook(lambda *_: called.append("before"))
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    run, expected = traced(hooked, x), traced(plain, x)
    start = expected.output.detach()
    assert torch.equal(run.output, expected.output)
    assert torch.equal(run.relevance(start), expected.relevance(start))
    together = torch.stack([start, -start])
    assert torch.equal(
        run.relevances(together, contrastive=True), expected.relevances(together, contrastive=True)
    )
    # They are there for gradients, and relevance is none.
    assert called == []
    for part in hooked.modules():
        # With which torch itself refuses these hooks.
        part.inplace = False
    hooked(x.requires_grad_()).sum().backward()
    assert "hook" in called
    assert "before" in called


def test_pixels_stay_pixels_behind_hooks():
    network = nn.Sequential(nn.Identity(), nn.Conv2d(3, 2, 3)).double().eval()
    x = torch.rand(1, 3, 4, 4, dtype=torch.float64)
    bounds = torch.zeros_like(x), torch.ones_like(x)
    expected = trace(network, x, bounds, Composite())
    network[0].register_full_backward_hook(lambda *_: None)
    network.register_full_backward_hook(lambda *_: None)
    run = trace(network, x, bounds, Composite())
    start = expected.output.detach()
    assert torch.equal(run.relevance(start), expected.relevance(start))
