"""The gradient of an objective, and of every timestep's logit, with respect to the frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from temporal_attr._run import RunContext
from temporal_attr._typing import Influence, Logits, Target, TargetLike
from temporal_attr.gradients import (
    GradientQuery,
    Memory,
    Objective,
    gradients_of,
    resolve_target,
)
from temporal_attr.models import FrameLogits


@dataclass(frozen=True)
class GradientRequest:
    """What is asked: of which model, for which class, and how it is computed.

    Attributes:
        model: A wrapper, or any function of clips.
        clips: `(batch, time, channel, height, width)` each.
        target: In any of Captum's forms.
        arguments: Handed to the model after the clips.
        objective: What is differentiated.
        memory: The memory path.
        chunk_size: Frames encoded at a time on the framewise path.
    """

    model: Callable[..., Any]
    clips: tuple[Tensor, ...]
    target: TargetLike
    arguments: tuple[Any, ...]
    objective: Objective
    memory: Memory
    chunk_size: int | None


@dataclass(frozen=True)
class ClipGradient:
    """The gradient of the objective: one tensor a clip, with the logits and classes explained."""

    of_clips: tuple[Tensor, ...]
    logits: Logits
    target: Target


@dataclass(frozen=True)
class StepInfluence:
    """How strongly every timestep's target logit reacts to every frame, and those logits."""

    influence: Influence
    steps: FrameLogits


def clip_gradient(request: GradientRequest, run: RunContext) -> ClipGradient:
    """The gradient of the objective with respect to every clip."""

    def scalars(logits: Tensor) -> Tensor:
        return request.objective(logits, resolve_target(request.target, logits)).unsqueeze(1)

    query = GradientQuery(request.model, scalars, arguments=request.arguments)
    found = gradients_of(query, request.clips, run, request.memory, request.chunk_size)
    assert isinstance(found.output, Tensor)
    target = resolve_target(request.target, found.output)
    return ClipGradient(tuple(one[0] for one in found.of_clips), found.output, target)


def step_influence(request: GradientRequest, target: Target, run: RunContext) -> StepInfluence:
    """The L2 norm of the gradient of every timestep's target logit with respect to every frame."""

    def scalars(steps: FrameLogits) -> Tensor:
        index = target[:, None, None].expand(-1, steps.logits.shape[1], 1)
        return steps.logits.gather(2, index).squeeze(2)

    query = GradientQuery(request.model, scalars, of_timesteps=True, reduction=_frame_norm)
    found = gradients_of(query, request.clips, run, request.memory, request.chunk_size)
    assert isinstance(found.output, FrameLogits)
    return StepInfluence(found.of_clips[0].movedim(0, 1).contiguous(), found.output)


def _frame_norm(gradient: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(gradient, dim=(-3, -2, -1))
    return norm
