"""Functions that compute several operations in one call, one operation at a time.

A mode sees only the outermost call. What has its own rule for each of its parts is computed from
these parts, under the mode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from temporal_attr.relevance._attention import (
    multi_head_attention_forward,
    scaled_dot_product_attention,
)
from temporal_attr.relevance._recurrence import RECURRENT, run_recurrent


def _addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:  # noqa: A002
    return input + value * tensor1 * tensor2


def _added_product(
    input: Tensor,  # noqa: A002
    first: Tensor,
    second: Tensor,
    *,
    beta: float = 1,
    alpha: float = 1,
) -> Tensor:
    product = torch.matmul(first, second)
    product = product if alpha == 1 else alpha * product
    # With beta 0 the input is not read: it may hold anything.
    if beta == 0:
        return product
    return (input if beta == 1 else beta * input) + product


def _glu(input: Tensor, dim: int = -1) -> Tensor:  # noqa: A002
    signal, gate = input.chunk(2, dim)
    return signal * torch.sigmoid(gate)


def _normalize(
    input: Tensor,  # noqa: A002
    p: float = 2.0,
    dim: int = 1,
    eps: float = 1e-12,
    out: None = None,
) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(input, p, dim, keepdim=True)
    return input / length.clamp(min=eps)


def _diff(
    input: Tensor,  # noqa: A002
    n: int = 1,
    dim: int = -1,
    prepend: Tensor | None = None,
    append: Tensor | None = None,
) -> Tensor:
    parts = [part for part in (prepend, input, append) if part is not None]
    found = parts[0] if len(parts) == 1 else torch.cat(parts, dim)
    for _ in range(n):
        size = found.shape[dim] - 1
        found = found.narrow(dim, 1, size) - found.narrow(dim, 0, size)
    return found


def _var_mean(input: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:  # noqa: A002, ANN401
    dim = args[0] if args and not isinstance(args[0], bool) else kwargs.get("dim")
    kept = {"keepdim": kwargs.get("keepdim", False)} if dim is not None else {}
    mean = torch.mean(input, *([] if dim is None else [dim]), **kept)
    return torch.var(input, *args, **kwargs), mean


def _std_mean(input: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:  # noqa: A002, ANN401
    variance, mean = _var_mean(input, *args, **kwargs)
    return variance.sqrt(), mean


_PARTS: dict[str, Callable[..., Any]] = {
    "addcmul": _addcmul,
    "addmm": _added_product,
    "baddbmm": _added_product,
    "glu": _glu,
    "multi_head_attention_forward": multi_head_attention_forward,
    "diff": _diff,
    "normalize": _normalize,
    "scaled_dot_product_attention": scaled_dot_product_attention,
    "std_mean": _std_mean,
    "var_mean": _var_mean,
}
DECOMPOSED = frozenset([*_PARTS, *RECURRENT])
"""The names of what is computed in parts."""


def run_in_parts(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """What a function of `DECOMPOSED` computes, one operation at a time."""
    if name in RECURRENT:
        return run_recurrent(name, args, kwargs)
    return _PARTS[name](*args, **kwargs)
