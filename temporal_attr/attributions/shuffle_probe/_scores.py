"""What scores frames, and what is asked of it: a score of every frame in every order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from temporal_attr._activation import Activation
from temporal_attr._errors import ModelError
from temporal_attr._typing import (
    ClipTensor,
    Logits,
    Orders,
    ShuffledLogits,
    ShuffledScores,
    Target,
    TargetLike,
)
from temporal_attr.attributions._nested import NestedMethod
from temporal_attr.attributions.temporal_gradient import TemporalGradient
from temporal_attr.gradients import Memory, Objective, resolve_target
from temporal_attr.measures import Reduction, ReductionName
from temporal_attr.measures._frame_scores import reduced


@dataclass(frozen=True)
class GradientScorer:
    """G_t: a norm of the gradient of an objective with respect to each frame.

    Attributes:
        model: A wrapper, or any function of clips.
        objective: What is differentiated.
        memory: The memory path.
        reduction: The norm.
        arguments: Handed to the model after the clips.
    """

    model: Callable[..., Any]
    objective: Objective
    memory: Memory
    reduction: ReductionName
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class MethodScorer:
    """The attribution of a method that is made already, reduced to frames.

    Attributes:
        nested: The method, and what is handed to it.
        reduction: From its attribution to `(batch, time)`.
    """

    nested: NestedMethod
    reduction: Reduction

    @property
    def arguments(self) -> tuple[Any, ...]:
        """What is handed to the model after the clips."""
        return self.nested.arguments


Scorer: TypeAlias = GradientScorer | MethodScorer


def scorer_of(nested: NestedMethod, reduction: Reduction) -> Scorer:
    """What scores frames by a method: the plain gradient has faster paths than its `attribute`."""
    method = nested.method
    if type(method) is not TemporalGradient or nested.options or callable(reduction):
        return MethodScorer(nested, reduction)
    return GradientScorer(
        method.model, method.objective, method.memory, reduction, nested.arguments
    )


@dataclass(frozen=True)
class ScoreRequest:
    """What is asked: a score of every frame of a clip, in every order.

    Attributes:
        scorer: What scores frames.
        clip: `(batch, time, channel, height, width)`.
        target: The class that is explained, in any of Captum's forms.
        orders: `(orders, time)`.
        chunk_size: Frames that go through the model at a time.
        activation: What turns logits into probabilities; None if that is to be found out.
    """

    scorer: Scorer
    clip: ClipTensor
    target: TargetLike
    orders: Orders
    chunk_size: int | None
    activation: Activation | None = None


@dataclass(frozen=True)
class OrderScores:
    """Scores of frames in several orders, and what was predicted for each order.

    Attributes:
        scores: `(batch, orders, time)`; a column is a frame, wherever it stood.
        logits: `(batch, orders, classes)`.
        activation: What turns the logits into probabilities; None if that is not found out yet.
    """

    scores: ShuffledScores
    logits: ShuffledLogits
    activation: Activation | None = None


def target_of_copies(request: ScoreRequest, examples: Tensor, logits: Logits) -> Target:
    """The class that is explained of copies of some examples, from their logits."""
    of_batch = logits.new_empty(len(request.clip), logits.shape[1])
    return resolve_target(request.target, of_batch)[examples]


def gradient_scores(gradient: Tensor, reduction: ReductionName) -> Tensor:
    """Scores of frames, whatever axes stand before channel, height and width."""
    frames = gradient.flatten(0, -4).unsqueeze(0)
    return reduced(frames, reduction).reshape(gradient.shape[:-3])


def require_scores(scores: Any, shape: torch.Size) -> Tensor:  # noqa: ANN401
    """The scores themselves, if they are one finite number from 0 for each frame.

    Raises:
        ModelError: With what they are instead.
    """
    if not isinstance(scores, Tensor) or scores.shape != shape:
        came = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise ModelError(
            f"scores (clips, time) of shape {tuple(shape)} from the attribution",
            f"{came}",
            "Use a method whose attribution has a time axis, or give reduction=, a function from "
            "its attribution to (batch, time).",
        )
    bad = int((~scores.isfinite()).sum())
    if bad:
        raise ModelError(
            "finite scores of frames",
            f"{bad} of {scores.numel()} that are NaN or infinite",
            "Look at the method's attribution of this clip.",
        )
    if (scores < 0).any():
        raise ModelError(
            "scores of 0 or more, as a ratio of magnitudes needs",
            f"{scores.min():g}",
            'Reduce the attribution by a norm: "l2", "l1" or "max".',
        )
    return scores
