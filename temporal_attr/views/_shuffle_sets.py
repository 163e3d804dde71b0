"""What shuffling does in the segments of a clip, and to many clips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from temporal_attr._errors import ClipError, DataError
from temporal_attr.attributions import ShuffleSet
from temporal_attr.clips import Clip
from temporal_attr.measures import measure_label
from temporal_attr.views._common import BAR_COLOUR, MUTED_COLOUR, Picture
from temporal_attr.views._shuffle_common import (
    SHUFFLED_COLOUR,
    UNCHANGED,
    draw_frame_axis,
    drop_measure,
    headline,
    legend_below,
    limits,
    require_measures,
)

SEGMENT_MEASURES = ("mrr", "flow_correlation_drop")


def segment_timeline(
    segments: ShuffleSet, clip: Clip | None = None, *, measures: Sequence[str] | None = None
) -> Figure:
    """The measures of each segment of a clip, where it lies in the clip, and their mean.

    A bar reaches from the first to the last frame of its segment, and the stroke in its middle is
    the 95 % interval over orders. The band is the mean over segments with its interval. A cross on
    the axis is a segment for which the measure is not defined.

    Args:
        segments: Of one clip: an entry of `segments` of a result of `explain(segments=True)`.
        clip: The clip that was explained, for its times; without it frames are numbered.
        measures: Names of `measures.SHUFFLE_MEASURES`, one axis each; by default MRR, the flow
            correlation drop if known, and the drop of the probability (of the output, where there
            is none).

    Returns:
        A figure; it is neither shown nor saved.

    Raises:
        ClipError: If the clip ends before the last segment.
        DataError: If these are clips, not segments.
        OptionError: If there is no such measure.

    Example:
        >>> import torch
        >>> from temporal_attr import ShuffleProbe
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("inflated-resnet", classes=4, widths=(4, 8))
        >>> probe = ShuffleProbe(model, shuffles=5, segment=8)
        >>> clip = torch.rand(1, 16, 3, 32, 32)
        >>> result = probe.explain(clip, target=2, flow=None, segments=True)
        >>> figure = segment_timeline(result.segments[0])
        >>> len(figure.axes), figure.get_suptitle()
        (2, '3 segments of 8 frames, each as a clip of its own')
    """
    starts, size = segments.starts, segments.size
    if starts is None or size is None:
        raise DataError(
            "the segments of a clip", "a set of clips", "Draw clips with views.clip_overview()."
        )
    if measures is None:
        asked = (*SEGMENT_MEASURES, drop_measure(segments.values))
        measures = [name for name in asked if name in segments.values]
    require_measures(measures, segments.values)
    last = max(starts) + size
    if clip is not None and clip.tensor.shape[1] < last:
        raise ClipError(
            f"the clip of these segments, with at least {last} frames",
            f"one with {clip.tensor.shape[1]}",
            "Pass the Clip whose tensor went into explain().",
        )
    figure = Picture(figsize=(7.2, 1.0 + 1.65 * len(measures)), layout="constrained")
    parts = figure.subplots(len(measures), 1, sharex=True, squeeze=False)[:, 0]
    times = draw_frame_axis(parts[-1], clip, last)
    first = np.asarray(starts)
    for axes, name in zip(parts, measures, strict=True):
        _draw_segments(axes, segments, name, times[first], times[first + size - 1])
    legend_below(figure, parts)
    plural = "s" if len(starts) > 1 else ""
    title = f"{len(starts)} segment{plural} of {size} frames, each as a clip of its own"
    headline(figure, title)
    return figure


def clip_overview(clips: ShuffleSet, measure: str = "mrr") -> Figure:
    """One measure of many clips, a row each, and at the bottom their mean.

    The stroke is the 95 % interval over orders, that of the mean over clips and orders. The dashed
    line is what the measure is where order changes nothing.

    Args:
        clips: Of `ShuffleSet.of`.
        measure: A name of `measures.SHUFFLE_MEASURES`.

    Returns:
        A figure; it is neither shown nor saved.

    Raises:
        OptionError: If there is no such measure.

    Example:
        >>> import torch
        >>> from temporal_attr import ShuffleProbe
        >>> from temporal_attr.attributions import ShuffleSet
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("inflated-resnet", classes=4, widths=(4, 8))
        >>> clips = torch.rand(2, 8, 3, 32, 32)
        >>> result = ShuffleProbe(model, shuffles=5).explain(clips, target=2, flow=None)
        >>> figure = clip_overview(ShuffleSet.of([result], ["a wave", "a jump"]))
        >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
        ['a wave', 'a jump', 'mean of 2']
    """
    require_measures([measure], clips.values)
    names = [*clips.names, f"mean of {clips.defined[measure]}"]
    mean = clips.means[measure]
    values = np.array([*clips.values[measure].tolist(), mean.value])
    bands = np.array([*clips.intervals[measure].tolist(), [mean.low, mean.high]])
    rows = np.arange(len(names), dtype=float)
    rows[-1] += 0.4
    height = min(1.5 + 0.24 * len(names), 60.0)
    figure = Picture(figsize=(6.8, max(2.6, height)), layout="constrained")
    axes = figure.subplots()
    axes.set_xlim(limits(UNCHANGED[measure], values, bands))
    axes.set_ylim(rows[-1] + 0.6, -0.6)
    label = "order changes nothing"
    axes.axvline(UNCHANGED[measure], color=MUTED_COLOUR, linestyle="--", linewidth=1, label=label)
    axes.axhline(rows[-1] - 0.7, color="black", linewidth=0.6)
    each, all_of_them = slice(None, -1), slice(-1, None)
    _draw_clips(axes, rows[each], values[each], bands[each], ("o", SHUFFLED_COLOUR, "one clip"))
    style = ("D", BAR_COLOUR, "mean over clips")
    _draw_clips(axes, rows[all_of_them], values[all_of_them], bands[all_of_them], style)
    points = 72 * (height - 1.5) / len(names)
    axes.set_yticks(rows, [_shortened(name) for name in names], fontsize=min(8.0, 0.7 * points))
    for text in axes.get_yticklabels():
        text.set_parse_math(False)
    axes.get_yticklabels()[-1].set_color(BAR_COLOUR)
    axes.tick_params(left=False)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel(measure_label(measure, clips.activation))
    legend_below(figure, [axes])
    headline(figure, f"{measure_label(measure, clips.activation)}, clip by clip", f"mean {mean}")
    return figure


def _draw_segments(
    axes: Axes, segments: ShuffleSet, name: str, first: np.ndarray, last: np.ndarray
) -> None:
    values = segments.values[name].double().numpy()
    bands = segments.intervals[name].double().numpy()
    mean = segments.means[name]
    axes.set_ylim(limits(values, bands, mean.value, mean.low, mean.high))
    if np.isfinite(mean.value):
        axes.axhline(mean.value, color=BAR_COLOUR, linewidth=1, label="mean over segments")
        axes.axhspan(
            mean.low,
            mean.high,
            color=BAR_COLOUR,
            alpha=0.15,
            linewidth=0,
            label="its 95 % interval",
        )
    known = np.isfinite(values)
    middle = (first + last) / 2
    colour = SHUFFLED_COLOUR
    style: dict[str, Any] = {"color": colour, "linewidth": 2, "label": "segment"}
    axes.hlines(values[known], first[known], last[known], **style)
    for end in (first, last):
        # Segments that overlap at one height would look like one.
        axes.plot(end[known], values[known], "|", color=colour, markersize=6)
    _strokes(axes, middle[known], bands[known], colour, upright=True)
    axes.plot(middle[known], values[known], "o", color=colour, markersize=4)
    if not known.all():
        axes.plot(
            middle[~known],
            np.full((~known).sum(), 0.04),
            "x",
            color="black",
            transform=axes.get_xaxis_transform(),
            label="not defined",
        )
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    count = segments.defined[name]
    short = "" if count == len(values) else f", over {count} of {len(values)} segments"
    title = f"{measure_label(name, segments.activation)}: mean {mean}{short}"
    axes.set_title(title, fontsize=9, loc="left")


def _draw_clips(
    axes: Axes,
    rows: np.ndarray,
    values: np.ndarray,
    bands: np.ndarray,
    style: tuple[str, str, str],
) -> None:
    """Values with their intervals, one row each; `style` is marker, colour and label."""
    marker, colour, label = style
    known = np.isfinite(values)
    _strokes(axes, rows[known], bands[known], colour, upright=False)
    axes.plot(
        values[known], rows[known], marker, color=colour, markersize=5, linestyle="", label=label
    )
    for row, value in zip(rows[~known], values[~known], strict=True):
        word = "not defined" if np.isnan(value) else "infinite"
        across = axes.get_yaxis_transform()
        axes.text(0.5, row, word, transform=across, ha="center", va="center", fontsize=8)


def _strokes(
    axes: Axes, places: np.ndarray, bands: np.ndarray, colour: str, *, upright: bool
) -> None:
    """Intervals as strokes; an end that is not finite reaches the edge of the axis."""
    edges = axes.get_ylim() if upright else axes.get_xlim()
    low, high = np.clip(bands, min(edges), max(edges)).T
    draw = axes.vlines if upright else axes.hlines
    draw(places, low, high, color=colour, linewidth=1.4, alpha=0.7)


def _shortened(name: str, longest: int = 40) -> str:
    """A name that is not too long; the end of a path says most."""
    return name if len(name) <= longest else f"…{name[1 - longest :]}"
