"""The pictures of what tsr.py measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from captum.attr import Saliency
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from temporal_range import folder_of
from torch import Tensor
from train_zoo import Recipe
from tsr_methods import METHODS, PARTS, QUANTILE, SEEN, masks_at_a_time, planted
from tsr_table import ONE, TWO, Table, named

from temporal_attr import FrameMaskingTSR
from temporal_attr.zoo import load_pretrained

STYLES = {
    "alone": ("o", "#2e4057"),
    ONE: (">", "#d1495b"),
    TWO: ("s", "#00798c"),
    "alone, in blocks": ("x", "#8d96a3"),
}


def differences(table: Table) -> Figure:
    """Average precision of pixels of every method, alone and rescaled, a panel a model."""
    count = max(1, len(table.models))
    figure = Figure(figsize=(13, 3.6 * -(-count // 3)), layout="constrained")
    grid = figure.subplots(-(-count // 3), 3, squeeze=False, sharey=True).flatten()
    for axes, entry in zip(grid, table.models, strict=False):
        for place, called in enumerate(METHODS):
            for number, (variant, (mark, colour)) in enumerate(STYLES.items()):
                found = table.value(entry, called, variant, "pixels", "ap")
                if found is not None:
                    at = place + 0.18 * (number - 1.5)
                    axes.plot([found.low, found.high], [at, at], color=colour, linewidth=1)
                    axes.plot(found.value, at, mark, color=colour, markersize=4)
        chance = table.value(entry, "chance", "alone", "pixels", "ap")
        if chance is not None:
            axes.axvline(chance.value, color="0.6", linewidth=0.8, linestyle=":")
        axes.set_title(named(entry), fontsize=9)
        axes.set_yticks(range(len(METHODS)), list(METHODS), fontsize=8)
        axes.set_xlim(left=0)
        axes.set_xlabel("average precision of pixels", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    grid[0].invert_yaxis()
    for variant, (mark, colour) in STYLES.items():
        grid[0].plot([], [], mark, color=colour, label=variant)
    grid[0].plot([], [], ":", color="0.6", label="random numbers")
    grid[0].legend(frameon=False, fontsize=7)
    for axes in grid[count:]:
        axes.set_visible(False)
    return figure


SHOWN = ("blocks of 10", "blocks of 7 x 8", "superpixels")


def parts_picture(models: Sequence[tuple[Recipe, int]], each: int = 2) -> Figure:
    """Saliency in two steps on the first clips of some models, in a frame that decides."""
    figure = Figure(
        figsize=(2.1 * (2 + len(SHOWN)), 2.25 * each * len(models)), layout="constrained"
    )
    rows = figure.subplots(each * len(models), 2 + len(SHOWN), squeeze=False)
    place = 0
    for entry, seed in models:
        model = load_pretrained(entry.name, folder_of(seed))
        for video, clip in planted(entry, model, seed, each):
            deciding = video.deciding_frames.nonzero()[0]
            frame = int(deciding[len(deciding) // 2])
            maps: dict[str, Tensor] = {}
            for called in SHOWN:
                tsr = FrameMaskingTSR(
                    Saliency(model),
                    "two",
                    quantile=QUANTILE,
                    perturbations_per_eval=masks_at_a_time(SEEN, model, clip),
                    **PARTS[called],
                )
                found = tsr.explain(clip, target=video.label)
                maps.setdefault("Saliency alone", found.base)
                maps[called] = found.attribution
            row = rows[place]
            row[0].imshow(video.frames[frame])
            row[0].set_ylabel(f"{entry.name}\nframe {frame}", fontsize=7)
            for axes, (label, attribution) in zip(row[1:], maps.items(), strict=True):
                norm = attribution[0].norm(dim=1)
                axes.imshow(norm[frame], vmin=0, vmax=norm.max(), cmap="magma")
                inside = float(norm[torch.from_numpy(video.region)].sum() / norm.sum())
                axes.set_xlabel(f"{inside:.0%} of the clip's sum", fontsize=7)
                if place == 0:
                    axes.set_title(label, fontsize=8)
            for axes in row:
                outlined(axes, video.region[frame])
            place += 1
    return figure


def outlined(axes: Axes, region: np.ndarray) -> None:
    """The planted region, without ticks."""
    axes.contour(region, [0.5], colors="#6fe3ff", linewidths=1.2)
    axes.set_xticks([])
    axes.set_yticks([])
