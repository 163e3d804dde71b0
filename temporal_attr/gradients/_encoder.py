"""The encoder of a framewise model: features of frames, with and without a graph."""

from __future__ import annotations

from torch import Tensor

from temporal_attr._errors import ModelError
from temporal_attr.gradients._recurrence import native_recurrence
from temporal_attr.models import FramewiseModel


def encode_frames(model: FramewiseModel, frames: Tensor) -> Tensor:
    """Features of frames, by kernels that can be differentiated where the encoder is recurrent.

    Example:
        >>> import torch
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("late-fusion", classes=4, pooling="mean", widths=(4, 8))
        >>> len(encode_frames(model, torch.rand(3, 3, 16, 16)))
        3
    """
    with native_recurrence(frames.is_cuda):
        return model.encode(frames)


def frame_graph(model: FramewiseModel, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Frames as a leaf, and their features with the graph from it.

    Example:
        >>> import torch
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("late-fusion", classes=4, pooling="mean", widths=(4, 8))
        >>> leaf, encoded = frame_graph(model, torch.rand(3, 3, 16, 16))
        >>> (gradient,) = torch.autograd.grad(encoded.sum(), leaf)
        >>> gradient.shape
        torch.Size([3, 3, 16, 16])
    """
    leaf = frames.detach().requires_grad_()
    # A copy, so that an encoder that works in place does not trip over a leaf.
    encoded = encode_frames(model, leaf.clone())
    if not encoded.requires_grad:
        raise no_gradient()
    return leaf, encoded


def no_gradient() -> ModelError:
    """The error of a model whose output carries no gradient with respect to the clip."""
    return ModelError(
        "an output that depends on the clip through differentiable operations",
        "one that carries no gradient",
        "Remove detach(), no_grad() or conversion to numpy from the model's forward.",
    )
