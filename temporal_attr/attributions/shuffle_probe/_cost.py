"""What scoring a clip in many orders will take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from temporal_attr._run import RunContext
from temporal_attr._typing import ClipTensor, Orders
from temporal_attr.attributions._estimate import TIMED, Call, Work, stopwatch, timed_passes
from temporal_attr.attributions.shuffle_probe._by_clip import count_by_gradient
from temporal_attr.attributions.shuffle_probe._by_frame import count_by_frame
from temporal_attr.attributions.shuffle_probe._compute import (
    ProbeRequest,
    drawn_orders,
    goes_by_frame,
    still_clip,
)
from temporal_attr.attributions.shuffle_probe._scores import GradientScorer, MethodScorer
from temporal_attr.clips import window_starts
from temporal_attr.gradients import resolve_target


@dataclass(frozen=True)
class _Scoring:
    """Clips that are scored in some orders."""

    clip: ClipTensor
    orders: Orders

    @property
    def frames(self) -> int:
        """Frames of all clips in all orders."""
        return len(self.orders) * self.clip.shape[0] * self.clip.shape[1]


def probe_work(request: ProbeRequest, call: Call, size: int, overlap: float) -> Work:
    """What `median_ratios` or `probe` takes, and `probe_segments` of a clip longer than a segment.

    Args:
        request: What is asked of the whole clip.
        call: `"attribute"` for the first of these, `"explain"` for the others.
        size: Frames in a segment; those of the clip, if there are none.
        overlap: The share of a segment that is in the next one, too.
    """
    frames = request.clip.shape[1]
    segmented = call == "explain" and frames > size
    starts = window_starts(frames, size, overlap) if segmented else []
    clips = [request.clip, *(request.clip[:, start : start + size] for start in starts)]
    scorings = [one for clip in clips for one in _scorings(request, clip, call)]
    if isinstance(request.scorer, MethodScorer):
        return _by_method(request, request.scorer, scorings)
    return _by_gradient(request, request.scorer, scorings)


def _scorings(request: ProbeRequest, clip: ClipTensor, call: Call) -> list[_Scoring]:
    """What is scored of a clip: in order and shuffled; for `probe` also one frame repeated."""
    orders = drawn_orders(replace(request, clip=clip))
    if call == "attribute":
        return [_Scoring(clip, orders)]
    again = [_Scoring(clip, orders[:1])] if request.repeat else []
    return [_Scoring(clip, orders), _Scoring(still_clip(clip), orders[:1]), *again]


def _by_gradient(
    request: ProbeRequest, scorer: GradientScorer, scorings: Sequence[_Scoring]
) -> Work:
    plan = RunContext()
    clip = request.clip
    timed = timed_passes(scorer.model, (clip,), scorer.arguments)
    # Heads take long where there are many orders, and are no passes.
    heads = 0.0
    for one in scorings:
        asked = request.scores_of(one.clip, one.orders)
        if goes_by_frame(scorer):
            with stopwatch(clip) as watch:
                count_by_frame(asked, plan)
            share = one.clip.shape[1] / clip.shape[1]
            heads += max(0.0, watch.seconds - share * timed.forward)
        else:
            count_by_gradient(asked, scorer, plan)
    seconds = timed.seconds(plan, clip.shape[0] * clip.shape[1]) + heads
    return Work(plan, seconds, TIMED, graph_bytes=timed.graph_bytes)


def _by_method(request: ProbeRequest, scorer: MethodScorer, scorings: Sequence[_Scoring]) -> Work:
    """Each order of a clip takes a forward pass for its logits, and what the method takes."""
    clip, once = request.clip, RunContext()
    frames = clip.shape[0] * clip.shape[1]
    with stopwatch(clip) as watch:
        logits = scorer.nested.logits(clip, once)
        scorer.nested.attribute(clip, resolve_target(request.target, logits), once)
    times = sum(one.frames for one in scorings) / frames
    plan = RunContext()
    plan.repeat(once, times)
    name = scorer.nested.method.get_name()
    return Work(plan, watch.seconds * times, f"one attribution by {name}")
