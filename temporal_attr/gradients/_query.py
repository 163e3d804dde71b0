"""What is asked of a model, and what is found: gradients of scalar outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from temporal_attr.gradients._encoder import no_gradient
from temporal_attr.gradients._recurrence import native_recurrence
from temporal_attr.models import FrameLogits, VideoModel, check_logits

Output: TypeAlias = Tensor | FrameLogits
"""What a model gives for clips: logits `(batch, classes)`, or those of its timesteps."""


@dataclass(frozen=True)
class GradientQuery:
    """Scalar outputs of a model, whose gradients with respect to the clip are asked for.

    Attributes:
        model: A wrapper, or any function of clips.
        scalars: From the model's output to `(batch, scalars)`; an example's scalars depend on that
            example only.
        of_timesteps: Whether that output is `frame_logits` rather than the clip's logits.
        reduction: Applied to the gradient `(..., channel, height, width)` of each frame on its own.
        arguments: Handed to the model after the clips.

    Example:
        >>> query = GradientQuery(lambda clip: clip.mean((1, 3, 4)), lambda logits: logits[:, :1])
        >>> query.of_clips((torch.ones(1, 2, 3, 4, 4),))
        tensor([[1., 1., 1.]])
    """

    model: Callable[..., Any]
    scalars: Callable[[Any], Tensor]
    of_timesteps: bool = False
    reduction: Callable[[Tensor], Tensor] = lambda gradient: gradient
    arguments: tuple[Any, ...] = ()

    @property
    def wrapper(self) -> VideoModel:
        """The model, where the path is open to wrappers only."""
        assert isinstance(self.model, VideoModel)
        return self.model

    def of_clips(self, clips: tuple[Tensor, ...]) -> Output:
        """The model's output for whole clips."""
        with native_recurrence(clips[0].is_cuda):
            if self.of_timesteps:
                return self.wrapper.frame_logits(clips[0])
            return check_logits(self.model(*clips, *self.arguments), clips[0].shape[0])

    def of_features(self, features: Tensor) -> Output:
        """The model's output for features of a wrapper's clips."""
        if self.of_timesteps:
            with native_recurrence(features.is_cuda):
                return self.wrapper.frame_head(features)
        return head_logits(self.wrapper, features)


@dataclass(frozen=True)
class Gradients:
    """Gradients of scalar outputs, reduced frame by frame.

    Attributes:
        of_clips: For each clip `(scalars, batch, time, ...)`.
        output: The model's output, without a graph.

    Example:
        >>> Gradients((torch.zeros(1, 2, 5, 3, 8, 8),), torch.zeros(2, 4)).output.shape
        torch.Size([2, 4])
    """

    of_clips: tuple[Tensor, ...]
    output: Output


def head_logits(model: VideoModel, features: Tensor) -> Tensor:
    """Logits of clips from their features, by kernels that can be differentiated."""
    with native_recurrence(features.is_cuda):
        return check_logits(model.head(features), features.shape[0])


def gradient_at_features(
    model: VideoModel, features: Tensor, objective: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """The gradient of an objective with respect to the features that the head reads.

    Args:
        model: Whose head reads the features.
        features: `(batch, ...)`.
        objective: From logits `(batch, classes)` to one number for each example.

    Returns:
        The gradient, shaped like the features, and the logits, both without a graph.

    Raises:
        ModelError: If the logits carry no gradient.

    Example:
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("late-fusion", classes=4, pooling="mean", widths=(4, 8))
        >>> features = model.features(torch.rand(1, 5, 3, 16, 16))
        >>> gradient, logits = gradient_at_features(model, features, lambda logits: logits[:, 0])
        >>> gradient.shape == features.shape, tuple(logits.shape)
        (True, (1, 4))
    """
    leaf = features.detach().requires_grad_()
    # A copy, so that a head that works in place does not trip over a leaf.
    logits = head_logits(model, leaf.clone())
    total = objective(logits).sum()
    if not total.requires_grad:
        raise no_gradient()
    (found,) = torch.autograd.grad(total, leaf, allow_unused=True)
    if found is None:
        raise no_gradient()
    return found, logits.detach()


def without_graph(output: Output, dtype: torch.dtype) -> Output:
    """An output detached, in the precision of the clip."""
    if isinstance(output, Tensor):
        return output.detach().to(dtype)
    return FrameLogits(output.logits.detach().to(dtype), output.weights.detach().to(dtype))
