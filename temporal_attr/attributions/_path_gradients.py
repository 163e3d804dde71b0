"""Gradients at many clips, a few at a time, for all methods that integrate along paths."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from temporal_attr._errors import ClipError
from temporal_attr._run import RunContext
from temporal_attr._typing import ClipTensor, Logits, PerExample, Target, TargetLike
from temporal_attr.attributions._estimate import TIMED, Certainty, Work, timed_passes
from temporal_attr.attributions._rows import AtOnce, Row, at_once, by_rows
from temporal_attr.gradients import (
    GradientQuery,
    Memory,
    Objective,
    gradients_of,
    isolated_autograd,
    resolve_target,
)
from temporal_attr.gradients._memory_ladder import count_gradients
from temporal_attr.models import FramewiseModel, model_logits
from temporal_attr.perturbations import at_least_single

ALONG = "along the path"
"""What the run calls it, beside how many clips went through the model at a time."""


@dataclass(frozen=True)
class Explained:
    """What is differentiated: one number of a model for each clip, and how.

    Attributes:
        model: A wrapper, or any function of clips.
        arguments: Handed to the model after the clips.
        objective: From logits and targets to one number for each example.
        memory: How gradients are computed.
        at_a_time: Clips that go through the model at a time; None for as many as have 16 frames.
    """

    model: Callable[..., Any]
    arguments: tuple[Any, ...]
    objective: Objective
    memory: Memory
    at_a_time: int | None

    def value(
        self, logits: Float[Tensor, "rows classes"], target: Int[Tensor, "rows"]
    ) -> Float[Tensor, "rows"]:
        """The objective, of half precision in single."""
        return self.objective(logits.to(at_least_single(logits.dtype)), target)

    def at_once(self, clip: ClipTensor, rows: int) -> AtOnce:
        """How many of so many clips like these go through the model at a time."""
        return at_once(clip, rows, self.at_a_time, bool(self.arguments))


class Sums(ABC):
    """What takes gradients one by one."""

    @abstractmethod
    def add(self, point: int, example: int, gradient: Tensor) -> None:
        """Take the gradient `(time, channel, height, width)` at a point of an example's path."""


S = TypeVar("S", bound=Sums)


def gradients_at(
    explained: Explained,
    target: Target,
    like: ClipTensor,
    rows: Sequence[Row],
    point: Callable[[int, int], Tensor],
    sums: Callable[[], S],
    run: RunContext,
) -> S:
    """Take the gradient of the objective at many clips, a few at a time.

    Args:
        explained: What is differentiated.
        target: The class of each example.
        like: The clips of the batch.
        rows: Which points of which examples; where the model takes arguments after the clips,
            which belong to the whole batch, each point of all examples, in their order.
        point: The clip `(time, channel, height, width)` of a row.
        sums: A new record that takes the gradients.
        run: Counts the passes.
    """

    def each(taken: S, chunk: Sequence[Row], clips: ClipTensor) -> None:
        found = _gradients(explained, target[[row[1] for row in chunk]], clips, run)
        for row, gradient in zip(chunk, found, strict=True):
            taken.add(*row, gradient)

    size = explained.at_once(like, len(rows))
    found, taken = by_rows(rows, point, sums, each, size, run, ALONG, "gradients along paths")
    run.took(ALONG, taken)
    return found


def _gradients(
    explained: Explained, target: Target, clips: ClipTensor, run: RunContext
) -> ClipTensor:
    """The gradients of some clips that go through the model together."""
    query = _query(explained, target)
    spare = len(clips) > 1 and explained.at_a_time is None and not explained.arguments
    # Fewer clips at a time cost nothing, where the next memory path costs time or digits.
    framewise = isinstance(explained.model, FramewiseModel)
    whole = spare and explained.memory == "auto" and not framewise
    memory: Memory = "whole" if whole else explained.memory
    return gradients_of(query, (clips,), run, memory).of_clips[0][0]


def _query(explained: Explained, target: Target) -> GradientQuery:
    return GradientQuery(
        explained.model,
        lambda logits: explained.objective(logits, target).unsqueeze(1),
        arguments=explained.arguments,
    )


def logits_at(
    explained: Explained,
    like: ClipTensor,
    rows: Sequence[Row],
    point: Callable[[int, int], Tensor],
    run: RunContext,
) -> Float[Tensor, "rows classes"]:
    """The logits of many clips, one row each, a few at a time; see `gradients_at`."""

    def each(found: list[Tensor], chunk: Sequence[Row], clips: ClipTensor) -> None:
        with torch.no_grad():
            found.append(model_logits(explained.model, (clips,), explained.arguments))
        run.ran(forward=clips.shape[0] * clips.shape[1])

    size = explained.at_once(like, len(rows))
    found, _ = by_rows(rows, point, list[Tensor], each, size, run, "logits")
    return torch.cat(found).detach().to(at_least_single(like.dtype))


def logits_of(explained: Explained, clips: ClipTensor, run: RunContext) -> Logits:
    """The logits of the clips of a batch."""
    rows = [(0, example) for example in range(len(clips))]
    # Copies, so that a model that works in place does not reach the user's clip.
    return logits_at(explained, clips, rows, lambda _, example: clips[example], run)


def path_work(
    explained: Explained,
    clip: ClipTensor,
    target: TargetLike,
    gradients: int,
    forward: float,
    certainty: Certainty = "exact",
) -> Work:
    """What gradients at so many points of each clip's path take.

    Args:
        explained: What is differentiated.
        clip: `(batch, time, channel, height, width)`.
        target: The class, in any of Captum's forms.
        gradients: How many points each path has.
        forward: Forward passes of the batch beside these.
        certainty: Of these numbers.
    """
    frames = clip.shape[0] * clip.shape[1]
    timed = timed_passes(explained.model, (clip,), explained.arguments)
    once, plan = RunContext(), RunContext()
    query = _query(explained, resolve_target(target, timed.logits))
    count_gradients(query, (clip,), once, 1, explained.memory)
    plan.repeat(once, gradients)
    plan.ran(forward=round(forward * frames))
    if explained.memory == "framewise":
        # Which frames are encoded again depends on those that the head reads at each point.
        certainty = "about"
    seconds = timed.seconds(plan, frames)
    return Work(plan, seconds, TIMED, certainty, graph_bytes=timed.graph_bytes)


def explained_values(
    explained: Explained, clip: ClipTensor, target: TargetLike, run: RunContext
) -> PerExample:
    """The objective of clips."""
    with isolated_autograd((clip,)) as (own,):
        logits = logits_of(explained, own, run)
        return explained.value(logits, resolve_target(target, logits))


def require_like(attribution: Tensor, clip: ClipTensor) -> None:
    """Raise unless an attribution is one of a clip.

    Raises:
        ClipError: With both shapes.
    """
    if attribution.shape != clip.shape:
        raise ClipError(
            f"an attribution shaped like the clip, {tuple(clip.shape)}",
            f"shape {tuple(attribution.shape)}",
            "Pass what attribute() returned for this clip.",
        )


def in_precision_of(values: Tensor, clip: ClipTensor) -> Tensor:
    """Values in the precision of a clip, and of half precision in single."""
    return values.to(at_least_single(clip.dtype))
