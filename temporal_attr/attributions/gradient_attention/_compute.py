"""Gradient attention, as a function of what is asked."""

from __future__ import annotations

from torch import Tensor

from temporal_attr._run import RunContext
from temporal_attr.attributions._attention import (
    AttentionMap,
    AttentionOverTime,
    AttentionRequest,
    attention_map,
    attention_over_time,
)
from temporal_attr.attributions._estimate import Work, graph_size, stopwatch
from temporal_attr.gradients import isolated_autograd, logit, resolve_target
from temporal_attr.relevance import AttentionFlow, attention_gradients


def gradient_attention(request: AttentionRequest, run: RunContext) -> AttentionMap:
    """The mass of each output on the pixels, all past and all through each attention.

    Attention moves it by the positive part of weights times their gradients, mean over heads.
    """
    frames = request.clip.shape[0] * request.clip.shape[1]

    def target_logits(output: Tensor) -> Tensor:
        # Of all examples: none has a part in the attention of another.
        return logit(output, resolve_target(request.target, output.detach())).sum()

    with isolated_autograd((request.clip,)) as (clip,):
        found = attention_gradients(request.logits, clip, target_logits, request.model)
        run.ran(forward=frames)
        if found.weights:
            run.ran(backward=frames)
        pairs = zip(found.weights, found.gradients, strict=True)
        positive = [(weights * gradient).clamp(min=0) for weights, gradient in pairs]
        flow = AttentionFlow("whole", positive, found.weights, request.model)
        return attention_map(request, clip, flow, run)


def explained(
    request: AttentionRequest, over_time: bool, run: RunContext
) -> tuple[AttentionMap, AttentionOverTime | None]:
    """The same, and the model's attention over time if it is asked for."""
    found = gradient_attention(request, run)
    if not over_time:
        return found, None
    with isolated_autograd((request.clip,)) as (clip,):
        return found, attention_over_time(request, clip, found.attribution, run)


def attention_work(request: AttentionRequest, over_time: bool) -> Work:
    """What the two take, told from both passes forward and back."""
    plan, first = RunContext(), RunContext()
    frames = request.clip.shape[0] * request.clip.shape[1]
    with graph_size(request.model) as held, stopwatch(request.clip) as whole:
        gradient_attention(request, first)
    plan.ran(forward=2 * frames, backward=2 * frames)
    if over_time:
        plan.ran(forward=frames, backward=2 * frames)
    seconds = whole.seconds * (2 if over_time else 1)
    return Work(plan, seconds, "two passes forward and back", graph_bytes=held.bytes)
