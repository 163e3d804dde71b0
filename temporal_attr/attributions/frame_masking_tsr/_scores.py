"""What is made of the effects of masks: frames that are kept, and drops of the prediction."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from temporal_attr._activation import (
    Activation,
    predicted,
    probabilities,
    resolved_activation,
)
from temporal_attr._typing import FrameScores, Logits, Target
from temporal_attr.perturbations import at_least_single, mean_over_windows


@dataclass(frozen=True)
class Contributions:
    """What the model says without a frame; for windows the means over those that mask it.

    Attributes:
        time: `(batch, time)`, the drop of the target's probability, or of its output where there
            are no probabilities.
        accuracy: `(batch, time)`, the drop of being right about it, which is 1 or 0; NaN where
            there are no probabilities.
    """

    time: FrameScores
    accuracy: FrameScores


def contributions(
    logits: Logits,
    masked: Float[Tensor, "batch windows classes"],
    target: Target,
    like: FrameScores,
    window: int,
    activation: Activation | None = None,
) -> Contributions:
    """How far the target's probability, and being right about it, drop without each frame.

    Args:
        logits: Of the clips as they are.
        masked: Of clips without the frames of a window.
        target: The class of each clip.
        like: Scores of frames, of whose shape and precision these are.
        window: Frames that are masked at once.
        activation: What turns logits into probabilities; None finds it out from those of the clips
            as they are.
    """
    known = resolved_activation(activation, logits)
    # A difference of half precision numbers has no digits left.
    logits, masked = (one.to(at_least_single(one.dtype)) for one in (logits, masked))
    drops = _drops(logits, masked, target, known)
    time, accuracy = (mean_over_windows(one.double(), like.shape[1], window) for one in drops)
    return Contributions(time.to(like.dtype), accuracy.to(like.dtype))


def kept_frames(
    time_relevance: FrameScores, threshold: float | None, quantile: float | None
) -> Bool[Tensor, "batch time"]:
    """Frames whose Delta_t is at least a threshold, or a quantile of the clip's own."""
    if quantile is not None:
        least = time_relevance.double().quantile(quantile, dim=1, keepdim=True)
        return time_relevance.double() >= least
    if threshold is not None:
        return time_relevance >= threshold
    return torch.ones_like(time_relevance, dtype=torch.bool)


def scaled(values: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Values from 0 to 1, the smallest to the largest over some axes; 0 if all are equal.

    Example:
        >>> scaled(torch.tensor([[1.0, 2.0, 5.0], [3.0, 3.0, 3.0]]), (1,))
        tensor([[0.0000, 0.2500, 1.0000],
                [0.0000, 0.0000, 0.0000]])
    """
    low, high = values.amin(dims, keepdim=True), values.amax(dims, keepdim=True)
    return torch.where(high > low, (values - low) / (high - low), 0.0)


def _drops(
    logits: Logits,
    masked: Float[Tensor, "batch windows classes"],
    target: Target,
    activation: Activation,
) -> tuple[Float[Tensor, "batch windows"], Float[Tensor, "batch windows"]]:
    """How far the target's probability (or output), and being right about it (1 or 0), drop."""
    of_target = target[:, None].expand(-1, masked.shape[1])
    right = predicted(logits, target, activation)[:, None]
    still = predicted(masked, of_target, activation)
    if activation != "none":
        logits, masked = probabilities(logits, activation), probabilities(masked, activation)
    before = logits.gather(1, target[:, None])
    after = masked.gather(2, of_target[..., None]).squeeze(2)
    return before - after, right - still
