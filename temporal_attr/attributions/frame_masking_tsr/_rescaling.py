"""Temporal saliency rescaling: from what hiding moves to a rescaled attribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from temporal_attr._typing import ClipTensor, FrameScores, Logits, Target
from temporal_attr.perturbations._feature_mask import Labels
from temporal_attr.perturbations._effects import Changes, Mask, MaskedAttribution, OnStop


@dataclass(frozen=True)
class FrameChanges:
    """What hiding frames does.

    Attributes:
        moved: `(batch, time)`, Delta_t: how far the attribution moves when frame t is hidden; for
            windows the mean over those that hide it.
        fall: `(batch, time)`, how far the target's probability falls, for windows likewise.
        lost: `(batch, time)`, the same of being right about it, 1 or 0.
        found: Mask by mask.
    """

    moved: FrameScores
    fall: FrameScores
    lost: FrameScores
    found: Changes


@dataclass(frozen=True)
class FeatureChanges:
    """What hiding parts of frames does.

    Attributes:
        moved: `(batch, time, height, width)`, Delta_i,t at the pixels of each part i.
        done: `(batch, time)`, frames of which all parts were hidden.
        found: Mask by mask; None if there was none.
    """

    moved: Float[Tensor, "batch time height width"]
    done: Bool[Tensor, "batch time"]
    found: Changes | None


def hide_frames(
    masked: MaskedAttribution,
    clip: ClipTensor,
    relevance: ClipTensor,
    logits: Logits,
    target: Target,
    window: int,
    show_progress: bool,
) -> FrameChanges:
    """Hide every run of `window` frames, and share what that does among them."""
    batch, frames = clip.shape[:2]
    starts = range(frames - window + 1)
    masks = [Mask(example, start, start + window) for example in range(batch) for start in starts]
    found = masked.changes(clip, relevance, masks, "hidden frames", True, show_progress)
    assert found.logits is not None
    covers = torch.zeros(len(starts), frames, dtype=torch.float64)
    for row, start in enumerate(starts):
        covers[row, start : start + window] = 1
    shares = (covers / covers.sum(0)).to(clip.device)
    hidden = found.logits.unflatten(0, (batch, len(starts)))
    numbers = (found.moved.unflatten(0, (batch, len(starts))), *falls(logits, hidden, target))
    moved, fall, lost = ((one.double() @ shares).to(clip.dtype) for one in numbers)
    return FrameChanges(moved, fall, lost, found)


def hide_features(
    masked: MaskedAttribution,
    clip: ClipTensor,
    relevance: ClipTensor,
    labels: Labels,
    order: Sequence[tuple[int, int]],
    show_progress: bool,
    on_stop: OnStop,
) -> FeatureChanges:
    """Hide every part of some frames.

    Args:
        masked: How the attribution moves.
        clip: `(batch, time, channel, height, width)`.
        relevance: R(X).
        labels: The parts of each frame.
        order: The frames, each as example and place; a run that is stopped has done the first ones.
        show_progress: Show a bar.
        on_stop: See `MaskedAttribution.changes`.
    """
    changed = clip.new_zeros(labels.shape)
    done = torch.zeros(clip.shape[:2], dtype=torch.bool, device=clip.device)
    parts = [labels[place].unique(return_inverse=True) for place in order]
    masks = [
        Mask(example, frame, frame + 1, labels[example, frame], int(label))
        for (example, frame), (numbers, _) in zip(order, parts, strict=True)
        for label in numbers
    ]
    if not masks:
        return FeatureChanges(changed, done, None)
    found = masked.changes(clip, relevance, masks, "hidden features", False, show_progress, on_stop)
    sizes = [len(numbers) for numbers, _ in parts]
    pieces = zip(order, parts, found.moved.split(sizes), found.done.split(sizes), strict=True)
    for place, (_, inverse), moved, finished in pieces:
        if finished.all():
            changed[place], done[place] = moved[inverse], True
    return FeatureChanges(changed, done, found)


def kept_frames(
    moved: FrameScores, threshold: float | None, quantile: float | None
) -> Bool[Tensor, "batch time"]:
    """Frames whose Delta_t is at least a threshold, or a quantile of the clip's own."""
    if quantile is not None:
        least = moved.double().quantile(quantile, dim=1, keepdim=True)
        return moved.double() >= least
    if threshold is not None:
        return moved >= threshold
    return torch.ones_like(moved, dtype=torch.bool)


def scaled(values: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Values from 0 to 1, the smallest to the largest over some axes; 0 if all are equal."""
    low, high = values.amin(dims, keepdim=True), values.amax(dims, keepdim=True)
    return torch.where(high > low, (values - low) / (high - low), 0.0)


def falls(
    logits: Logits, hidden: Float[Tensor, "batch windows classes"], target: Target
) -> tuple[Float[Tensor, "batch windows"], Float[Tensor, "batch windows"]]:
    """How far the target's probability, and being right about it (1 or 0), fall."""
    index = target[:, None, None].expand(-1, hidden.shape[1], 1)
    before = logits.softmax(1).gather(1, target[:, None])
    after = hidden.softmax(2).gather(2, index).squeeze(2)
    right = (logits.argmax(1) == target).to(logits.dtype)[:, None]
    still = (hidden.argmax(2) == target[:, None]).to(logits.dtype)
    return before - after, right - still
