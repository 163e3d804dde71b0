"""Where in each frame: heat over the frames, as a grid and as a video."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from temporal_attr._errors import OptionError
from temporal_attr.attributions import PixelResult
from temporal_attr.clips import Clip, write_video
from temporal_attr.views._common import (
    COLOUR_MAPS,
    HeatMaps,
    Picture,
    Sign,
    blend,
    heat_limit,
    heat_maps,
    require_example,
)

FrameBytes = UInt8[np.ndarray, "height width channel"]


def overlay_grid(
    result: PixelResult,
    clip: Clip,
    *,
    example: int = 0,
    sign: Sign = "absolute",
    percentile: float = 99.5,
    columns: int = 4,
) -> Figure:
    """Heat over every frame, on one colour scale for the whole clip.

    Args:
        result: Of `explain` of a method whose attribution is shaped like the clip.
        clip: The clip that was explained.
        example: Which one of the batch.
        sign: `"absolute"` draws the L2 norm over channels; `"signed"` their sum, red where it is
            positive and blue where it is negative.
        percentile: Heat above it has the last colour; the colour bar says so. Where so much of the
            clip has no heat that it is 0, as after a threshold, the largest heat has it.
        columns: Frames in a row.

    Returns:
        A figure; it is neither shown nor saved.

    Raises:
        ClipError: If the clip has another number of frames than the result.
        OptionError: If an option is out of range.
    """
    require_example(example, *_batch_and_frames(result, clip))
    if columns < 1:
        raise OptionError("at least one column", str(columns), "Try 4.")
    heat = heat_maps(result.attribution, example, sign)
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
    bar = figure.colorbar(
        ScalarMappable(scale, COLOUR_MAPS[sign]), ax=grid, shrink=0.7, extend=_extend(sign)
    )
    bar.set_label(_meaning(result, sign, end))
    figure.suptitle(f"Class {int(result.target[example])}, place by place", fontsize=11)
    return figure


def overlay_video(
    result: PixelResult,
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
        result: Of `explain` of a method whose attribution is shaped like the clip.
        clip: The clip that was explained.
        path: Where to; ends in `.webm`.
        example: Which one of the batch.
        sign: As for `overlay_grid`.
        percentile: As for `overlay_grid`.
        fps: Frames shown a second; chosen frames are usually far apart, so this is not real time.
        width: Of the video in pixels; frames are enlarged to it without smoothing.

    Returns:
        The path.

    Raises:
        ClipError: If the clip has another number of frames than the result.
        VideoError: If the file cannot be written.
        OptionError: If an option is out of range.
    """
    require_example(example, *_batch_and_frames(result, clip))
    if width < 16:
        raise OptionError("a width of at least 16 pixels", str(width), "Try 448.")
    heat = heat_maps(result.attribution, example, sign)
    blended = blend(clip.images(), heat, colour_limit(heat, percentile)[0], sign)
    scores = result.frame_scores[example].detach().cpu().float().numpy()
    pictures = [
        _with_bars(_enlarged(image, width), scores, place, clip.timestamps[place])
        for place, image in enumerate(blended)
    ]
    return write_video(pictures, path, fps)


def _batch_and_frames(result: PixelResult, clip: Clip) -> tuple[int, Clip, int]:
    batch, frames = result.frame_scores.shape
    return batch, clip, frames


def _extend(sign: Sign) -> str:
    return "max" if sign == "absolute" else "both"


def colour_limit(heat: HeatMaps, percentile: float) -> tuple[float, str]:
    """The value at the end of the colour scale, and what it is in words."""
    limit, sizes = heat_limit(heat, percentile), np.abs(heat)
    if not sizes.any():
        return limit, "there is no heat"
    if np.percentile(sizes, percentile) == 0:
        # Few places have any heat: their largest, or they would all look alike.
        return heat_limit(heat, 100), "ends at the largest"
    return limit, f"ends at percentile {percentile:g}"


def _meaning(result: PixelResult, sign: Sign, end: str) -> str:
    what = "L2 norm over channels" if sign == "absolute" else "sum over channels"
    return f"{result.meaning}, {what}\n(one scale for all frames; {end})"


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
    # Of frames that speak against the class, the size alone.
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
