"""How a model's prediction changes while blocks of frames, or near frames, change places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from temporal_attr._errors import DataError
from temporal_attr.attributions import ShuffleCurve
from temporal_attr.measures import measure_label
from temporal_attr.views._common import MUTED_COLOUR, Picture, plain, require_index
from temporal_attr.views._shuffle_common import (
    UNCHANGED,
    drop_measure,
    headline,
    legend_below,
    limits,
    require_measures,
)
from temporal_attr.views._window_accuracy import CURVE_COLOURS

RANGE_MEASURES = ("mrr", "median_log_ratio")

MARKERS = "osD^vP"

READING = {
    "block length": (
        "Blocks of frames change places, and the order inside them is kept:",
        "where a curve returns to the dashed line, blocks are long enough for the model",
    ),
    "radius": (
        "No frame moves farther than the radius, and the order beyond it is kept:",
        "where a curve leaves the dashed line, the model reads order within that reach",
    ),
}
"""What a curve over each kind of length means."""


def range_curve(
    curve: ShuffleCurve | Mapping[str, ShuffleCurve],
    *,
    example: int = 0,
    measures: Sequence[str] | None = None,
) -> Figure:
    r"""At which range order matters: measures over block lengths or radii.

    The band is the 95 % interval over orders; of one order it has no width. The dashed line is what
    a measure is where order changes nothing. Where a length has fewer orders than others, their
    number is in brackets below it.

    Args:
        curve: Of `ShuffleProbe.curve`; or one for each model, by name.
        example: Which one of the batch.
        measures: Names of `measures.SHUFFLE_MEASURES`, one axis each; by default MRR, the median
            log ratio and the drop of the probability (of the output, where there is none).

    Returns:
        A figure; it is neither shown nor saved.

    Raises:
        OptionError: If there is no such example or measure.
        DataError: If there is no curve, or some are over block lengths and others over radii.

    Example:
        >>> import torch
        >>> from temporal_attr import ShuffleProbe
        >>> from temporal_attr.clips import BlockShuffle
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("inflated-resnet", classes=4, widths=(4, 8))
        >>> blocks = [BlockShuffle(length) for length in (1, 2, 4)]
        >>> probe = ShuffleProbe(model, shuffles=5)
        >>> curve = probe.curve(torch.rand(1, 8, 3, 32, 32), target=2, shufflings=blocks)
        >>> [text.get_text() for text in range_curve(curve).axes[0].get_xticklabels()]
        ['1', '2', '4\n(1)']
    """
    curves = {"": curve} if isinstance(curve, ShuffleCurve) else dict(curve)
    if measures is None:
        known = set.intersection(*(set(one.values) for one in curves.values()), set(UNCHANGED))
        measures = (*RANGE_MEASURES, drop_measure(known))
    _require_curves(curves, example, measures)
    kind = next(iter(curves.values())).kind
    figure = Picture(figsize=(max(6.4, 0.6 + 2.9 * len(measures)), 3.9), layout="constrained")
    parts = figure.subplots(1, len(measures), squeeze=False)[0]
    for axes, name in zip(parts, measures, strict=True):
        label = "order changes nothing"
        axes.axhline(UNCHANGED[name], color=MUTED_COLOUR, linestyle="--", linewidth=1, label=label)
        shown = [
            _draw_curve(axes, one, model, name, example, place, len(curves))
            for place, (model, one) in enumerate(curves.items())
        ]
        axes.set_ylim(limits(UNCHANGED[name], *shown))
        axes.set_title(_label(name, curves), fontsize=9, wrap=True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        fewer = _length_ticks(axes, curves)
        brackets = "\nin brackets: orders, where fewer" if fewer else ""
        axes.set_xlabel(f"{kind} (frames){brackets}", fontsize=8)
    legend_below(figure, parts)
    headline(figure, *READING[kind])
    return figure


def _label(name: str, curves: Mapping[str, ShuffleCurve]) -> str:
    """What a measure is called; an output is no logit if it is none of one of the models."""
    labels = {measure_label(name, one.activation) for one in curves.values()}
    return max(labels)  # "drop of the target's output" comes after that of the logit


def _require_curves(
    curves: Mapping[str, ShuffleCurve], example: int, measures: Sequence[str]
) -> None:
    if not curves:
        raise DataError("at least one curve", "none", "Give them by name.")
    kinds = sorted({one.kind for one in curves.values()})
    if len(kinds) > 1:
        raise DataError(
            "curves over one kind of length", " and ".join(kinds), "Draw a picture of each kind."
        )
    for one in curves.values():
        require_measures(measures, one.values)
        require_index(example, len(next(iter(one.values.values()))))


def _draw_curve(
    axes: Axes, curve: ShuffleCurve, model: str, name: str, example: int, place: int, models: int
) -> np.ndarray:
    """Draw one model's curve; return all that the axis must show."""
    order = np.argsort(curve.lengths, kind="stable")
    lengths = np.asarray(curve.lengths)[order]
    values = curve.values[name][example].double().numpy()[order]
    bands = curve.intervals[name][example].double().numpy()[order]
    colour, marker = CURVE_COLOURS[place % len(CURVE_COLOURS)], MARKERS[place % len(MARKERS)]
    axes.fill_between(lengths, *bands.T, color=colour, alpha=0.15, linewidth=0)
    # Strokes too: a band of one length has no width.
    axes.vlines(lengths, *bands.T, color=colour, alpha=0.5, linewidth=1)
    # Later curves are thinner, so that those below can be seen where they are the same.
    more = min(models - 1 - place, 3)
    style: dict[str, Any] = {"markersize": 4 + 1.6 * more, "linewidth": 1.4 + 0.7 * more}
    axes.plot(
        lengths,
        values,
        marker,
        linestyle="-",
        color=colour,
        **style,
        label=plain(model) or "shuffled",
    )
    shown: np.ndarray = np.append(values, bands)
    if not np.isfinite(values).any():
        axes.text(0.5, 0.5, "not defined", transform=axes.transAxes, ha="center", fontsize=8)
    return shown


def _length_ticks(axes: Axes, curves: Mapping[str, ShuffleCurve]) -> bool:
    """Each length, and how many orders it has if others have more; whether any has fewer."""
    fewer: dict[int, set[int]] = {}
    for one in curves.values():
        for length, count in zip(one.lengths, one.orders, strict=True):
            fewer.setdefault(length, set()).update({count} if count < max(one.orders) else ())
    lengths = sorted(fewer)
    axes.set_xscale("log", base=2)
    axes.set_xlim(lengths[0] / 1.3, lengths[-1] * 1.3)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(FixedLocator(lengths))
    # A label takes so much of the axis; one that would touch the last is left out.
    width = 0.06 * np.log2(1.69 * lengths[-1] / lengths[0])
    labels, end = [], -np.inf
    for length in lengths:
        counts = ", ".join(map(str, sorted(fewer[length])))
        free = np.log2(length) - width >= end
        labels.append((f"{length}\n({counts})" if counts else f"{length}") if free else "")
        end = np.log2(length) + width if free else end
    axes.set_xticklabels(labels, fontsize=7)
    return any(fewer.values())
