"""Clips of which a window of frames is dropped, frozen or reversed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from temporal_attr._run import RunContext
from temporal_attr._typing import FrameScores, Logits, Target
from temporal_attr.attributions._estimate import Work
from temporal_attr.attributions._objective_values import (
    ObjectiveValues,
    PerturbationRequest,
    perturbation_work,
    values_so_far,
)
from temporal_attr.perturbations import (
    ComposedClips,
    StoredFrames,
    at_least_single,
    mean_over_windows,
    neighbour_of,
)

Change: TypeAlias = Literal["freeze", "reverse", "drop"]


@dataclass(frozen=True)
class SlidingRequest:
    """What is asked.

    Attributes:
        asked: Of which model, for which class.
        window: Frames that are changed together.
        change: What becomes of them.
    """

    asked: PerturbationRequest
    window: int
    change: Change


@dataclass(frozen=True)
class FoundDrops:
    """What was found.

    Attributes:
        logits: `(batch, classes)`, of the clips as they are.
        target: `(batch,)`.
        attributed: `(batch, time)`, the mean drop over the windows that have each frame.
        drops: `(batch, windows)`, by how much the objective drops with each window changed.
        complete: Whether no run was stopped.
    """

    logits: Logits
    target: Target
    attributed: FrameScores
    drops: Float[Tensor, "batch windows"]
    complete: bool


def window_drops(request: SlidingRequest, run: RunContext) -> FoundDrops:
    """The drop for every window of every clip."""
    asked, clip = request.asked, request.asked.clip
    batch, time = clip.shape[:2]
    values = ObjectiveValues(asked, run)
    orders = changed_orders(time, request.window, request.change).to(clip.device)
    if request.change == "drop":
        values.require_length(orders.shape[1], 'change="drop"')
    # Clip after clip within each window, so that a run that is stopped knows windows of all.
    own = torch.arange(batch, device=clip.device)
    order = (orders[:, None] + own[:, None] * time).flatten(0, 1)
    composed = ComposedClips(StoredFrames(clip), order, own.repeat(len(orders)))
    with run.progress(len(composed), "windows") as bar:
        found = values_so_far(values, composed, bar, asked.on_stop)
    drops = torch.full((len(orders) * batch,), torch.nan, dtype=torch.float64)
    drops[: len(found)] = found
    drops = values.of_clips.cpu()[:, None] - drops.view(len(orders), batch).T
    precise = at_least_single(clip.dtype)
    known = drops.nan_to_num()
    return FoundDrops(
        logits=values.logits,
        target=values.target,
        attributed=mean_over_windows(known, time, request.window).to(clip.device, precise),
        drops=drops.to(clip.device, precise),
        complete=len(found) == len(composed),
    )


def changed_orders(time: int, window: int, change: Change) -> Int[Tensor, "windows shown"]:
    """The frames that are shown when each window is changed.

    Args:
        time: Frames of the clip.
        window: Frames that are changed together.
        change: `"freeze"`: the frame before the window, or after it at the start, stands for all
            of its frames. `"reverse"`: they come in reverse order. `"drop"`: they are left out.

    Example:
        >>> changed_orders(4, 2, "freeze").tolist()
        [[2, 2, 2, 3], [0, 0, 0, 3], [0, 1, 1, 1]]
        >>> changed_orders(4, 3, "reverse").tolist(), changed_orders(3, 2, "drop").tolist()
        ([[2, 1, 0, 3], [0, 3, 2, 1]], [[2], [0]])
    """
    rows = []
    for first in range(time - window + 1):
        row = list(range(time))
        inside = slice(first, first + window)
        if change == "freeze":
            row[inside] = [neighbour_of(first, first + window, time)] * window
        elif change == "reverse":
            row[inside] = row[inside][::-1]
        else:
            del row[inside]
        rows.append(row)
    return torch.tensor(rows)


def sliding_work(request: SlidingRequest) -> Work:
    """What it takes: a clip for each window."""
    batch, time = request.asked.clip.shape[:2]
    windows = time - request.window + 1
    if request.change == "drop":
        shown = time - request.window
        # And the first frames of each, on which it is tried.
        frames = batch * (windows + 1) * shown
        return perturbation_work(
            request.asked, batch * windows, lambda: 0, frames=frames, in_turn=True
        )
    return perturbation_work(request.asked, batch * windows, lambda: 0, in_turn=True)
