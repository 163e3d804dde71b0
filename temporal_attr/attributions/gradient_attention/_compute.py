"""Gradient attention, as a function of what is asked."""

from __future__ import annotations

from torch import Tensor, nn

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
from temporal_attr.models import FramewiseModel
from temporal_attr.relevance import AttentionFlow, attention_gradients


def gradient_attention(request: AttentionRequest, identity: bool, run: RunContext) -> AttentionMap:
    """The mass of each output on the pixels, all past and all through each attention.

    Attention moves it by the positive part of weights times their gradients, mean over heads.
    Without the identity, what has come past all attention is taken off.
    """
    frames = request.clip.shape[0] * request.clip.shape[1]

    def target_logits(output: Tensor) -> Tensor:
        # Of all examples: none has a part in the attention of another.
        return logit(output, resolve_target(request.target, output.detach())).sum()

    with isolated_autograd((request.clip,)) as (clip,):
        found = attention_gradients(request.logits, clip, target_logits, request.model)
        run.ran(forward=frames)
        pairs = zip(found.weights, found.gradients, strict=True)
        positive = [(weights * gradient).clamp(min=0) for weights, gradient in pairs]
        flow = AttentionFlow("whole", positive, found.weights, request.model)
        mass = attention_map(request, clip, flow, run)
        if _attends_by_frame(request.model, flow):
            run.ran(backward=frames)
        if identity:
            return mass
        past = attention_map(request, clip, AttentionFlow("skip", model=request.model), run)
        # The difference of two sums: rounding can make it less than nothing.
        return AttentionMap(
            (mass.attribution - past.attribution).clamp(min=0),
            (mass.frame_scores - past.frame_scores).clamp(min=0),
            mass.logits,
            mass.target,
        )


def _attends_by_frame(model: object, flow: AttentionFlow) -> bool:
    """Whether gradients by attention go back through what passes of a model are counted at.

    Those of a head over time do not reach the encoder of single frames.
    """
    encoder = getattr(model, "encoder", None)
    if not isinstance(model, FramewiseModel) or not isinstance(encoder, nn.Module):
        return True
    parts = set(encoder.modules())
    inside = {f"module {name!r}" for name, part in model.named_modules() if part in parts}
    return any(call.module in inside for call in flow.calls)


def explained(
    request: AttentionRequest, identity: bool, over_time: bool, run: RunContext
) -> tuple[AttentionMap, AttentionOverTime | None]:
    """The same, and the model's attention over time if it is asked for."""
    found = gradient_attention(request, identity, run)
    if not over_time:
        return found, None
    with isolated_autograd((request.clip,)) as (clip,):
        return found, attention_over_time(request, clip, found.attribution, run)


def attention_work(request: AttentionRequest, identity: bool, over_time: bool) -> Work:
    """What the two take, told from both passes forward and back."""
    plan, first = RunContext(), RunContext()
    frames = request.clip.shape[0] * request.clip.shape[1]
    with graph_size(request.model) as held, stopwatch(request.clip) as whole:
        gradient_attention(request, identity, first)
    tried = first.finished(frames)
    forward, backward = tried.forward_passes or 0, tried.backward_passes or 0
    plan.ran(forward=round(forward * frames), backward=round(backward * frames))
    if over_time:
        plan.ran(forward=frames, backward=frames)
    seconds = whole.seconds * (1.75 if over_time else 1)
    return Work(plan, seconds, "two passes forward and back", graph_bytes=held.bytes)
