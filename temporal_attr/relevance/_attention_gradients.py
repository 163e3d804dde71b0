"""Attention weights as the model computes them, and the gradient of an output by each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from temporal_attr.models import check_fits
from temporal_attr.relevance._decompositions import run_in_parts
from temporal_attr.relevance._functions import CONSTANTS, PROBABILITIES, PRODUCTS
from temporal_attr.relevance._interception import Intercepted
from temporal_attr.relevance._tensors import TensorTable
from temporal_attr.relevance._trace import eagerly

_FUSED = ("multi_head_attention_forward", "scaled_dot_product_attention")
"""Functions that compute attention in one call, and are computed in parts to see its weights."""


@dataclass(frozen=True)
class AttentionGradients:
    """The attention of a pass, and the gradient of a number by it.

    Attributes:
        output: What the forward pass computed; of one that ends in probabilities, the logits.
        weights: The attention weights of each call, in the order of the pass.
        gradients: Of the number, by each weight.
    """

    output: Float[Tensor, "*output"]
    weights: tuple[Tensor, ...]
    gradients: tuple[Tensor, ...]


def attention_gradients(
    forward: Callable[[Tensor], Tensor],
    clip: Float[Tensor, "*clip"],
    number: Callable[[Tensor], Tensor],
    model: Any = None,  # noqa: ANN401
) -> AttentionGradients:
    """Run a forward pass, and differentiate a number of its output by all attention weights.

    Calls of attention are those of `AttentionFlow`, in the same order: softmax, and whatever the
    model then does with the weights alone, times values.

    Args:
        forward: From the clip to an output, in evaluation mode.
        clip: Any tensor.
        number: From the output (without a last softmax or sigmoid) to one number.
        model: Which must fit the clip; None for a plain function.

    Example:
        >>> values = torch.tensor([[[1.0], [3.0]]])
        >>> found = attention_gradients(
        ...     lambda x: (x * torch.zeros(2)).softmax(-1) @ values.expand(len(x), 2, 1) * x[:, :1],
        ...     torch.ones(1, 1, 1), torch.sum,
        ... )
        >>> found.weights
        ()
        >>> found = attention_gradients(
        ...     lambda x: (x @ x.mT * 0).softmax(-1) @ x, torch.tensor([[[1.0], [3.0]]]),
        ...     lambda output: output[0, 0, 0],
        ... )
        >>> found.weights[0].tolist(), found.gradients[0].tolist()
        ([[[0.5, 0.5], [0.5, 0.5]]], [[[1.0, 3.0], [0.0, 0.0]]])
    """  # fmt: skip
    check_fits(forward if model is None else model, clip)
    leaf = clip.detach().requires_grad_()
    mode = _Recorder(leaf)
    with torch.enable_grad(), eagerly():
        with mode:
            given = forward(leaf.clone())
        output = mode.table.logits_of(given)
        grads: tuple[Tensor, ...] = ()
        if mode.weights:
            grads = torch.autograd.grad(
                number(output), mode.weights, allow_unused=True, materialize_grads=True
            )
    weights = tuple(entry.detach() for entry in mode.weights)
    return AttentionGradients(output.detach(), weights, grads)


class _Recorder(TorchFunctionMode):
    """Notes the weights of each call of attention; every function runs as it is."""

    def __init__(self, clip: Tensor) -> None:
        super().__init__()
        self.table = TensorTable(keep=False)
        self.table.add(clip)
        self.weights: list[Tensor] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        met = Intercepted.of(func, args, kwargs or {})
        data, held = self.table.among(met.tensors), self.table.held_among(met.tensors)
        if not (data or held) or met.name in CONSTANTS or not torch.is_grad_enabled():
            return met.run()
        if met.name in _FUSED:
            with self:
                return run_in_parts(met.name, met.args, met.kwargs)
        output = met.run()
        if met.name in PROBABILITIES and data:
            self.table.set_logits(output, data[0])
        if not data or met.name == "softmax":
            for entry in _tensors(output):
                self.table.hold(entry, "softmax")
            return output
        if met.name in PRODUCTS and held:
            self.weights.append(held[0])
        for entry in _tensors(output):
            self.table.add(entry)
        return output


def _tensors(output: Any) -> list[Tensor]:  # noqa: ANN401
    """What depends on the clip in what a function gave back."""
    return [
        entry for entry in tree_leaves(output) if isinstance(entry, Tensor) and entry.requires_grad
    ]
