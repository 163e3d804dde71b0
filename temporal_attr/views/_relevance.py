"""Temporal relevance: which timesteps each timestep's prediction comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from temporal_attr._errors import ClipError, OptionError
from temporal_attr._typing import StepMatrix
from temporal_attr.attributions import ContrastiveLRPTemporalResult, Result
from temporal_attr.measures import maximum_range, ranges, shortest_runs
from temporal_attr.views._common import (
    BAR_COLOUR,
    MUTED_COLOUR,
    Picture,
    class_text,
    one_matrix,
    plain,
)

Matrix = Float[np.ndarray, "steps steps"]


@dataclass(frozen=True)
class _Rows:
    """One clip's matrix, and what is known of its rows.

    Attributes:
        matrix: Relevance of column j for row i.
        runs: The first and last column of each row's shortest run.
        lengths: r_i, how long that is; NaN for a row of zeros.
        logits: l_i; None where they are not known.
        weighted: The rows that avg-ATR counts; all where the logits are not known.
        title: What stands above them.
    """

    matrix: Matrix
    runs: list[tuple[int, int]]
    lengths: np.ndarray
    logits: np.ndarray | None
    weighted: np.ndarray
    title: str


def relevance_heatmap(
    relevance: ContrastiveLRPTemporalResult | StepMatrix,
    *,
    example: int = 0,
    sigma: float | None = None,
    title: str | None = None,
) -> Figure:
    """The relevance matrix: which columns each timestep's logit comes from, and its range.

    Every row is divided by its largest magnitude, so that its reach can be seen whatever its size.
    The outline is the row's shortest run, and the number beside it is its range r_i; a row of zeros
    has neither. The bars are the logits l_i, by which avg-ATR weighs the ranges; rows without
    weight, of a logit that is not positive or a timestep that the model does not read out, are
    pale. A cell without colour is zero. Bare matrices have no logits, so no bars and no pale rows.

    Args:
        relevance: A result of `ContrastiveLRPTemporal.explain`; or matrices
            `(batch, steps, steps)`, such as its `attribute` gives.
        example: Which one of the batch.
        sigma: The share of a row that a range holds, of bare matrices: 0.975 by default. A result
            has its own.
        title: In place of the picture's own.

    Returns:
        A figure; it is neither shown nor saved.

    Raises:
        ClipError: If a bare tensor is no square matrices.
        OptionError: If there is no such example, or sigma is given for a result or out of range.

    Example:
        >>> import torch
        >>> from temporal_attr import ContrastiveLRPTemporal
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("tam2d", classes=4, widths=(4, 8))
        >>> clip = torch.rand(1, 4, 3, 16, 16)
        >>> method = ContrastiveLRPTemporal(model)
        >>> relevance_heatmap(method.explain(clip, target=2)).get_suptitle().splitlines()[0]
        'Relevance of each timestep for class 2'
        >>> relevance_heatmap(torch.eye(4)[None]).get_suptitle().splitlines()
        ['Relevance of each timestep', 'max-ATR 1 of 4 timesteps']
        >>> len(relevance_heatmap(method.attribute(clip, target=2), title="mine").axes)
        3
    """
    if isinstance(relevance, Result):
        rows = _rows_of_result(relevance, example, sigma)
    else:
        rows = _rows_of_matrix(relevance, example, 0.975 if sigma is None else sigma)
    steps = len(rows.matrix)
    side = float(np.clip(0.24 * steps, 2.6, 7.5))
    points = 72 * side / steps
    # Without logits there is only the column of ranges beside the matrix.
    across = 1.3 if rows.logits is not None else 0.3
    figure = Picture(figsize=(side + 1.8 + across, side + 1.2), layout="constrained")
    axes, bars = figure.subplots(1, 2, width_ratios=(side, across), sharey=True)
    image = _draw_rows(axes, rows.matrix, rows.weighted)
    for row, run in enumerate(rows.runs):
        if not np.isnan(rows.lengths[row]):
            _outline(axes, row, run, bool(rows.weighted[row]), 1 / points)
    figure.colorbar(
        image, ax=[axes, bars], label="share of the row's largest", aspect=30, fraction=0.06
    )
    _draw_logits(bars, rows, points)
    figure.suptitle(rows.title if title is None else plain(title), fontsize=10)
    return figure


def _rows_of_result(
    result: ContrastiveLRPTemporalResult, example: int, sigma: float | None
) -> _Rows:
    if sigma is not None:
        raise OptionError(
            "sigma of bare matrices only",
            f"{sigma} for a result, which has its own",
            "Leave it out.",
        )
    matrix, logits = one_matrix(result.matrix, example), array_of(result.step_logits[example])
    return _Rows(
        matrix=array_of(matrix),
        runs=_runs(matrix, result.sigma),
        lengths=array_of(result.ranges[example]),
        logits=logits,
        weighted=logits * array_of(result.step_weights) > 0,
        title=_headline(result, example),
    )


def _rows_of_matrix(matrices: StepMatrix, example: int, sigma: float) -> _Rows:
    matrix = one_matrix(matrices, example)
    if matrix.shape[0] != matrix.shape[1]:
        raise ClipError(
            "matrices (batch, steps, steps), a column for each row",
            f"shape {tuple(matrices.shape)}",
            "Draw the influence of frames with influence_map.",
        )
    lengths = ranges(matrix[None], sigma)
    largest, steps = _number(float(maximum_range(lengths)[0])), len(matrix)
    return _Rows(
        matrix=array_of(matrix),
        runs=_runs(matrix, sigma),
        lengths=array_of(lengths[0]),
        logits=None,
        weighted=np.ones(steps, bool),
        title=f"Relevance of each timestep\nmax-ATR {largest} of {counted(steps, 'timestep')}",
    )


def _runs(matrix: Tensor, sigma: float) -> list[tuple[int, int]]:
    """The shortest run of each row."""
    return [(first, last) for first, last in shortest_runs(matrix[None], sigma)[0].tolist()]


def array_of(values: Tensor) -> np.ndarray:
    """The numbers of a tensor, in double precision."""
    array: np.ndarray = values.detach().cpu().double().numpy()
    return array


def _draw_rows(axes: Axes, matrix: Matrix, weighted: np.ndarray) -> AxesImage:
    """The matrix with its rows on one scale; pale where they have no weight."""
    largest = np.abs(matrix).max(1, keepdims=True)
    share = np.divide(matrix, largest, out=np.zeros_like(matrix), where=largest > 0)
    opacity = np.broadcast_to(np.where(weighted, 1.0, 0.35)[:, None], matrix.shape)
    image = draw_matrix(axes, share, 1.0, bool((matrix < 0).any()), opacity)
    axes.set_ylabel("timestep that predicts, i")
    axes.set_xlabel("timestep that is read, j")
    return image


def draw_matrix(
    axes: Axes, matrix: Matrix, limit: float, signed: bool, opacity: np.ndarray | float = 1.0
) -> AxesImage:
    """A matrix on a scale that ends at a limit; what is zero has no colour."""
    image = axes.imshow(
        np.ma.masked_equal(matrix, 0),
        cmap="RdBu_r" if signed else "viridis",
        vmin=-limit if signed else 0,
        vmax=limit,
        alpha=opacity,
        aspect="auto",
        interpolation="nearest",
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    return image


def _outline(axes: Axes, row: int, run: tuple[int, int], weighted: bool, inset: float) -> None:
    first, last = run
    # A little inside, so that the outlines of neighbours can be told apart.
    corner, width = (first - 0.5 + inset, row - 0.5 + inset), last - first + 1 - 2 * inset
    frame = Rectangle(corner, width, 1 - 2 * inset, fill=False, zorder=3)
    frame.set(edgecolor=BAR_COLOUR if weighted else MUTED_COLOUR, linewidth=1.4)
    axes.add_patch(frame)


def _draw_logits(axes: Axes, rows: _Rows, points: float) -> None:
    """Bars of the logits, labelled with the ranges; `points` is the height of a row."""
    colours = np.where(rows.weighted, BAR_COLOUR, MUTED_COLOUR)
    if rows.logits is None:
        axes.set_axis_off()
    else:
        places = np.arange(len(rows.logits))
        axes.barh(places, rows.logits, min(0.8, 40 / points), color=colours)
        axes.axvline(0, color="black", linewidth=0.6)
        axes.set_xlabel("logit $l_i$")
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.tick_params(left=False)
        axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_title("$r_i$", loc="left", fontsize=9, x=-0.16)
    labels = ["-" if np.isnan(length) else f"{length:g}" for length in rows.lengths]
    style: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": min(9.0, 0.8 * points)}
    for step, (label, colour) in enumerate(zip(labels, colours, strict=True)):
        axes.text(-0.06, step, label, transform=axes.get_yaxis_transform(), color=colour, **style)


def _headline(result: ContrastiveLRPTemporalResult, example: int) -> str:
    average, largest = float(result.avg_atr[example]), float(result.max_atr[example])
    steps, frames = result.frame_matrix.shape[1:]
    found = (
        f"avg-ATR {_number(average)}, max-ATR {_number(largest)} of {counted(steps, 'timestep')}"
    )
    each = result.frames_per_step
    if each != 1 and not np.isnan(largest):
        # The last timestep may have fewer frames than the others.
        both = [_number(min(length * each, frames)) for length in (average, largest)]
        found += f"\n({both[0]} and {both[1]} of {counted(frames, 'frame')})"
    return f"Relevance of each timestep for {class_text(result, example)}\n{found}"


def _number(length: float) -> str:
    return "unknown" if np.isnan(length) else f"{length:.1f}".removesuffix(".0")


def counted(number: int, noun: str) -> str:
    """Such as "1 clip" and "2 clips"."""
    return f"{number} {noun}" + ("s" if number != 1 else "")
