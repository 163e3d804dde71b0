"""What a method gave, in the forms that metrics ask for."""

from __future__ import annotations

from typing import Any

import torch
from captum.attr import Attribution, Deconvolution, GuidedBackprop, Saliency
from torch import Tensor

from temporal_attr._errors import DataError
from temporal_attr._told import told
from temporal_attr._typing import ClipTensor
from temporal_attr.attributions import (
    ContrastiveLRPTemporalResult,
    PixelResult,
    Result,
    ScoreResult,
    VideoMethod,
)
from temporal_attr.evaluation._case import Explanation

_SENSITIVITIES = (Saliency, Deconvolution, GuidedBackprop)
"""Of Captum's methods, those that give gradients, of whatever kind."""


def is_sensitivity(method: object) -> bool:
    """Whether the sign of what a method gives says nothing for or against the class.

    Example:
        >>> from temporal_attr import LRP, FrameMaskingTSR, TemporalGradient
        >>> model = lambda clip: clip.mean((3, 4)).flatten(1)
        >>> is_sensitivity(FrameMaskingTSR(TemporalGradient(model)))
        True
        >>> is_sensitivity(FrameMaskingTSR(LRP(model)))
        False
    """
    if isinstance(method, VideoMethod):
        return method.traits.sensitivity or is_sensitivity(getattr(method, "method", None))
    if isinstance(method, _SENSITIVITIES):
        return True
    # Captum's NoiseTunnel holds the method whose attributions it averages.
    inner = getattr(method, "attribution_method", None)
    return isinstance(inner, Attribution) and is_sensitivity(inner)


def of_result(result: Result, sensitivity: bool) -> Explanation:
    """What a result of one clip says.

    Raises:
        DataError: If it scores neither frames nor pixels by how much they count.
    """
    if isinstance(result, ContrastiveLRPTemporalResult):
        matrix = result.frame_matrix[0].detach()
        scores = (result.step_weights.to(matrix)[:, None] * matrix).sum(0)
        # A timestep's row stands for each of its frames.
        rows = matrix.repeat_interleave(result.frames_per_step, 0)[: matrix.shape[1]]
        square = rows if rows.shape[0] == rows.shape[1] else None
        return Explanation(scores, matrix=square)
    if isinstance(result, PixelResult):
        return Explanation(
            result.frame_scores[0].detach(),
            result.attribution[0].detach(),
            sensitivity=sensitivity,
        )
    if isinstance(result, ScoreResult):
        return Explanation(result.frame_scores[0].detach())
    raise DataError(
        "a method that says how much each frame or pixel counts",
        f"a {type(result).__name__}, which says something else",
        "Leave it out, or give a function of clip and target that makes scores of it.",
    )


def of_tensor(found: Any, clip: ClipTensor, sensitivity: bool) -> Explanation:  # noqa: ANN401
    """What bare scores of one clip say: of frames, of pixels with channels or without, or pairs.

    Args:
        found: A tensor or an array, with an axis of size 1 for the batch or without; Captum's tuple
            of one tensor.
        clip: `(1, time, channel, height, width)`, which was explained.
        sensitivity: Whether its sign says nothing for or against the class: a frame's score is
            then the norm over its pixels, and else their sum.

    Raises:
        DataError: If it has another shape.

    Example:
        >>> clip = torch.zeros(1, 4, 3, 8, 8)
        >>> of_tensor(torch.ones(4, 8, 8), clip, False).frame_scores
        tensor([64., 64., 64., 64.])
    """
    if isinstance(found, tuple) and len(found) == 1:
        found = found[0]
    _, time, channels, height, width = clip.shape
    places = {
        (time, channels, height, width): "attribution",
        (time, 1, height, width): "attribution",
        (time, height, width): "pixels",
        (time,): "frames",
        (time, time): "matrix",
    }
    try:
        scores = torch.as_tensor(found).detach()
    except (TypeError, ValueError, RuntimeError):
        scores = torch.empty(0, dtype=torch.int)
    shape = tuple(scores.shape)
    kind = places.get(shape) or (places.get(shape[1:]) if shape[:1] == (1,) else None)
    if kind is None or not scores.dtype.is_floating_point:
        raise DataError(
            f"scores of {time} frames, floats of shape {(time,)}, {(time, height, width)}, "
            f"{(time, channels, height, width)} or {(time, time)}",
            told(found),
            "Give one of these, with an axis of size 1 before it or without.",
        )
    scores = scores.reshape(shape if shape in places else shape[1:])
    if kind == "frames":
        return Explanation(scores)
    if kind == "matrix":
        return Explanation(scores.sum(0), matrix=scores)
    attribution = scores[:, None] if kind == "pixels" else scores
    return Explanation(_by_frame(attribution, sensitivity), attribution, sensitivity=sensitivity)


def _by_frame(attribution: Tensor, sensitivity: bool) -> Tensor:
    flat = attribution.flatten(1)
    found: Tensor = flat.norm(dim=1) if sensitivity else flat.sum(1)
    return found
