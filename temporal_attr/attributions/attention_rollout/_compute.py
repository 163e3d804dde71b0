"""Attention rollout, as a function of what is asked."""

from __future__ import annotations

from temporal_attr._run import RunContext
from temporal_attr.attributions._attention import (
    AttentionMap,
    AttentionOverTime,
    AttentionRequest,
    attention_map,
    attention_over_time,
)
from temporal_attr.attributions._estimate import Work, graph_size, stopwatch
from temporal_attr.gradients import isolated_autograd
from temporal_attr.relevance import AttentionFlow


def rollout(request: AttentionRequest, run: RunContext) -> AttentionMap:
    """The mass of each output on the pixels, half past and half through each attention."""
    with isolated_autograd((request.clip,)) as (clip,):
        flow = AttentionFlow("half", model=request.model)
        return attention_map(request, clip, flow, run)


def explained(
    request: AttentionRequest, over_time: bool, run: RunContext
) -> tuple[AttentionMap, AttentionOverTime | None]:
    """The same, and the model's attention over time if it is asked for."""
    found = rollout(request, run)
    if not over_time:
        return found, None
    with isolated_autograd((request.clip,)) as (clip,):
        return found, attention_over_time(request, clip, found.attribution, run)


def rollout_work(request: AttentionRequest, over_time: bool) -> Work:
    """What the two take, told from a pass forward and back."""
    plan, first = RunContext(), RunContext()
    frames = request.clip.shape[0] * request.clip.shape[1]
    with graph_size(request.model) as held, stopwatch(request.clip) as whole:
        rollout(request, first)
    plan.ran(forward=frames, backward=frames)
    if over_time:
        plan.ran(forward=frames, backward=frames)
    seconds = whole.seconds * (2.5 if over_time else 1)
    return Work(plan, seconds, "a pass forward and back by these rules", graph_bytes=held.bytes)
