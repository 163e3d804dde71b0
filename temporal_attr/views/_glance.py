"""A small picture of a result without its clip, as notebooks show it."""

from __future__ import annotations

from functools import singledispatch
from io import BytesIO
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from temporal_attr._errors import OptionError
from temporal_attr.attributions import (
    ContrastiveLRPTemporalResult,
    PixelResult,
    ScoreResult,
    ShuffleCurve,
    ShuffleProbeResult,
    ShuffleSet,
    register_painter,
)
from temporal_attr.views._common import Drawable, Picture, by_keyword, drawable, require_index
from temporal_attr.views._relevance import relevance_heatmap
from temporal_attr.views._shuffle import shuffle_profile
from temporal_attr.views._shuffle_range import range_curve
from temporal_attr.views._shuffle_sets import clip_overview
from temporal_attr.views._side_by_side import draw_influence
from temporal_attr.views._strip import as_array, draw_scores
from temporal_attr.views._text import fitted


@by_keyword
@singledispatch
def glance(result: Any, *, example: int = 0) -> Figure:  # noqa: ANN401 - results, sets and curves
    """The main picture of a result, drawn without its clip.

    Bars of the frames' scores, above the influence where it is known; of other results the picture
    that says most: the scores of shuffled frames, the relevance matrix, the clips of a set, the
    curve over lengths. Notebooks show it by themselves, above the summary. For a result of your
    own, `glance.register(MyResult)` takes a function of the same arguments.

    Args:
        result: Of `explain` or `curve`, or a `ShuffleSet`.
        example: Which one of the batch.

    Returns:
        A figure; it is neither shown nor saved.

    Raises:
        OptionError: If there is no such example, or no picture for this type.

    Example:
        >>> import torch
        >>> from temporal_attr import TemporalGradient
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("gru", classes=4, widths=(4, 8))
        >>> result = TemporalGradient(model).explain(torch.rand(1, 6, 3, 16, 16), target=1)
        >>> bars, influence = glance(result).axes
        >>> len(bars.patches), influence.images[0].get_array().shape
        (6, (6, 6))
        >>> "data:image/png;base64," in result._repr_html_()
        True
    """
    raise OptionError(
        "a result with a picture",
        type(result).__name__,
        "Register a function that draws it: views.glance.register(type(result))(function).",
    )


@glance.register(PixelResult)
@glance.register(ScoreResult)
def _of_scores(result: PixelResult | ScoreResult, *, example: int = 0) -> Figure:
    return _bars(drawable(result, None, example))


@glance.register(ContrastiveLRPTemporalResult)
def _of_matrix(result: ContrastiveLRPTemporalResult, *, example: int = 0) -> Figure:
    return relevance_heatmap(result, example=example)


@glance.register(ShuffleProbeResult)
def _of_shuffles(result: ShuffleProbeResult, *, example: int = 0) -> Figure:
    return shuffle_profile(result, example=example)


@glance.register(ShuffleSet)
def _of_set(result: ShuffleSet, *, example: int = 0) -> Figure:
    require_index(example, 1)
    return clip_overview(result)


@glance.register(ShuffleCurve)
def _of_curve(result: ShuffleCurve, *, example: int = 0) -> Figure:
    return range_curve(result, example=example)


def _bars(drawn: Drawable) -> Figure:
    rows = 1 if drawn.influence is None else 2
    figure = Picture(figsize=(6.0, 2.4 * rows), layout="constrained")
    axes, *more = figure.subplots(rows, 1, squeeze=False)[:, 0]
    scores: Float[np.ndarray, "time"] = drawn.scores.cpu().float().numpy()
    draw_scores(axes, np.arange(len(scores)), 0.8, scores, as_array(drawn.error))
    axes.set_xlim(-0.5, len(scores) - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(fitted(drawn.frame_label, 2.1, points=8), fontsize=8)
    axes.set_xlabel("frame")
    for below in more:
        draw_influence(below, drawn.influence, drawn.rows)
    figure.suptitle(drawn.frame_headline(), fontsize=11, wrap=True)
    return figure


def paint(result: Any) -> bytes | None:  # noqa: ANN401
    """The picture as a PNG, for notebooks; None for a type that has none."""
    if glance.dispatch(type(result)) is glance.dispatch(object):
        return None
    buffer = BytesIO()
    glance(result).savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


register_painter(paint)
