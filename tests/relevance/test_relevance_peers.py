"""The rules of relevance against zennit's and Captum's, on chains that all of them can handle.

A peer adds its epsilon to a denominator as it is, and ours is relative to what is divided; so they
are compared where it vanishes beside every denominator, and differ by rounding in double precision
alone, made larger where the terms of an output nearly cancel. What ours does with a larger one is
held by its definition in test_relevance. The same rule with another setting must not agree.
"""

import copy

import pytest
import torch
from captum.attr import LRP as CaptumLRP
from captum.attr._utils import lrp_rules
from torch import nn

from temporal_attr.attributions import LRP
from temporal_attr.relevance import Box, Composite, Epsilon, Flat, Gamma, WSquare, ZPlus, trace
from tests.helpers.families import vivid

# Checks of shapes in every small function would take as long as the functions again.
pytestmark = pytest.mark.usefixtures("one_thread", "as_user")

EPSILON = 1e-6
TINY = 1e-30
# Relative to the largest relevance. The worst that was seen is 3e-14; the rest is for other BLAS.
TOLERANCE = 1e-11
# The least that another setting of a rule makes visible.
VISIBLE = 1e-8
SIGNS = ["positive", "mixed"]


@pytest.fixture(autouse=True)
def captums_epsilon(monkeypatch):
    # Captum's gamma and alpha-beta rules have no option for theirs.
    monkeypatch.setattr(lrp_rules.PropagationRule, "STABILITY_FACTOR", TINY)


@pytest.fixture
def zennit():
    return pytest.importorskip("zennit", reason="needs the peer zennit, of the extra `test`")


class Chain(nn.Sequential):
    """Layers one after the other; it flattens itself, since Captum has no rule for a module."""

    def forward(self, x):
        for part in self:
            x = part(x.flatten(1) if isinstance(part, nn.Linear) else x)
        return x


def chain(axes, bias=True, norm=False):
    """A small network over so many axes, with weights and biases of either sign."""
    convolution, winner, mean, batch_norm = (
        (nn.Conv1d, nn.MaxPool1d, nn.AvgPool1d, nn.BatchNorm1d),
        (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.BatchNorm2d),
        (nn.Conv3d, nn.MaxPool3d, nn.AvgPool3d, nn.BatchNorm3d),
    )[axes - 1]
    network = Chain(
        convolution(3, 6, 3, padding=1, bias=bias),
        *([batch_norm(6)] if norm else []),
        nn.ReLU(),
        winner(2),
        convolution(6, 8, 3, stride=2, padding=2, dilation=2, groups=2, bias=bias),
        nn.ReLU(),
        mean(2),
        nn.Linear(8, 10, bias=bias),
        nn.ReLU(),
        nn.Linear(10, 4, bias=bias),
    )
    return vivid(network, torch.randn(16, 3, *[8] * axes)).double()


def two_inputs(axes, sign):
    """Inputs between -2 and 2."""
    x = torch.randn(2, 3, *[8] * axes, dtype=torch.float64).clamp(-2, 2)
    return x.abs() if sign == "positive" else x


def largest_logits(network, x):
    """Where relevance starts, one-hot times the largest logit of each input, and its class."""
    with torch.no_grad():
        logits = network(x)
    target = logits.argmax(1)
    return torch.zeros_like(logits).scatter(1, target[:, None], logits.amax(1, True)), target


def everywhere(rule, **others):
    """A composite with one rule for all layers."""
    return Composite(rule, rule, **{"pooling": Epsilon(TINY), "input": None, **others})


def ours(network, x, composite):
    start, _ = largest_logits(network, x)
    return trace(network, x, None, composite, network).relevance(start)


def zennits(zennit, network, x, rule, first=None, epsilon=TINY):
    """Relevance by zennit, with a rule for all layers and, if given, another for the first."""
    types, rules = zennit.types, zennit.rules
    layer_map = [
        (types.Activation, rules.Pass()),
        (types.AvgPool, rules.Norm(stabilizer=epsilon)),
        (types.Linear, rule),
    ]
    first_map = [(types.Linear, first or rule)]
    composite = zennit.composites.SpecialFirstLayerMapComposite(layer_map, first_map)
    return zennits_by(zennit, network, x, composite)


def zennits_by(zennit, network, x, composite):
    start, _ = largest_logits(network, x)
    with zennit.attribution.Gradient(model=network, composite=composite) as attributor:
        return attributor(x.clone(), start)[1].detach()


def captums(network, x, rule):
    """Relevance by Captum, with a rule for all layers."""
    network = copy.deepcopy(network)
    for part in network:
        if isinstance(part, nn.modules.conv._ConvNd | nn.Linear):
            part.rule = rule()
        elif isinstance(part, nn.modules.pooling._AvgPoolNd):
            part.rule = lrp_rules.EpsilonRule(TINY)
        elif isinstance(part, nn.modules.pooling._MaxPoolNd):
            # By this rule the winner takes all but what epsilon absorbs: here, next to nothing.
            part.rule = lrp_rules.EpsilonRule(1e-15)
        elif isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.rule = lrp_rules.IdentityRule()
    _, target = largest_logits(network, x)
    return CaptumLRP(network).attribute(x.clone().requires_grad_(), target).detach()


def disagreement(found, expected):
    """The largest difference, relative to the largest relevance, which is not zero or alike."""
    scale = expected.abs().max().item()
    assert scale > 1e-6
    assert expected.std() > 0.02 * scale
    assert (expected != 0).double().mean() > 0.1
    return (found - expected).abs().max().item() / scale


# Biases are in no term of ours: zennit has an option for that, and its flat rule needs none.
STABLE = {"stabilizer": TINY, "zero_params": "bias"}
# By zennit's name for it: zennit's options, our rule, and one that must not agree.
RULES = {
    "Epsilon": (
        {"epsilon": TINY, "zero_params": "bias"},
        Epsilon(TINY),
        Epsilon(EPSILON),
    ),
    "ZPlus": (STABLE, ZPlus(epsilon=TINY), ZPlus(epsilon=EPSILON)),
    "Gamma": (
        {"gamma": 0.3, **STABLE},
        Gamma(epsilon=TINY, gamma=0.3),
        Gamma(epsilon=TINY, gamma=0.30001),
    ),
    "WSquare": (STABLE, WSquare(epsilon=TINY), WSquare(epsilon=EPSILON)),
    "Flat": ({"stabilizer": TINY}, Flat(epsilon=TINY), Flat(epsilon=EPSILON)),
}
# Of negative inputs, or a negative logit, zennit's gamma rule is another one; see below.
CASES = [(name, sign) for name in RULES for sign in SIGNS if (name, sign) != ("Gamma", "mixed")]


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(("name", "sign"), CASES)
def test_a_rule_in_every_layer_is_zennits(zennit, name, sign, axes):
    network, x = chain(axes), two_inputs(axes, sign)
    options, rule, other = RULES[name]
    expected = zennits(zennit, network, x, getattr(zennit.rules, name)(**options))
    assert disagreement(ours(network, x, everywhere(rule)), expected) < TOLERANCE
    assert disagreement(ours(network, x, everywhere(other)), expected) > VISIBLE


@pytest.mark.parametrize("name", RULES)
def test_a_rule_for_the_first_layer_alone_is_zennits(zennit, name):
    network, x = chain(2), two_inputs(2, "positive" if name == "Gamma" else "mixed")
    options, rule, other = RULES[name]
    first = getattr(zennit.rules, name)(**options)
    expected = zennits(zennit, network, x, zennit.rules.ZPlus(**STABLE), first)

    def with_first(rule):
        return ours(network, x, everywhere(ZPlus(epsilon=TINY), input=rule))

    assert disagreement(with_first(rule), expected) < TOLERANCE
    assert disagreement(with_first(other), expected) > VISIBLE


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("sign", SIGNS)
def test_z_box_at_the_input_is_zennits(zennit, sign, axes):
    network, x = chain(axes), two_inputs(axes, sign)
    low = torch.tensor([-2.0, -2.5, -3.0], dtype=torch.float64).reshape(1, 3, *[1] * axes)
    high = torch.tensor([2.0, 2.25, 4.0], dtype=torch.float64).reshape(1, 3, *[1] * axes)
    rules = zennit.rules
    box = rules.ZBox(low=low, high=high, **STABLE)
    expected = zennits(zennit, network, x, rules.ZPlus(**STABLE), box)

    def between(low, high):
        box = Box(epsilon=TINY, low=low, high=high)
        return ours(network, x, everywhere(ZPlus(epsilon=TINY), input=box))

    assert disagreement(between(low, high), expected) < TOLERANCE
    assert disagreement(between(low, high + 1e-5), expected) > VISIBLE


def test_the_method_itself_is_zennits_on_clips(zennit):
    network, x = chain(3), two_inputs(3, "mixed")
    expected = zennits(zennit, network, x, zennit.rules.ZPlus(**STABLE)).transpose(1, 2)
    _, target = largest_logits(network, x)
    clip = x.transpose(1, 2).contiguous()

    def found(rule):
        method = LRP(lambda clip: network(clip.transpose(1, 2)), everywhere(rule))
        return method.attribute(clip, target)

    assert disagreement(found(ZPlus(epsilon=TINY)), expected) < TOLERANCE
    assert disagreement(found(ZPlus(epsilon=EPSILON)), expected) > VISIBLE


@pytest.mark.parametrize("sign", SIGNS)
def test_without_an_epsilon_z_plus_is_the_limit_of_zennits(zennit, sign):
    network, x = chain(2), two_inputs(2, sign)
    tiny = 1e-15
    rule = zennit.rules.ZPlus(stabilizer=tiny, zero_params="bias")
    expected = zennits(zennit, network, x, rule, epsilon=tiny)
    found = ours(network, x, everywhere(ZPlus(), pooling=Epsilon(tiny)))
    assert disagreement(found, expected) < TOLERANCE
    other = everywhere(ZPlus(), pooling=Epsilon(EPSILON))
    assert disagreement(ours(network, x, other), expected) > VISIBLE


def test_what_no_term_takes_is_lost_by_zennit_and_shared_by_ours(zennit):
    linear = nn.Linear(3, 1).double()
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[-1.0, -2.0, -3.0]]))
        linear.bias.fill_(9.0)
    x = torch.ones(1, 3, dtype=torch.float64)
    lost = zennits(zennit, linear, x, zennit.rules.ZPlus(**STABLE))
    assert lost.tolist() == [[0, 0, 0]]
    assert ours(linear, x, everywhere(ZPlus())).tolist() == [[1, 1, 1]]


def test_gamma_raises_positive_weights_and_zennits_what_they_add(zennit):
    # Of inputs from zero up these are the same; of negative ones Captum's is as ours.
    linear = nn.Linear(3, 1, bias=False).double()
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[1.0, 2.0, -1.0]]))
    x = torch.tensor([[3.0, -0.5, -2.0]], dtype=torch.float64)
    gamma = 0.5
    rule = zennit.rules.Gamma(gamma=gamma, stabilizer=TINY, zero_params="bias")
    found = ours(linear, x, everywhere(Gamma(epsilon=TINY, gamma=gamma)))
    theirs = zennits(zennit, linear, x, rule)
    captum = captums(Chain(linear), x, lambda: lrp_rules.GammaRule(gamma))
    # The logit is 4. By weights [1.5, 3, -1] the inputs add 4.5, -1.5 and 2, together 5; with what
    # they add itself raised where positive, 4.5, -1 and 3, together 6.5.
    assert found.tolist()[0] == pytest.approx([4 * 4.5 / 5, 4 * -1.5 / 5, 4 * 2 / 5])
    assert theirs.tolist()[0] == pytest.approx([4 * 4.5 / 6.5, 4 * -1 / 6.5, 4 * 3 / 6.5])
    torch.testing.assert_close(found, captum, rtol=1e-12, atol=0)


CAPTUM = {
    "epsilon": (
        lambda: lrp_rules.EpsilonRule(TINY),
        Epsilon(TINY),
        Epsilon(EPSILON),
    ),
    "gamma": (
        lambda: lrp_rules.GammaRule(0.3, set_bias_to_zero=True),
        Gamma(epsilon=TINY, gamma=0.3),
        Gamma(epsilon=TINY, gamma=0.30001),
    ),
    "zplus": (
        lambda: lrp_rules.Alpha1_Beta0_Rule(set_bias_to_zero=True),
        ZPlus(epsilon=TINY),
        ZPlus(epsilon=EPSILON),
    ),
}
# Captum's epsilon rule has biases in the denominator, and its alpha-beta rule leaves out what
# negative inputs add by negative weights.
CAPTUM_CASES = [
    (name, sign, bias)
    for name in CAPTUM
    for sign in SIGNS
    for bias in (False, True)
    if (name, bias) != ("epsilon", True) and (name, sign) != ("zplus", "mixed")
]


@pytest.mark.parametrize(("axes", "norm"), [(2, True), (3, False)])
@pytest.mark.parametrize(("name", "sign", "bias"), CAPTUM_CASES)
def test_a_rule_in_every_layer_is_captums(name, sign, bias, axes, norm):
    # A batch norm has IdentityRule there and identity here.
    network, x = chain(axes, bias, norm), two_inputs(axes, sign)
    theirs, rule, other = CAPTUM[name]
    expected = captums(network, x, theirs)
    pooling = Epsilon(TINY)
    found = ours(network, x, everywhere(rule, pooling=pooling))
    assert disagreement(found, expected) < TOLERANCE
    found = ours(network, x, everywhere(other, pooling=pooling))
    assert disagreement(found, expected) > VISIBLE


def test_captums_epsilon_rule_gives_biases_their_part_and_ours_gives_it_to_the_inputs():
    network = Chain(nn.Linear(5, 3)).double()
    x = torch.randn(2, 5, dtype=torch.float64)
    start, target = largest_logits(network, x)
    logit = start.sum(1, keepdim=True)
    bias = network[0].bias.detach()[target][:, None]
    found = ours(network, x, everywhere(Epsilon(1e-12)))
    theirs = captums(network, x, lambda: lrp_rules.EpsilonRule(1e-12))
    torch.testing.assert_close(theirs, found * (logit - bias) / logit, rtol=1e-9, atol=0)
    torch.testing.assert_close(found.sum(1, True), logit, rtol=1e-9, atol=0)
    torch.testing.assert_close(theirs.sum(1, True), logit - bias, rtol=1e-9, atol=0)
    assert (bias / logit).abs().min() > 0.01
    # Over several layers these factors multiply, and the two have no longer much in common.
    network, x = chain(2), two_inputs(2, "mixed")
    theirs = captums(network, x, lambda: lrp_rules.EpsilonRule(TINY))
    assert disagreement(ours(network, x, everywhere(Epsilon(TINY))), theirs) > 0.1


class Block(nn.Module):
    """Conv, BN, ReLU, and a shortcut past them that is added by a function."""

    def __init__(self, width):
        super().__init__()
        convolution = nn.Conv2d(width, width, 3, padding=1)
        self.body = nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())

    def forward(self, x):
        return x + self.body(x)


class Rewritten(nn.Module):
    """A block whose sum is a module, which zennit can see."""

    def __init__(self, block, total):
        super().__init__()
        self.body, self.total = block.body, total

    def forward(self, x):
        return self.total(torch.stack([x, self.body(x)], -1))


BLOCKS = 3


def residual_network():
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        *(Block(6) for _ in range(BLOCKS)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    )
    return vivid(network, torch.randn(16, 3, 8, 8)).double()


def excess(relevance, start):
    """By how much more or less relevance arrives than was there, relative to that."""
    return (relevance.flatten(1).sum(1) / start.sum(1) - 1).abs()


@pytest.mark.parametrize("sign", SIGNS)
def test_residual_sums_multiply_relevance_in_peers_and_conserve_it_here(zennit, sign):
    network, x = residual_network(), two_inputs(2, sign)
    start, target = largest_logits(network, x)
    EpsilonPlus = zennit.composites.EpsilonPlus
    assert excess(zennits_by(zennit, network, x, EpsilonPlus()), start).min() > 1e-2
    # Biases are not why: every sum that is no module gives all relevance to each of its parts.
    without = zennits_by(zennit, network, x, EpsilonPlus(zero_params="bias"))
    assert excess(without, start).tolist() == pytest.approx([2**BLOCKS - 1] * 2, rel=1e-3)
    known = copy.deepcopy(network)
    # Captum refuses a module that it has no rule for.
    known[-2].rule = lrp_rules.EpsilonRule()
    captum = CaptumLRP(known).attribute(x.clone().requires_grad_(), target).detach()
    assert excess(captum, start).min() > 1e-2
    for first in (None, Box(low=-2.0, high=2.0)):
        assert excess(ours(network, x, Composite(input=first)), start).max() < 1e-12


@pytest.mark.parametrize("sign", SIGNS)
def test_a_residual_sum_is_zennits_where_the_model_is_rewritten_for_it(zennit, sign):
    network, x = residual_network(), two_inputs(2, sign)
    parts = [
        Rewritten(part, zennit.layer.Sum()) if isinstance(part, Block) else part for part in network
    ]
    # Of what is added to a denominator half is each part's own here, and no one's there.
    tiny = 1e-14
    rewritten = nn.Sequential(*parts)
    theirs = zennit.composites.EpsilonPlus(epsilon=tiny, stabilizer=tiny, zero_params="bias")
    expected = zennits_by(zennit, rewritten, x, theirs)
    composite = Composite(ZPlus(epsilon=tiny), Epsilon(tiny), Epsilon(tiny), None, sum_epsilon=tiny)
    assert disagreement(ours(network, x, composite), expected) < TOLERANCE
    other = Composite(ZPlus(epsilon=tiny), Epsilon(tiny), Epsilon(tiny), None, sum_epsilon=EPSILON)
    assert disagreement(ours(network, x, other), expected) > VISIBLE
