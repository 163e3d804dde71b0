"""What shuffling does to the frames of one clip."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Num
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from temporal_attr._errors import DataError
from temporal_attr.attributions import ShuffleProbeResult
from temporal_attr.clips import Clip
from temporal_attr.measures import flow_correlations, measure_label
from temporal_attr.views._common import (
    BAR_COLOUR,
    MUTED_COLOUR,
    Picture,
    class_text,
    require_example,
    require_index,
)
from temporal_attr.views._shuffle_common import (
    FLOW_COLOUR,
    SHUFFLED_COLOUR,
    draw_frame_axis,
    drop_measure,
    headline,
    legend_below,
)

Series = Num[np.ndarray, "time"]

BOUNDS = (0.3, 0.5, 0.7, 0.9, 1.1)
"""Between these a motion reliance ratio has another category: see `reliance_category`."""


def shuffle_profile(
    result: ShuffleProbeResult, clip: Clip | None = None, *, example: int = 0
) -> Figure:
    """The score of each frame in order, and where the order is random.

    The band holds 95 % of the orders, from the 2.5 to the 97.5 % quantile: it is their spread, not
    how sure the median is. A cross on the axis is a frame without a ratio, whose score in order is
    zero or rounding only.

    Args:
        result: Of `ShuffleProbe.explain`.
        clip: The clip that was explained, for its times; without it frames are numbered.
        example: Which one of the batch.

    Returns:
        A figure; it is neither shown nor saved.

    Raises:
        ClipError: If the clip has another number of frames than the result.
        OptionError: If there is no such example.

    Example:
        >>> from temporal_attr import ShuffleProbe
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("late-fusion", classes=4, pooling="max", widths=(4, 8))
        >>> result = ShuffleProbe(model, shuffles=5).explain(torch.rand(1, 8, 3, 32, 32), target=2)
        >>> print(shuffle_profile(result).get_suptitle())
        Frames in order and shuffled, class 2
        Motion Reliance Ratio 1.00 (95 % 1.00 to 1.00)
        drop of the target's probability 0.00 (95 % 0.00 to 0.00)
    """
    _require(result, clip, example)
    figure = Picture(figsize=(7.0, 3.9), layout="constrained")
    axes = figure.subplots()
    times = draw_frame_axis(axes, clip, result.ordered_scores.shape[1])
    _draw_scores(axes, times, result, example, band=True)
    known = ~result.ratios[example].isnan().all(0).cpu().numpy()
    if not known.all():
        at_zero = axes.get_xaxis_transform()
        style: dict[str, Any] = {"linestyle": "", "color": "black", "clip_on": False, "zorder": 4}
        place = np.zeros(int((~known).sum()))
        axes.plot(times[~known], place, "x", **style, transform=at_zero, label="no ratio")
    legend_below(figure, [axes])
    shown = [
        f"{measure_label(name, result.activation)} {result.interval(name, example)}"
        for name in ("mrr", drop_measure(result.intervals))
    ]
    headline(figure, f"Frames in order and shuffled, {class_text(result, example)}", *shown)
    return figure


def ratio_distribution(result: ShuffleProbeResult, *, example: int = 0) -> Figure:
    """How the ratios of all frames in all orders lie about 1, and where their median is.

    The median hides scores that rise behind scores that drop; here both can be seen. The shade is
    the interval of the median over orders, and the numbers above are the bounds of its categories.
    Single ratios far from all others may lie beyond the axis; they are counted.

    Args:
        result: Of `ShuffleProbe.explain`.
        example: Which one of the batch.

    Returns:
        A figure; it is neither shown nor saved.

    Raises:
        OptionError: If there is no such example.

    Example:
        >>> from temporal_attr import ShuffleProbe
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("inflated-resnet", classes=4, widths=(4, 8))
        >>> result = ShuffleProbe(model, shuffles=5).explain(torch.rand(1, 8, 3, 32, 32), target=2)
        >>> ratio_distribution(result).get_suptitle().splitlines()[-1][:9]
        '40 ratios'
    """
    _require(result, None, example)
    ratios = _array(result.ratios[example]).ravel()
    found = result.interval("mrr", example)
    drawn = ratios[np.isfinite(ratios) & (ratios > 0)]
    low, high = _ratio_range(drawn, [found.value, found.low, found.high])
    figure = Picture(figsize=(7.0, 4.3), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    edges = _bins(low, high)
    within = drawn[(drawn >= edges[0]) & (drawn <= edges[-1])]
    axes.hist(within, edges.tolist(), color=SHUFFLED_COLOUR, alpha=0.75)
    axes.set_xlim(edges[0], edges[-1])
    _draw_bounds(axes, float(np.log(high / low)))
    axes.axvline(1, color="black", linestyle="--", linewidth=1, label="1: as in order")
    if 0 < found.value < np.inf:
        axes.axvline(found.value, color=BAR_COLOUR, linewidth=1.8, zorder=1.5, label="median (MRR)")
        if found.low < found.high:
            ends = np.clip((found.low, found.high), edges[0], edges[-1])
            axes.axvspan(
                *ends, color=BAR_COLOUR, alpha=0.25, linewidth=0, label="its 95 % interval"
            )
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    if not len(drawn):
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no ratio to draw", transform=axes.transAxes, ha="center")
    axes.set_xlabel("ratio R, of one frame in one order")
    axes.set_ylabel("number of ratios")
    axes.spines[["top", "right"]].set_visible(False)
    legend_below(figure, [axes])
    _ratio_headline(figure, result, example, ratios, len(drawn) - len(within))
    return figure


def flow_profile(
    result: ShuffleProbeResult, clip: Clip | None = None, *, example: int = 0
) -> Figure:
    """Whether the scores of frames follow the motion, in order and shuffled.

    The flow from one frame to the next is drawn at the later of the two, with whose score it is
    correlated; the first frame has none. The flow correlation drop is the correlation r in order
    less its mean over shuffled clips, each of them with its own scores, not with the median here.

    Args:
        result: Of `ShuffleProbe.explain`, with flow.
        clip: The clip that was explained, for its times; without it frames are numbered.
        example: Which one of the batch.

    Returns:
        A figure; it is neither shown nor saved.

    Raises:
        ClipError: If the clip has another number of frames than the result.
        OptionError: If there is no such example.
        DataError: If the result has no flow.

    Example:
        >>> from temporal_attr import ShuffleProbe
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("inflated-resnet", classes=4, widths=(4, 8))
        >>> result = ShuffleProbe(model, shuffles=5).explain(torch.rand(1, 8, 3, 32, 32), target=2)
        >>> upper, lower = flow_profile(result).axes
        >>> upper.lines[0].get_xdata().tolist()
        [1, 2, 3, 4, 5, 6, 7]
    """
    _require(result, clip, example)
    if result.flow is None:
        raise DataError("a result with flow", "one without", 'Call explain(flow="farneback").')
    figure = Picture(figsize=(7.0, 4.9), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
    times = draw_frame_axis(lower, clip, result.ordered_scores.shape[1])
    flow = _array(result.flow[example])
    upper.plot(times[1:], flow, "s-", color=FLOW_COLOUR, markersize=4, label="flow into the frame")
    _from_zero(upper, flow)
    upper.set_ylabel("mean flow (pixels)")
    upper.tick_params(labelbottom=False)
    _draw_scores(lower, times, result, example, band=False)
    legend_below(figure, [upper, lower])
    headline(
        figure,
        f"Flow and scores of frames, {class_text(result, example)}",
        *_correlation_lines(result, example),
    )
    return figure


def _require(result: ShuffleProbeResult, clip: Clip | None, example: int) -> None:
    batch, frames = result.ordered_scores.shape
    if clip is None:
        require_index(example, batch)
    else:
        require_example(example, batch, clip, frames)


def _array(values: torch.Tensor) -> np.ndarray:
    array: np.ndarray = values.detach().cpu().double().numpy()
    return array


def _draw_scores(
    axes: Axes, times: Series, result: ShuffleProbeResult, example: int, *, band: bool
) -> None:
    """The scores in order over the median of those shuffled."""
    ordered = _array(result.ordered_scores[example])
    shuffled = result.shuffled_scores[example].detach().cpu().double()
    shares = torch.tensor([0.025, 0.5, 0.975], dtype=torch.float64)
    low, median, high = shuffled.nanquantile(shares, 0).numpy()
    orders = len(shuffled)
    name = f"median of {orders} orders" if orders > 1 else "1 other order"
    # Wide, so that it can be seen beneath scores that are the same.
    axes.plot(times, median, color=SHUFFLED_COLOUR, linewidth=3.2, label=name)
    shown = [ordered, median]
    if band and orders > 1:
        axes.fill_between(
            times, low, high, color=SHUFFLED_COLOUR, alpha=0.2, linewidth=0, label="95 % of them"
        )
        shown += [low, high]
    axes.plot(times, ordered, "o-", color=BAR_COLOUR, markersize=4, linewidth=1.4, label="in order")
    _from_zero(axes, *shown)
    axes.set_ylabel("score of the frame")


def _from_zero(axes: Axes, *series: Series) -> None:
    """From 0, so that heights compare as their ratios do."""
    values = np.concatenate(series)
    finite = values[np.isfinite(values)]
    axes.set_ylim(0, 1.08 * float(finite.max(initial=0)) or 1)
    axes.spines[["top", "right"]].set_visible(False)
    if not len(finite):
        axes.text(0.5, 0.5, "no finite values", transform=axes.transAxes, ha="center")


def _ratio_range(drawn: np.ndarray, median: list[float]) -> tuple[float, float]:
    """The bounds of the categories, nearly all ratios, and their median."""
    shown = [0.25, 1.4, *(value for value in median if 0 < value < np.inf)]
    if len(drawn):
        logs = np.log(drawn)
        low, high = np.quantile(logs, (0.005, 0.995))
        # Single ratios far from all others would leave those no room.
        room = (high - low) / 2
        shown += np.exp(np.clip((logs.min(), logs.max()), low - room, high + room)).tolist()
    return min(shown), max(shown)


def _bins(low: float, high: float) -> np.ndarray:
    """Edges of equal width on the logarithmic axis; 1 is the middle of a bin, not an edge."""
    width = np.log(high / low) / 40
    first, last = np.floor(np.log(low) / width), np.ceil(np.log(high) / width)
    edges: np.ndarray = np.exp((np.arange(first, last + 2) - 0.5) * width)
    return edges


def _draw_bounds(axes: Axes, span: float) -> None:
    """Separators of the categories with their numbers above; `span` is the axis in log units."""
    for bound in BOUNDS:
        axes.axvline(bound, color=MUTED_COLOUR, linewidth=0.7, alpha=0.7, zorder=0.5)
    # Where the axis is very long, the numbers between would touch.
    for bound in BOUNDS if span < 14 else (BOUNDS[0], BOUNDS[-1]):
        axes.text(
            bound,
            1.02,
            f"{bound:g}",
            transform=axes.get_xaxis_transform(),
            rotation=90 if span > 4 else 0,
            ha="center",
            va="bottom",
            fontsize=7 if span < 8 else 5,
            color="#4a5568",
        )
    steps = (1, 1.5, 2, 3, 5, 7) if span < 3 else (1, 2, 5) if span < 6 else (1,)
    axes.xaxis.set_major_locator(LogLocator(10, subs=steps))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _ratio_headline(
    figure: Figure, result: ShuffleProbeResult, example: int, ratios: np.ndarray, beyond: int
) -> None:
    mrr, rising, change = (
        f"{measure_label(name, result.activation)} {result.interval(name, example)}"
        for name in ("mrr", "rising_share", "median_log_ratio")
    )
    counts = {
        "exactly 0 and not drawn": int((ratios == 0).sum()),
        "beyond the axis": beyond,
        "infinite": int(np.isinf(ratios).sum()),
        "not defined": int(np.isnan(ratios).sum()),
    }
    special = [f"{count} {what}" for what, count in counts.items() if count]
    title = f"Scores shuffled over scores in order, {class_text(result, example)}"
    headline(
        figure, title, mrr, f"{rising}, {change}", ", ".join([f"{len(ratios)} ratios", *special])
    )


def _correlation_lines(result: ShuffleProbeResult, example: int) -> list[str]:
    """The flow correlation drop, and the correlations that it is the difference of."""
    one = slice(example, example + 1)
    found = result.interval("flow_correlation_drop", example)
    label = measure_label("flow_correlation_drop", result.activation)
    if result.flow is None or np.isnan(found.value):
        return [f"{label} not defined: the flow or a profile of scores is constant"]
    scores = torch.cat([result.ordered_scores[one], result.shuffled_scores[example]])
    correlations = flow_correlations(result.flow[one], scores.unsqueeze(0))[0]
    in_order, others = correlations[0].item(), correlations[1:].mean().item()
    apart = f"r = {in_order:.2f} in order, {others:.2f} in the mean of shuffled clips"
    return [f"{label} {found}", apart]
