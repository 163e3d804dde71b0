"""An attribution in two parts, of motion and of appearance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from temporal_attr._errors import ModelError
from temporal_attr._run import RunContext
from temporal_attr._typing import ClipTensor, Logits, Target, TargetLike
from temporal_attr.attributions._estimate import Certainty, Work, stopwatch
from temporal_attr.attributions._method import VideoMethod
from temporal_attr.attributions._nested import NestedMethod, require_shaped
from temporal_attr.attributions._rows import AtOnce, Row, at_once, by_rows
from temporal_attr.attributions.selective_relevance._split import (
    Static,
    changes,
    still_clip,
    still_clips,
)
from temporal_attr.gradients import isolated_autograd, resolve_target
from temporal_attr.perturbations import at_least_single, seeded

AS_IT_IS = -1
"""In place of the number of a still clip: the clip itself."""


@dataclass(frozen=True)
class SplitRequest:
    """What is asked: of which method, and what is taken for standing still.

    Attributes:
        nested: The method.
        clip: `(batch, time, channel, height, width)`.
        target: In any of Captum's forms.
        static: What an attribution without motion is.
        sigma: The threshold of the derivative; None where there is none.
        perturbations_per_eval: Clips that are attributed at a time; None for as many as have 16
            frames.
        seed: Of the method's random numbers; all clips see the same ones, one at a time.
    """

    nested: NestedMethod
    clip: ClipTensor
    target: TargetLike
    static: Static
    sigma: float | None
    perturbations_per_eval: int | None
    seed: int | None

    @property
    def own_seed(self) -> bool:
        """Whether the method gives the same clip the same attribution of itself."""
        return self.seed is not None or isinstance(self.nested.method, VideoMethod)


@dataclass(frozen=True)
class Split:
    """What was found.

    Attributes:
        motion: Shaped like the clip.
        appearance: Shaped alike; both add up to the attribution of the clip.
        logits: Of the clips.
        still_logits: Of the clips without motion, the mean where there are several; None if they
            were not asked for, or there are none.
        target: The classes explained.
    """

    motion: ClipTensor
    appearance: ClipTensor
    logits: Logits
    still_logits: Logits | None
    target: Target


def split(request: SplitRequest, run: RunContext, predict: bool) -> Split:
    """Attribute the clips, and what in them stands still.

    Args:
        request: What is asked.
        run: Counts the passes.
        predict: Whether the logits of clips without motion are wanted.
    """
    with isolated_autograd((request.clip,)) as (clip,):
        batch = len(clip)
        own = [(AS_IT_IS, example) for example in range(batch)]
        logits = _logits(request, clip, own, run)
        target = resolve_target(request.target, logits)
        whole = _attributed(request, clip, target, own, run, None)
        if not request.own_seed:
            _require_repeatable(request, whole, _attributed(request, clip, target, own, run, None))
        if request.sigma is not None:
            moves = changes(whole, request.sigma)[:, :, None]
            motion = torch.where(moves, whole, 0)
            return Split(motion, whole - motion, logits, None, target)
        count = still_clips(request.static, clip)
        rows = [(number, example) for number in range(count) for example in range(batch)]
        appearance = _attributed(request, clip, target, rows, run, "still clips")
        still = _logits(request, clip, rows, run).unflatten(0, (count, batch)) if predict else None
        return Split(
            motion=whole - appearance,
            appearance=appearance,
            logits=logits,
            still_logits=None if still is None else still.mean(0),
            target=target,
        )


def _clip_of(request: SplitRequest, clip: ClipTensor, number: int, example: int) -> Tensor:
    """The clip of a row: as it is, or without motion."""
    own = clip[example]
    return own if number == AS_IT_IS else still_clip(request.static, own, number)


def _attributed(
    request: SplitRequest,
    clip: ClipTensor,
    target: Target,
    rows: Sequence[Row],
    run: RunContext,
    description: str | None,
) -> ClipTensor:
    """The attribution of clips of the rows, put together for each example.

    Where one frame stands still, that frame gets the mean of what it gets at all the places where
    it stands, so that its sum is kept.
    """
    nested, dtype = request.nested, at_least_single(clip.dtype)
    each_frame = request.static == "frame" and rows[0][0] != AS_IT_IS
    fixed = request.perturbations_per_eval is not None or bool(nested.arguments)

    def each(taken: Tensor, chunk: Sequence[Row], clips: ClipTensor) -> None:
        explained = target[[example for _, example in chunk]]
        spare = len(clips) > 1 and not fixed
        with seeded(request.seed):
            found = require_shaped(nested.attribute(clips, explained, run, spare), clips).to(dtype)
        for (number, example), own in zip(chunk, found, strict=True):
            if each_frame:
                taken[example, number] = own.mean(0)
            else:
                taken[example] = own

    found, size = by_rows(
        rows,
        lambda number, example: _clip_of(request, clip, number, example),
        lambda: clip.new_zeros(clip.shape, dtype=dtype),
        each,
        _size(request, clip, len(rows)),
        run,
        "attribution",
        description,
    )
    if description is not None:
        run.took(description, size)
    return found


def _logits(
    request: SplitRequest, clip: ClipTensor, rows: Sequence[Row], run: RunContext
) -> Float[Tensor, "rows classes"]:
    """The logits of the clips of the rows."""

    def each(taken: list[Tensor], chunk: Sequence[Row], clips: ClipTensor) -> None:
        with seeded(request.seed):
            taken.append(request.nested.logits(clips, run))

    found, _ = by_rows(
        rows,
        lambda number, example: _clip_of(request, clip, number, example),
        list[Tensor],
        each,
        _size(request, clip, len(rows)),
        run,
        "logits",
    )
    return torch.cat(found)


def _size(request: SplitRequest, clip: ClipTensor, rows: int) -> AtOnce:
    asked = 1 if request.seed is not None else request.perturbations_per_eval
    return at_once(clip, rows, asked, bool(request.nested.arguments))


def _require_repeatable(request: SplitRequest, once: ClipTensor, again: ClipTensor) -> None:
    """Raise if the same clip gets another attribution the second time."""
    change = (once - again).abs().sum().item()
    if change > 100 * torch.finfo(request.clip.dtype).eps * once.abs().sum().item():
        raise ModelError(
            "a method that gives the same clip the same attribution",
            f"{request.nested.method.get_name()}, which draws random numbers",
            "Give SelectiveRelevance(..., seed=0), so that all clips see the same ones.",
        )


def split_work(request: SplitRequest, predict: bool) -> Work:
    """What `split` takes: told by the method, or from one attribution."""
    clip, frames = request.clip, request.clip.shape[0] * request.clip.shape[1]
    once, seconds, timed, certainty = _one_attribution(request)
    still = still_clips(request.static, clip)
    plan = RunContext()
    times = 1 + still + (not request.own_seed)
    plan.repeat(once, times)
    plan.ran(forward=frames * (1 + (still if predict else 0)))
    return Work(plan, seconds * times, timed, certainty)


def _one_attribution(request: SplitRequest) -> tuple[RunContext, float, str, Certainty]:
    """What an attribution of the clips takes, in how long, and how that is known."""
    nested, part = request.nested, RunContext()
    method, target = nested.method, request.target
    if isinstance(method, VideoMethod) and type(method)._work is not VideoMethod._work:
        arguments = nested.arguments or None
        told = method.estimate(request.clip, target, arguments, of="attribute")
        if told.forward_frames is not None:
            assert told.backward_frames is not None
            part.ran(told.forward_frames, told.backward_frames)
            return part, told.seconds, told.timed, told.certainty
    with isolated_autograd((request.clip,)) as (clip,):
        explained = resolve_target(target, nested.logits(clip, RunContext()))
        with stopwatch(clip) as watch, seeded(request.seed):
            nested.attribute(clip, explained, part)
    return part, watch.seconds, f"one attribution by {method.get_name()}", "exact"
