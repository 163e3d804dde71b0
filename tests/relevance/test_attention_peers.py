"""Relevance through attention against lxt's explicit rules and autolrp's, one operation at a time.

Peers add their epsilon to a denominator as it is: lxt without regard to its sign, autolrp with it.
Ours is relative to what is divided. So they are compared where none is visible, in double
precision, and differ by rounding, made larger where the terms of an output nearly cancel. Where
rules differ by intent, both are held to their formula.
"""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from temporal_attr.relevance import Absolute, Epsilon, composites, trace

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = 1e-30
COUNTED = Epsilon(TINY, count_bias=True)
# AttnLRP's rules, whose epsilon cannot be seen.
ATTNLRP = replace(
    composites.attnlrp(),
    convolution=COUNTED,
    linear=COUNTED,
    attention_rule=COUNTED,
    pooling=Epsilon(TINY),
    sum_epsilon=TINY,
)


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def ours(function, x, start, composite=ATTNLRP):
    """Relevance of x, and the sum of what went elsewhere."""
    run = trace(function, x, None, composite, None, sinks=True)
    relevance, sinks = run.relevance_and_sinks(start)
    return relevance, sum(got.item() for got in sinks.values())


def agree(found, expected):
    # Some ten operations, in another order, on denominators down to a hundredth of their terms.
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-11)
    assert expected.std() > 0.01


def halves(x, *shape):
    """Two operands out of one input."""
    first, second = x.chunk(2, -1)
    return first.reshape(shape), second.reshape(shape[::-1])


# lxt


@pytest.fixture
def lxt():
    return pytest.importorskip("lxt.explicit.functional", reason="needs the peer lxt")


def lxts(function, x, start):
    leaf = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(function(leaf), leaf, start)
    return found


def test_softmax_is_lxts(lxt):
    x, start = 3 * drawn(2, 3, 5), drawn(2, 3, 5, seed=1)
    mask = torch.zeros(3, 5, dtype=torch.float64)
    mask[0, 1] = mask[2, 4] = -math.inf
    start = start.masked_fill(mask.isinf(), 0)
    found, lost = ours(lambda x: (x + mask).softmax(-1), x, start)
    agree(found, lxts(lambda x: lxt.softmax(x + mask, -1), x, start))
    # It conserves in neither library; ours says how much.
    assert abs(start.sum().item() - found.sum().item() - lost) < 1e-12
    assert abs(lost) > 1


def test_products_of_two_operands_are_lxts(lxt):
    x, start = drawn(2, 24), drawn(3, 3, seed=1)
    found, _ = ours(lambda x: torch.matmul(*halves(x[0], 3, 4)), x, start)
    agree(found, lxts(lambda x: lxt.matmul(*halves(x[0], 3, 4), False, 0.0), x, start))
    assert found.sum().item() == pytest.approx(start.sum().item(), rel=1e-10)


def test_linear_layers_are_lxts_with_biases_in_the_denominator(lxt):
    x, weight, bias = drawn(3, 5), drawn(4, 5, seed=1), drawn(4, seed=2)
    start = drawn(3, 4, seed=3)
    found, lost = ours(lambda x: F.linear(x, weight, bias), x, start)
    agree(found, lxts(lambda x: lxt.linear_epsilon(x, weight, bias, 0.0), x, start))
    # What they leave to the bias, ours has as a sink.
    assert lost == pytest.approx((start * bias / F.linear(x, weight, bias)).sum().item(), rel=1e-9)


@pytest.mark.parametrize("shifted", [False, True])
def test_layer_norms_are_lxts(lxt, shifted):
    x, gain, start = drawn(3, 6), drawn(6, seed=1), drawn(3, 6, seed=3)
    beta = drawn(6, seed=2) if shifted else None
    found, lost = ours(lambda x: F.layer_norm(x, (6,), gain, beta, 1e-5), x, start)
    norm = lxt.layer_norm_grad_fn.apply
    agree(found, lxts(lambda x: norm(x, gain, beta, 1e-5, 0.0), x, start))
    assert (abs(lost) > 0.1) == shifted


def test_sums_are_lxts(lxt):
    x, start = drawn(3, 8), drawn(3, 4, seed=1)
    found, _ = ours(lambda x: x[:, :4] + x[:, 4:], x, start)
    agree(found, lxts(lambda x: lxt.add2(x[:, :4], x[:, 4:], False, 0.0), x, start))


def test_gates_are_lxts(lxt):
    x, start = drawn(3, 8), drawn(3, 4, seed=1)
    found, _ = ours(lambda x: x[:, :4] * x[:, 4:], x, start)
    agree(found, lxts(lambda x: lxt.mul2(x[:, :4], x[:, 4:]), x, start))


def parts(x, weight, bias):
    """Query, key and value of two heads."""
    return F.linear(x, weight, bias).unflatten(-1, (3, 2, 3)).permute(2, 0, 3, 1, 4).unbind()


def lxts_attention(lxt, x, weight, bias):
    """What it takes in lxt: every operation written by its name."""
    read = lxt.linear_epsilon(x, weight, bias, 0.0).unflatten(-1, (3, 2, 3))
    query, key, value = read.permute(2, 0, 3, 1, 4).unbind()
    scores = lxt.mul2(lxt.matmul(query, key.mT, False, 0.0), 3**-0.5)
    return lxt.matmul(lxt.softmax(scores, -1), value, False, 0.0)


def test_attention_in_one_call_is_what_lxt_makes_of_its_parts(lxt):
    x, weight, bias = drawn(1, 4, 6), drawn(18, 6, seed=1), drawn(18, seed=2)
    start = drawn(1, 2, 4, 3, seed=3)

    def attention(x):
        return F.scaled_dot_product_attention(*parts(x, weight, bias))

    found, _ = ours(attention, x, start)
    agree(found, lxts(lambda x: lxts_attention(lxt, x, weight, bias), x, start))


def test_an_epsilon_of_a_fixed_size_takes_what_is_small(lxt):
    weight, start = drawn(4, 5, seed=1), drawn(3, 4, seed=3)
    for unit in (1.0, 1e-7):
        x = unit * drawn(3, 5)
        found, _ = ours(lambda x: F.linear(x, weight), x, start)
        theirs = lxts(lambda x: lxt.linear_epsilon(x, weight), x, start)
        off = abs(theirs - found).max() / abs(found).max()
        assert (off > 0.5) == (unit < 1)
        assert found.sum().item() == pytest.approx(start.sum().item(), rel=1e-9)


def test_an_epsilon_without_a_sign_divides_by_zero(lxt):
    x, weight, start = torch.tensor([[-1e-6, 0.0]]), torch.ones(1, 2), torch.ones(1, 1)
    assert not lxts(lambda x: lxt.linear_epsilon(x, weight), x, start).isfinite().all()
    assert ours(lambda x: F.linear(x, weight), x, start)[0].tolist() == [[1.0, 0.0]]


def test_lxts_check_of_conservation_reports_sums_with_a_constant_which_its_rule_splits_right(lxt):
    check = pytest.importorskip("lxt.explicit.check").conservation_check
    x, place, start = drawn(3, 4), drawn(3, 4, seed=1), drawn(3, 4, seed=2)
    weight, bias = drawn(4, 4, seed=3), drawn(4, seed=4)
    # The check sends relevance in equal parts to all inputs that a rule gives any, and nothing of
    # it may be lost; biases of linear layers are left out. In a sum the constant is not.
    with check():
        summed = lxts(lambda x: lxt.add2(x, place), x, start)
        mapped = lxts(lambda x: lxt.linear_epsilon(x, weight, bias), x, start)
    assert summed.sum().item() == pytest.approx(start.sum().item() / 2)
    assert mapped.sum().item() == pytest.approx(start.sum().item())
    # The rule itself is the formula's, as ours is; the constant's share has a name here.
    found, lost = ours(lambda x: x + place, x, start)
    agree(found, lxts(lambda x: lxt.add2(x, place, False, 0.0), x, start))
    assert found.sum().item() + lost == pytest.approx(start.sum().item(), rel=1e-10)


# autolrp


@pytest.fixture
def autolrp():
    return pytest.importorskip("autolrp", reason="needs the peer autolrp")


def autolrps(autolrp, function, x, rule=None, eps=TINY):
    """Relevance of x, and that of the output it started from.

    It starts at one number, here a weighted sum of the outputs, which gives each its magnitude.
    """
    leaf = autolrp.tensor(x.clone())
    output = function(leaf)
    values = output.detach().as_subclass(torch.Tensor)
    weights = 0.5 + torch.rand(values.shape, dtype=torch.float64)
    config = autolrp.LRPConfig(rule={**autolrp.BASE, **(rule or {})}, eps=eps)
    (output * weights).sum().lrp(config=config)
    start = (values * weights).abs()
    return leaf.relevance.detach().as_subclass(torch.Tensor) * start.sum(), start


def test_softmax_by_its_taylor_rule_is_autolrps(autolrp):
    x = 3 * drawn(2, 3, 5)
    expected, start = autolrps(autolrp, lambda x: x.softmax(-1), x, autolrp.ATTNLRP)
    agree(ours(lambda x: x.softmax(-1), x, start)[0], expected)


def test_products_of_two_operands_are_autolrps(autolrp):
    x = drawn(2, 24)

    def product(x):
        return torch.matmul(*halves(x[0], 3, 4))

    expected, start = autolrps(autolrp, product, x)
    agree(ours(product, x, start)[0], expected)


def test_sums_by_magnitude_are_autolrps(autolrp):
    x = drawn(3, 8)
    expected, start = autolrps(autolrp, lambda x: x[:, :4] + x[:, 4:], x)
    composite = replace(ATTNLRP, sums="magnitude")
    agree(ours(lambda x: x[:, :4] + x[:, 4:], x, start, composite)[0], expected)


def test_means_by_magnitude_are_autolrps(autolrp):
    x = drawn(3, 8)
    expected, start = autolrps(autolrp, lambda x: x.mean(1), x)
    composite = replace(ATTNLRP, pooling=Absolute(epsilon=TINY))
    agree(ours(lambda x: x.mean(1), x, start, composite)[0], expected)


def test_layer_norms_without_a_shift_are_autolrps_identity(autolrp):
    x, gain = drawn(3, 6), drawn(6, seed=1)
    expected, start = autolrps(autolrp, lambda x: F.layer_norm(x, (6,), gain), x)
    composite = replace(ATTNLRP, norm="identity")
    agree(ours(lambda x: F.layer_norm(x, (6,), gain), x, start, composite)[0], expected)


def test_attention_with_its_weights_held_is_autolrps(autolrp):
    x, weight = drawn(1, 4, 6), drawn(18, 6, seed=1)

    def attention(x):
        return F.scaled_dot_product_attention(*parts(x, weight, None))

    expected, start = autolrps(autolrp, attention, x, autolrp.CPLRP)
    held = replace(ATTNLRP, attention="value")
    found, lost = ours(attention, x, start, held)
    agree(found, expected)
    assert abs(lost) < 1e-9


def test_biases_take_a_share_of_magnitudes_in_autolrp_and_of_the_output_in_ours(autolrp):
    x, weight, bias = drawn(3, 5), drawn(4, 5, seed=1), drawn(4, seed=2)
    expected, start = autolrps(autolrp, lambda x: F.linear(x, weight, bias), x)
    alone = F.linear(x, weight)
    share = alone.abs() / (alone.abs() + bias.abs())
    # Theirs is a rule of its own: the bias first by magnitude, then epsilon without it. AttnLRP's
    # equation 8 has the bias in the denominator, as ours and lxt's.
    without, _ = ours(lambda x: F.linear(x, weight), x, start * share)
    agree(expected, without)
    found, lost = ours(lambda x: F.linear(x, weight, bias), x, start)
    agree(found, ours(lambda x: F.linear(x, weight), x, start * alone / (alone + bias))[0])
    assert found.sum().item() + lost == pytest.approx(start.sum().item(), rel=1e-9)
    assert abs(found - expected).max() > 0.1


def test_autolrps_attnlrp_preset_shrinks_relevance_at_activations(autolrp):
    # AttnLRP's equation 9 is the identity. y / x is what makes gradient times input the identity;
    # on relevance, which is that product already, it is once more: phi(x) of it passes.
    x = drawn(3, 8)
    preset = autolrp.LRPConfig.attnlrp().rule
    shrunk, start = autolrps(autolrp, F.gelu, x, preset)
    agree(shrunk, start * torch.special.ndtr(x))
    assert shrunk.sum() < 0.9 * start.sum()
    expected, start = autolrps(autolrp, F.gelu, x)
    agree(expected, start)
    agree(ours(F.gelu, x, start)[0], start)


def test_autolrps_centring_is_by_magnitude_where_lxts_and_ours_is_a_linear_map(autolrp):
    x, gain = drawn(3, 6), drawn(6, seed=1)

    def norm(x):
        return F.layer_norm(x, (6,), gain)

    expected, start = autolrps(autolrp, norm, x, {"NativeLayerNormBackward": "detach_std"})
    mean = x.mean(-1, keepdim=True).expand_as(x)
    to_mean = start * mean.abs() / (mean.abs() + x.abs())
    by_size = x.abs() / x.abs().sum(-1, keepdim=True)
    agree(expected, start - to_mean + by_size * to_mean.sum(-1, keepdim=True))
    found, _ = ours(norm, x, start)
    centred = start / (x - mean)
    agree(found, x * (centred - centred.mean(-1, keepdim=True)))
    assert abs(found - expected).max() > 0.1
    for relevance in (found, expected):
        assert relevance.sum().item() == pytest.approx(start.sum().item(), rel=1e-9)
