"""Gradients of scalar outputs of a model, its head and its encoder: the parts of all paths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from temporal_attr._errors import ModelError
from temporal_attr._run import RunContext
from temporal_attr._typing import Features, Frames
from temporal_attr.gradients._autograd import mended, native_recurrence
from temporal_attr.models import (
    FrameLogits,
    FramewiseModel,
    VideoModel,
    check_logits,
    model_logits,
    named_misfit,
)

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
                return _mended(self.wrapper.frame_logits(clips[0]))
            return mended(model_logits(self.model, clips, self.arguments))

    def of_features(self, features: Tensor) -> Output:
        """The model's output for features of a wrapper's clips."""
        if self.of_timesteps:
            with native_recurrence(features.is_cuda):
                return _mended(self.wrapper.frame_head(features))
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
        with named_misfit(model, features):
            logits = model.head(features)
        return mended(check_logits(logits, features.shape[0]))


def gradient_at_features(
    model: VideoModel, features: Features, objective: Callable[[Tensor], Tensor]
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


def gradients_by_scalar(
    scalars: Tensor, leaves: tuple[Tensor, ...], run: RunContext
) -> Iterator[tuple[Tensor, ...]]:
    """The gradient of one scalar output after another, with respect to all leaves.

    Args:
        scalars: `(batch, scalars)`.
        leaves: What they depend on.
        run: Shows a bar where there are several.
    """
    if not scalars.requires_grad:
        raise no_gradient()
    last = scalars.shape[1] - 1
    reached = False
    with run.progress(last + 1, "gradients", show=last > 0) as bar:
        for place in range(last + 1):
            total = scalars[:, place].sum()
            found = torch.autograd.grad(total, leaves, retain_graph=place < last, allow_unused=True)
            reached = reached or any(gradient is not None for gradient in found)
            # An input that a scalar does not read has gradient zero; but some scalar must read some
            # input, or the graph was cut on the way.
            if place == last and not reached:
                raise no_gradient()
            yield tuple(
                torch.zeros_like(leaf) if gradient is None else gradient
                for leaf, gradient in zip(leaves, found, strict=True)
            )
            bar.update()


def encode_frames(model: FramewiseModel, frames: Frames) -> Tensor:
    """Features of frames, by kernels that can be differentiated where the encoder is recurrent.

    Example:
        >>> import torch
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("late-fusion", classes=4, pooling="mean", widths=(4, 8))
        >>> len(encode_frames(model, torch.rand(3, 3, 16, 16)))
        3
    """
    with native_recurrence(frames.is_cuda), named_misfit(model, frames):
        return mended(model.encode(frames))


def frame_graph(model: FramewiseModel, frames: Frames) -> tuple[Tensor, Tensor]:
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


def _mended(steps: FrameLogits) -> FrameLogits:
    mended(steps.logits)
    return steps


def no_gradient() -> ModelError:
    """The error of a model whose output carries no gradient with respect to the clip."""
    return ModelError(
        "an output that depends on the clip through differentiable operations",
        "one that carries no gradient",
        "Remove detach(), no_grad() or conversion to numpy from the model's forward.",
    )


def without_graph(output: Output, dtype: torch.dtype) -> Output:
    """An output detached, in the precision of the clip."""
    if isinstance(output, Tensor):
        return output.detach().to(dtype)
    return FrameLogits(output.logits.detach().to(dtype), output.weights.detach().to(dtype))
