"""Which layers of a network its timesteps can be taken from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from temporal_attr._errors import ModelError
from temporal_attr._typing import ClipTensor
from temporal_attr.models._outputs import logits_of
from temporal_attr.models.layers._axes import require_layout
from temporal_attr.models.layers._copies import Network
from temporal_attr.models.layers._recording import Call
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
        raise _no_such_layer(self.network, path, [row.path for row in self.rows])

    def __str__(self) -> str:
        head = ("layer", "class", "output of one clip", "time axis", "timesteps", "add up", "reads")
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
        "yes" if row.adds_up else "no",
        "its own frame" if row.framewise else f"{row.reach} frames",
    )


def layer_table(
    network: Network, clip: ClipTensor, layout: str, output: Callable[[Any], Tensor] = logits_of
) -> LayerTable:
    """The layers of a network that its timesteps can be taken from; see `layers`."""
    require_layout(layout)
    search = Search(network, clip[:1].detach(), layout, output)
    timed = search.timed()
    last_not = search.last_no_sum(timed)
    rows = (search.row(*entry, adds_up=place > last_not) for place, entry in enumerate(timed))
    return LayerTable(type(network.module).__name__, clip.shape[1], tuple(rows))


def chosen_layers(
    network: Network,
    clip: ClipTensor,
    layout: str,
    path: str | None = None,
    time_axis: int | None = None,
    output: Callable[[Any], Tensor] = logits_of,
) -> tuple[Layer | None, Layer | None]:
    """A layer to take timesteps from, and the last before it that reads one frame a timestep.

    Args:
        network: In evaluation mode.
        clip: Of which the first example is used.
        layout: See `LayerTimesteps`.
        path: Of the layer; None for the last that has a time axis.
        time_axis: Of its output, if it is known.
        output: See `LayerTimesteps`.

    Raises:
        ModelError: If there is no such layer, with those that there are.
    """
    search = Search(network, clip[:1].detach(), layout, output)
    timed = search.timed()
    if path is not None:
        known = [place for place, (call, _) in enumerate(timed) if call.path == path]
        if not known and time_axis is None:
            raise _no_such_layer(
                type(network.module).__name__, path, [call.path for call, _ in timed]
            )
        timed = timed[: known[0] + 1] if known else [(search.call(path), 0)]
    if not timed:
        return None, None
    call, axis = timed[-1]
    axis = axis if time_axis is None else time_axis
    best = search.row(call, axis, adds_up=search.is_a_sum(call, axis))
    return best, _last_framewise(search, timed)


def _last_framewise(search: Search, timed: list[tuple[Call, int]]) -> Layer | None:
    # What reads one frame stays so backwards, so that halving finds the last of them.
    found, first, end = None, 0, len(timed)
    while first < end:
        middle = (first + end) // 2
        row = search.row(*timed[middle], adds_up=False)
        if row.framewise:
            found, first = row, middle + 1
        else:
            end = middle
    return found


def _no_such_layer(network: str, path: str, known: list[str]) -> ModelError:
    names = ", ".join(map(repr, known)) or "none"
    return ModelError(
        f"a layer of {network} with a time axis, which all of its output passes through",
        repr(path),
        f"Name one of those that can be: {names}. Nothing may pass by it, as a shortcut or a "
        "second stream does. With time_axis= its axis of time is taken to be that.",
    )
