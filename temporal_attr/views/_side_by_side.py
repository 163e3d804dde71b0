"""The same clip, explained for several models."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from temporal_attr._errors import OptionError
from temporal_attr.attributions import TemporalGradientResult
from temporal_attr.clips import Clip
from temporal_attr.views._common import (
    BAR_COLOUR,
    Picture,
    blend,
    heat_limit,
    heat_maps,
    require_example,
)


def side_by_side(
    results: Mapping[str, TemporalGradientResult],
    clip: Clip,
    *,
    example: int = 0,
    percentile: float = 99.5,
) -> Figure:
    """The same clip explained for several models: heat, frame scores and influence, a row each.

    Every model has a colour scale and a bar scale of its own, since the gradients of two models
    have no common unit; compare where and when, not how much.

    Args:
        results: By what stands beside the row, of `TemporalGradient.explain` on this clip.
        clip: The clip that was explained.
        example: Which one of the batch.
        percentile: Heat above it has the last colour.

    Returns:
        A figure; it is neither shown nor saved.

    Raises:
        ClipError: If the clip has another number of frames than a result.
        OptionError: If there are no results, or an option is out of range.

    Example:
        >>> from temporal_attr import TemporalGradient
        >>> from temporal_attr.synthetic import Motion
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("lstm", classes=8, widths=(4, 8))
        >>> clip = Motion(frames=4, size=16).sample(0).clip(model.preprocessing)
        >>> result = TemporalGradient(model).explain(clip.tensor, target=0)
        >>> side_by_side({"an LSTM": result}, clip).get_suptitle()
        'How strongly each model reacts, over time and place'
    """
    if not results:
        raise OptionError("at least one result", "none", "Give them by name.")
    for result in results.values():
        batch, frames = result.frame_scores.shape
        require_example(example, batch, clip, frames)
    rows = len(results)
    frames, height, width = clip.images().shape[:3]
    # The heat's frames keep their shape: the rest of a row is as tall whatever they are.
    tall = 12.0 / frames * height / width
    figure = Picture(figsize=(16, (tall + 1.9) * rows + 0.4), layout="constrained")
    parts = figure.subfigures(rows, 1, squeeze=False)[:, 0]
    for part, (name, result) in zip(parts, results.items(), strict=True):
        part.suptitle(name, fontsize=11)
        left, right = part.subfigures(1, 2, width_ratios=(4, 1))
        heat, scores = left.subplots(2, 1, height_ratios=(tall, 1.1), sharex=True)
        _draw_heat(heat, result, clip, (example, percentile))
        _draw_scores(scores, result, example)
        _draw_influence(right.subplots(), result, example)
    figure.suptitle("How strongly each model reacts, over time and place", fontsize=12)
    return figure


def _draw_heat(
    axes: Axes, result: TemporalGradientResult, clip: Clip, chosen: tuple[int, float]
) -> None:
    """The frames with their heat, laid out in one row of unit squares."""
    example, percentile = chosen
    heat = heat_maps(result.attribution, example, "absolute")
    pictures = blend(clip.images(), heat, heat_limit(heat, percentile), "absolute")
    for place, picture in enumerate(pictures):
        axes.imshow(picture, extent=(place - 0.48, place + 0.48, 0, 1), aspect="auto")
    axes.set_ylim(0, 1)
    axes.set_axis_off()


def _draw_scores(axes: Axes, result: TemporalGradientResult, example: int) -> None:
    scores = result.frame_scores[example].detach().cpu().float().numpy()
    axes.bar(np.arange(len(scores)), scores, 0.9, color=BAR_COLOUR)
    axes.set_xlim(-0.5, len(scores) - 0.5)
    axes.set_ylabel("$G_t$")
    axes.set_yticks([0])
    axes.set_xlabel("frame")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)


def _draw_influence(axes: Axes, result: TemporalGradientResult, example: int) -> None:
    if result.influence is None:
        axes.set_axis_off()
        return
    matrix = result.influence[example].detach().cpu().float().numpy()
    # What is exactly zero stays blank: the model cannot see it.
    axes.imshow(np.ma.masked_equal(matrix, 0), cmap="viridis", aspect="auto")
    axes.set_xlabel("frame")
    axes.set_ylabel("timestep")
    axes.set_title("influence (blank: none)", fontsize=8)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
