"""Every rule of attention against its slow reference, which was written from the formulas alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from temporal_attr.relevance import Composite, Epsilon, ZPlus, trace
from tests.references import attention as slow

# Checks of shapes in every small function would take ten times as long as the functions.
pytestmark = pytest.mark.usefixtures("as_user")

PLAIN = Composite(input=None)
EPSILON = 1e-3
FULL = replace(PLAIN, attention="full", sum_epsilon=EPSILON)


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def propagated(function, x, start, composite, model=None):
    run = trace(function, x, None, composite, model, sinks=True)
    relevance, sinks = run.relevance_and_sinks(start)
    return relevance.numpy(), {name: got.item() for name, got in sinks.items()}


def close(found, expected):
    # Sums in another order.
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from([-1, 0]), st.booleans())
def test_softmax(seed, size, axis, masked):
    x, start = drawn(3, size, seed=seed), drawn(3, size, seed=seed + 1)
    if masked:
        x = x.masked_fill(torch.eye(3, size, dtype=torch.bool) & (size > 1), -torch.inf)
        start = start.masked_fill(x.isinf(), 0)
    mask = torch.zeros_like(x).masked_fill(x.isinf(), -torch.inf)
    scores = x.masked_fill(x.isinf(), 1.0)
    found, sinks = propagated(lambda x: (x + mask).softmax(axis), scores, start, FULL)
    expected, lost = slow.softmax_taylor((scores + mask).numpy(), start.numpy(), axis)
    close(found, expected)
    close(sum(sinks.values()), lost)


@pytest.mark.parametrize("hidden", [-torch.inf, torch.finfo(torch.float64).min, -1e300])
def test_a_mask_that_takes_a_share_takes_that_of_what_it_hides_alone(hidden):
    x, start = drawn(3, 4), drawn(3, 4, seed=1)
    mask = torch.zeros(3, 4, dtype=torch.float64)
    mask[0, 1] = mask[2, 3] = hidden
    # A weight of 0 has no relevance in any product.
    start = start.masked_fill(mask != 0, 0)
    composite = replace(FULL, constants="share", sum_epsilon=1e-14)
    found, sinks = propagated(lambda x: (x + mask).softmax(-1), x, start, composite)
    expected, _ = slow.softmax_taylor((x + mask).masked_fill(mask != 0, -np.inf), start.numpy(), -1)
    close(found, expected)
    close(found.sum() + sum(sinks.values()), start.sum().item())


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), *[st.integers(1, 3)] * 4)
def test_products_of_two_operands(seed, batch, rows, inner, columns):
    a, b = drawn(batch, rows, inner, seed=seed), drawn(batch, inner, columns, seed=seed + 1)
    start = drawn(batch, rows, columns, seed=seed + 2)
    both = torch.cat([a.flatten(), b.flatten()])

    def product(x):
        left, right = x.split([a.numel(), b.numel()])
        return torch.matmul(left.view_as(a), right.view_as(b))

    found, sinks = propagated(product, both, start, FULL)
    of_a, of_b = slow.product_split(a.numpy(), b.numpy(), start.numpy(), EPSILON)
    close(found, np.concatenate([of_a.ravel(), of_b.ravel()]))
    close(sum(sinks.values()), start.sum().item() - of_a.sum() - of_b.sum())


@pytest.mark.parametrize("rule", ["epsilon", "zplus"])
@pytest.mark.parametrize("form", ["matmul", "einsum", "bmm"])
def test_attention_weights_times_values(form, rule):
    scores, values, start = drawn(2, 3, 4), drawn(2, 4, 5, seed=1), drawn(2, 3, 5, seed=2)
    if rule == "zplus":
        # One output to which nothing adds.
        values[0, :, 2] = -values[0, :, 2].abs()
    products = {
        "matmul": torch.matmul,
        "bmm": torch.bmm,
        "einsum": lambda a, b: torch.einsum("bij,bjd->bid", a, b),
    }

    def attended(x):
        return products[form]((scores + 0 * x.sum()).softmax(-1), x)

    chosen = {"epsilon": Epsilon(EPSILON), "zplus": ZPlus()}[rule]
    found, _ = propagated(attended, values, start, replace(PLAIN, attention_rule=chosen))
    weights = scores.softmax(-1).numpy()
    expected = {
        "epsilon": lambda: slow.product_value(weights, values.numpy(), start.numpy(), EPSILON),
        "zplus": lambda: slow.product_value_zplus(weights, values.numpy(), start.numpy()),
    }[rule]()
    close(found, expected)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.integers(2, 6), st.booleans())
def test_layer_norm_with_its_scale_held(seed, size, affine):
    x, start = drawn(2, size, seed=seed), drawn(2, size, seed=seed + 1)
    norm = nn.LayerNorm(size, eps=0.1, elementwise_affine=affine).double()
    gamma, beta = torch.ones(size).double(), torch.zeros(size).double()
    if affine:
        gamma, beta = drawn(size, seed=seed + 2), drawn(size, seed=seed + 3)
        norm.weight.data, norm.bias.data = gamma, beta
    composite = replace(PLAIN, norm="fixed-std", sum_epsilon=EPSILON)
    found, sinks = propagated(norm, x, start, composite, norm)
    arguments = (x.numpy(), gamma.numpy(), beta.numpy(), 0.1, start.numpy(), EPSILON)
    expected, gone = slow.layer_norm_fixed_std(*arguments)
    close(found, expected)
    close(sinks.get("bias", 0.0), gone["bias"].sum())
    close(found.sum() + sum(sinks.values()), start.sum().item())


def test_an_output_that_nothing_adds_to_gives_its_relevance_to_the_sink_of_epsilon():
    composite = replace(FULL, norm="fixed-std")
    x, start = torch.ones(1, 1).double(), torch.tensor([[2.0]]).double()
    for function in (lambda x: F.layer_norm(x, (1,)), lambda x: (0 * x) @ (x * 1)):
        found, sinks = propagated(function, x, start, composite)
        assert found.tolist() == [[0.0]]
        assert sum(sinks.values()) == 2


def test_norms_that_are_identities():
    x, start = drawn(2, 5), drawn(2, 5, seed=1)
    for function in (
        lambda x: F.layer_norm(x, (5,), drawn(5), drawn(5)),
        lambda x: F.rms_norm(x, (5,), drawn(5)),
        F.gelu,
        F.silu,
    ):
        assert (propagated(function, x, start, PLAIN)[0] == start.numpy()).all()


@pytest.mark.parametrize("sums", ["signed", "magnitude"])
def test_constants_that_take_their_share(sums):
    a, c, start = drawn(2, 4), drawn(2, 4, seed=1), drawn(2, 4, seed=2)
    composite = replace(PLAIN, constants="share", sums=sums, sum_epsilon=0.0)
    found, sinks = propagated(lambda x: x + c, a, start, composite)
    sizes = (a, c) if sums == "signed" else (a.abs(), c.abs())
    expected, gone = slow.residual_constant(*[one.numpy() for one in sizes], start.numpy(), 0.0)
    close(found, expected)
    close(sum(sinks.values()), gone["constant"].sum())


@pytest.mark.parametrize("count_bias", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_self_attention_as_a_whole(masked, count_bias):
    block = nn.MultiheadAttention(4, 2, batch_first=True).double().eval()
    block.in_proj_weight.data, block.out_proj.weight.data = drawn(12, 4), drawn(4, 4, seed=1)
    block.in_proj_bias.data, block.out_proj.bias.data = drawn(12, seed=2), drawn(4, seed=3)
    x, start = drawn(1, 3, 4, seed=4), drawn(1, 3, 4, seed=5)
    mask = torch.ones(3, 3, dtype=torch.bool).triu(1) if masked else None

    def attended(x):
        return block(x, x, x, attn_mask=mask)[0]

    weights = [part.numpy() for part in block.in_proj_weight.detach().chunk(3)]
    weights.append(block.out_proj.weight.detach().numpy())
    biases = [part.numpy() for part in block.in_proj_bias.detach().chunk(3)]
    biases.append(block.out_proj.bias.detach().numpy())
    readable = None if mask is None else ~mask.numpy()
    call = (x[0].numpy(), *weights, biases, 2, readable, start[0].numpy())

    rule = Epsilon(EPSILON, count_bias=count_bias)
    value = replace(PLAIN, linear=rule, attention_rule=Epsilon(EPSILON))
    found, sinks = propagated(attended, x, start, value, block)
    expected, gone = slow.attention_value(*call, "epsilon", EPSILON, count_bias)
    close(found[0], expected)
    if count_bias:
        close(sinks["out_proj.bias"], gone["output_bias"].sum())
        close(sinks["in_proj_bias"], gone["value_bias"].sum())

    if not count_bias:
        found, _ = propagated(attended, x, start, PLAIN, block)
        close(found[0], slow.attention_value(*call, "zplus")[0])

    full = replace(value, attention="full", sum_epsilon=EPSILON)
    found, sinks = propagated(attended, x, start, full, block)
    expected, gone = slow.attention_full(*call, EPSILON, count_bias)
    close(found[0], expected)
    close(sum(got for name, got in sinks.items() if "softmax" in name), gone["softmax"])
    if count_bias:
        projected = ("query_bias", "key_bias", "value_bias")
        close(sinks["in_proj_bias"], sum(gone[name].sum() for name in projected))
    assert found.sum() + sum(sinks.values()) == pytest.approx(start.sum().item())
