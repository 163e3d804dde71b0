"""What is salient beside what moves, frame by frame."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int, Shaped
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from temporal_attr._typing import ClipTensor
from temporal_attr.attributions import PixelResult
from temporal_attr.clips import Clip, FullShuffle, count_orders
from temporal_attr.measures import (
    FlowAgreement,
    FlowAlgorithm,
    flow_agreement,
    optical_flow,
    saliency_video,
)
from temporal_attr.views._common import COLOUR_MAPS, Drawable, Images, Picture, drawable
from temporal_attr.views._overlay import beyond, colour_limit
from temporal_attr.views._shuffle_common import headline
from temporal_attr.views._strip import shown_frames

ORDERS = 20
"""Chance is the mean over so many orders of the frames, or over all others where there are less."""

Maps = Float[np.ndarray, "maps height width"]
Shown = Int[np.ndarray, "shown"]
Row = Shaped[np.ndarray, "..."]
"""Of axes."""


def flow_saliency(
    attribution: PixelResult | ClipTensor,
    clip: Clip,
    *,
    example: int = 0,
    thumbnails: int = 8,
    algorithm: FlowAlgorithm = "farneback",
    percentile: float = 99.5,
    seed: int = 0,
    title: str | None = None,
) -> Figure:
    """Frames, their saliency and the flow into them, in columns.

    The flow of a column is that from the frame before it in the clip, drawn at the pixels of that
    earlier frame; the first frame has none. Saliency is the L2 norm of the attribution over
    channels. Each of the two has one colour scale for all frames.

    Below a column stands r, the rank correlation of its saliency with its flow over the pixels;
    there is none where one of the two is the same everywhere, as in frames that were not kept. The
    title gives the mean over all frames of the clip, and the same by chance: the mean where the
    saliency is that of other frames of the clip, from `flow_agreement`.

    Args:
        attribution: A result of `explain` of a method whose attribution is shaped like the clip; or
            such an attribution itself, of any method.
        clip: The clip that was explained; its normalization says what the pixels were.
        example: Which one of the batch.
        thumbnails: At most so many frames are shown, evenly chosen; the title is of all frames.
        algorithm: Of the flow, as in `optical_flow`.
        percentile: Saliency and flow above it have the last colour; the colour bars say so.
        seed: Of the orders that chance is taken from.
        title: In place of the first line of the picture's own.

    Returns:
        A figure; it is neither shown nor saved.

    Raises:
        ClipError: If the clip has other frames than were explained, fewer than 3, or frames that
            are too small for the flow; or the tensor is no attribution of their pixels.
        OptionError: If there is no such example, or an option is out of its range.

    Example:
        >>> from temporal_attr import TemporalGradient
        >>> from temporal_attr.synthetic import Motion
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("inflated-resnet", classes=8, widths=(4, 8))
        >>> clip = Motion(frames=4, size=32).sample(0).clip(model.preprocessing)
        >>> result = TemporalGradient(model).explain(clip.tensor, target=0)
        >>> "the mean of 5 other orders" in flow_saliency(result, clip).get_suptitle()
        True
    """
    drawn = drawable(attribution, clip, example, title)
    pixels = drawn.require_pixels()
    frames = len(pixels)
    shown = shown_frames(frames, thumbnails)
    saliency = saliency_video(pixels[None])
    pixels = clip.normalization.invert(clip.tensor.detach()).clamp(0, 1)
    flow = optical_flow(pixels, algorithm).norm(dim=4)
    orders = count_orders(FullShuffle(), frames - 1, ORDERS)
    found = flow_agreement(saliency, flow, shuffles=orders, seed=seed)
    images = clip.images()[shown]
    figure, grid, bars = _layout(images)
    for axes, picture in zip(grid[0], images, strict=True):
        axes.imshow(picture)
    style = (COLOUR_MAPS["absolute"], "saliency", percentile)
    _draw_heat(grid[1], bars[0], _arrays(saliency), shown, style)
    later = shown > 0
    style = ("viridis", "flow (pixels)", percentile)
    _draw_heat(grid[2, later], bars[1], _arrays(flow), shown[later] - 1, style)
    _label(grid, clip, shown, found)
    headline(figure, *_lines(drawn, found, orders))
    return figure


def _layout(images: Images) -> tuple[Figure, Row, Row]:
    """A figure with three rows of axes, and axes for the colour bars of the last two."""
    columns = len(images)
    tall = 1.35 * images.shape[1] / images.shape[2]
    size = (max(7.0, 1.35 * columns + 1.2), 3 * tall + 1.15)
    figure = Picture(figsize=size, layout="constrained")
    # Colour bars have a column of their own, so that all rows are alike.
    ratios = [1.0] * columns + [0.08]
    parts = figure.subplots(3, columns + 1, squeeze=False, width_ratios=ratios)
    parts[0, -1].set_axis_off()
    return figure, parts[:, :-1], parts[1:, -1]


def _arrays(maps: Tensor) -> Maps:
    arrays: np.ndarray = maps[0].cpu().float().numpy()
    return arrays


def _draw_heat(
    row: Row, bar: Axes, maps: Maps, shown: Shown, style: tuple[str, str, float]
) -> None:
    """Some maps on the scale of all; `style` is the colours, their name and their percentile."""
    colours, name, percentile = style
    limit, end = colour_limit(maps, percentile)
    for axes, place in zip(row, shown, strict=True):
        axes.imshow(maps[place], cmap=colours, vmin=0, vmax=limit, interpolation="nearest")
    drawn = Colorbar(bar, ScalarMappable(Normalize(0, limit), colours), extend=beyond(maps, limit))
    drawn.set_label(f"{name}\n({end})", fontsize=7)
    bar.tick_params(labelsize=7)


def _label(grid: Row, clip: Clip, shown: Shown, found: FlowAgreement) -> None:
    """What the rows are, times above the columns, and rank correlations below."""
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    for axes, name in zip(grid[:, 0], ("frame", "saliency", "flow into\nthe frame"), strict=True):
        axes.set_ylabel(name, fontsize=8)
    each = found.rank_correlation.frames[0].tolist()
    for place, (top, _, bottom) in zip(shown, grid.T, strict=True):
        top.set_title(f"{clip.timestamps[place]:.2f} s", fontsize=8)
        if place > 0:
            r = each[place - 1]
            bottom.set_xlabel("no r" if math.isnan(r) else f"r = {r:.2f}", fontsize=8)
        else:
            bottom.set_box_aspect(clip.tensor.shape[3] / clip.tensor.shape[4])
            middle = {"transform": bottom.transAxes, "ha": "center", "va": "center"}
            bottom.text(0.5, 0.5, "none before", fontsize=7, **middle)


def _lines(drawn: Drawable, found: FlowAgreement, orders: int) -> list[str]:
    """The title, what was found in all frames, and what would be by chance."""
    whole = found.rank_correlation
    title = drawn.headline("beside flow", with_label=True)
    value, chance, p_value = (one.item() for one in (whole.value, whole.chance, whole.p_value))
    if math.isnan(value):
        return [
            title,
            "no rank correlation: in each frame, saliency or flow is the same everywhere",
        ]
    known, pairs = int((~whole.frames.isnan()).sum()), whole.frames.shape[1]
    return [
        title,
        f"rank correlation: r = {value:.2f}, the mean of {known} of {pairs} frames with flow",
        f"by chance: r = {chance:.2f}, the mean of {orders} other orders of the saliency "
        f"(p = {p_value:.2g})",
    ]
