"""How far the timesteps of transformers and of 3D networks reach, from their matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from transformer_methods import BLOCK, presets
from transformer_rows import Row, Rows
from transformer_scores import Question

from temporal_attr import ContrastiveLRPTemporal, TemporalGradient
from temporal_attr.measures import average_range, ranges
from temporal_attr.models import VideoModel

STEP = BLOCK[0]
"""Frames of a timestep, in all matrices."""

MEASURES = {
    "diagonal": "diagonal share",
    "average": "avg-ATR, frames",
    "middle": "range in the middle, frames",
    "core": "the same, of 80 % of a row",
    "distance": "distance, frames",
}


def matrices_of(
    model: VideoModel, by: str, clips: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """`(B, N, N)` matrices of timesteps of `STEP` frames, and the target's logits `(B, N)`.

    Args:
        model: Whose timesteps are of `STEP` frames, or of fewer, which are then summed.
        by: "gradient", a preset of relevance, or "default", the one that the method chooses.
        clips: `(B, T, C, H, W)`.
        targets: `(B,)`.
    """
    if by == "gradient":
        influence = TemporalGradient(model).explain(clips, target=targets)
        assert influence.influence is not None
        assert influence.step_logits is not None
        by_frame = influence.influence
        logits = influence.step_logits[torch.arange(len(targets)), :, targets]
    else:
        method = ContrastiveLRPTemporal(model, None if by == "default" else presets()[by])
        found = method.explain(clips, target=targets)
        by_frame, logits = found.frame_matrix, found.step_logits
    rows = STEP * by_frame.shape[1] // clips.shape[1]
    # Sums of rows and of columns: a longer timestep reads what its parts read, all of them.
    merged = by_frame.unflatten(2, (-1, STEP)).sum(3).unflatten(1, (-1, rows)).sum(2)
    return merged, logits.unflatten(1, (-1, rows)).mean(2)


def measured_ranges(
    model: VideoModel, by: str, asked: Sequence[Question]
) -> dict[str, list[float]]:
    """All measures, a number for each clip, and the mean matrix of shares of rows."""
    clips = torch.cat([question.clip for question in asked])
    targets = torch.tensor([question.video.label for question in asked])
    matrix, logits = (part.double() for part in matrices_of(model, by, clips, targets))
    sizes = matrix.abs()
    shares = sizes / sizes.sum(2, keepdim=True)
    steps = torch.arange(matrix.shape[1], dtype=torch.float64)
    apart = (steps[:, None] - steps).abs()
    own = ranges(matrix)
    middle = slice(len(steps) // 2 - 1, len(steps) // 2 + 1)
    found = {
        "diagonal": shares.diagonal(dim1=1, dim2=2).nanmean(1),
        "average": STEP * average_range(own, logits),
        "middle": STEP * own[:, middle].nanmean(1),
        "core": STEP * ranges(matrix, sigma=0.8)[:, middle].nanmean(1),
        "distance": STEP * (shares * apart).sum(2).nanmean(1),
        "matrix": shares.nanmean(0),
    }
    return {name: numbers.tolist() for name, numbers in found.items()}


def picture(rows: Sequence[Row]) -> Figure:
    """Mean matrices, a row of panels for each task and what they are made of."""
    table = Rows(rows)
    kinds = list(dict.fromkeys(kind for kind, _ in table.places))
    lines = [
        (task, method)
        for task in dict.fromkeys(task for _, task in table.places)
        for method in table.methods
        if any(table.of((kind, task), method) for kind in kinds)
    ]
    size = (2.7 * len(kinds) + 0.6, 2.5 * len(lines))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(lines), len(kinds), squeeze=False)
    for line, (task, method) in zip(grid, lines, strict=True):
        for axes, kind in zip(line, kinds, strict=True):
            own = [row.numbers["matrix"] for row in table.of((kind, task), method)]
            if not own:
                axes.set_visible(False)
                continue
            mean = np.mean(own, 0)
            drawn = axes.imshow(mean, cmap="viridis", vmin=0)
            figure.colorbar(drawn, ax=axes, shrink=0.8).ax.tick_params(labelsize=6)
            axes.set_title(f"{kind}\n{task}, by {method}", fontsize=7)
            axes.set_xlabel(f"frames read, {STEP} each", fontsize=7)
            axes.set_ylabel("timestep that predicts", fontsize=7)
            axes.tick_params(labelsize=6)
    return figure
