"""Mean relevance matrices of many clips, and how much the clips differ from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure, SubFigure

from temporal_attr._errors import OptionError
from temporal_attr.measures import MatrixAverage
from temporal_attr.views._common import Picture, plain
from temporal_attr.views._relevance import array_of, counted, draw_matrix

MAX_PANELS = 12


def average_heatmap(
    averages: MatrixAverage | Mapping[int, MatrixAverage],
    *,
    names: Sequence[str] | Mapping[int, str] | None = None,
) -> Figure:
    """Mean relevance matrices, and beside each how much the clips differ from it.

    The mean and the standard deviation of a panel have one colour scale; other panels have their
    own. A cell without colour is zero.

    Args:
        averages: Of a whole dataset (`average_matrices`), or a panel for each class
            (`average_by_class`), up to 12.
        names: Of the classes, by number; a class without one shows its number. A dataset has none.

    Returns:
        A figure; it is neither shown nor saved.

    Raises:
        OptionError: If there are no averages, or more than 12.

    Example:
        >>> import torch
        >>> from temporal_attr.measures import average_by_class
        >>> scores = torch.tensor([0.9, 0.8, 0.7])
        >>> averages = average_by_class(torch.rand(3, 4, 4), torch.tensor([0, 1, 1]), scores)
        >>> figure = average_heatmap(averages, names=["a wave", "a jump"])
        >>> [panel.get_suptitle() for panel in figure.subfigs]
        ['a wave (1 clip)', 'a jump (2 clips)']
    """
    panels = _panels(averages, names)
    columns = 1 if len(panels) == 1 else 2 if len(panels) <= 4 else 3
    rows = -(-len(panels) // columns)
    figure = Picture(figsize=(5.2 * columns, 2.75 * rows + 0.4), layout="constrained")
    parts = figure.subfigures(rows, columns, squeeze=False).flat
    for part, (title, average) in zip(parts, panels, strict=False):
        part.suptitle(title, fontsize=10)
        _draw_average(part, average)
    figure.suptitle("Relevance of each timestep for each timestep's logit", fontsize=11)
    return figure


def _panels(
    averages: MatrixAverage | Mapping[int, MatrixAverage],
    names: Sequence[str] | Mapping[int, str] | None,
) -> list[tuple[str, MatrixAverage]]:
    """Averages, each with what stands above it."""
    if isinstance(averages, MatrixAverage):
        return [(f"all classes ({counted(averages.clips, 'clip')})", averages)]
    if not 1 <= len(averages) <= MAX_PANELS:
        raise OptionError(
            f"1 to {MAX_PANELS} classes",
            str(len(averages)),
            "Draw some of them: {number: averages[number] for number in chosen}.",
        )
    known = dict(names if isinstance(names, Mapping) else enumerate(names or ()))
    return [
        (
            f"{plain(known.get(number, f'class {number}'))} ({counted(average.clips, 'clip')})",
            average,
        )
        for number, average in averages.items()
    ]


def _draw_average(part: SubFigure, average: MatrixAverage) -> None:
    mean, deviation = array_of(average.mean), array_of(average.deviation)
    left, right = part.subplots(1, 2, sharex=True, sharey=True)
    known = average.clips > 1
    limit = max(np.abs(mean).max(), deviation.max() if known else 0) or 1.0
    signed = bool((mean < 0).any())
    image = draw_matrix(left, mean, limit, signed)
    left.set_ylabel("predicts", fontsize=8)
    left.set_title("mean", fontsize=8)
    right.set_title("standard deviation" if known else "(no deviation of one clip)", fontsize=8)
    for axes in (left, right):
        axes.set_xlabel("is read", fontsize=8)
        axes.tick_params(labelsize=7)
    if known:
        draw_matrix(right, deviation, limit, signed)
    else:
        right.set_axis_off()
    part.colorbar(image, ax=[left, right]).ax.tick_params(labelsize=7)
