"""Windows of a clip: which frames a timestep may see, and the clip as it sees it."""

from __future__ import annotations

from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from temporal_attr._errors import OptionError
from temporal_attr._require import LONGEST, require_count
from temporal_attr._typing import ClipTensor
from temporal_attr.clips import check_layout

Sizes = Float[Tensor, "batch steps"] | Int[Tensor, "batch steps"]
Runs = Int[Tensor, "batch steps 2"]
Windows: TypeAlias = int | Sizes | Runs
"""Windows in timesteps: one size for all, a size for each, or the run of each."""


def window_bounds(
    windows: Windows, steps: int, frames: int, frames_per_step: int = 1
) -> Int[Tensor, "*batch steps 2"]:
    """The first and the last frame of each timestep's window.

    A size w is a run of w timesteps with i in its middle; for even w, the extra one lies before i.
    Where it would stick out of the clip it is moved inside, and so keeps its length. A run of
    timesteps is all frames behind them; the last timestep's reach to the end of the clip.

    Args:
        windows: In timesteps. One size for all; `(batch, steps)` sizes, such as `ranges` gives
            (rounded up; NaN, a range that is not known, is 1); or `(batch, steps, 2)` runs, such
            as `shortest_runs` gives. A size of `steps` or more is the whole clip.
        steps: Number of timesteps.
        frames: Number of frames.
        frames_per_step: Frames from one timestep to the next.

    Returns:
        `(steps, 2)` for one size, else `(batch, steps, 2)`: frame numbers, both part of it.

    Raises:
        OptionError: If a window is empty or outside the clip, or the numbers of timesteps differ.

    Example:
        >>> window_bounds(3, steps=4, frames=8, frames_per_step=2).tolist()
        [[0, 5], [0, 5], [2, 7], [2, 7]]
    """
    for name, count in (("steps", steps), ("frames", frames), ("frames_per_step", frames_per_step)):
        require_count(name, count, 1, LONGEST)
    if abs(steps - frames / frames_per_step) >= 1:
        raise OptionError(
            f"about {frames / frames_per_step:g} timesteps for {frames} frames at "
            f"frames_per_step={frames_per_step}",
            str(steps),
            "Use the model's own frames_per_step.",
        )
    first, last = _runs(windows, steps).unbind(-1)
    ends = ((last + 1) * frames_per_step).clamp(max=frames)
    # A model may leave over frames that fill no timestep; the last one's window holds them.
    ends = ends.where(last < steps - 1, frames)
    return torch.stack([first * frames_per_step, ends - 1], -1)


def windowed_clip(clip: ClipTensor, bounds: Int[Tensor, "batch 2"]) -> ClipTensor:
    """A clip in which nothing is left to see but a window: frame t becomes the nearest one in it.

    Frames before the window become its first, frames after it its last (partial uniform sampling
    of :cite:t:`fan2022`).

    Args:
        clip: `(batch, time, channel, height, width)`.
        bounds: `(batch, 2)`, first and last frame of each clip's window.

    Returns:
        The clip, of the same shape and values.

    Raises:
        ClipError: If it is no clip.
        OptionError: If a window is empty or outside the clip.

    Example:
        >>> clip = torch.arange(5.0).reshape(1, 5, 1, 1, 1)
        >>> windowed_clip(clip, torch.tensor([[1, 3]])).flatten().tolist()
        [1.0, 1.0, 2.0, 3.0, 3.0]
    """
    check_layout(clip, None)
    if bounds.shape != (len(clip), 2):
        raise OptionError(
            f"bounds (batch, 2) for {len(clip)} clips",
            f"shape {tuple(bounds.shape)}",
            "Take one timestep's: window_bounds(...)[:, i].",
        )
    _require_inside(bounds, clip.shape[1], "frame")
    return seen(clip, bounds[:, None])


def seen(source: Tensor, bounds: Int[Tensor, "batch windows 2"]) -> Tensor:
    """Each clip once for each of its windows, `(batch * windows, time, ...)`."""
    first, last = bounds.to(source.device).unsqueeze(-2).unbind(-1)
    times = torch.arange(source.shape[1], device=source.device).clamp(first, last)
    clips = torch.arange(len(source), device=source.device)
    return source[clips[:, None, None], times].flatten(0, 1)


def _runs(windows: Windows, steps: int) -> Int[Tensor, "*batch steps 2"]:
    """First and last timestep of each window."""
    if not isinstance(windows, Tensor):
        require_count("windows", windows, 1)
        sizes = torch.full((steps,), min(windows, steps))
    elif windows.shape[1:] == (steps, 2) and not windows.is_floating_point():
        _require_inside(windows, steps, "timestep")
        return windows
    elif windows.ndim == 2 and windows.shape[1] == steps:
        sizes = windows.nan_to_num(1).ceil().clamp(max=steps).long()
        if (sizes < 1).any():
            raise OptionError("windows of at least 1", f"{windows.min():g}", "Use ranges(matrix).")
    else:
        raise OptionError(
            f"one window, sizes (batch, steps) or whole numbers (batch, steps, 2) of {steps} steps",
            f"{windows.dtype} of shape {tuple(windows.shape)}",
            "Windows are in the model's own timesteps.",
        )
    middle = torch.arange(steps, device=sizes.device)
    first = (middle - sizes // 2).clamp(min=0).minimum(steps - sizes)
    return torch.stack([first, first + sizes - 1], -1)


def _require_inside(bounds: Tensor, count: int, unit: str) -> None:
    first, last = bounds.unbind(-1)
    wrong = (first < 0) | (first > last) | (last >= count)
    if wrong.any():
        raise OptionError(
            f"windows as (first, last) {unit}, from 0 to {count - 1}",
            str(tuple(bounds[wrong][0].tolist())),
            "Both are part of the window.",
        )
