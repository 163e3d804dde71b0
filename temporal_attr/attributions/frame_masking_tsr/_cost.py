"""What temporal saliency rescaling will take."""

from __future__ import annotations

import math

from temporal_attr._run import RunContext
from temporal_attr.attributions._estimate import TIMED, Certainty, Work, stopwatch, timed_passes
from temporal_attr.attributions._nested import model_of
from temporal_attr.attributions.frame_masking_tsr._by_frame import EncodedClips, masks_of_group
from temporal_attr.attributions.frame_masking_tsr._compute import RescalingRequest, prepared
from temporal_attr.gradients import isolated_autograd
from temporal_attr.perturbations import Mask, feature_masks, frame_masks


def rescaling_work(request: RescalingRequest) -> Work:
    """What `rescaled` takes: told from its preparation, which attributes the clips twice."""
    batch, time = request.clip.shape[:2]
    frames = batch * time
    first = RunContext()
    with isolated_autograd((request.clip,)) as (clip,), stopwatch(request.clip) as watch:
        ready, _ = prepared(request, clip, first)
    plan = RunContext()
    plan.merge(first)
    steps = [frame_masks(batch, time, request.window)]
    certainty: Certainty = "exact"
    if request.labels is not None:
        every = [(example, frame) for example in range(batch) for frame in range(time)]
        masks = [mask for place in every for mask in feature_masks(request.labels, *place)]
        steps.append(masks)
        if request.threshold is not None or request.quantile is not None:
            certainty = "at most"
    if ready.encoded is None:
        return _by_clip(request, steps, plan, watch.seconds, certainty)
    rest = RunContext()
    for masks in steps:
        _count_by_frame(ready.encoded, masks, rest)
    model = model_of(request.nested.method)
    timed = timed_passes(model, (request.clip,), request.nested.arguments)
    plan.merge(rest)
    seconds = watch.seconds + timed.seconds(rest, frames)
    return Work(plan, seconds, TIMED, "at most", timed.graph_bytes)


def _by_clip(
    request: RescalingRequest,
    steps: list[list[Mask]],
    plan: RunContext,
    seconds: float,
    certainty: Certainty,
) -> Work:
    """Every masked clip is attributed, and in the first step also predicted where that is asked.

    What the model takes after the clips belongs to the whole batch, which then goes along.
    """
    batch, time = request.clip.shape[:2]
    once, logits = RunContext(), RunContext()
    logits.ran(forward=batch * time)
    # The preparation is a prediction and two attributions.
    once.repeat(plan, 0.5)
    once.repeat(logits, -0.5)
    share = 1.0 if request.nested.arguments else 1 / batch
    masks = sum(map(len, steps))
    plan.repeat(once, masks * share)
    if request.predict:
        plan.repeat(logits, len(steps[0]) * share)
    name = request.nested.method.get_name()
    return Work(plan, seconds * (1 + masks * share / 2), f"two attributions by {name}", certainty)


def _count_by_frame(encoded: EncodedClips, masks: list[Mask], plan: RunContext) -> None:
    """Count what `effects_by_frame` takes at most: if every mask reaches every other frame.

    A mask takes its own frames forward and back, and a product at each other frame; where there are
    more masks than features, products of the directions between, too, at worst beside these.
    """
    batch, time = encoded.request.clip.shape[:2]
    length = encoded.features[0, 0].numel()
    gradient = encoded.request.gradient
    start = 0
    while start < len(masks):
        group = masks_of_group(encoded, masks, start, encoded.at_a_time)
        start += len(group)
        own = sum(len(mask.frames) for mask in group)
        plan.ran(forward=own, backward=own)
        for example in range(batch):
            mine = [mask for mask in group if mask.example == example]
            for frame in range(time):
                rows = sum(frame not in mask.frames for mask in mine)
                if rows:
                    copies = min(encoded.at_a_time, rows)
                    turns = math.ceil(rows / copies) + gradient.absolute
                    turns += math.ceil(length / copies) if rows > length else 0
                    plan.ran(forward=copies, backward=turns * copies)
