"""Tails that attend to the timesteps."""

import torch
from torch import nn
from torch.nn import functional

from tests.helpers.families import CLASSES
from tests.helpers.tails.parts import (
    HEADS,
    MEAN,
    STEPS,
    WIDTH,
    Function,
    linear,
    over_time,
    pieces_of,
)
from tests.references import layer_timesteps as reference
from tests.references.layer_timesteps import Affine, Chain, Norm, Pointwise, Scaled, Sum


def by_head(layer, heads=HEADS):
    """From tokens to `(batch, heads, tokens, features)` of a linear layer."""
    return lambda x: layer(x).unflatten(-1, (heads, -1)).transpose(1, 2)


def joined(x):
    return x.transpose(1, 2).flatten(2)


def attention_pool():
    score, last = linear(outputs=1), linear()
    tail = Function(
        lambda self, x: self.last((self.score(x).softmax(1) * x).sum(1)), score=score, last=last
    )

    def weights(x):
        powers = score(x).exp()
        return powers / powers.sum(1, keepdim=True)

    piece = Scaled(Affine(lambda x: x), weights)
    return tail, Chain(piece, Affine(lambda x: x.sum(1)), Affine(last))


def dot_product(mask=None, causal=False, kv_heads=HEADS):
    """`scaled_dot_product_attention`, with a mask, causal, or with queries that share keys."""
    size = WIDTH // HEADS
    parts = {"q": linear(outputs=WIDTH), "last": linear()}
    parts |= {name: linear(outputs=kv_heads * size) for name in "kv"}

    def run(self, x):
        q, k, v = (by_head(getattr(self, name), n)(x) for name, n in zip("qkv", heads, strict=True))
        read = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=kv_heads != HEADS
        )
        return self.last(joined(read)).mean(1)

    def repeated(name):
        return lambda x: by_head(parts[name], kv_heads)(x).repeat_interleave(HEADS // kv_heads, 1)

    heads = (HEADS, kv_heads, kv_heads)
    added = torch.zeros(STEPS, STEPS, dtype=torch.float64)
    if causal:
        added = added.masked_fill(torch.ones(STEPS, STEPS).triu(1).bool(), -float("inf"))
    if mask is not None:
        added = added.masked_fill(~mask, -float("inf"))
    piece = reference.attention(
        by_head(parts["q"]), repeated("k"), repeated("v"), size**-0.5, added
    )
    return Function(run, **parts), Chain(piece, *pieces_of(joined, parts["last"], over_time))


def read_by_a_query():
    """One learned query that reads all timesteps, by products and a softmax."""
    k, v, last = linear(), linear(outputs=WIDTH), linear()
    query = torch.arange(float(CLASSES)).cos()

    def run(self, x):
        weights = (self.k(x) @ query.to(x)).softmax(-1)
        return self.last((weights[:, None] @ self.v(x))[:, 0])

    def weights(x):
        powers = (k(x) * query.to(x)).sum(-1, keepdim=True).exp()
        return powers / powers.sum(1, keepdim=True)

    piece = Scaled(Affine(v), weights)
    return Function(run, k=k, v=v, last=last), Chain(piece, *pieces_of(lambda x: x.sum(1), last))


def projected(module, part):
    """Queries, keys or values of an `nn.MultiheadAttention`."""
    rows = slice(part * WIDTH, (part + 1) * WIDTH)
    return by_head(
        lambda x: x @ module.in_proj_weight[rows].T + module.in_proj_bias[rows], module.num_heads
    )


def attended(module):
    piece = reference.attention(*(projected(module, i) for i in range(3)), (WIDTH // HEADS) ** -0.5)
    return Chain(piece, *pieces_of(joined, module.out_proj))


def multi_head(batch_first, **options):
    module, last = nn.MultiheadAttention(WIDTH, HEADS, batch_first=batch_first), linear()

    def run(self, x):
        x = x if batch_first else x.transpose(0, 1)
        read = self.attention(x, x, x, **options)[0]
        return self.last(read.mean(1 if batch_first else 0))

    return Function(run, attention=module, last=last), Chain(attended(module), MEAN, Affine(last))


def encoder_layer(norm_first, batch_first=True):
    module = nn.TransformerEncoderLayer(
        WIDTH, HEADS, 8, activation="gelu", batch_first=batch_first, norm_first=norm_first
    )
    last = linear()

    def run(self, x):
        if batch_first:
            return self.last(self.layer(x).mean(1))
        return self.last(self.layer(x.transpose(0, 1)).mean(0))

    norms = [Norm(-1, one.eps, one.weight, one.bias) for one in (module.norm1, module.norm2)]
    mlp = Chain(
        Affine(module.linear1),
        Pointwise(lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2),
        Affine(module.linear2),
    )
    attention = attended(module.self_attn)
    if norm_first:
        pieces = (Sum(None, Chain(norms[0], attention)), Sum(None, Chain(norms[1], mlp)))
    else:
        pieces = (Sum(None, attention), norms[0], Sum(None, mlp), norms[1])
    return Function(run, layer=module, last=last), Chain(*pieces, MEAN, Affine(last))


MASK = torch.tensor([[(3 * q + k) % 4 != 1 for k in range(STEPS)] for q in range(STEPS)])

ATTENTION = {
    "attention_pool": attention_pool,
    "learned_query": read_by_a_query,
    "sdpa": dot_product,
    "sdpa_masked": lambda: dot_product(mask=MASK),
    "sdpa_causal": lambda: dot_product(causal=True),
    "sdpa_grouped": lambda: dot_product(kv_heads=1),
    "multi_head": lambda: multi_head(True),
    "multi_head_without_weights": lambda: multi_head(True, need_weights=False),
    "multi_head_time_first": lambda: multi_head(False),
    "encoder_layer": lambda: encoder_layer(False),
    "encoder_layer_norm_first": lambda: encoder_layer(True),
    "encoder_layer_time_first": lambda: encoder_layer(True, batch_first=False),
}
