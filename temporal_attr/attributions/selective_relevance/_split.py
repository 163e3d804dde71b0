"""What in an attribution changes over time, and clips in which nothing does."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from temporal_attr._errors import OptionError
from temporal_attr._precision import wide
from temporal_attr._require import require_within
from temporal_attr._typing import ClipTensor, FrameScores, PerExample
from temporal_attr.perturbations import clip_baseline_of

Static: TypeAlias = Literal["frame", "frozen", "mean_frame", "derivative"]
"""What is taken for an attribution without motion."""

SIGMA = 1.0
"""How many standard deviations a derivative over time is, from which on it counts as motion."""


def resolve_sigma(static: Static, sigma: float | None) -> float | None:
    """The threshold of the derivative, where there is one.

    Raises:
        OptionError: If it is out of range, or given where nothing is compared with it.
    """
    if sigma is None:
        return SIGMA if static == "derivative" else None
    if static != "derivative":
        raise OptionError(
            'sigma with static="derivative"', f"static={static!r}", "Leave one of them out."
        )
    require_within("sigma", sigma, 0)
    return sigma


def still_clips(static: Static, clip: ClipTensor) -> int:
    """How many clips without motion an example has."""
    return {"frame": clip.shape[1], "frozen": 1, "mean_frame": 1, "derivative": 0}[static]


def still_clip(
    static: Static, clip: Float[Tensor, "time channel height width"], number: int
) -> Float[Tensor, "time channel height width"]:
    """A clip without motion, `(time, channel, height, width)`.

    Args:
        static: Which kind.
        clip: `(time, channel, height, width)`, that it is made of.
        number: Of `"frame"`, which frame stands still.
    """
    if static == "frame":
        return clip[number : number + 1].expand_as(clip)
    name: Literal["frozen", "mean_frame"] = "frozen" if static == "frozen" else "mean_frame"
    return clip_baseline_of(clip[None], name)[0]


def changes(attribution: ClipTensor, sigma: float) -> Bool[Tensor, "batch time height width"]:
    """Where an attribution changes over time by more than so many standard deviations.

    The derivative is that of Sobel's operator in time, height and width, of the sum over channels;
    the attribution goes on outside as it is at the border.

    Args:
        attribution: `(batch, time, channel, height, width)`.
        sigma: How many standard deviations of the derivative over the whole clip.

    Example:
        >>> import torch
        >>> attribution = torch.zeros(1, 4, 1, 5, 5)
        >>> attribution[0, 2:, 0, 2, 2] = 1.0  # comes between frames 1 and 2
        >>> changes(attribution, 1.0)[0, :, 2, 2]
        tensor([False,  True,  True, False])
    """
    derivative = _sobel(attribution.sum(2, dtype=wide(attribution)))
    spread = derivative.flatten(1).std(1, correction=0)[:, None, None, None]
    return derivative.abs() > sigma * spread


def _sobel(values: Float[Tensor, "batch time height width"]) -> Tensor:
    """The derivative over time, smoothed in space."""
    padded = F.pad(values[:, None], (1,) * 6, mode="replicate")[:, 0]
    found = padded[:, 2:] - padded[:, :-2]
    found = found[:, :, :-2] + 2 * found[:, :, 1:-1] + found[:, :, 2:]
    return found[..., :-2] + 2 * found[..., 1:-1] + found[..., 2:]


def motion_share(motion: ClipTensor, appearance: ClipTensor) -> PerExample:
    """The magnitude of the motion part, as a share of both magnitudes; NaN where both are 0.

    Example:
        >>> import torch
        >>> ones = torch.ones(1, 2, 3, 4, 4)
        >>> motion_share(ones, -3 * ones)
        tensor([0.2500])
    """
    moves, stays = (part.flatten(1).abs().sum(1, dtype=wide(part)) for part in (motion, appearance))
    return (moves / (moves + stays)).to(motion.dtype)


def frame_sums(attribution: ClipTensor) -> FrameScores:
    """The sum of an attribution over each frame, with its sign."""
    return attribution.sum((2, 3, 4), dtype=wide(attribution)).to(attribution.dtype)
