"""Slow float64 references of relevance propagation through attention, written from the published
formulas alone.

They share no code with the package and use no autograd: relevance is sent back one output at a time
over a list of terms. Arrays are numpy float64; tokens are (N, D), attention weights (..., query,
key), weight matrices (output, input). Each function takes the values that an operation read and the
relevance of what it gave, and returns the relevance of each input. What goes to a bias, a constant
or a class token is no input's: it comes second, as a dictionary by name, of arrays to sum at will.

AttnLRP is Achtibat et al. 2024 (arXiv 2402.05602); relevance by the values alone with the attention
weights held constant is Ali et al. 2022 (arXiv 2202.07304); rollout is Abnar & Zuidema 2020. What
they leave open is settled here:

- epsilon: the denominator is z + eps sign(z) sum |terms|, with sign(0) = +1. What it takes is
  nobody's: at most eps of the relevance is lost where no terms cancel, and more where they do.
- A denominator of exactly 0 (no term differs from 0, or eps = 0 and they cancel) shares the
  relevance evenly among all terms, a bias or a constant that counts being one of them.
- z+: the terms are the positive parts, there is no epsilon, and the same holds where none is left.
- With attention weights held constant, the terms of an output are the values whose weight is not 0:
  a value that is masked out gets nothing, whatever else happens.
- A bias that does not count is in no term and no denominator, though it is in every value.
"""

import math

import numpy as np

from tests.references.definitions import _array


def epsilon_shares(terms, eps):
    """Return what part of the relevance each term gets by the epsilon rule."""
    total = math.fsum(terms)
    magnitude = math.fsum(abs(term) for term in terms)
    denominator = total + (eps if total >= 0 else -eps) * magnitude
    if denominator == 0:
        return [1 / len(terms) for _ in terms]
    return [term / denominator for term in terms]


def zplus_shares(terms):
    """Return what part of the relevance each term gets by the z+ rule."""
    return epsilon_shares([max(term, 0.0) for term in terms], 0.0)


def _shares(rule, eps):
    """Return the function from terms to shares that a name stands for."""
    return {"epsilon": lambda terms: epsilon_shares(terms, eps), "zplus": zplus_shares}[rule]


# Softmax and matrix products


def softmax(x, axis):
    """Return exp(x_i) / sum_j exp(x_j); every row has a value that is not -inf."""
    x = np.moveaxis(_array(x), axis, -1)
    result = np.zeros_like(x)
    for row in np.ndindex(*x.shape[:-1]):
        top = max(x[row])
        powers = [math.exp(value - top) for value in x[row]]
        for i, power in enumerate(powers):
            result[(*row, i)] = power / math.fsum(powers)
    return np.moveaxis(result, -1, axis)


def softmax_taylor(x, R, axis):
    """Return R_i = x_i (R_i - s_i sum_j R_j), 0 where x is -inf, and what is lost over everything,
    sum R - sum R_in (AttnLRP, Proposition 3.1)."""
    weights = np.moveaxis(softmax(x, axis), axis, -1)
    x, R = np.moveaxis(_array(x), axis, -1), np.moveaxis(_array(R), axis, -1)
    result = np.zeros_like(x)
    for row in np.ndindex(*x.shape[:-1]):
        total = math.fsum(R[row])
        for i, value in enumerate(x[row]):
            if value != -math.inf:
                result[(*row, i)] = value * (R[row][i] - weights[row][i] * total)
    lost = math.fsum(R.ravel()) - math.fsum(result.ravel())
    return np.moveaxis(result, -1, axis), lost


def matrix_product(A, B):
    """Return O_jp = sum_i A_ji B_ip over the last two axes."""
    A, B = _array(A), _array(B)
    result = np.zeros((*A.shape[:-1], B.shape[-1]))
    for *batch, j, p in np.ndindex(*result.shape):
        terms = [A[(*batch, j, i)] * B[(*batch, i, p)] for i in range(A.shape[-1])]
        result[(*batch, j, p)] = math.fsum(terms)
    return result


def product_split(A, B, R, eps):
    """Return the relevance of A and of B, of O = A B: of each term A_ji B_ip, half to A_ji and half
    to B_ip (AttnLRP, Proposition 3.3: A_ji B_ip R_jp / (2 O_jp) to each)."""
    A, B, R = _array(A), _array(B), _array(R)
    of_a, of_b = np.zeros_like(A), np.zeros_like(B)
    for *batch, j, p in np.ndindex(*R.shape):
        terms = [A[(*batch, j, i)] * B[(*batch, i, p)] for i in range(A.shape[-1])]
        for i, share in enumerate(epsilon_shares(terms, eps)):
            of_a[(*batch, j, i)] += share * R[(*batch, j, p)] / 2
            of_b[(*batch, i, p)] += share * R[(*batch, j, p)] / 2
    return of_a, of_b


def _product_value(A, V, R, shares):
    A, V, R = _array(A), _array(V), _array(R)
    result = np.zeros_like(V)
    for *batch, j, p in np.ndindex(*R.shape):
        read = [i for i in range(A.shape[-1]) if A[(*batch, j, i)] != 0]
        terms = [A[(*batch, j, i)] * V[(*batch, i, p)] for i in read]
        for i, share in zip(read, shares(terms), strict=True):
            result[(*batch, i, p)] += share * R[(*batch, j, p)]
    return result


def product_value(A, V, R, eps):
    """Return the relevance of V, of O = A V with A held constant, by the epsilon rule."""
    return _product_value(A, V, R, _shares("epsilon", eps))


def product_value_zplus(A, V, R):
    """Return the relevance of V, of O = A V with A >= 0 held constant, by the z+ rule."""
    return _product_value(A, V, R, zplus_shares)


# Norms


def _passed(x, R):
    """Return R as it is, for an operation that gives a value for each that it reads."""
    if np.shape(x) != np.shape(R):
        raise ValueError("relevance has another shape than the values")
    return _array(R)


def layer_norm(x, gamma, beta, eps_norm):
    """Return the layer norm over the last axis."""
    x, gamma, beta = _array(x), _array(gamma), _array(beta)
    result = np.zeros_like(x)
    for row in np.ndindex(*x.shape[:-1]):
        mean, std = _mean_and_std(x[row], eps_norm)
        for j, value in enumerate(x[row]):
            result[(*row, j)] = gamma[j] * (value - mean) / std + beta[j]
    return result


def _mean_and_std(values, eps_norm):
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / len(values)
    return mean, math.sqrt(variance + eps_norm)


def layer_norm_identity(x, R):
    """Return the relevance of x where a layer norm passes it on as it is."""
    return _passed(x, R)


def layer_norm_fixed_std(x, gamma, beta, eps_norm, R, eps):
    """Return the relevance of x, of a layer norm over the last axis with its standard deviation
    held constant, and what goes to beta, a value a row, as "bias".

    The output y_j is then a sum of the terms gamma_j M_ji x_i, M = (I - 1/n) / std, and of beta_j:
    centring and scaling are one linear map, not two in turn."""
    x, gamma, beta, R = _array(x), _array(gamma), _array(beta), _array(R)
    result, bias = np.zeros_like(x), np.zeros(x.shape[:-1])
    n = x.shape[-1]
    for row in np.ndindex(*x.shape[:-1]):
        _, std = _mean_and_std(x[row], eps_norm)
        for j in range(n):
            centring = [((1.0 if i == j else 0.0) - 1 / n) / std for i in range(n)]
            terms = [gamma[j] * centring[i] * x[row][i] for i in range(n)]
            *shares, of_beta = epsilon_shares([*terms, beta[j]], eps)
            bias[row] += of_beta * R[row][j]
            for i, share in enumerate(shares):
                result[(*row, i)] += share * R[row][j]
    return result, {"bias": bias}


def rms_norm_identity(x, R):
    """Return the relevance of x where an RMS norm passes it on as it is (AttnLRP, Prop. 3.4)."""
    return _passed(x, R)


def rms_norm_fixed(x, gamma, eps_norm, R, eps):
    """Return the relevance of x, of y_j = gamma_j x_j / rms with the root held constant. An output
    has one term, so this is the identity up to 1 / (1 + eps)."""
    x, gamma, R = _array(x), _array(gamma), _array(R)
    result = np.zeros_like(x)
    for row in np.ndindex(*x.shape[:-1]):
        square = math.fsum(value**2 for value in x[row]) / x.shape[-1]
        for j, value in enumerate(x[row]):
            term = gamma[j] * value / math.sqrt(square + eps_norm)
            result[(*row, j)] = epsilon_shares([term], eps)[0] * R[row][j]
    return result


# Activations, gates, sums, linear layers, concatenation


def gelu(x, R):
    """Return the relevance of what a GELU read: as it is (AttnLRP, Equation 9)."""
    return _passed(x, R)


def silu(x, R):
    """Return the relevance of what a SiLU read: as it is (AttnLRP, Equation 9)."""
    return _passed(x, R)


def gate(signal, opening, R):
    """Return the relevance of both sides of signal * opening: all to the signal."""
    return _passed(signal, R), np.zeros_like(_array(opening))


def gate_half(first, second, R):
    """Return the relevance of both sides of a product of two signals: half each (AttnLRP, Prop.
    3.2), whatever their values."""
    return _passed(first, R) / 2, _passed(second, R) / 2


def residual(a, b, R, rule, eps=0.0):
    """Return the relevance of both sides of a + b, of the same shape; the rule is "epsilon" or
    "zplus"."""
    a, b, R = _array(a), _array(b), _array(R)
    of_a, of_b = np.zeros_like(a), np.zeros_like(b)
    for at in np.ndindex(*R.shape):
        first, second = _shares(rule, eps)([a[at], b[at]])
        of_a[at], of_b[at] = first * R[at], second * R[at]
    return of_a, of_b


def residual_constant(a, c, R, eps):
    """Return the relevance of a, of a + c with c a constant that may be broadcast, and what goes to
    c, of the shape of a, as "constant"."""
    of_a, of_c = residual(a, np.broadcast_to(_array(c), _array(a).shape), R, "epsilon", eps)
    return of_a, {"constant": of_c}


def residual_constant_zplus(a, c, R):
    """Return the same by the positive parts of a and c alone; half each where neither has one."""
    of_a, of_c = residual(a, np.broadcast_to(_array(c), _array(a).shape), R, "zplus")
    return of_a, {"constant": of_c}


def linear(x, W, b):
    """Return W x + b over the last axis; b may be None."""
    x, W = _array(x), _array(W)
    b = np.zeros(len(W)) if b is None else _array(b)
    result = np.zeros((*x.shape[:-1], len(W)))
    for *row, j in np.ndindex(*result.shape):
        result[(*row, j)] = math.fsum([*(x[tuple(row)] * W[j]), b[j]])
    return result


def linear_back(x, W, b, R, rule, eps=0.0):
    """Return the relevance of x, of a linear layer over the last axis, and what goes to the bias, a
    value a row, as "bias". A bias of None does not count."""
    x, W, R = _array(x), _array(W), _array(R)
    b = None if b is None else _array(b)
    result, bias = np.zeros_like(x), np.zeros(x.shape[:-1])
    n = x.shape[-1]
    for *row, j in np.ndindex(*R.shape):
        terms = [W[j, i] * x[(*row, i)] for i in range(n)]
        counted = terms if b is None else [*terms, b[j]]
        for i, share in enumerate(_shares(rule, eps)(counted)):
            part = share * R[(*row, j)]
            if i < n:
                result[(*row, i)] += part
            else:
                bias[tuple(row)] += part
    return result, {"bias": bias}


def linear_with_bias(x, W, b, R, eps):
    """Return the relevance of x, of a linear layer by the epsilon rule with the bias as a term of
    its own, and what goes to the bias, a value a row, as "bias"."""
    return linear_back(x, W, b, R, "epsilon", eps)


def class_token_cat(R, at=0):
    """Return the relevance of the tokens, of a concatenation along the second axis from the end
    that put a class token at row `at`, and what goes to the class token as "class_token"."""
    R = _array(R)
    rows = [row for row in range(R.shape[-2]) if row != at]
    return R[..., rows, :], {"class_token": R[..., at, :]}


# Whole attention


def _by_head(values, heads):
    """(N, heads * d) to (heads, N, d): each head has d columns in a row."""
    count, width = values.shape
    return values.reshape(count, heads, width // heads).transpose(1, 0, 2)


def _together(values):
    """(heads, N, d) to (N, heads * d)."""
    return values.transpose(1, 0, 2).reshape(values.shape[1], -1)


def attention_parts(x, Wq, Wk, Wv, Wo, biases, heads, mask):
    """Return what multi-head self attention computes, by name: `q`, `k`, `v` (heads, N, d),
    `logits` and `weights` (heads, N, N), `mixed` and `output` (N, D).

    x is (N, D), `biases` four of an array or None, of queries, keys, values and output; `mask` is
    (N, N), true where a query (row) may read a key (column), or None."""
    q, k, v = (
        _by_head(linear(x, W, b), heads) for W, b in zip((Wq, Wk, Wv), biases[:3], strict=True)
    )
    logits = matrix_product(q, k.transpose(0, 2, 1)) / math.sqrt(q.shape[-1])
    if mask is not None:
        logits = np.where(np.asarray(mask, dtype=bool), logits, -math.inf)
    weights = softmax(logits, -1)
    mixed = _together(matrix_product(weights, v))
    parts = {"q": q, "k": k, "v": v, "logits": logits, "weights": weights, "mixed": mixed}
    return parts | {"output": linear(mixed, Wo, biases[3])}


def _counted(biases, count_bias):
    return biases if count_bias else (None,) * 4


def attention_value(x, Wq, Wk, Wv, Wo, biases, heads, mask, R, rule, eps=1e-9, count_bias=False):
    """Return the relevance of x, of multi-head self attention whose weights are held constant, and
    what goes to the biases, a value a token, as "output_bias" and "value_bias". The rule,
    "epsilon" or "zplus", is that of both linear layers and of A V."""
    parts = attention_parts(x, Wq, Wk, Wv, Wo, biases, heads, mask)
    _, _, of_values, of_output = _counted(biases, count_bias)
    R, last = linear_back(parts["mixed"], Wo, of_output, R, rule, eps)
    R = _product_value(parts["weights"], parts["v"], _by_head(R, heads), _shares(rule, eps))
    R, first = linear_back(x, Wv, of_values, _together(R), rule, eps)
    sinks = {"output_bias": last["bias"], "value_bias": first["bias"]}
    return R, sinks if count_bias else {}


def attention_full(x, Wq, Wk, Wv, Wo, biases, heads, mask, R, eps=1e-9, count_bias=False):
    """Return the relevance of x, of multi-head self attention by AttnLRP: epsilon in the linear
    layers, half to each side of A V and Q K^T, Taylor in the softmax; the scale passes relevance
    on, and so does the mask where it lets a key be read.

    The second is what is lost: "softmax", a number, and the biases', a value a token each, as
    "output_bias", "value_bias", "query_bias" and "key_bias"."""
    parts = attention_parts(x, Wq, Wk, Wv, Wo, biases, heads, mask)
    counted = _counted(biases, count_bias)
    R, last = linear_back(parts["mixed"], Wo, counted[3], R, "epsilon", eps)
    of_weights, of_v = product_split(parts["weights"], parts["v"], _by_head(R, heads), eps)
    of_logits, lost = softmax_taylor(parts["logits"], of_weights, -1)
    keys = parts["k"].transpose(0, 2, 1)
    of_q, of_k = product_split(parts["q"], keys, of_logits, eps)
    result, sinks = np.zeros_like(_array(x)), {"softmax": lost, "output_bias": last["bias"]}
    projections = {
        "query_bias": (Wq, counted[0], of_q),
        "key_bias": (Wk, counted[1], of_k.transpose(0, 2, 1)),
        "value_bias": (Wv, counted[2], of_v),
    }
    for name, (W, bias, relevance) in projections.items():
        part, sink = linear_back(x, W, bias, _together(relevance), "epsilon", eps)
        result += part
        sinks[name] = sink["bias"]
    return result, sinks if count_bias else {"softmax": lost}


def rollout(attentions):
    """Return attention rollout, (N, N), row = token of the last block, column = token that was put
    in. `attentions` is (heads, N, N) a block, the first block first: per block half of the mean
    over heads and half of the identity, row-normalised; later blocks multiply from the left."""
    result = None
    for block in map(_array, attentions):
        heads, count, _ = block.shape
        mixed = np.zeros((count, count))
        for i, j in np.ndindex(count, count):
            mean = math.fsum(block[h, i, j] for h in range(heads)) / heads
            mixed[i, j] = 0.5 * mean + (0.5 if i == j else 0.0)
        for i in range(count):
            mixed[i] /= math.fsum(mixed[i])
        result = mixed if result is None else matrix_product(mixed, result)
    return result
