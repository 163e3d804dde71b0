"""The frame strip: what each frame shows, and how much it counts, over time."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, Num
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from torch import Tensor

from temporal_attr._errors import OptionError
from temporal_attr._typing import ClipTensor, FrameScores
from temporal_attr.attributions import PixelResult, ScoreResult
from temporal_attr.clips import Clip
from temporal_attr.views._common import BAR_COLOUR, Images, Picture, drawable
from temporal_attr.views._text import fitted


def frame_strip(
    attribution: PixelResult | ScoreResult | ClipTensor | FrameScores,
    clip: Clip,
    *,
    example: int = 0,
    thumbnails: int = 16,
    title: str | None = None,
    label: str | None = None,
) -> Figure:
    """Frames in a row above a bar for the score of each, with time in seconds below.

    Args:
        attribution: A result of `explain` that scores frames, with a line for the standard error of
            each where there is one; or a bare tensor: an attribution shaped like the clip, of any
            method, whose bars are then the L2 norms of its frames, or one of frames
            `(batch, time)`.
        clip: The clip that was explained.
        example: Which one of the batch.
        thumbnails: At most so many frames are shown, evenly chosen; every frame has its bar.
        title: In place of the picture's own.
        label: What the bars are, in place of what the result says.

    Returns:
        A figure; it is neither shown nor saved.

    Raises:
        ClipError: If the clip has other frames than were explained, or the tensor is no attribution
            of them.
        OptionError: If there is no such example, or `thumbnails` is not positive.

    Example:
        >>> from captum.attr import NoiseTunnel
        >>> from temporal_attr import TemporalGradient
        >>> from temporal_attr.synthetic import Motion
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("gru", classes=8, widths=(4, 8))
        >>> clip = Motion(frames=4, size=16).sample(0).clip(model.preprocessing)
        >>> frame_strip(TemporalGradient(model).explain(clip.tensor, target=3), clip).get_suptitle()
        'TemporalGradient for class 3, frame by frame'
        >>> smooth = NoiseTunnel(TemporalGradient(model)).attribute(clip.tensor, target=3)
        >>> frame_strip(smooth, clip).get_suptitle()
        'Attribution, frame by frame'
    """
    drawn = drawable(attribution, clip, example, title, label)
    shown = shown_frames(len(drawn.scores), thumbnails)
    scores = drawn.scores.cpu().float().numpy()
    figure = Picture(figsize=(max(6.0, 1.05 * len(shown)), 3.4), layout="constrained")
    axes = figure.subplots()
    times = np.asarray(clip.timestamps)
    width = time_axis(axes, times)
    draw_scores(axes, times, width, scores, as_array(drawn.error))
    axes.set_ylabel(fitted(drawn.frame_label, 2.4))
    place_thumbnails(axes, clip.images()[shown], times[shown], figure.get_figwidth())
    figure.suptitle(drawn.frame_headline(), fontsize=11, wrap=True)
    return figure


def as_array(numbers: Float[Tensor, "time"] | None) -> Float[np.ndarray, "time"] | None:
    """Numbers as matplotlib takes them, if there are any."""
    return None if numbers is None else numbers.cpu().float().numpy()


def draw_scores(
    axes: Axes,
    places: Num[np.ndarray, "time"],
    width: float,
    scores: Float[np.ndarray, "time"],
    error: Float[np.ndarray, "time"] | None = None,
) -> None:
    """A bar for each frame, from 0; a frame whose score is not finite has none."""
    known = np.where(np.isfinite(scores), scores, 0)
    spread = np.zeros_like(known) if error is None else np.nan_to_num(error)
    axes.bar(places, known, width, color=BAR_COLOUR, yerr=spread if spread.any() else None)
    low, high = (known - spread).min(), (known + spread).max()
    axes.set_ylim(min(0, low * 1.05), max(0, high * 1.05) or 1)
    axes.axhline(0, color="black", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


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
