"""The gradient of an objective, and of every timestep's logit, with respect to the frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from temporal_attr._errors import OptionError
from temporal_attr._require import require_count
from temporal_attr._run import RunContext
from temporal_attr._typing import Influence, Logits, Target, TargetLike
from temporal_attr.attributions._estimate import TIMED, Work, stopwatch, timed_passes
from temporal_attr.gradients import (
    GradientQuery,
    Memory,
    Objective,
    gradients_of,
    isolated_autograd,
    resolve_target,
)
from temporal_attr.gradients._memory_ladder import count_gradients
from temporal_attr.models import FrameLogits, VideoModel


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
    """How strongly timesteps' target logits react to every frame.

    Attributes:
        influence: A row for each of the timesteps that were asked for.
        rows: Those timesteps.
        steps: The logits of all timesteps.
    """

    influence: Influence
    rows: tuple[int, ...]
    steps: FrameLogits


def clip_gradient(request: GradientRequest, run: RunContext) -> ClipGradient:
    """The gradient of the objective with respect to every clip."""
    query = objective_query(request)
    found = gradients_of(query, request.clips, run, request.memory, request.chunk_size)
    assert isinstance(found.output, Tensor)
    target = resolve_target(request.target, found.output)
    return ClipGradient(tuple(one[0] for one in found.of_clips), found.output, target)


def objective_query(request: GradientRequest) -> GradientQuery:
    """The objective, whose gradient is asked for."""

    def scalars(logits: Tensor) -> Tensor:
        return request.objective(logits, resolve_target(request.target, logits)).unsqueeze(1)

    return GradientQuery(request.model, scalars, arguments=request.arguments)


def step_influence(
    request: GradientRequest, target: Target, rows: Sequence[int] | None, run: RunContext
) -> StepInfluence:
    """The L2 norm of the gradient of timesteps' target logits with respect to every frame.

    Args:
        request: Of the same clip.
        target: The class of each example.
        rows: The timesteps, of which negative numbers count from the end; None for all.
        run: Counts the passes.
    """
    query = influence_query(request, target, rows)
    found = gradients_of(query, request.clips, run, request.memory, request.chunk_size)
    assert isinstance(found.output, FrameLogits)
    return StepInfluence(
        found.of_clips[0].movedim(0, 1).contiguous(),
        chosen_rows(rows, found.output.logits.shape[1]),
        found.output,
    )


def influence_query(
    request: GradientRequest, target: Target, rows: Sequence[int] | None
) -> GradientQuery:
    """The target's logits at timesteps, and what is kept of their gradients."""

    def scalars(steps: FrameLogits) -> Tensor:
        index = target[:, None, None].expand(-1, steps.logits.shape[1], 1)
        of_target = steps.logits.gather(2, index).squeeze(2)
        if rows is None:
            return of_target
        return of_target[:, list(chosen_rows(rows, steps.logits.shape[1]))]

    return GradientQuery(request.model, scalars, of_timesteps=True, reduction=_frame_norm)


def chosen_rows(rows: Sequence[int] | None, steps: int) -> tuple[int, ...]:
    """The timesteps that were asked for, by their numbers from 0.

    Args:
        rows: Their numbers, negative ones from the end; None for all.
        steps: How many timesteps there are.

    Raises:
        OptionError: If one is out of range, or there twice.

    Example:
        >>> chosen_rows([0, -1], steps=5)
        (0, 4)
    """
    if rows is None:
        return tuple(range(steps))
    for row in rows:
        require_count("each timestep of influence", row, -steps, steps - 1)
    chosen = tuple(int(row) % steps for row in rows)
    twice = sorted({row for row in chosen if chosen.count(row) > 1})
    if twice:
        raise OptionError(
            "each timestep of influence once",
            f"{list(rows)}, in which {twice[0]} of {steps} is there twice",
            "Leave one out; negative numbers count from the end.",
        )
    return chosen


def gradient_work(request: GradientRequest, influence: bool, rows: Sequence[int] | None) -> Work:
    """What the gradient, and the influence of timesteps, will take.

    Args:
        request: What is asked.
        influence: Whether the influence is, too.
        rows: Of which timesteps; None for all.
    """
    frames = request.clips[0].shape[0] * request.clips[0].shape[1]
    timed = timed_passes(request.model, request.clips, request.arguments)
    plan, by = RunContext(), (request.memory, request.chunk_size)
    target = resolve_target(request.target, timed.logits)
    count_gradients(objective_query(request), request.clips, plan, 1, *by)
    heads = 0.0
    if influence:
        count = len(chosen_rows(rows, _timesteps(request)))
        query = influence_query(request, target, rows)
        # Of a framewise model this takes what the call takes for features and heads.
        with stopwatch(request.clips[0]) as watch:
            count_gradients(query, request.clips, plan, count, *by)
        heads = max(0.0, watch.seconds - timed.forward)
    seconds = timed.seconds(plan, frames) + heads
    return Work(plan, seconds, TIMED, graph_bytes=timed.graph_bytes)


def _timesteps(request: GradientRequest) -> int:
    """How many timesteps the model has for these clips."""
    with isolated_autograd(request.clips) as (clip,), torch.no_grad():
        assert isinstance(request.model, VideoModel)
        return request.model.frame_logits(clip).logits.shape[1]


def _frame_norm(gradient: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(gradient, dim=(-3, -2, -1))
    return norm
