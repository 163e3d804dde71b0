"""Relevance does not depend on the unit of what a network reads."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from temporal_attr.relevance import Composite, Epsilon, Flat, Gamma, WSquare, ZPlus, trace

# Checks of shapes in every small function would take as long as the functions again.
pytestmark = pytest.mark.usefixtures("as_user")


class Scaled(nn.Module):
    """A network without biases, so that its logits scale with what it reads: sums of two signals,
    means, a maximum, interpolation, and places where nothing is left."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.second = nn.Conv2d(6, 6, 3, padding=1, groups=2, bias=False)
        self.back = nn.ConvTranspose2d(6, 6, 2, stride=2, bias=False)
        self.last = nn.Linear(6, 4, bias=False)

    def forward(self, x):
        x = F.relu(self.first(x))
        x = x + self.second(x)
        x = F.max_pool2d(x, 2) - F.avg_pool2d(x, 2)
        x = F.leaky_relu(self.back(x)) + F.interpolate(x, scale_factor=2, mode="bilinear")
        return self.last(F.adaptive_avg_pool2d(x, 1).flatten(1))


torch.manual_seed(0)
NETWORK = Scaled().eval()
CLIP = torch.rand(2, 3, 8, 8) - 0.3
CLIP[1, :, :4] = 0
COMPOSITES = {
    "default": Composite(input=None),
    "epsilon": Composite(Epsilon(1e-2), Epsilon(1e-3), Epsilon(1e-2), None, sum_epsilon=1e-3),
    "gamma": Composite(Gamma(0.3, epsilon=1e-3), Epsilon(conserve=True), ZPlus(), None),
    "weights alone": Composite(WSquare(epsilon=1e-3), Flat(), input=None),
}


def relevance(network, x, composite):
    run = trace(network, x, None, composite)
    output = run.output.detach()
    return run.relevance(output), output


@settings(deadline=None, max_examples=10)
@given(
    exponent=st.integers(-40, 40),
    name=st.sampled_from(sorted(COMPOSITES)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_relevance_over_the_logit_is_the_same_at_every_scale(exponent, name, dtype):
    # By a power of two, from 1e-12 to 1e12, no value rounds otherwise: the same to the last bit.
    network, x, scale = copy.deepcopy(NETWORK).to(dtype), CLIP.to(dtype), 2.0**exponent
    found, output = relevance(network, x, COMPOSITES[name])
    scaled, scaled_output = relevance(network, x * scale, COMPOSITES[name])
    assert torch.equal(scaled_output, output * scale)
    assert torch.equal(scaled, found * scale)
    assert found.abs().max() > 1e-4


@pytest.mark.parametrize("scale", [1e-9, 1e-6, 1e9])
def test_nothing_is_lost_on_small_inputs(scale):
    # An absolute epsilon of 1e-9 took 1 to 92 % here.
    network = copy.deepcopy(NETWORK).double()
    x = CLIP.double() * scale
    composite = Composite(Epsilon(), Epsilon(), Epsilon(), None)
    found, output = relevance(network, x, composite)
    lost = (found.flatten(1).sum(1) - output.sum(1)).abs() / output.sum(1).abs()
    # What terms that cancel lose: 1e-9 of their magnitudes over what is left of them.
    assert lost.max() < 1e-6


def test_a_scale_is_of_one_output_alone():
    x = (
        torch.rand(3, 3, 8, 8, dtype=torch.float64)
        * torch.tensor([1e-6, 1.0, 1e6])[:, None, None, None]
    )
    network = copy.deepcopy(NETWORK).double()
    together, _ = relevance(network, x, COMPOSITES["epsilon"])
    for place in range(3):
        alone, _ = relevance(network, x[place : place + 1], COMPOSITES["epsilon"])
        torch.testing.assert_close(
            together[place], alone[0], rtol=0, atol=1e-13 * alone.abs().max().item()
        )


def test_two_parts_of_nothing_get_half_each():
    x = torch.zeros(1, 2, dtype=torch.float64)
    run = trace(lambda x: x[:, :1] + x[:, 1:], x, None, Composite(input=None))
    assert run.relevance(torch.ones(1, 1, dtype=torch.float64)).tolist() == [[0.5, 0.5]]
    # A mean of zeros is shared evenly, and an epsilon that does not conserve loses it.
    for pooling, expected in ((Epsilon(conserve=True), 0.5), (Epsilon(), 0.0)):
        run = trace(lambda x: x.mean(1), x, None, Composite(pooling=pooling, input=None))
        assert run.relevance(torch.ones(1, dtype=torch.float64)).tolist() == [[expected] * 2]
