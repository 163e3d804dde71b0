"""The attention of each layer between the times of its tokens."""

from __future__ import annotations

import math

from matplotlib.figure import Figure
from torch import Tensor

from temporal_attr._errors import ClipError, OptionError, ResultError
from temporal_attr._typing import TokenAttention
from temporal_attr.attributions import AttentionResult, Result
from temporal_attr.views._common import Picture, plain, require_index

LAYERS_SHOWN = 24
"""How many layers a picture has at most, from the first to the last, evenly chosen."""

_COLUMNS = 4


def attention_over_time(
    attention: AttentionResult | TokenAttention, *, example: int = 0, title: str | None = None
) -> Figure:
    """The model's own attention weights, from each time of its tokens to each, layer by layer.

    A panel for each layer, first to last; of more than 24, some evenly chosen. Rows are the times
    of queries, columns those of keys. All panels have one scale of colour, from 0 to the largest
    weight in any of them: an even layer is plain, a layer that stays within its frame a diagonal.

    Args:
        attention: A result of `AttentionRollout.explain` or `GradientAttention.explain`; or weights
            `(batch, layer, query_time, key_time)` of 0 or more.
        example: Which one of the batch.
        title: In place of the picture's own.

    Returns:
        A figure; it is neither shown nor saved.

    Raises:
        ResultError: If the result has no attention over time.
        DataError: If it is neither, such as a tensor of other axes.
        ClipError: If weights are negative or not finite.
        OptionError: If there is no such example.

    Example:
        >>> import torch
        >>> from temporal_attr import AttentionRollout
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("temporal-transformer", classes=4, widths=(4, 8), depth=3)
        >>> result = AttentionRollout(model).explain(torch.rand(1, 6, 3, 16, 16), target=1)
        >>> figure = attention_over_time(result)
        >>> [axes.get_title() for axes in figure.axes[:3]]
        ['layer 0', 'layer 1', 'layer 2']
        >>> figure.axes[0].images[0].get_array().shape
        (6, 6)
    """
    weights = _weights(attention, example).cpu().float()
    layers, queries, keys = weights.shape
    shown = list(range(layers))
    if layers > LAYERS_SHOWN:
        step = (layers - 1) / (LAYERS_SHOWN - 1)
        shown = [round(place * step) for place in range(LAYERS_SHOWN)]
    columns = min(_COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    figure = Picture(figsize=(2.1 * columns + 1.4, 2.2 * rows + 0.8), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    limit = float(weights[shown].max()) or 1.0
    image = None
    for place, axes in enumerate(panels.flat):
        if place >= len(shown):
            axes.set_axis_off()
            continue
        image = axes.imshow(
            weights[shown[place]].numpy(), cmap="viridis", vmin=0, vmax=limit, aspect="auto",
            interpolation="nearest",
        )  # fmt: skip
        axes.set_title(f"layer {shown[place]}", fontsize=9)
        axes.xaxis.get_major_locator().set_params(integer=True, nbins=5)
        axes.yaxis.get_major_locator().set_params(integer=True, nbins=5)
        # Where the panel below is empty, this one is the last of its column.
        axes.tick_params(labelbottom=place + columns >= len(shown))
    assert image is not None
    figure.supxlabel(f"time of the key (token time 0 to {keys - 1})", fontsize=9)
    figure.supylabel(f"time of the query (0 to {queries - 1})", fontsize=9)
    figure.colorbar(image, ax=panels, label="attention weight")
    own = "Attention between times, layer by layer"
    figure.suptitle(own if title is None else plain(title), fontsize=11)
    return figure


def _weights(attention: AttentionResult | Tensor, example: int) -> Tensor:
    """The weights of one clip `(layer, query_time, key_time)`."""
    if isinstance(attention, Result):
        given = getattr(attention, "temporal_attention", None)
        if given is None:
            raise ResultError(
                "a result with attention over time",
                f"{type(attention).__name__} without",
                "Call explain(temporal_attention=True) of AttentionRollout or GradientAttention; "
                "of a model all of whose layers are left out (result.left_out) there is none.",
            )
    else:
        given = attention
    if not given.isfinite().all() or (given < 0).any():
        raise ClipError(
            "finite weights (batch, layer, query_time, key_time) of 0 or more",
            f"a tensor of shape {tuple(given.shape)} with others in it",
            "Draw an attribution of pixels or frames with frame_strip.",
        )
    if not given.shape[1]:
        raise OptionError("at least one layer", "none", "Draw a model that has attention.")
    require_index(example, len(given))
    one: Tensor = given[example].detach()
    return one
