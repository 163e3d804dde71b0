"""Temporal saliency rescaling: from the effects of masks to a rescaled attribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from temporal_attr._errors import ModelError
from temporal_attr._run import RunContext
from temporal_attr._typing import ClipTensor, FrameScores, Logits, Target, TargetLike
from temporal_attr.attributions._nested import NestedMethod
from temporal_attr.attributions.frame_masking_tsr._by_clip import (
    ClipRequest,
    attributed,
    effects_by_clip,
    predicted,
)
from temporal_attr.attributions.frame_masking_tsr._by_frame import (
    EncodedClips,
    FrameRequest,
    effects_by_frame,
    encoded_clips,
)
from temporal_attr.attributions.frame_masking_tsr._frame_gradient import (
    FrameGradient,
    frame_gradient,
)
from temporal_attr.attributions.frame_masking_tsr._scores import kept_frames, scaled
from temporal_attr.gradients import DEFAULT_CHUNK, isolated_autograd, resolve_target
from temporal_attr.perturbations import (
    Baselines,
    Effects,
    Labels,
    MaskQuery,
    OnStop,
    at_least_single,
    baseline_of,
    feature_masks,
    frame_masks,
    mean_over_windows,
)

PRECISE = (torch.float32, torch.float64)
"""Where what is computed by frame can be told from rounding."""


@dataclass(frozen=True)
class RescalingRequest:
    """What is asked: of which method, and how its attribution is rescaled.

    Attributes:
        nested: The method.
        clip: `(batch, time, channel, height, width)`.
        target: In any of Captum's forms.
        labels: The features of every frame, for two steps; None for one.
        baselines: What replaces what is masked.
        window: Frames that are masked at once in the first step.
        threshold: The least Delta_t of a frame that is kept.
        quantile: The quantile of Delta_t that is the least of a frame that is kept.
        normalize: Whether both factors are scaled to [0, 1].
        perturbations_per_eval: Masked clips, or masked frames, that go through at a time.
        seed: Of the method's random numbers.
        predict: Whether the logits of clips without a frame are asked for.
        on_stop: What becomes of a second step that is stopped.
    """

    nested: NestedMethod
    clip: ClipTensor
    target: TargetLike
    labels: Labels | None
    baselines: Baselines
    window: int
    threshold: float | None
    quantile: float | None
    normalize: bool
    perturbations_per_eval: int | None
    seed: int | None
    predict: bool = False
    on_stop: OnStop = "raise"

    @property
    def frames_at_a_time(self) -> int:
        """Frames that go through the model at a time: those of as many masks as are asked for."""
        asked = self.perturbations_per_eval
        return DEFAULT_CHUNK if asked is None else asked * self.window


@dataclass(frozen=True)
class Rescaling:
    """What was found.

    Attributes:
        logits: `(batch, classes)`, of the clips as they are.
        target: `(batch,)`.
        base: R(X).
        attribution: The rescaled attribution.
        time_relevance: `(batch, time)`, Delta_t.
        masked_logits: `(batch, windows, classes)`, of clips without the frames of a window; None if
            they were not asked for.
        above: `(batch, time)`, frames whose Delta_t is large enough.
        kept: `(batch, time)`, those of them that were done.
        masks: How many masks there were.
        done: How many of them were applied.
    """

    logits: Logits
    target: Target
    base: ClipTensor
    attribution: ClipTensor
    time_relevance: FrameScores
    masked_logits: Float[Tensor, "batch windows classes"] | None
    above: Bool[Tensor, "batch time"]
    kept: Bool[Tensor, "batch time"]
    masks: int
    done: int


@dataclass(frozen=True)
class Prepared:
    """What masked clips are compared with, and how masks are applied.

    Attributes:
        clips: The method, and the clips as they are.
        base: R(X).
        encoded: The clips encoded, where masks are applied by frame; None where by clip.
    """

    clips: ClipRequest
    base: ClipTensor
    encoded: EncodedClips | None


@dataclass(frozen=True)
class _FeatureChanges:
    """What masking the features of frames does.

    Attributes:
        change: `(batch, time, height, width)`, Delta_i,t at the pixels of each feature i.
        done: `(batch, time)`, frames of which all features were masked.
        effects: Mask by mask; None if there was none.
    """

    change: Float[Tensor, "batch time height width"]
    done: Bool[Tensor, "batch time"]
    effects: Effects | None


def rescaled(request: RescalingRequest, run: RunContext) -> Rescaling:
    """Mask every frame, in two steps also every feature of those that are kept, and rescale."""
    with isolated_autograd((request.clip,)) as (clip,):
        ready, logits = prepared(request, clip, run)
        return _from_effects(request, ready, logits, run)


def prepared(
    request: RescalingRequest, clip: ClipTensor, run: RunContext
) -> tuple[Prepared, Logits]:
    """What comes before all masks: the logits, R(X) twice, and whether masks go by frame."""
    gradient = _frame_gradient(request)
    fixed = request.perturbations_per_eval is not None
    at_a_time = _whole_at_a_time(request, gradient)
    logits = predicted(request.nested, clip, at_a_time, fixed, request.seed, run)
    clips = ClipRequest(
        nested=request.nested,
        clip=clip,
        target=resolve_target(request.target, logits),
        baseline=baseline_of(clip, request.baselines),
        seed=request.seed,
        whole_at_a_time=at_a_time,
        masked_at_a_time=request.perturbations_per_eval or at_a_time,
        fixed=fixed,
    )
    base = attributed(clips, run)
    _require_repeatable(clips, base, run)
    return Prepared(clips, base, _encoded(request, clips, gradient, base, run)), logits


def _from_effects(
    request: RescalingRequest, prepared: Prepared, logits: Logits, run: RunContext
) -> Rescaling:
    """Both steps, once it is clear how masks are applied."""
    batch, frames = prepared.clips.clip.shape[:2]
    masks = frame_masks(batch, frames, request.window)
    query = MaskQuery(masks, "masked frames", request.predict)
    first = _effects(prepared, query, run)
    change = first.change.unflatten(0, (batch, -1))
    time_relevance = mean_over_windows(change, frames, request.window)
    above = kept_frames(time_relevance, request.threshold, request.quantile)
    steps, features = [first], None
    if request.labels is not None:
        order = _by_relevance(time_relevance, above)
        features = _feature_changes(prepared, request.labels, order, request.on_stop, run)
        steps += [] if features.effects is None else [features.effects]
    return Rescaling(
        logits=logits,
        target=prepared.clips.target,
        base=prepared.base,
        attribution=_product(request, prepared.base, time_relevance, above, features),
        time_relevance=time_relevance,
        masked_logits=None if first.logits is None else first.logits.unflatten(0, (batch, -1)),
        above=above,
        kept=above if features is None else above & features.done,
        masks=sum(len(one.done) for one in steps),
        done=sum(int(one.done.sum()) for one in steps),
    )


def _frame_gradient(request: RescalingRequest) -> FrameGradient | None:
    """The method as a gradient that may be computed by frame, or None."""
    # With a seed, the model itself may draw random numbers.
    if request.seed is not None or request.clip.dtype not in PRECISE:
        return None
    return frame_gradient(request.nested)


def _whole_at_a_time(request: RescalingRequest, gradient: FrameGradient | None) -> int:
    """Clips as they are that go through the model at a time."""
    if request.perturbations_per_eval is not None and gradient is None:
        return request.perturbations_per_eval
    return max(1, request.frames_at_a_time // request.clip.shape[1])


def _encoded(
    request: RescalingRequest,
    clips: ClipRequest,
    gradient: FrameGradient | None,
    base: ClipTensor,
    run: RunContext,
) -> EncodedClips | None:
    """The clips encoded where that serves to apply masks by frame, to the same numbers."""
    if gradient is None:
        return None
    frames = FrameRequest(
        gradient=gradient,
        target=clips.target,
        clip=clips.clip,
        base=base,
        baseline=clips.baseline,
        at_a_time=request.frames_at_a_time,
        fixed=clips.fixed,
    )
    return encoded_clips(frames, run)


def _effects(prepared: Prepared, query: MaskQuery, run: RunContext) -> Effects:
    """What masks do, by frame where that gives the same numbers, else by clip."""
    if prepared.encoded is None:
        return effects_by_clip(prepared.clips, prepared.base, query, run)
    return effects_by_frame(prepared.encoded, query, run)


def _require_repeatable(clips: ClipRequest, base: ClipTensor, run: RunContext) -> None:
    """Raise if the same clip gets another attribution the second time."""
    precise = base.to(at_least_single(base.dtype))
    change = (attributed(clips, run) - precise).abs().sum().item()
    if change > 100 * torch.finfo(base.dtype).eps * precise.abs().sum().item():
        raise ModelError(
            "a method that gives the same clip the same attribution",
            f"{clips.nested.method.get_name()}, which draws random numbers",
            "Give FrameMaskingTSR(..., seed=0), so that all masked clips see the same ones.",
        )


def _feature_changes(
    prepared: Prepared,
    labels: Labels,
    order: Sequence[tuple[int, int]],
    on_stop: OnStop,
    run: RunContext,
) -> _FeatureChanges:
    """Mask every feature of some frames, given as example and place.

    A run that is stopped has done the first of them.
    """
    clip = prepared.clips.clip
    change = clip.new_zeros(labels.shape, dtype=at_least_single(clip.dtype))
    done = torch.zeros(labels.shape[:2], dtype=torch.bool, device=change.device)
    by_frame = [feature_masks(labels, *place) for place in order]
    masks = [mask for own in by_frame for mask in own]
    if not masks:
        return _FeatureChanges(change, done, None)
    query = MaskQuery(masks, "masked features", on_stop=on_stop)
    found = _effects(prepared, query, run)
    sizes = [len(own) for own in by_frame]
    parts = zip(order, found.change.split(sizes), found.done.split(sizes), strict=True)
    for place, own, finished in parts:
        if finished.all():
            _, inverse = labels[place].unique(return_inverse=True)
            change[place], done[place] = own[inverse], True
    return _FeatureChanges(change, done, found)


def _product(
    request: RescalingRequest,
    base: ClipTensor,
    time_relevance: FrameScores,
    above: Bool[Tensor, "batch time"],
    features: _FeatureChanges | None,
) -> ClipTensor:
    """The attribution, or the changes by feature, times the time relevance of kept frames.

    In single precision at least, as the time relevance is.
    """
    by_frame = scaled(time_relevance, (1,)) if request.normalize else time_relevance
    weight = torch.where(above, by_frame, 0)[:, :, None, None, None]
    if features is None:
        return base * weight
    change = scaled(features.change, (2, 3)) if request.normalize else features.change
    return (change.unsqueeze(2) * weight).expand_as(base).contiguous()


def _by_relevance(
    time_relevance: FrameScores, above: Bool[Tensor, "batch time"]
) -> list[tuple[int, int]]:
    """Kept frames as example and place; those that matter most first, as a run may be stopped."""
    order = time_relevance.flatten().argsort(descending=True, stable=True).tolist()
    places = [divmod(place, time_relevance.shape[1]) for place in order]
    return [place for place in places if above[place]]
