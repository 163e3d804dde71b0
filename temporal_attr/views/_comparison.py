"""Pictures of a comparison of methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from temporal_attr._errors import OptionError
from temporal_attr.evaluation import CHANCE, Comparison, Ranked
from temporal_attr.views._common import BAR_COLOUR, MUTED_COLOUR, Picture, plain

if TYPE_CHECKING:
    from pandas import DataFrame
else:
    # An extra, which calls are not checked against.
    DataFrame = Any

Drawn = dict[str, Callable[[], Figure]]
_ALONG = ("removed", "shown")
"""Curves that say at which share the others were measured."""
_GRID = np.linspace(0, 1, 101)
_CHANCE_STYLES = (":", "-.", "--", "-")
"""Of the levels of chance, which are all grey."""
_COLOURS = (BAR_COLOUR, "#30638e", "#edae49", "#3c887e", "#7b4b94", "#5c5c5c", "#b08968", "#8ac926")


def pictures_of_comparison(comparison: Comparison) -> Drawn:
    """All pictures that there are of a comparison, each drawn when it is called.

    Args:
        comparison: Of `Suite.run`.

    Returns:
        By the name of a file, a function that draws the picture.
    """
    ranked = _ranked(comparison)
    if not ranked:
        return {}
    found: Drawn = {"ranking.png": lambda: method_ranking(comparison)}
    if len(ranked) > 1:
        found["agreement.png"] = lambda: metric_agreement(comparison)
        found["metrics.png"] = lambda: metric_table(comparison)
    if comparison.table["evaluations"].notna().any():
        found["cost.png"] = lambda: score_against_cost(comparison, ranked[0])
    removing = [one.name for one in comparison.metrics if one.family == "faithfulness"]
    for metric in [name for name in removing if (comparison.curves["metric"] == name).any()]:
        found[f"curve_{_file_name(metric)}.png"] = lambda metric=metric: metric_curves(  # type: ignore[misc]
            comparison, metric
        )
    return found


def method_ranking(comparison: Comparison, metric: str | None = None) -> Figure:
    """The methods of a comparison in their order, with intervals over models and clips.

    Levels of chance are grey. Methods that lack clips follow below the others, hollow.

    Args:
        comparison: Of `Suite.run`.
        metric: One of its metrics; None for all that have a direction.

    Raises:
        OptionError: If none has values and a direction.
    """
    names = _ranked(comparison) if metric is None else [metric]
    if not names:
        raise OptionError("a metric with values and a direction", "none", "Look at the failures.")
    rankings = {name: comparison.ranking(name) for name in names}
    most = max(map(len, rankings.values()))
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Picture(figsize=(4.4 * columns, rows * (0.9 + 0.24 * most)), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, ranking) in zip(panels, rankings.items(), strict=False):
        _draw_ranking(axes, name, ranking, comparison)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    return figure


def _draw_ranking(axes: Axes, name: str, ranking: list[Ranked], comparison: Comparison) -> None:
    for place, one in enumerate(ranking):
        chance, whole = one.method in CHANCE, np.isfinite(one.mean_rank)
        colour = MUTED_COLOUR if chance else BAR_COLOUR
        axes.plot([one.low, one.high], [place, place], color=colour, linewidth=2, alpha=0.6)
        face = colour if whole else "white"
        axes.plot(one.mean, place, "o", color=colour, markerfacecolor=face, markersize=5)
    axes.set_yticks(range(len(ranking)), [plain(one.method) for one in ranking], fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    better = _direction(comparison, name)
    axes.set_title(f"{plain(name)} ({better} is better)", fontsize=9, loc="left")
    axes.tick_params(axis="x", labelsize=8)


def metric_table(comparison: Comparison) -> Figure:
    """Methods by metrics: a cell's colour is the place of its mean between worst and best.

    The number is the mean itself. A method that lacks clips which others have is grey.

    Args:
        comparison: Of `Suite.run`.
    """
    names, methods = _ranked(comparison), comparison.methods
    means = np.full((len(names), len(methods)), np.nan)
    shades = means.copy()
    for row, name in enumerate(names):
        placed = np.full(len(methods), np.nan)
        for one in comparison.ranking(name):
            means[row, methods.index(one.method)] = one.mean
            if np.isfinite(one.mean_rank):
                placed[methods.index(one.method)] = one.mean
        low, high = np.nanmin(placed), np.nanmax(placed)
        share = (placed - low) / (high - low) if high > low else placed * 0 + 0.5
        shades[row] = share if _direction(comparison, name) == "more" else 1 - share
    size = (3.4 + 0.62 * len(methods), 1.8 + 0.27 * len(names))
    figure = Picture(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor("#d9d9d9")
    image = axes.imshow(shades, cmap="YlGnBu", vmin=0, vmax=1, aspect="auto")
    _write_numbers(axes, means, shades, "{:.2g}")
    axes.set_xticks(range(len(methods)), [plain(name) for name in methods], rotation=40, ha="right")
    axes.set_yticks(range(len(names)), [plain(name) for name in names])
    axes.tick_params(labelsize=8)
    bar = figure.colorbar(image, ax=axes, ticks=[0, 1], shrink=0.6)
    bar.ax.set_yticklabels(["worst", "best"], fontsize=8)
    axes.set_title("Means over models and clips", fontsize=10, loc="left")
    return figure


def score_against_cost(comparison: Comparison, metric: str) -> Figure:
    """How good each method is against what it takes; below the line another is better for less.

    Evaluations are forward passes of the clip, and two for each backward pass: the median over
    clips. Methods that take none stand at the left; levels of chance, grey, have no part in the
    line. Methods that lack clips which others have are left out.

    Args:
        comparison: Of `Suite.run`.
        metric: One of its metrics that has a direction.
    """
    ranking = comparison.ranking(metric)
    costs = comparison.table.groupby("method")["evaluations"].median()
    points = [
        (max(costs[one.method], 0.5), one)
        for one in ranking
        if costs[one.method] >= 0 and np.isfinite(one.mean_rank)
    ]
    figure = Picture(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    sign = 1 if _direction(comparison, metric) == "more" else -1
    best, front = -np.inf, list[tuple[float, float]]()
    for cost, one in sorted(points, key=lambda point: (point[0], -sign * point[1].mean)):
        colour = MUTED_COLOUR if one.method in CHANCE else BAR_COLOUR
        axes.plot([cost, cost], [one.low, one.high], color=colour, alpha=0.4)
        axes.plot(cost, one.mean, "o", color=colour, markersize=5)
        axes.annotate(
            plain(one.method), (cost, one.mean), (5, 2), textcoords="offset points", fontsize=7
        )
        if sign * one.mean > best and one.method not in CHANCE:
            best = sign * one.mean
            front.append((cost, one.mean))
    if front:
        front.append((max(cost for cost, _ in points), front[-1][1]))
        style = {"color": MUTED_COLOUR, "linestyle": "--", "zorder": 0}
        axes.step(*zip(*front, strict=True), where="post", **style)  # type: ignore[arg-type]
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("evaluations (none: at the left)")
    axes.set_ylabel(f"{plain(metric)} ({_direction(comparison, metric)} is better)")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def metric_agreement(comparison: Comparison) -> Figure:
    """Kendall's tau of each pair of metrics: do they order the methods alike?

    Args:
        comparison: Of `Suite.run`.
    """
    found = comparison.agreement()
    names = [plain(name) for name in found.columns]
    size = 2.4 + 0.5 * len(names)
    figure = Picture(figsize=(size + 0.6, size), layout="constrained")
    axes = figure.subplots()
    values = found.to_numpy(np.float64)
    image = axes.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1)
    _write_numbers(axes, values, np.abs(values), "{:.1f}")
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    figure.colorbar(image, ax=axes, shrink=0.7, label="Kendall's tau")
    axes.set_title("Do metrics order the methods alike?", fontsize=10, loc="left")
    return figure


def metric_curves(comparison: Comparison, metric: str) -> Figure:
    """The curves of a metric, such as a deletion: for each method the mean over models and clips.

    Curves of different lengths are drawn over their share.

    Args:
        comparison: Of `Suite.run`.
        metric: One whose scores have curves.

    Raises:
        OptionError: If it has none.
    """
    rows = comparison.curves[comparison.curves["metric"] == metric]
    if rows.empty:
        raise OptionError("a metric with curves", repr(metric), "Draw method_ranking.")
    kinds = [kind for kind in rows["curve"].unique() if kind not in _ALONG]
    figure = Picture(figsize=(4.6 * len(kinds) + 1.4, 3.6), layout="constrained")
    panels = figure.subplots(1, len(kinds), squeeze=False)[0]
    for place, method in enumerate(rows["method"].unique()):
        own = rows[rows["method"] == method]
        colour = MUTED_COLOUR if method in CHANCE else _COLOURS[place % len(_COLOURS)]
        style = "-" if place < len(_COLOURS) else ":"
        if method in CHANCE:
            style = _CHANCE_STYLES[list(CHANCE).index(str(method)) % len(_CHANCE_STYLES)]
        for axes, kind in zip(panels, kinds, strict=True):
            axes.plot(_GRID, _mean_curve(own, kind), style, color=colour, label=plain(str(method)))
    along = [name for name in _ALONG if name in set(rows["curve"])]
    for axes, kind in zip(panels, kinds, strict=True):
        axes.set_xlabel(f"share {along[0]}" if along else "share of the curve")
        axes.set_title(plain(kind), fontsize=9, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.suptitle(plain(metric), fontsize=10)
    return figure


def _mean_curve(rows: DataFrame, kind: str) -> np.ndarray:
    """The mean over models and clips of a method's curves, over the share that goes with each."""
    found = []
    for _, one in rows.groupby(["model", "clip"], sort=False):
        curve = one.loc[one["curve"] == kind, "value"].to_numpy(np.float64)
        along = one.loc[one["curve"].isin(_ALONG), "value"].to_numpy(np.float64)
        shares = along if len(along) == len(curve) else np.linspace(0, 1, len(curve))
        if len(curve):
            found.append(np.interp(_GRID, shares, curve))
    mean: np.ndarray = np.nanmean(found, 0)
    return mean


def _write_numbers(axes: Axes, values: np.ndarray, shades: np.ndarray, form: str) -> None:
    """Each number in its cell, white on a dark one."""
    for row, column in np.argwhere(np.isfinite(values)):
        colour = "white" if shades[row, column] > 0.6 else "black"
        text = form.format(values[row, column])
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=7)


def _ranked(comparison: Comparison) -> list[str]:
    """The metrics that have values, and a direction."""
    values = comparison.table.groupby("metric")["value"].count()
    return [
        known.name
        for known in comparison.metrics
        if known.higher_is_better is not None and values.get(known.name, 0)
    ]


def _direction(comparison: Comparison, metric: str) -> str:
    known = next(one for one in comparison.metrics if one.name == metric)
    return "more" if known.higher_is_better else "less"


def _file_name(metric: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in metric).strip("_")
