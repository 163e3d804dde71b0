"""Attention: softmax, and the functions that compute all of it in one call, step by step."""

from __future__ import annotations

import inspect
import math
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from temporal_attr._precision import wide
from temporal_attr.relevance._calls import Call, Handled, NoRuleError, Sink
from temporal_attr.relevance._composite import Composite


def softmax_split(call: Call, composite: Composite) -> Handled:
    """Softmax by its Taylor expansion, :cite:t:`achtibat2024`, proposition 3.1.

    `R_i = x_i (R_i - s_i sum_j R_j)`, which does not conserve relevance: what arrives is
    `sum_j (x_j - E_s[x]) R_j`, of either sign and without a bound. The difference is the sink
    "softmax".
    """
    if len(call.data) != 1:
        raise NoRuleError(call.name, "of several operands that depend on the clip")
    (x,) = call.data
    weights: Tensor = call.run()
    axis = call.argument(1, "dim")
    if axis is None:
        raise NoRuleError(call.name, "without an axis")
    # What is masked out (-inf) has no part in the weights, nor in relevance.
    scores = x.detach().masked_fill(x.detach().isinf(), 0)
    # A copy: held by its own node, the output would keep itself alive for good.
    kept = weights.clone()

    def split(relevance: Tensor) -> tuple[Tensor]:
        return (scores * (relevance - kept * relevance.sum(axis, keepdim=True)),)

    def lost(relevance: Tensor) -> Tensor:
        return (relevance - split(relevance)[0]).sum(dtype=wide(relevance))

    return Handled(weights, (x,), split, sinks=(Sink("softmax", lost),), rule="Taylor")


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """What torch's function of this name computes, in evaluation mode."""
    if dropout_p > 0:
        raise NoRuleError("scaled_dot_product_attention", "with dropout (in training mode)")
    if enable_gqa:
        repeats = query.shape[-3] // key.shape[-3]
        key, value = (entry.repeat_interleave(repeats, -3) for entry in (key, value))
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = torch.matmul(query * scale, key.transpose(-2, -1))
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, float("-inf"))
    elif attn_mask is not None:
        scores = scores + attn_mask
    return torch.matmul(torch.softmax(scores, -1), value)


_SIGNATURE = inspect.signature(F.multi_head_attention_forward)


def multi_head_attention_forward(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:  # noqa: ANN401
    """What torch's function of this name computes, in evaluation mode: `(time, batch, feature)`."""
    bound = _SIGNATURE.bind(*args, **kwargs)
    bound.apply_defaults()
    call = SimpleNamespace(**bound.arguments)
    if call.training and call.dropout_p > 0:
        raise NoRuleError("multi_head_attention_forward", "with dropout (in training mode)")
    if call.static_k is not None or call.static_v is not None:
        raise NoRuleError("multi_head_attention_forward", "with static keys or values")
    given, padding = [call.query, call.key, call.value], call.key_padding_mask
    single = call.query.ndim == 2
    if single:
        given = [entry.unsqueeze(1) for entry in given]
        padding = None if padding is None else padding.unsqueeze(0)
    if call.use_separate_proj_weight:
        projections = [call.q_proj_weight, call.k_proj_weight, call.v_proj_weight]
    else:
        projections = call.in_proj_weight.chunk(3)
    biases = [None] * 3 if call.in_proj_bias is None else call.in_proj_bias.chunk(3)
    read = [F.linear(*entry) for entry in zip(given, projections, biases, strict=True)]
    # (batch, head, time, feature)
    query, key, value = (
        entry.unflatten(-1, (call.num_heads, -1)).permute(1, 2, 0, 3) for entry in read
    )
    key = _extended(key, call.bias_k, call.add_zero_attn)
    value = _extended(value, call.bias_v, call.add_zero_attn)
    mask = _mask(call.attn_mask, padding, call.num_heads, key.shape[-2])
    weights = _attention_weights(query, key, mask)
    mixed = torch.matmul(weights, value).permute(2, 0, 1, 3).flatten(2)
    output = F.linear(mixed, call.out_proj_weight, call.out_proj_bias)
    shown = weights.mean(1) if call.average_attn_weights else weights
    if single:
        output, shown = output.squeeze(1), shown.squeeze(0)
    return output, shown if call.need_weights else None


def _attention_weights(query: Tensor, key: Tensor, mask: Tensor | None) -> Tensor:
    scores = torch.matmul(query / math.sqrt(query.shape[-1]), key.transpose(-2, -1))
    return torch.softmax(scores if mask is None else scores + mask.to(scores), -1)


def _extended(entries: Tensor, bias: Tensor | None, zero: bool) -> Tensor:
    """Keys or values `(batch, head, time, feature)`, with a learned one and one of zeros behind."""
    batch, heads, _, features = entries.shape
    if bias is not None:
        learned = bias.reshape(1, heads, 1, features).expand(batch, -1, -1, -1)
        entries = torch.cat([entries, learned], 2)
    if zero:
        entries = torch.cat([entries, entries.new_zeros(batch, heads, 1, features)], 2)
    return entries


def _mask(
    attn_mask: Tensor | None, key_padding_mask: Tensor | None, heads: int, keys: int
) -> Tensor | None:
    """What is added to scores `(batch, head, query, key)`; keys that were added are seen by all."""
    parts = []
    if attn_mask is not None:
        mask = _additive(attn_mask)
        parts.append(mask.unflatten(0, (-1, heads)) if mask.ndim == 3 else mask)
    if key_padding_mask is not None:
        parts.append(_additive(key_padding_mask)[:, None, None])
    if not parts:
        return None
    first, *others = (F.pad(mask, (0, keys - mask.shape[-1])) for mask in parts)
    return sum(others, first)


def _additive(mask: Tensor) -> Tensor:
    """A mask to be added to scores, from one that says what is left out, or from one like it."""
    if mask.dtype != torch.bool:
        return mask
    zeros = torch.zeros(mask.shape, device=mask.device)
    return zeros.masked_fill(mask, float("-inf"))
