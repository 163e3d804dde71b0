"""Which layers of a network its timesteps can be taken from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from temporal_attr._errors import ModelError
from temporal_attr._typing import ClipTensor
from temporal_attr.models._outputs import logits_of
from temporal_attr.models.layers._axes import require_layout
from temporal_attr.models.layers._search import Layer, Search


@dataclass(frozen=True)
class LayerTable:
    """The layers that all of a network's output passes through, and that have a time axis.

    Attributes:
        network: Name of its class.
        frames: Of the clip that they were found with.
        rows: The layers, in the order in which they run.
    """

    network: str
    frames: int
    rows: tuple[Layer, ...]

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, path: str) -> Layer:
        """The row of a layer.

        Raises:
            ModelError: If there is none, with those that there are.
        """
        for row in self.rows:
            if row.path == path:
                return row
        names = ", ".join(repr(row.path) for row in self.rows) or "none"
        raise ModelError(
            f"a layer of {self.network} with a time axis, which all passes through",
            repr(path),
            f"Name one of {names}; nothing may pass by it, as a shortcut does.",
        )

    def __str__(self) -> str:
        head = ("layer", "class", "output of one clip", "time axis", "timesteps", "then", "reads")
        lines = [head, *(_line(row) for row in self.rows)]
        widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
        return "\n".join(
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )


def _line(row: Layer) -> tuple[str, ...]:
    return (
        row.path,
        row.kind,
        str(row.shape).replace(" ", ""),
        str(row.time_axis),
        str(row.steps),
        "linear" if row.linear else "not linear",
        "its own frame" if row.framewise else f"{row.reach} frames",
    )


def layers(
    model: nn.Module,
    clip: ClipTensor,
    layout: str = "batch channel time height width",
    output: Callable[[Any], Tensor] = logits_of,
) -> LayerTable:
    """The layers of a network that its timesteps can be taken from, found by running it.

    A layer is listed if it runs once, all of the logits depends on the clip through its output
    alone, and that has an axis of time: one whose size changes with the number of frames; or, of a
    network that takes no other number, along which the frames that it depends on move on. Of
    several with the same output the outermost is listed.

    Args:
        model: In evaluation mode.
        clip: Of which the first example is used; best one in which something moves.
        layout: See `LayerTimesteps`.
        output: Likewise.

    Returns:
        A table, which prints as one. It takes a forward and some backward passes of the clip, one
        of two, one of one with twice the frames, and two of what follows each layer.

    Raises:
        ModelError: If the output does not depend on the clip by a gradient.

    Example:
        >>> import torch
        >>> network = nn.Sequential(
        ...     nn.Conv3d(3, 4, (3, 1, 1), padding=(1, 0, 0)), nn.ReLU(),
        ...     nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 5),
        ... ).eval()
        >>> print(layers(network, torch.rand(1, 6, 3, 8, 8)))
        layer  class   output of one clip  time axis  timesteps  then        reads
        0      Conv3d  (1,4,6,8,8)         2          6          not linear  3 frames
        1      ReLU    (1,4,6,8,8)         2          6          linear      3 frames
    """
    require_layout(layout)
    first = clip[:1].detach()
    search = Search(model, first, layout, output)
    timed = search.timed()
    last_not = search.last_not_linear(timed)
    rows = tuple(search.row(*entry, linear=place > last_not) for place, entry in enumerate(timed))
    return LayerTable(type(model).__name__, clip.shape[1], rows)


def best_layers(
    model: nn.Module, clip: ClipTensor, layout: str, output: Callable[[Any], Tensor] = logits_of
) -> tuple[Layer | None, Layer | None]:
    """The layer to take timesteps from, and the last before it that reads one frame a timestep.

    The first is the last layer from which on all is linear or, if there is none, the last of all.
    """
    search = Search(model, clip[:1].detach(), layout, output)
    timed = search.timed()
    if not timed:
        return None, None
    linear = search.last_not_linear(timed[-1:]) < 0
    best = search.row(*timed[-1], linear=linear)
    # What reads one frame stays so backwards, so that halving finds the last of them.
    encoder, first, end = None, 0, len(timed)
    while first < end:
        middle = (first + end) // 2
        row = search.row(*timed[middle], linear=False)
        if row.framewise:
            encoder, first = row, middle + 1
        else:
            end = middle
    return best, encoder
