"""The frame strip: what each frame shows, and how much it counts, over time."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from temporal_attr._errors import OptionError
from temporal_attr.attributions import PixelResult
from temporal_attr.clips import Clip
from temporal_attr.views._common import BAR_COLOUR, Images, Picture, require_example


def frame_strip(
    result: PixelResult, clip: Clip, *, example: int = 0, thumbnails: int = 16
) -> Figure:
    """Frames in a row above a bar for the score of each, with time in seconds below.

    Args:
        result: Of `TemporalGradient.explain` or `LRP.explain`.
        clip: The clip that was explained.
        example: Which one of the batch.
        thumbnails: At most so many frames are shown, evenly chosen; every frame has its bar.

    Returns:
        A figure; it is neither shown nor saved.

    Raises:
        ClipError: If the clip has another number of frames than the result.
        OptionError: If there is no such example, or `thumbnails` is not positive.
    """
    batch, frames = result.frame_scores.shape
    require_example(example, batch, clip, frames)
    if thumbnails < 1:
        raise OptionError("at least one thumbnail", str(thumbnails), "Try 16.")
    scores = result.frame_scores[example].detach().cpu().float().numpy()
    shown = np.unique(np.linspace(0, frames - 1, min(frames, thumbnails)).round().astype(int))
    figure = Picture(figsize=(max(6.0, 1.05 * len(shown)), 3.4), layout="constrained")
    axes = figure.subplots()
    times = np.asarray(clip.timestamps)
    gaps = np.diff(np.unique(times))
    width = 0.8 * float(np.median(gaps)) if len(gaps) else 0.8
    axes.bar(times, scores, width, color=BAR_COLOUR)
    axes.set_xlim(times.min() - 0.7 * width, times.max() + 0.7 * width)
    axes.set_ylim(min(0, scores.min() * 1.05), max(0, scores.max() * 1.05) or 1)
    axes.set_xlabel("time in the video (s)")
    axes.set_ylabel(result.frame_meaning)
    axes.axhline(0, color="black", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    _place_thumbnails(axes, clip.images()[shown], times[shown], figure.get_figwidth())
    target = int(result.target[example])
    figure.suptitle(f"Class {target}, frame by frame", fontsize=11)
    return figure


def _place_thumbnails(axes: Axes, images: Images, times: np.ndarray, inches: float) -> None:
    across = inches * 0.85 / len(images) * 0.95 * 100
    zoom = across / images.shape[2] * 72 / 100
    for image, seconds in zip(images, times, strict=True):
        box = AnnotationBbox(
            OffsetImage(image, zoom=zoom),
            (float(seconds), 1.0),
            xycoords=("data", "axes fraction"),
            box_alignment=(0.5, -0.05),
            frameon=False,
            pad=0,
        )
        axes.add_artist(box)
