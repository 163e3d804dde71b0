"""The slow references of relevance through attention, held against closed forms, cases by hand and,
where a rule is a gradient times its input, autograd."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.references import attention as ref

pytestmark = pytest.mark.usefixtures("one_thread")

# Sums of at most some hundred float64 terms of order 1, without cancellation to speak of.
CLOSE = {"rtol": 1e-11, "atol": 1e-11}


def draw(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def agree(actual, expected, **tolerance):
    np.testing.assert_allclose(actual, expected, **(tolerance or CLOSE))


# One rule at a time


def test_epsilon_pushes_the_denominator_away_from_zero_by_the_magnitude_of_all_terms():
    assert ref.epsilon_shares([3.0, -1.0], 0.5) == [3 / 4, -1 / 4]
    assert ref.epsilon_shares([-3.0, 1.0], 0.5) == [3 / 4, -1 / 4]
    assert ref.epsilon_shares([1.0, -1.0], 0.5) == [1.0, -1.0]  # the sign of 0 is +1
    assert ref.epsilon_shares([1.0, -1.0], 0.0) == [0.5, 0.5]
    assert ref.epsilon_shares([0.0, 0.0, 0.0], 0.5) == [1 / 3] * 3
    assert ref.zplus_shares([3.0, -5.0, 1.0]) == [0.75, 0.0, 0.25]
    assert ref.zplus_shares([-3.0, -5.0]) == [0.5, 0.5]


def test_each_epsilon_rule_counts_the_magnitudes_of_all_its_terms():
    # 3 - 1 = 2, pushed by half of 3 + 1 to 4; of a relevance of 8 that gives 6 and -2.
    of_a, of_b = ref.product_split([[1.0, 1.0]], [[3.0], [-1.0]], [[8.0]], 0.5)
    agree([of_a[0], of_b[:, 0]], [[3, -1], [3, -1]])
    agree(ref.product_value([[1.0, 1.0]], [[3.0], [-1.0]], [[8.0]], 0.5), [[6], [-2]])
    agree(ref.linear_back([1.0, 1.0], [[3.0, -1.0]], None, [8.0], "epsilon", 0.5)[0], [6, -2])
    back, sinks = ref.linear_with_bias([1.0], [[3.0]], [-1.0], [8.0], 0.5)
    agree([*back, sinks["bias"]], [6, -2])
    back, sinks = ref.residual_constant([3.0], [-1.0], [8.0], 0.5)
    agree([*back, *sinks["constant"]], [6, -2])
    # -1/4 + 3/4 + 1/2 = 1, pushed by all of 3/2 to 5/2.
    back, sinks = ref.layer_norm_fixed_std([1.0, 3.0], [1, 1], [0, 0.5], 3.0, [0.0, 10.0], 1.0)
    agree([*back, sinks["bias"]], [-1, 3, 2])


def test_softmax_of_two_by_hand():
    x, R = [0.0, math.log(3)], [8.0, 4.0]  # softmax 1/4, 3/4
    back, lost = ref.softmax_taylor(x, R, 0)
    agree(back, [0.0, math.log(3) * (4 - 9)])
    agree(lost, 12 + 5 * math.log(3))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_what_comes_through_a_softmax_is_the_deviation_from_its_expectation(axis):
    x, R = 3 * draw(2, 3, 4), draw(2, 3, 4, seed=1)
    back, lost = ref.softmax_taylor(x, R, axis)
    weights = torch.from_numpy(x).softmax(axis).numpy()
    expectation = (weights * x).sum(axis, keepdims=True)
    agree(back.sum(axis), ((x - expectation) * R).sum(axis))
    agree(lost, R.sum() - back.sum())


def test_softmax_is_its_jacobian_times_its_input():
    x, gradient = draw(3, 5), draw(3, 5, seed=1)
    leaf = torch.tensor(x, requires_grad=True)
    weights = leaf.softmax(-1)
    (jacobian,) = torch.autograd.grad(weights, leaf, torch.tensor(gradient))
    back, _ = ref.softmax_taylor(x, weights.detach().numpy() * gradient, -1)
    agree(back, x * jacobian.numpy())


def test_what_is_masked_out_of_a_softmax_has_no_relevance():
    x, R = [0.5, -math.inf, 2.0], [1.0, 0.0, -3.0]
    back, lost = ref.softmax_taylor(x, R, 0)
    rest, rest_lost = ref.softmax_taylor([0.5, 2.0], [1.0, -3.0], 0)
    assert back[1] == 0
    agree(back[[0, 2]], rest)
    agree(lost, rest_lost)


def test_a_constant_in_the_logits_moves_relevance_between_them_and_keeps_its_sum():
    x, R = draw(4, 6), draw(4, 6, seed=1)
    before, _ = ref.softmax_taylor(x, R, -1)
    after, _ = ref.softmax_taylor(x + 7, R, -1)
    moved = 7 * (R - ref.softmax(x, -1) * R.sum(-1, keepdims=True))
    agree(after - before, moved)
    assert abs(moved).min() > 1e-3
    agree(after.sum(-1), before.sum(-1))


def test_products_of_two_by_two_by_hand():
    A, B, R = [[1.0, 3.0], [0.0, 2.0]], [[2.0, 1.0], [4.0, 1.0]], [[14.0, 8.0], [16.0, 4.0]]
    # O = [[2 + 12, 1 + 3], [0 + 8, 0 + 2]]
    of_a, of_b = ref.product_split(A, B, R, 0.0)
    agree(of_a, [[1 + 1, 6 + 3], [0, 8 + 2]])
    agree(of_b, [[1, 1], [6 + 8, 3 + 2]])
    agree(ref.product_value(A, B, R, 0.0), [[2, 2], [28, 10]])
    agree(ref.product_value_zplus(A, B, R), [[2, 2], [28, 10]])


def test_z_plus_leaves_negative_values_out():
    A, V, R = [[0.5, 0.25, 0.25]], [[2.0], [-4.0], [4.0]], [[6.0]]
    agree(ref.product_value_zplus(A, V, R), [[3], [0], [3]])
    agree(ref.product_value(A, V, R, 0.0), [[6], [-6], [6]])


@pytest.mark.parametrize("value", [-2.0, 0.0])
def test_an_output_without_a_positive_term_is_shared_among_what_it_reads(value):
    A, V = [[0.5, 0.0, 0.5]], [[value], [-1.0], [value]]
    agree(ref.product_value_zplus(A, V, [[6.0]]), [[3], [0], [3]])


def test_an_output_of_nothing_is_shared_evenly():
    of_a, of_b = ref.product_split([[1.0, 2.0]], [[0.0], [0.0]], [[8.0]], 1e-9)
    agree(of_a, [[2, 2]])
    agree(of_b, [[2], [2]])
    agree(ref.product_value([[0.5, 0.0, 0.5]], np.zeros((3, 1)), [[8.0]], 1e-9), [[4], [0], [4]])


def test_products_conserve_and_split_each_output_in_half():
    A, B, R = draw(2, 3, 4), draw(2, 4, 5), draw(2, 3, 5)
    of_a, of_b = ref.product_split(A, B, R, 0.0)
    agree(of_a.sum(-1), R.sum(-1) / 2, rtol=1e-9)  # outputs near 0 cancel
    agree(of_b.sum(-2), R.sum(-2) / 2, rtol=1e-9)
    agree(2 * of_b, ref.product_value(A, B, R, 0.0))
    positive = ref.product_value_zplus(abs(A), B, R)
    agree(positive.sum(-2), R.sum(-2))


def test_a_product_of_three_depends_on_which_two_come_first():
    x, R = [np.array([[factor]]) for factor in (2.0, 3.0, -5.0)], [[-60.0]]

    def pair(first, second, relevance):
        return ref.product_split(first, second, relevance, 0.0)

    of_pair, third = pair(x[0] * x[1], x[2], R)
    left = [*pair(x[0], x[1], of_pair), third]
    first, of_pair = pair(x[0], x[1] * x[2], R)
    right = [first, *pair(x[1], x[2], of_pair)]
    agree(np.ravel(left), [-15, -15, -30])
    agree(np.ravel(right), [-30, -15, -15])


# Norms


def test_a_layer_norm_with_its_deviation_held_by_hand():
    # Centred: -1, 1; with variance 1 and eps_norm 3 the deviation is 2, y = [-1/2, 1/2] + beta.
    x, beta = [[1.0, 3.0]], [0.0, 0.5]
    back, sinks = ref.layer_norm_fixed_std(x, [1.0, 1.0], beta, 3.0, [[4.0, 8.0]], 0.0)
    # y_0 = 1/4 x_0 - 1/4 x_1; y_1 = -1/4 x_0 + 1/4 x_1 + 1/2 = 1.
    agree(back, [[4 * -0.5 + 8 * -0.25, 4 * 1.5 + 8 * 0.75]])
    agree(sinks["bias"], [8 * 0.5])


def test_a_layer_norm_with_its_deviation_held_loses_what_beta_adds():
    x, gamma, beta, R = draw(3, 6), draw(6, seed=1), draw(6, seed=2), draw(3, 6, seed=3)
    y = ref.layer_norm(x, gamma, beta, 1e-5)
    tensors = [torch.from_numpy(part) for part in (x, gamma, beta)]
    agree(y, F.layer_norm(tensors[0], (6,), tensors[1], tensors[2], 1e-5).numpy())
    back, sinks = ref.layer_norm_fixed_std(x, gamma, beta, 1e-5, R, 0.0)
    agree(back.sum(-1), (R * (1 - beta / y)).sum(-1))
    agree(sinks["bias"], (R * beta / y).sum(-1))
    back, sinks = ref.layer_norm_fixed_std(x, gamma, np.zeros(6), 1e-5, R, 0.0)
    agree(back.sum(-1), R.sum(-1))
    agree(sinks["bias"], np.zeros(3))


def test_a_layer_norm_with_its_deviation_held_is_a_gradient_times_its_input():
    x, gamma, beta, gradient = draw(3, 6), draw(6, seed=1), draw(6, seed=2), draw(3, 6, seed=3)
    leaf = torch.tensor(x, requires_grad=True)
    std = (leaf.var(-1, keepdim=True, correction=0) + 1e-5).sqrt().detach()
    y = (leaf - leaf.mean(-1, keepdim=True)) / std * torch.tensor(gamma) + torch.tensor(beta)
    y.backward(torch.tensor(gradient))
    R = y.detach().numpy() * gradient
    back, sinks = ref.layer_norm_fixed_std(x, gamma, beta, 1e-5, R, 0.0)
    agree(back, x * leaf.grad.numpy())
    agree(sinks["bias"], (beta * gradient).sum(-1))


def test_identities_pass_relevance_as_it_is():
    x, R = draw(3, 4), draw(3, 4, seed=1)
    x[0, 0] = 0
    for rule in (ref.layer_norm_identity, ref.rms_norm_identity, ref.gelu, ref.silu):
        assert (rule(x, R) == R).all()
    agree(ref.rms_norm_fixed(x, draw(4), 1e-6, R, 0.0), R)
    pushed = ref.rms_norm_fixed(x, draw(4), 1e-6, R, 0.25)
    assert pushed[0, 0] == R[0, 0]  # a term of 0 is the only one, and gets all
    agree(pushed.ravel()[1:], R.ravel()[1:] / 1.25)


# Gates, sums, linear layers, concatenation


def test_a_gate_gets_nothing_and_a_second_signal_gets_half():
    a, b, R = draw(3, 4), draw(3, 4, seed=1), draw(3, 4, seed=2)
    signal, opening = ref.gate(a, b, R)
    assert (signal == R).all()
    assert (opening == 0).all()
    agree(ref.gate_half(a, b, R), [R / 2, R / 2])


def test_a_sum_with_a_constant_by_hand():
    a, c, R = [[3.0, -1.0], [2.0, 0.0]], [[1.0, 4.0]], [[8.0, 6.0], [9.0, 5.0]]
    back, sinks = ref.residual_constant(a, c, R, 0.0)
    agree(back, [[6, -2], [6, 0]])
    agree(sinks["constant"], [[2, 8], [3, 5]])
    back, sinks = ref.residual_constant_zplus(a, c, R)
    agree(back, [[6, 0], [6, 0]])
    agree(sinks["constant"], [[2, 6], [3, 5]])


@pytest.mark.parametrize("rule", ["epsilon", "zplus"])
def test_sums_conserve(rule):
    a, b, R = draw(3, 4), draw(3, 4, seed=1), draw(3, 4, seed=2)
    a[0, 0] = b[0, 0] = 0
    a[0, 1], b[0, 1] = -1, -2
    first, second = ref.residual(a, b, R, rule)
    agree(first + second, R)
    assert first[0, 0] == second[0, 0] == R[0, 0] / 2
    assert first[0, 1] == pytest.approx(R[0, 1] / (3 if rule == "epsilon" else 2), rel=1e-15)


def test_a_linear_layer_by_hand():
    x, W, b, R = [[1.0, 2.0]], [[3.0, 1.0], [-2.0, 4.0]], [5.0, -3.0], [[20.0, 12.0]]
    # y = [3 + 2 + 5, -2 + 8 - 3]
    back, sinks = ref.linear_with_bias(x, W, b, R, 0.0)
    agree(back, [[6 - 8, 4 + 32]])
    agree(sinks["bias"], [10 - 12])
    back, sinks = ref.linear_back(x, W, None, R, "epsilon")
    agree(back, [[12 - 4, 8 + 16]])
    back, sinks = ref.linear_back(x, W, None, R, "zplus")
    agree(back, [[12, 8 + 12]])
    agree(sinks["bias"], [0])
    back, sinks = ref.linear_back(x, W, b, R, "zplus")
    agree(back, [[6, 4 + 12]])
    agree(sinks["bias"], [10])


def test_a_class_token_takes_its_row():
    R = draw(2, 4, 3)
    tokens, sinks = ref.class_token_cat(R)
    assert (tokens == R[:, 1:]).all()
    assert (sinks["class_token"] == R[:, 0]).all()
    tokens, sinks = ref.class_token_cat(R, at=3)
    assert (tokens == R[:, :3]).all()
    assert (sinks["class_token"] == R[:, 3]).all()


# Whole attention

N, D, HEADS = 4, 6, 2
WEIGHTS = [draw(D, D, seed=seed) / 2 for seed in range(4)]
BIASES = [draw(D, seed=seed) / 2 for seed in range(4)]
NO_BIASES = [None] * 4
X = draw(N, D, seed=9)
CAUSAL = np.tri(N, dtype=bool)
MASKS = pytest.mark.parametrize("mask", [None, CAUSAL], ids=["all", "causal"])


def halved(product):
    """A product whose gradient is half: AttnLRP's rule of products as a gradient."""
    return product / 2 + product.detach() / 2


def by_autograd(biases, mask, full):
    """Run attention so that its gradient times its input is relevance, epsilon being 0."""
    x = torch.tensor(X, requires_grad=True)
    biases = [torch.tensor(bias, requires_grad=True) for bias in biases]
    q, k, v = (
        F.linear(x, torch.tensor(weight), bias).unflatten(-1, (HEADS, -1)).transpose(0, 1)
        for weight, bias in zip(WEIGHTS[:3], biases[:3], strict=True)
    )
    logits = halved(q @ k.mT) / math.sqrt(D // HEADS)
    if mask is not None:
        logits = logits.masked_fill(~torch.from_numpy(mask), -math.inf)
    weights = logits.softmax(-1)
    mixed = halved(weights @ v) if full else weights.detach() @ v
    output = F.linear(mixed.transpose(0, 1).flatten(1), torch.tensor(WEIGHTS[3]), biases[3])
    gradient = torch.from_numpy(draw(N, D, seed=5))
    output.backward(gradient)
    sinks = [0.0 if bias.grad is None else (bias * bias.grad).sum().item() for bias in biases]
    return (output * gradient).detach().numpy(), (x * x.grad).detach().numpy(), sinks


def test_the_references_compute_what_torch_does():
    module = torch.nn.MultiheadAttention(D, HEADS, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        module.in_proj_weight.copy_(torch.from_numpy(np.concatenate(WEIGHTS[:3])))
        module.in_proj_bias.copy_(torch.from_numpy(np.concatenate(BIASES[:3])))
        module.out_proj.weight.copy_(torch.from_numpy(WEIGHTS[3]))
        module.out_proj.bias.copy_(torch.from_numpy(BIASES[3]))
        x = torch.from_numpy(X)[None]
        expected, weights = module(x, x, x, attn_mask=torch.from_numpy(~CAUSAL))
    parts = ref.attention_parts(X, *WEIGHTS, BIASES, HEADS, CAUSAL)
    agree(parts["output"], expected[0].numpy())
    agree(parts["weights"].mean(0), weights[0].numpy())


@MASKS
def test_full_attention_is_a_gradient_with_halved_products_times_its_input(mask):
    R, expected, of_biases = by_autograd(BIASES, mask, full=True)
    back, sinks = ref.attention_full(X, *WEIGHTS, BIASES, HEADS, mask, R, eps=0.0, count_bias=True)
    agree(back, expected, rtol=1e-9, atol=1e-9)  # two layers of denominators near 0
    names = ["query_bias", "key_bias", "value_bias", "output_bias"]
    agree([sinks[name].sum() for name in names], of_biases, rtol=1e-9, atol=1e-9)
    lost = sum(np.sum(part) for part in sinks.values())
    agree(back.sum() + lost, R.sum(), rtol=1e-9, atol=1e-9)
    assert abs(sinks["softmax"]) > 0.1


@MASKS
def test_attention_with_constant_weights_is_a_gradient_times_its_input(mask):
    R, expected, of_biases = by_autograd(BIASES, mask, full=False)
    back, sinks = ref.attention_value(
        X, *WEIGHTS, BIASES, HEADS, mask, R, "epsilon", eps=0.0, count_bias=True
    )
    agree(back, expected, rtol=1e-9, atol=1e-9)
    agree([sinks["value_bias"].sum(), sinks["output_bias"].sum()], of_biases[2:])


@MASKS
@pytest.mark.parametrize("rule", ["epsilon", "zplus"])
def test_attention_with_constant_weights_conserves_without_biases(rule, mask):
    R = draw(N, D, seed=3)
    back, sinks = ref.attention_value(X, *WEIGHTS, BIASES, HEADS, mask, R, rule, eps=0.0)
    agree(back.sum(), R.sum(), rtol=1e-9)
    assert sinks == {}
    back, sinks = ref.attention_value(
        X, *WEIGHTS, BIASES, HEADS, mask, R, rule, eps=0.0, count_bias=True
    )
    agree(back.sum() + sum(sink.sum() for sink in sinks.values()), R.sum(), rtol=1e-9)
    assert all(abs(sink).max() > 0.1 for sink in sinks.values())


def test_z_plus_makes_no_negative_relevance():
    R = abs(draw(N, D, seed=3))
    back, _ = ref.attention_value(X, *WEIGHTS, BIASES, HEADS, None, R, "zplus")
    assert back.min() >= 0
    back, _ = ref.attention_value(X, *WEIGHTS, BIASES, HEADS, None, R, "epsilon")
    assert back.min() < 0


def test_full_attention_loses_in_its_softmax_alone_without_biases():
    R = draw(N, D, seed=3)
    back, sinks = ref.attention_full(X, *WEIGHTS, NO_BIASES, HEADS, None, R, eps=0.0)
    assert set(sinks) == {"softmax"}
    agree(back.sum() + sinks["softmax"], R.sum(), rtol=1e-9)


@pytest.mark.parametrize(
    "send",
    [
        lambda *given: ref.attention_full(*given)[0],
        lambda *given: ref.attention_value(*given, "epsilon")[0],
        lambda *given: ref.attention_value(*given, "zplus")[0],
    ],
    ids=["full", "epsilon", "zplus"],
)
def test_relevance_moves_with_the_tokens_and_never_comes_from_a_masked_one(send):
    R, order = draw(N, D, seed=3), [2, 0, 3, 1]
    back = send(X, *WEIGHTS, BIASES, HEADS, CAUSAL, R)
    moved = send(X[order], *WEIGHTS, BIASES, HEADS, CAUSAL[order][:, order], R[order])
    agree(moved, back[order], rtol=1e-9, atol=1e-9)
    early = R.copy()
    early[2:] = 0
    back = send(X, *WEIGHTS, BIASES, HEADS, CAUSAL, early)
    assert (back[2:] == 0).all()
    assert abs(back[:2]).sum(-1).min() > 0


# Rollout


def test_rollout_by_hand():
    first, second = np.array([[[1.0, 0.0], [1.0, 0.0]]]), np.array([[[0.5, 0.5], [0.0, 1.0]]])
    # Blocks with the identity: [[1, 0], [1/2, 1/2]] and [[3/4, 1/4], [0, 1]].
    agree(ref.rollout([first, second]), [[7 / 8, 1 / 8], [1 / 2, 1 / 2]])
    agree(ref.rollout([second, first]), [[3 / 4, 1 / 4], [3 / 8, 5 / 8]])
    doubled = np.concatenate([first, second])
    agree(ref.rollout([doubled]), [[7 / 8, 1 / 8], [1 / 4, 3 / 4]])


def test_rollout_makes_each_row_of_unnormalised_attention_sum_to_one():
    blocks = abs(draw(3, 2, 4, 4))
    agree(ref.rollout(blocks).sum(-1), np.ones(4))
    agree(ref.rollout([np.array([[[2.0, 1.0], [0.0, 1.0]]])]), [[3 / 4, 1 / 4], [0, 1]])
