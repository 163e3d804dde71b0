"""Temporal saliency rescaling: from what hiding moves to a rescaled attribution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from temporal_attr._typing import ClipTensor, FrameScores, Logits
from temporal_attr.attributions._features import Labels
from temporal_attr.attributions._masked_changes import Mask, Masked


@dataclass(frozen=True)
class FrameChanges:
    """What hiding frames does.

    Attributes:
        moved: `(batch, time)`, Delta_t: how far the attribution moves when frame t is hidden; for
            windows the mean over those that hide it.
        logits: `(batch, time, classes)`, the same of the logits.
        masks: How many clips were masked.
    """

    moved: FrameScores
    logits: Float[Tensor, "batch time classes"]
    masks: int


def hide_frames(
    masked: Masked, clip: ClipTensor, relevance: ClipTensor, window: int, show_progress: bool
) -> FrameChanges:
    """Hide every run of `window` frames, and share what that does among them."""
    batch, frames = clip.shape[:2]
    starts = range(frames - window + 1)
    masks = [Mask(example, start, start + window) for example in range(batch) for start in starts]
    found = masked.changes(clip, relevance, masks, "hidden frames", show_progress)
    covers = torch.zeros(len(starts), frames, dtype=torch.float64)
    for row, start in enumerate(starts):
        covers[row, start : start + window] = 1
    shares = (covers / covers.sum(0)).to(clip.device)
    moved = found.moved.unflatten(0, (batch, len(starts))).double() @ shares
    logits = found.logits.unflatten(0, (batch, len(starts))).double()
    spread = torch.einsum("bsk,st->btk", logits, shares)
    return FrameChanges(moved.to(clip.dtype), spread.to(clip.dtype), len(masks))


def hide_features(
    masked: Masked,
    clip: ClipTensor,
    relevance: ClipTensor,
    labels: Labels,
    kept: Bool[Tensor, "batch time"],
    show_progress: bool,
) -> tuple[Float[Tensor, "batch time height width"], int]:
    """Delta_i,t at the pixels of each feature i of the frames that are kept, 0 in others.

    And how many clips were masked.
    """
    places: list[tuple[int, int, int]] = []
    masks: list[Mask] = []
    for example, frame in kept.nonzero().tolist():
        for label in labels[example, frame].unique().tolist():
            places.append((example, frame, label))
            part = labels[example, frame] == label
            masks.append(Mask(example, frame, frame + 1, part))
    changed = clip.new_zeros(labels.shape)
    if masks:
        found = masked.changes(clip, relevance, masks, "hidden features", show_progress)
        for (example, frame, _), mask, moved in zip(places, masks, found.moved, strict=True):
            assert mask.part is not None
            changed[example, frame][mask.part] = moved
    return changed, len(masks)


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
    logits: Logits, hidden: Float[Tensor, "batch time classes"], target: Int[Tensor, "batch"]
) -> tuple[FrameScores, FrameScores]:
    """How far the target's probability, and being right about it (1 or 0), fall without a frame."""
    index = target[:, None, None].expand(-1, hidden.shape[1], 1)
    before = logits.softmax(1).gather(1, target[:, None])
    after = hidden.softmax(2).gather(2, index).squeeze(2)
    right = (logits.argmax(1) == target).to(logits.dtype)[:, None]
    still = (hidden.argmax(2) == target[:, None]).to(logits.dtype)
    return before - after, right - still
