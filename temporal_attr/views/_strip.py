"""The frame strip: what each frame shows, and how much it counts, over time."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int, Num
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
        result: Of `explain` of a method whose attribution is shaped like the clip.
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
    shown = shown_frames(frames, thumbnails)
    scores = result.frame_scores[example].detach().cpu().float().numpy()
    figure = Picture(figsize=(max(6.0, 1.05 * len(shown)), 3.4), layout="constrained")
    axes = figure.subplots()
    times = np.asarray(clip.timestamps)
    width = time_axis(axes, times)
    axes.bar(times, scores, width, color=BAR_COLOUR)
    axes.set_ylim(min(0, scores.min() * 1.05), max(0, scores.max() * 1.05) or 1)
    axes.set_ylabel(result.frame_meaning)
    axes.axhline(0, color="black", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    place_thumbnails(axes, clip.images()[shown], times[shown], figure.get_figwidth())
    target = int(result.target[example])
    figure.suptitle(f"Class {target}, frame by frame", fontsize=11)
    return figure


def shown_frames(frames: int, thumbnails: int) -> Int[np.ndarray, "shown"]:
    """The frames that get a picture: all, or so many evenly chosen ones.

    Raises:
        OptionError: If `thumbnails` is not positive.
    """
    if thumbnails < 1:
        raise OptionError("at least one thumbnail", str(thumbnails), "Try 16.")
    evenly = np.linspace(0, frames - 1, min(frames, thumbnails))
    shown: np.ndarray = np.unique(evenly.round().astype(int))
    return shown


def time_axis(axes: Axes, times: Num[np.ndarray, "time"]) -> float:
    """Name the x axis of seconds, with room for a bar for each frame; give back its width."""
    gaps = np.diff(np.unique(times))
    width = 0.8 * float(np.median(gaps)) if len(gaps) else 0.8
    axes.set_xlim(times.min() - 0.7 * width, times.max() + 0.7 * width)
    axes.set_xlabel("time in the video (s)")
    return width


def place_thumbnails(
    axes: Axes,
    images: Images,
    times: Num[np.ndarray, "time"],
    inches: float,
    framed: Bool[np.ndarray, "time"] | None = None,
) -> None:
    """Frames above the axes at their times, some of them framed; `inches` is the figure's width."""
    shares = np.diff(np.unique(times)) / np.ptp(axes.get_xlim())
    even = 1 / len(images)
    # Evenly chosen frames are not quite evenly spaced; and a few close ones may overlap.
    share = min(even, max(even / 2, shares.min(initial=even)))
    # Frames around them would touch.
    across = inches * 0.85 * share * (0.95 if framed is None else 0.9)
    # The bars need the rest of the height.
    across = min(across, 1.0, images.shape[2] / images.shape[1])
    zoom = across / images.shape[2] * 72
    for place, (image, seconds) in enumerate(zip(images, times, strict=True)):
        box = AnnotationBbox(
            OffsetImage(image, zoom=zoom),
            (float(seconds), 1.0),
            xycoords=("data", "axes fraction"),
            box_alignment=(0.5, -0.05),
            frameon=framed is not None and bool(framed[place]),
            pad=0,
            bboxprops={"edgecolor": BAR_COLOUR, "linewidth": 3},
        )
        axes.add_artist(box)
