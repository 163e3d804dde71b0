"""Frames at which a clip changes, and whether the frames that matter to a model are among them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from temporal_attr._errors import OptionError
from temporal_attr._require import require_count, require_within
from temporal_attr._typing import ClipTensor, FrameScores, PerExample
from temporal_attr.clips._flow import FlowAlgorithm
from temporal_attr.measures._correlation import falling_order, hits_p_value
from temporal_attr.measures._flow import (
    flow_magnitude,
    require_pictures,
    still_pairs,
)


@dataclass(frozen=True)
class KeyframeAgreement:
    """How many of the most relevant frames are keyframes, and how many would be by chance.

    Attributes:
        precision: `(batch,)`, of the k most relevant frames, the share that are keyframes; in
            [0, 1], and NaN where k is 0.
        recall: `(batch,)`, of the keyframes, the share that are among the k most relevant frames;
            in [0, 1], and NaN where there is no keyframe.
        chance: `(batch,)`, the precision to expect of frames drawn at random: the share of
            keyframes among the frames.
        p_value: `(batch,)`, the probability of at least this precision by chance: k frames drawn
            without putting back, so that the hits are hypergeometric.

    Example:
        >>> import torch
        >>> found = keyframe_agreement(torch.tensor([[0.1, 0.9, 0.0, 0.8]]),
        ...                            torch.tensor([[False, True, False, True]]))
        >>> found.precision
        tensor([1.], dtype=torch.float64)
    """

    precision: PerExample
    recall: PerExample
    chance: PerExample
    p_value: PerExample


def histogram_changes(pixels: ClipTensor, bins: int = 16) -> Float[Tensor, "batch pairs"]:
    """How much the colours of a frame differ from those of the frame before, wherever they stand.

    Half the L1 distance of the two histograms, each as shares of the frame's pixels: the share of
    pixels that would have to change their bin. Of each channel by itself, then the mean of these.

    Args:
        pixels: `(batch, time, channel, height, width)`, RGB or grey in [0, 1]. Rounded
            to bytes first, as the flow sees them.
        bins: How many bins of a channel, from 1 to 256: byte b is in bin b * bins // 256.

    Returns:
        `(batch, time - 1)`, in [0, 1], without a unit; in float64 on the device of the clip, and
        without a gradient.

    Raises:
        ClipError: If the clip is not five axes of finite floats in 1 or 3 channels, or has fewer
            than 2 frames.
        OptionError: If the number of bins is out of its range.

    Example:
        >>> black, half = torch.zeros(1, 1, 1, 2, 2), torch.tensor([[0.0, 0], [1, 1]])
        >>> histogram_changes(torch.cat([black, half.expand_as(black), 1 - black], 1))
        tensor([[0.5000, 0.5000]], dtype=torch.float64)
    """
    require_pictures(pixels, "A change")
    require_count("bins", bins, 1, 256)
    batch, time, channels, height, width = pixels.shape
    counts = torch.zeros(batch, time, channels, bins, dtype=torch.long, device=pixels.device)
    for clip, rows in zip(pixels.detach(), counts, strict=True):
        levels = (clip.float().clamp(0, 1) * 255).round().long().flatten(2)
        places = levels * bins // 256
        rows.scatter_add_(2, places, torch.ones_like(places[:1, :1, :1]).expand_as(places))
    moved = counts.diff(dim=1).abs().sum(3).double() / (2 * height * width)
    return moved.mean(2)


def frame_changes(pixels: ClipTensor, algorithm: FlowAlgorithm = "farneback") -> FrameScores:
    """How much each frame differs from the one before, in colour and by motion.

    (h_t / max h + f_t / max f) / 2, with h_t from `histogram_changes`, f_t from `flow_magnitude`,
    and each largest value that of the clip; a part that is 0 throughout stays 0. Between frames
    that show the flow the same picture f_t is 0, and not what Farneback's finds at their edges.

    The scale is the clip's own: where nothing else happens, the noise of a camera is large.

    Args:
        pixels: `(batch, time, channel, height, width)`, RGB or grey in [0, 1].
        algorithm: As in `optical_flow`.

    Returns:
        `(batch, time)`, in [0, 1], without a unit; 0 for the first frame, which has none before it.
        In float64 on the device of the clip, and without a gradient.

    Raises:
        ClipError: As in `optical_flow`.
        OptionError: If the algorithm is unknown.

    Example:
        >>> dark, light = torch.zeros(1, 1, 3, 16, 16), torch.ones(1, 1, 3, 16, 16)
        >>> frame_changes(torch.cat([dark, dark, light], 1))  # flat frames have no flow
        tensor([[0.0000, 0.0000, 0.5000]], dtype=torch.float64)
    """
    # First, for it checks all that the others need.
    flow = flow_magnitude(pixels, algorithm).double()
    flow = flow.masked_fill(still_pairs(pixels), 0)
    return F.pad((_scaled(histogram_changes(pixels)) + _scaled(flow)) / 2, (1, 0))


def keyframes(
    pixels: ClipTensor, threshold: float = 0.3, algorithm: FlowAlgorithm = "farneback"
) -> Bool[Tensor, "batch time"]:
    """The frames at which a clip changes: the first, and those most unlike the one before.

    A frame is one if its change is at least a share of the largest change of the clip, so that a
    clip with any change has two or more, and a still one only its first frame.

    The rule is for frames as they follow each other in a video. Where a clip takes a few of them,
    or all of it moves alike, nearly all frames are found, which says nothing: see `stand_out`.

    Args:
        pixels: `(batch, time, channel, height, width)`, RGB or grey in [0, 1].
        threshold: The share, in (0, 1].
        algorithm: As in `optical_flow`.

    Returns:
        `(batch, time)`, true for keyframes.

    Raises:
        ClipError: As in `optical_flow`.
        OptionError: If the algorithm is unknown, or the threshold out of its range.

    Example:
        >>> dark, light = torch.zeros(1, 2, 3, 16, 16), torch.ones(1, 2, 3, 16, 16)
        >>> keyframes(torch.cat([dark, light], 1))
        tensor([[ True, False,  True, False]])
    """
    require_within("threshold", threshold, 0, 1)
    if threshold == 0:
        raise OptionError("threshold above 0", f"{threshold}", "At 0 every frame is a keyframe.")
    changes = frame_changes(pixels, algorithm)
    found = (changes >= threshold * changes.amax(1, keepdim=True)) & (changes > 0)
    found[:, 0] = True
    return found


def stand_out(keyframes: Bool[Tensor, "batch time"]) -> Bool[Tensor, "batch"]:
    """Whether the keyframes of a clip are some of its frames: at most half, the first aside.

    Otherwise the clip changes throughout, and not at some of its frames.

    Args:
        keyframes: `(batch, time)`, true for keyframes, as `keyframes` finds them.

    Example:
        >>> stand_out(torch.tensor([[True, False, True, False], [True, True, True, True]]))
        tensor([ True, False])
    """
    changed = keyframes[:, 1:]
    found: Tensor = 2 * changed.sum(1) <= changed.shape[1]
    return found


def keyframe_agreement(
    relevance: FrameScores, keyframes: Bool[Tensor, "batch time"], k: int | None = None
) -> KeyframeAgreement:
    """How many of the k frames with the largest relevance are keyframes.

    The first frame is a keyframe of every clip, and first among equals: where all frames have the
    same relevance it is a hit. To count changes only, leave the first frame out of both.

    Args:
        relevance: `(batch, time)`, a number for each frame, such as its time contribution. NaN
            ranks last, and equal numbers rank by frame number.
        keyframes: `(batch, time)`, true for keyframes, as `keyframes` finds them.
        k: How many frames are at the top, from 1 to the number of frames; by default as many as the
            clip has keyframes, and then precision and recall are one number.

    Returns:
        Precision, recall and chance level, each `(batch,)`, in float64 on the relevance's device.

    Raises:
        OptionError: If the two differ in shape or have no frame, the relevance is not floats or the
            keyframes not true or false, or k is out of its range.

    Example:
        >>> relevance = torch.tensor([[0.1, 0.9, 0.0, 0.8]])
        >>> agreement = keyframe_agreement(relevance, torch.tensor([[False, True, False, True]]))
        >>> agreement.precision.item(), agreement.chance.item(), round(agreement.p_value.item(), 4)
        (1.0, 0.5, 0.1667)
    """
    _require_alike(relevance, keyframes)
    time = relevance.shape[1]
    keyframes = keyframes.to(relevance.device)
    listed = keyframes.sum(1)
    if k is not None:
        require_count("k", k, 1, time)
    drawn = listed if k is None else torch.full_like(listed, k)
    top = torch.arange(time, device=relevance.device) < drawn[:, None]
    hits = (keyframes.gather(1, falling_order(relevance.detach())) & top).sum(1)
    p_value = hits_p_value(hits.cpu().numpy(), time, listed.cpu().numpy(), drawn.cpu().numpy())
    return KeyframeAgreement(
        precision=hits.double() / drawn,
        recall=hits.double() / listed,
        chance=listed.double() / time,
        p_value=torch.from_numpy(p_value).to(relevance.device),
    )


def _scaled(changes: Float[Tensor, "batch pairs"]) -> Float[Tensor, "batch pairs"]:
    """As shares of the largest; 0 where all are."""
    largest = changes.amax(1, keepdim=True)
    return changes / torch.where(largest > 0, largest, 1)


def _require_alike(relevance: Tensor, keyframes: Tensor) -> None:
    if relevance.ndim != 2 or relevance.shape != keyframes.shape or relevance.shape[1] == 0:
        raise OptionError(
            "relevance and keyframes (batch, time) of one shape, with at least 1 frame",
            f"shapes {tuple(relevance.shape)} and {tuple(keyframes.shape)}",
            "Give one number and one truth value for each frame.",
        )
    if not relevance.is_floating_point():
        remedy = "Convert it with `.float()`."
        raise OptionError("relevance in floating point", f"{relevance.dtype}", remedy)
    if keyframes.dtype != torch.bool:
        remedy = "Compare to a threshold."
        raise OptionError("keyframes that are true or false", f"{keyframes.dtype}", remedy)
