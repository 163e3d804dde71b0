"""How long a window is enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from temporal_attr._errors import OptionError
from temporal_attr.evaluation import WindowAccuracy
from temporal_attr.views._common import BAR_COLOUR, MUTED_COLOUR, Picture, plain

CURVE_COLOURS = (BAR_COLOUR, "#30638e", "#edae49", "#3c887e", "#7b4b94", "#5c5c5c")
RING: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 11, "markerfacecolor": "none"}


def window_accuracy(
    curve: WindowAccuracy | Mapping[str, WindowAccuracy],
    *,
    atr: float | Mapping[str, float] | None = None,
) -> Figure:
    """Accuracy against the window that each timestep sees, and where the temporal range lies on it.

    The band is Wilson's 95 % interval of each accuracy by itself; the curves of one model share
    their videos, so two points can differ for certain though their bands overlap. The dashed line
    is the accuracy with whole clips. The ring is the curve at the avg-ATR, between two sizes on the
    straight line that joins them.

    Args:
        curve: Of `accuracy_by_window`; or one for each model, by name.
        atr: The avg-ATR, in timesteps; with several curves by name, for as many of them as known.

    Returns:
        A figure; it is neither shown nor saved.

    Raises:
        OptionError: If there is no curve, an ATR belongs to none, or it lies beyond the sizes.

    Example:
        >>> curve = WindowAccuracy((1, 2, 4), (0.5, 0.7, 0.8), full=0.8, videos=100)
        >>> window_accuracy(curve, atr=3.0).axes[0].get_xlabel()
        'window (timesteps)'
    """
    curves = {"": curve} if isinstance(curve, WindowAccuracy) else dict(curve)
    ranges = _ranges_by_name(curves, atr)
    figure = Picture(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for place, (name, one) in enumerate(curves.items()):
        _draw_curve(axes, one, name, ranges.get(name), CURVE_COLOURS[place % len(CURVE_COLOURS)])
    axes.set_xlabel("window (timesteps)")
    axes.set_ylabel("accuracy (band: 95 %)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.spines[["top", "right"]].set_visible(False)
    handles = axes.get_legend_handles_labels()[0]
    handles.append(Line2D([], [], color=MUTED_COLOUR, linestyle="--", label="whole clips"))
    if ranges:
        handles.append(Line2D([], [], **RING, color=MUTED_COLOUR, label="at the avg-ATR"))
    axes.legend(handles=handles, fontsize=8, frameon=False)
    figure.suptitle("Accuracy when each timestep sees a window only", fontsize=11)
    return figure


def _ranges_by_name(
    curves: Mapping[str, WindowAccuracy], atr: float | Mapping[str, float] | None
) -> dict[str, float]:
    """The ATR of each curve that has one, within its sizes."""
    if not curves:
        raise OptionError("at least one curve", "none", "Give them by name.")
    ranges = dict(atr) if isinstance(atr, Mapping) else {} if atr is None else {"": atr}
    for name, value in ranges.items():
        if name not in curves:
            known = "as a number" if "" in curves else f"by name: {', '.join(map(repr, curves))}"
            got = repr(name) if name else str(value)
            raise OptionError(f"atr {known}", got, "Give it as the curves are given.")
        smallest, largest = min(curves[name].sizes), max(curves[name].sizes)
        # Written so that NaN, which compares false, is refused too.
        if not smallest <= value <= largest:
            reach = f"an atr within the sizes of its curve, {smallest} to {largest}"
            raise OptionError(reach, f"{value}", "Measure windows below and above it.")
    return ranges


def _draw_curve(
    axes: Axes, curve: WindowAccuracy, name: str, atr: float | None, colour: str
) -> None:
    sizes, accuracy = _ordered(curve)
    tests = [scipy.stats.binomtest(round(share * curve.videos), curve.videos) for share in accuracy]
    bands = [test.proportion_ci(0.95, "wilson") for test in tests]
    low, high = [band.low for band in bands], [band.high for band in bands]
    axes.fill_between(sizes, low, high, color=colour, alpha=0.12, linewidth=0)
    # A line too: a band of one size has no width.
    axes.vlines(sizes, low, high, color=colour, alpha=0.4, linewidth=1)
    label = plain(name) or "windows"
    if atr is not None:
        label += f" (avg-ATR {atr:.1f})"
        axes.plot(atr, np.interp(atr, sizes, accuracy), **RING, color=colour)
    axes.plot(sizes, accuracy, "o-", color=colour, markersize=4, label=label)
    axes.axhline(curve.full, color=colour, linestyle="--", linewidth=1)


def _ordered(curve: WindowAccuracy) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(curve.sizes)
    return np.asarray(curve.sizes)[order], np.asarray(curve.accuracy)[order]
