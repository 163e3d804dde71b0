"""The relevance of every value of a clip for the target's logit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from temporal_attr._precision import wide
from temporal_attr._run import RunContext
from temporal_attr._typing import ClipTensor, Logits, PerExample, Target, TargetLike
from temporal_attr.attributions._estimate import Work, graph_size, stopwatch
from temporal_attr.attributions._relevance import Traced, traced, traces_once_known
from temporal_attr.gradients import isolated_autograd, resolve_target
from temporal_attr.models import VideoModel, model_logits
from temporal_attr.relevance import AuditLog, Composite, Trace


@dataclass(frozen=True)
class RelevanceRequest:
    """What is asked: the target's relevance, by which rules.

    Attributes:
        model: A wrapper, or a function of clips.
        clip: `(batch, time, channel, height, width)`.
        target: In any of Captum's forms.
        arguments: Handed to the model after the clip.
        composite: The rules; None for those found best for models like it.
    """

    model: VideoModel | Callable[..., Any]
    clip: ClipTensor
    target: TargetLike
    arguments: tuple[Any, ...]
    composite: Composite | None


@dataclass(frozen=True)
class ClipRelevance:
    """Where the relevance of each target's logit went.

    Attributes:
        relevance: `(batch, time, channel, height, width)`, of the clip.
        logits: Of the clips.
        target: The classes explained.
        sinks: By name, what each got of anything but the clip, `(batch,)`; empty if not asked for.
        from_probabilities: Whether the model returns probabilities, made of these logits.
        rules: What the rules are called.
    """

    relevance: ClipTensor
    logits: Logits
    target: Target
    sinks: dict[str, PerExample]
    from_probabilities: bool
    rules: str


def clip_relevance(
    request: RelevanceRequest,
    run: RunContext,
    *,
    sinks: bool = False,
    log: AuditLog | None = None,
) -> ClipRelevance:
    """Propagate the target's logit back to the pixels, and with `sinks` to all else."""
    with isolated_autograd((request.clip,)) as (clip,):
        traced_by = _traced(request, clip, run, sinks, log)
        found = traced_by.trace
        logits = found.output.detach()
        target = resolve_target(request.target, logits)
        at_output = _of_target(logits, target)
        if found.has_sinks:
            relevance, taken = _by_example(found, at_output)
        else:
            relevance, taken = found.relevance(at_output).contiguous(), {}
        run.ran(backward=clip.shape[0] * clip.shape[1])
        run.took("whole")
        return ClipRelevance(
            relevance, logits, target, taken, found.from_probabilities, traced_by.rules
        )


def relevance_work(request: RelevanceRequest, sinks: bool) -> Work:
    """What `clip_relevance` takes: told from its trace, and one backward pass."""
    frames, first = request.clip.shape[0] * request.clip.shape[1], RunContext()
    with isolated_autograd((request.clip,)) as (clip,), graph_size(request.model) as held:
        with stopwatch(clip) as forward:
            found = _traced(request, clip, first, sinks, None).trace
        logits = found.output.detach()
        at_output = _of_target(logits, resolve_target(request.target, logits))
        with stopwatch(clip) as backward:
            (found.relevance_and_sinks if found.has_sinks else found.relevance)(at_output)
    tried = int(first.finished(frames).forward_passes or 0)
    traces, plan = traces_once_known(request.model, tried), RunContext()
    plan.ran(forward=traces * frames, backward=frames)
    # With sinks, there is a backward pass of the whole batch for each of its clips.
    turns = len(clip) if found.has_sinks else 1
    seconds = forward.seconds / tried * traces + backward.seconds * turns
    return Work(plan, seconds, "a pass forward and back by these rules", graph_bytes=held.bytes)


def _traced(
    request: RelevanceRequest, clip: Tensor, run: RunContext, sinks: bool, log: AuditLog | None
) -> Traced:
    """The pass to the logits."""

    def forward(clip: Tensor) -> Tensor:
        return model_logits(request.model, (clip,), request.arguments)

    return traced(request.model, forward, clip, request.composite, run, sinks=sinks, log=log)


def _of_target(logits: Logits, target: Target) -> Logits:
    """The target's logits, and zero for all other classes."""
    alone = torch.zeros_like(logits)
    return alone.scatter_(1, target[:, None], logits.gather(1, target[:, None]))


def _by_example(found: Trace, at_output: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The relevance of the clips, and what each sink gets of each of them.

    A sink has one sum for the whole batch, so each example has a backward pass of its own: which
    part of a sum inside the model is whose cannot be told from its shape.
    """
    batch = len(at_output)
    relevance = torch.zeros_like(found.clip)
    sums: list[dict[str, Tensor]] = []
    for place in range(batch):
        alone = torch.zeros_like(at_output)
        alone[place] = at_output[place]
        reached, got = found.relevance_and_sinks(alone)
        relevance[place] = reached[place]
        sums.append(got)
    names = list(dict.fromkeys(name for got in sums for name in got))
    zero = torch.zeros((), dtype=wide(at_output), device=at_output.device)
    return relevance, {name: torch.stack([got.get(name, zero) for got in sums]) for name in names}
