"""What cannot be composed by attention weights alone, each with a name."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from temporal_attr._errors import ModelError
from temporal_attr.relevance._refusals import module_path

ROOM = 64
"""By how many roundings a row of attention weights may miss 1.

Of its precision, or of single precision: some models compute softmax in that whatever they hold.
"""


def require_rows(sums: Tensor, module: str) -> None:
    """Raise unless the weights of each query sum to 1; `sums` is what ones as values become."""
    room = ROOM * max(torch.finfo(kind).eps for kind in (sums.dtype, torch.float32))
    off = (sums - 1).abs().max()
    # So written that NaN, of a row that is masked out whole, does not pass.
    if not bool(off <= room):
        raise ModelError(
            "attention weights that sum to 1 for every query",
            f"sums that are off by {off:.3g} in {module}",
            "Rollout has no meaning for them: in evaluation mode dropout is off, and a mask must "
            "leave every query a key. Else explain the model with TemporalGradient or LRP.",
        )


def used_otherwise(what: str, model: Any) -> ModelError:  # noqa: ANN401
    """Softmax weights in another function than a product with values."""
    return ModelError(
        "softmax weights that are multiplied with values by matmul, bmm or einsum",
        f"{what} of them in {module_path(model)}",
        "Write the weighted sum as a matrix product, weights @ values, or explain the model with "
        "TemporalGradient or LRP.",
    )


def unmixed(name: str, model: Any) -> list[Tensor]:  # noqa: ANN401
    """Raise, since mass has reached a product of two tensors without softmax weights."""
    raise ModelError(
        "tokens that are mixed by softmax attention only",
        f"{name} of two tensors that depend on the clip, neither of them softmax weights, on the "
        f"way to the output of {type(model).__name__}",
        "Attention of another kind (linear, or without softmax) has no rows that sum to 1: explain "
        "the model with TemporalGradient or LRP.",
    )


def another_pass(got: str) -> ModelError:
    """A pass whose attention is not that of the pass before it."""
    return ModelError(
        "a model that attends alike in every pass over the same clip",
        got,
        "Make its forward pass deterministic, and let it keep nothing from one call to the next.",
    )


def no_attention() -> ModelError:
    """A pass without attention."""
    return ModelError(
        "a model with attention",
        "one in whose pass no softmax weighs values by a matrix product",
        "Explain it with TemporalGradient, LRP or FrameMaskingTSR.",
    )


def parallel_branches(model: Any) -> ModelError:  # noqa: ANN401
    """Attention and another branch side by side."""
    return ModelError(
        "attention with one skip connection beside it",
        f"a sum of attention with two more branches in {module_path(model)}",
        "Explain this model with TemporalGradient or LRP.",
    )
