"""The same clip, explained for several models or by several methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from temporal_attr._errors import OptionError
from temporal_attr._typing import ClipTensor
from temporal_attr.attributions import PixelResult
from temporal_attr.clips import Clip
from temporal_attr.views._common import (
    Drawable,
    Picture,
    blend,
    drawable,
    number_rows,
    plain,
)
from temporal_attr.views._overlay import colour_limit
from temporal_attr.views._strip import draw_scores


def side_by_side(
    attributions: Mapping[str, PixelResult | ClipTensor],
    clip: Clip,
    *,
    example: int = 0,
    percentile: float = 99.5,
    title: str | None = None,
) -> Figure:
    """The same clip explained several times, a row each: heat, frame scores, and influence.

    Every row has a colour scale and a bar scale of its own, since the attributions of two models,
    or of two methods, have no common unit; compare where and when, not how much. A result of
    `TemporalGradient` with its influence has that beside it.

    Args:
        attributions: By what stands above the row: results of `explain` on this clip, of methods
            whose attribution is shaped like it, or such attributions themselves.
        clip: The clip that was explained.
        example: Which one of the batch.
        percentile: As for `overlay_grid`.
        title: In place of the picture's own.

    Returns:
        A figure; it is neither shown nor saved.

    Raises:
        ClipError: If the clip has other frames than were explained, or a tensor is no attribution
            of their pixels.
        OptionError: If there are no attributions, or an option is out of range.

    Example:
        >>> from temporal_attr import LRP, TemporalGradient
        >>> from temporal_attr.synthetic import Motion
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("lstm", classes=8, widths=(4, 8))
        >>> clip = Motion(frames=4, size=16).sample(0).clip(model.preprocessing)
        >>> result = TemporalGradient(model).explain(clip.tensor, target=0)
        >>> relevance = LRP(model).attribute(clip.tensor, target=0)
        >>> side_by_side({"gradient": result, "relevance": relevance}, clip).get_suptitle()
        'One clip, explained over time and place'
    """
    if not attributions:
        raise OptionError("at least one result", "none", "Give them by name.")
    drawn = {name: drawable(one, clip, example) for name, one in attributions.items()}
    rows = len(drawn)
    frames, height, width = clip.images().shape[:3]
    # The heat's frames keep their shape: the rest of a row is as tall whatever they are.
    tall = 12.0 / frames * height / width
    figure = Picture(figsize=(16, (tall + 1.9) * rows + 0.4), layout="constrained")
    parts = figure.subfigures(rows, 1, squeeze=False)[:, 0]
    for part, (name, one) in zip(parts, drawn.items(), strict=True):
        part.suptitle(plain(name), fontsize=11)
        left, right = part.subfigures(1, 2, width_ratios=(4, 1))
        heat, scores = left.subplots(2, 1, height_ratios=(tall, 1.1), sharex=True)
        _draw_heat(heat, one, clip, percentile)
        _draw_scores(scores, one)
        draw_influence(right.subplots(), one.influence, one.rows)
    default = "One clip, explained over time and place"
    figure.suptitle(default if title is None else plain(title), fontsize=12)
    return figure


def _draw_heat(axes: Axes, drawn: Drawable, clip: Clip, percentile: float) -> None:
    """The frames with their heat, laid out in one row of unit squares."""
    heat = drawn.heat("absolute")
    pictures = blend(clip.images(), heat, colour_limit(heat, percentile)[0], "absolute")
    for place, picture in enumerate(pictures):
        axes.imshow(picture, extent=(place - 0.48, place + 0.48, 0, 1), aspect="auto")
    axes.set_ylim(0, 1)
    axes.set_axis_off()


def _draw_scores(axes: Axes, drawn: Drawable) -> None:
    scores = drawn.scores.cpu().float().numpy()
    draw_scores(axes, np.arange(len(scores)), 0.9, scores)
    axes.set_xlim(-0.5, len(scores) - 0.5)
    axes.set_ylabel("frame score")
    axes.set_yticks([0])
    axes.set_xlabel("frame")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def draw_influence(
    axes: Axes, influence: Float[Tensor, "rows time"] | None, rows: Sequence[int]
) -> None:
    """A small influence matrix of some timesteps, or nothing where it is not known."""
    if influence is None:
        axes.set_axis_off()
        return
    matrix = influence.cpu().float().numpy()
    # What is exactly zero stays blank: the model cannot see it.
    axes.imshow(np.ma.masked_equal(matrix, 0), cmap="viridis", aspect="auto")
    axes.set_xlabel("frame")
    axes.set_ylabel("timestep")
    axes.set_title("influence (blank: none)", fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    number_rows(axes, rows)
