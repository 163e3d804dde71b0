"""Where in each frame: heat over the frames, as a grid and as a video."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from temporal_attr._errors import OptionError
from temporal_attr._typing import ClipTensor
from temporal_attr.attributions import PixelResult
from temporal_attr.clips import Clip, write_video
from temporal_attr.views._common import (
    COLOUR_MAPS,
    Drawable,
    HeatMaps,
    Picture,
    Sign,
    blend,
    drawable,
    heat_limit,
)
from temporal_attr.views._text import fitted

FrameBytes = UInt8[np.ndarray, "height width channel"]

WIDEST = 8192
"""Pixels of the widest video that players show."""

TALLEST_BAR = 7.5
"""Inches of the tallest colour bar."""


def overlay_grid(
    attribution: PixelResult | ClipTensor,
    clip: Clip,
    *,
    example: int = 0,
    sign: Sign = "absolute",
    percentile: float = 99.5,
    columns: int = 4,
    title: str | None = None,
    label: str | None = None,
) -> Figure:
    """Heat over every frame, on one colour scale for the whole clip.

    Args:
        attribution: A result of `explain` of a method whose attribution is shaped like the clip; or
            such an attribution itself, of any method.
        clip: The clip that was explained.
        example: Which one of the batch.
        sign: `"absolute"` draws the L2 norm over channels; `"signed"` their sum, red where it is
            positive and blue where it is negative.
        percentile: Heat above it has the last colour; the colour bar says so. Where so much of the
            clip has no heat that it is 0, as after a threshold, the largest heat has it.
        columns: Frames in a row.
        title: In place of the picture's own.
        label: What the attribution is, in place of what the result says.

    Returns:
        A figure; it is neither shown nor saved.

    Raises:
        ClipError: If the clip has other frames than were explained, or the tensor is no attribution
            of their pixels.
        OptionError: If an option is out of range.

    Example:
        >>> from captum.attr import NoiseTunnel
        >>> from temporal_attr import TemporalGradient
        >>> from temporal_attr.synthetic import Motion
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("gru", classes=8, widths=(4, 8))
        >>> clip = Motion(frames=4, size=16).sample(0).clip(model.preprocessing)
        >>> smooth = NoiseTunnel(TemporalGradient(model)).attribute(clip.tensor, target=3)
        >>> figure = overlay_grid(smooth, clip, columns=2, label="smoothed gradient")
        >>> len(figure.axes), figure.axes[-1].get_ylabel().splitlines()[0]
        (5, 'smoothed gradient, L2 norm over channels')
    """
    drawn = drawable(attribution, clip, example, title, label)
    if columns < 1:
        raise OptionError("at least one column", str(columns), "Try 4.")
    heat = drawn.heat(sign)
    limit, end = colour_limit(heat, percentile)
    blended = blend(clip.images(), heat, limit, sign)
    columns = min(columns, len(blended))
    rows = -(-len(blended) // columns)
    ratio = heat.shape[1] / heat.shape[2]
    size = (2.2 * columns + 1.2, 2.2 * ratio * rows + 0.25 * rows + 0.4)
    figure = Picture(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for place, axes in enumerate(grid.flat):
        axes.set_axis_off()
        if place < len(blended):
            axes.imshow(blended[place])
            axes.set_title(f"{clip.timestamps[place]:.2f} s", fontsize=8)
    scale = Normalize(0 if sign == "absolute" else -limit, limit)
    # Of a long clip the bar is as tall as of a short one, and stands beside the first frames.
    share = min(0.7, TALLEST_BAR / size[1])
    bar = figure.colorbar(
        ScalarMappable(scale, COLOUR_MAPS[sign]), ax=grid, shrink=share,
        anchor=(0.0, 0.5 if share == 0.7 else 1.0), extend=beyond(heat, limit),
    )  # fmt: skip
    # The title takes some of the height.
    bar.set_label(fitted(_meaning(drawn, sign, end), size[1] - 0.4))
    figure.suptitle(drawn.headline("place by place"), fontsize=11, wrap=True)
    return figure


def overlay_video(
    attribution: PixelResult | ClipTensor,
    clip: Clip,
    path: str | Path,
    *,
    example: int = 0,
    sign: Sign = "absolute",
    percentile: float = 99.5,
    fps: float = 4.0,
    width: int = 448,
) -> Path:
    """Write heat over the frames as a video (VP9 in WebM), with a bar a frame below.

    The bars are the frames' scores and the lit one is the frame that is shown; the time in the
    video stands in the corner.

    Args:
        attribution: As for `overlay_grid`; the bars of a bare tensor are the L2 norms of its
            frames.
        clip: The clip that was explained.
        path: Where to; ends in `.webm`.
        example: Which one of the batch.
        sign: As for `overlay_grid`.
        percentile: As for `overlay_grid`.
        fps: Frames shown a second; chosen frames are usually far apart, so this is not real time.
        width: Of the video in pixels, 16 to 8192; frames are enlarged to it without smoothing.

    Returns:
        The path.

    Raises:
        ClipError: As for `overlay_grid`.
        VideoError: If the file cannot be written.
        OptionError: If an option is out of range.

    Example:
        >>> import tempfile
        >>> from temporal_attr import LRP
        >>> from temporal_attr.synthetic import Motion
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("gru", classes=8, widths=(4, 8))
        >>> clip = Motion(frames=4, size=16).sample(0).clip(model.preprocessing)
        >>> relevance = LRP(model).attribute(clip.tensor, target=3)
        >>> path = overlay_video(relevance, clip, f"{tempfile.mkdtemp()}/lrp.webm", sign="signed")
        >>> path.name
        'lrp.webm'
    """
    drawn = drawable(attribution, clip, example)
    if not 16 <= width <= WIDEST:
        raise OptionError(f"a width of 16 to {WIDEST} pixels", str(width), "Try 448.")
    heat = drawn.heat(sign)
    blended = blend(clip.images(), heat, colour_limit(heat, percentile)[0], sign)
    scores = drawn.scores.cpu().float().numpy()
    pictures = [
        _with_bars(_enlarged(image, width), scores, place, clip.timestamps[place])
        for place, image in enumerate(blended)
    ]
    return write_video(pictures, path, fps)


def colour_limit(heat: HeatMaps, percentile: float) -> tuple[float, str]:
    """The value at the end of the colour scale, and what it is in words."""
    limit, sizes = heat_limit(heat, percentile), np.abs(heat)
    if not sizes.any():
        return limit, "there is no heat"
    if np.percentile(sizes, percentile) == 0:
        # Few places have any heat: their largest, or they would all look alike.
        limit = heat_limit(heat, 100)
    if sizes.max() <= limit:
        return limit, "ends at the largest"
    return limit, f"ends at percentile {percentile:g}"


def beyond(heat: HeatMaps, limit: float) -> Literal["neither", "both", "min", "max"]:
    """At which ends of the colour bar there is heat beyond it, in matplotlib's words."""
    above, below = (heat > limit).any(), (heat < -limit).any()
    if above and below:
        return "both"
    return "max" if above else "min" if below else "neither"


def _meaning(drawn: Drawable, sign: Sign, end: str) -> str:
    absolute, pixels = sign == "absolute", drawn.require_pixels()
    if pixels.shape[1] > 1:
        what = ", L2 norm over channels" if absolute else ", sum over channels"
    else:
        what = ", absolute value" if absolute and bool((pixels < 0).any()) else ""
    return f"{drawn.label}{what}\n(one scale for all frames; {end})"


def _enlarged(image: Float[np.ndarray, "_ _ channel"], width: int) -> FrameBytes:
    # Even sizes: the video's colours are stored at half resolution.
    width -= width % 2
    height = round(image.shape[0] * width / image.shape[1] / 2) * 2
    pixels = (image * 255).round().astype(np.uint8)
    enlarged: np.ndarray = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_NEAREST)
    return enlarged


def _with_bars(
    picture: FrameBytes, scores: np.ndarray, current: int, seconds: float
) -> UInt8[np.ndarray, "_ width channel"]:
    height, width = picture.shape[:2]
    tall = max(24, height // 8) // 2 * 2
    bars = np.full((tall, width, 3), 255, np.uint8)
    edges = np.linspace(0, width, len(scores) + 1).round().astype(int)
    # Of frames that oppose the class, the size alone.
    sizes = np.abs(scores)
    highest = sizes.max() or 1
    for place, size in enumerate(sizes):
        top = tall - round((tall - 4) * float(size / highest))
        colour = (209, 73, 91) if place == current else (190, 196, 208)
        bars[top:, edges[place] : max(edges[place] + 1, edges[place + 1] - 1)] = colour
    labelled = picture.copy()
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(
            labelled, f"{seconds:.2f} s", (8, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.6, colour, thickness
        )
    stacked: np.ndarray = np.concatenate([labelled, bars])
    return stacked
