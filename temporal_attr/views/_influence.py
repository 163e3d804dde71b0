"""Which frames each timestep reacts to."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from temporal_attr._errors import ClipError, FrameLogitsError
from temporal_attr._typing import Influence
from temporal_attr.attributions import Result, TemporalGradientResult
from temporal_attr.views._common import (
    MUTED_COLOUR,
    Picture,
    class_text,
    number_rows,
    one_matrix,
    plain,
)


def influence_map(
    influence: TemporalGradientResult | Influence, *, example: int = 0, title: str | None = None
) -> Figure:
    """The influence matrix: how strongly each timestep's logit reacts to each frame.

    Every row is divided by its largest entry, so that a timestep's reach can be seen whatever its
    size; the bars at the right give the size. A cell without colour is exactly zero.

    Args:
        influence: A result of `TemporalGradient.explain`, with its influence; or matrices
            `(batch, rows, time)` of entries that are 0 or more, whose rows are numbered from 0.
        example: Which one of the batch.
        title: In place of the picture's own.

    Returns:
        A figure; it is neither shown nor saved.

    Raises:
        FrameLogitsError: If the result has no influence.
        ClipError: If a bare tensor is no matrices, or has negative entries.
        OptionError: If there is no such example.

    Example:
        >>> import torch
        >>> from temporal_attr import TemporalGradient
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("gru", classes=4, widths=(4, 8))
        >>> model.class_names = ("walk", "run", "jump", "sit")
        >>> result = TemporalGradient(model).explain(torch.rand(1, 6, 3, 16, 16), target=1)
        >>> figure = influence_map(result)
        >>> figure.get_suptitle(), figure.axes[0].images[0].get_array().shape
        ('Influence of each frame on run (1) at each timestep', (6, 6))
        >>> influence_map(torch.rand(1, 4, 8)).get_suptitle()
        'Influence of each frame on each timestep'
    """
    if isinstance(influence, Result):
        if influence.influence is None:
            raise FrameLogitsError(
                "a result with its influence matrix", "one without", "Call explain(influence=True)."
            )
        given, numbers = one_matrix(influence.influence, example), influence.rows
        own = f"Influence of each frame on {class_text(influence, example)} at each timestep"
    else:
        given, numbers = one_matrix(influence, example), None
        own = "Influence of each frame on each timestep"
        if (given < 0).any():
            raise ClipError(
                "influence of 0 or more", "negative entries", "Draw it with relevance_heatmap."
            )
    matrix = given.cpu().float().numpy()
    steps, frames = matrix.shape
    largest = matrix.max(1, keepdims=True)
    share = np.divide(matrix, largest, out=np.zeros_like(matrix), where=largest > 0)
    height = min(6.0, max(2.8, 0.32 * steps + 1.4))
    figure = Picture(figsize=(7.5, height), layout="constrained")
    axes, sizes = figure.subplots(1, 2, width_ratios=(5, 1))
    shown = np.ma.masked_equal(share, 0)
    image = axes.imshow(
        shown, cmap="viridis", vmin=0, vmax=1, aspect="auto", interpolation="nearest"
    )
    axes.set_xlabel(f"frame (0 to {frames - 1})")
    axes.set_ylabel("timestep")
    axes.xaxis.get_major_locator().set_params(integer=True)
    number_rows(axes, numbers or range(steps))
    figure.colorbar(image, ax=axes, label="share of row maximum")
    sizes.barh(np.arange(steps), largest[:, 0], color=MUTED_COLOUR)
    sizes.set_ylim(steps - 0.5, -0.5)
    sizes.set_yticks([])
    sizes.set_xlabel("row maximum")
    sizes.set_xticks([0, float(largest.max())], ["0", f"{largest.max():.1e}"])
    sizes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(own if title is None else plain(title), fontsize=11)
    return figure
