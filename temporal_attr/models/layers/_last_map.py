"""The last layer of a model whose output is a map of space and time that all of it reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from temporal_attr._errors import ModelError, OptionError
from temporal_attr._memory import is_out_of_memory
from temporal_attr._typing import ClipTensor
from temporal_attr.models.layers._axes import one_and_two
from temporal_attr.models.layers._cuts import cut_nodes
from temporal_attr.models.layers._map_layout import could_be_map
from temporal_attr.models.layers._maps import MapSource, Run, found_maps, together
from temporal_attr.models.layers._tapped import Tap, TappedRun, hooked
from temporal_attr.models.trials._trials import difference, tolerance

_POOLS = (
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d,
)  # fmt: skip
"""What only makes a map coarser is not its last layer."""

_CLASSIFIERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Where logits are averaged over places, one of these gives the logits of each."""

PAIRED = 6
"""Of layers by pathways, so many of the last ones are paired."""


@dataclass(eq=False)
class _Entry:
    """A tensor that one module, or several around each other, returned.

    Attributes:
        path: Of the outermost of them.
        module: The outermost of them.
        sizes: Those of the tensors in it that can be maps by them.
        aside: Whether it is what a pooling gives.
        node: Of its first tensor in the graph, while that is there.
        read_by_all: Whether all of the logits depend on the clip through it, by the graph.
    """

    path: str
    module: nn.Module
    sizes: list[tuple[int, ...]]
    aside: bool
    node: Any
    read_by_all: bool = False


@dataclass(frozen=True)
class _Pair:
    """Two clips and what a model says of them, to see what it reads through a layer.

    Attributes:
        run: The model.
        clips: `(2, time, channel, height, width)`.
    """

    run: Run
    clips: ClipTensor

    def misses(self, taps: Sequence[Tap], sources: Sequence[MapSource]) -> str | None:
        """Why the logits are not all read from maps; None if they are.

        They are where they react to each map, and where they follow what the layers give, whichever
        clip it is of.
        """
        logits, calls, unread = self.read(taps, sources)
        if not logits.requires_grad:
            return "has no gradient"
        if unread is not None:
            return "is read at no place"
        swapped = _swapped(calls, sources)
        again = TappedRun(taps, replaced=lambda place, call, tensor: swapped[place][call][tensor])
        with again.running():
            other = self.run(self.clips.clone())
        apart = difference(other.flip(0), logits.detach())
        return None if apart <= tolerance(logits) else "is passed by"

    def read(
        self, taps: Sequence[Tap], sources: Sequence[MapSource]
    ) -> tuple[Tensor, list[list[list[Tensor]]], MapSource | None]:
        """The logits, what the layers give, and the first map of which no place is read."""
        tapped = TappedRun(taps, differentiate=True)
        with tapped.running():
            logits = self.run(self.clips.clone())
        if not logits.requires_grad:
            return logits, tapped.calls, None
        weights = torch.linspace(1, 2, logits.shape[1]).to(logits)
        gradients = tapped.gradients(logits * weights)
        unread = (one for one in sources if not bool(one.of(gradients, 2).any()))
        return logits, tapped.calls, next(unread, None)


def _swapped(
    calls: list[list[list[Tensor]]], sources: Sequence[MapSource]
) -> list[list[list[Tensor]]]:
    """What layers give of two clips, each in place of the other."""
    by_frames = {(one.layer, one.tensor) for one in sources if one.layout.rows == "frames"}
    found = []
    for place, layer in enumerate(calls):
        columns = []
        for number in range(len(layer[0])):
            whole = together(layer, number).detach()
            apart = (place, number) in by_frames
            split = whole.unflatten(0, (-1, 2) if apart else (2, -1))
            flipped = split.flip(1 if apart else 0).flatten(0, 1)
            columns.append(flipped.split([len(call[number]) for call in layer]))
        found.append([[column[call] for column in columns] for call in range(len(layer))])
    return found


def require_read(
    taps: Sequence[Tap], sources: Sequence[MapSource], run: Run, clip: ClipTensor
) -> None:
    """Raise where no logit reacts to any place of a map: its map would be zero everywhere.

    Args:
        taps: The layers.
        sources: Their maps.
        run: The model.
        clip: `(1, time, channel, height, width)`.

    Raises:
        OptionError: With the layer.
    """
    _, _, unread = _Pair(run, one_and_two(clip)[1]).read(taps, sources)
    if unread is not None:
        raise OptionError(
            "a layer to whose places the logits react",
            f"{unread.name!r}, with a gradient of 0 at every place",
            "Name an earlier layer: where a class token is read, one before its last block.",
        )


def last_maps(model: nn.Module, run: Run, clip: ClipTensor) -> tuple[list[Tap], list[MapSource]]:
    """The last layer that gives a map all of the logits are read from, and where its map is.

    A layer that something passes by, as a shortcut does, or of which only a class token is read,
    is not it; nor is a pooling. Of a model of several pathways without such a layer, it is the last
    ones of two, together. Layers are tried from the end: first those that all passes through in the
    graph of one pass, then all others, such as those that run frame by frame.

    Args:
        model: Whose modules are looked at.
        run: The model.
        clip: `(1, time, channel, height, width)`.

    Raises:
        OptionError: If there is none.
    """
    pair = _Pair(run, one_and_two(clip)[1])
    entries = _entries(model, run, clip)
    said: list[str] = []
    for entry in sorted(entries, key=lambda entry: not entry.read_by_all):
        taps = [Tap(entry.path, entry.module)]
        sources = _maps_or_none(taps, model, run, clip)
        why = "is no map" if sources is None else pair.misses(taps, sources)
        if sources is not None and why is None:
            return taps, sources
        said.append(f"{entry.path!r} {why}")
    outer = [
        one
        for one in entries
        if not any(one.path.startswith(other.path + ".") for other in entries)
    ]
    for first, other in _pairs(outer[:PAIRED]):
        taps = [Tap(one.path, one.module) for one in (other, first)]
        sources = _maps_or_none(taps, model, run, clip)
        if sources and pair.misses(taps, sources) is None:
            return taps, sources
    raise OptionError(
        "a model with a layer that gives a map of space and time, which all of the logits are read "
        "from",
        "none" + (f": {', '.join(said[:4])}" if said else ""),
        "Name the layer, by its path in model.named_modules() or as a module.",
    )


def _pairs(entries: Sequence[_Entry]) -> list[tuple[_Entry, _Entry]]:
    """Two layers each, those at the end first."""
    return [
        (entries[place], entries[before])
        for place in range(1, len(entries))
        for before in range(place)
    ]


def _maps_or_none(
    taps: Sequence[Tap], model: nn.Module, run: Run, clip: ClipTensor
) -> list[MapSource] | None:
    try:
        return found_maps(taps, model, run, clip)
    except (OptionError, ModelError):
        return None


def _entries(model: nn.Module, run: Run, clip: ClipTensor) -> list[_Entry]:
    """The outputs of modules that can be maps by their sizes, from the last on."""
    parts = [(path, part) for path, part in model.named_modules() if path]
    found: list[_Entry] = []
    # Held, or the address of one that is gone could be that of another.
    last: list[Any] = [None]

    def ends(place: int, output: Any) -> None:  # noqa: ANN401 - whatever a layer returns
        path, part = parts[place]
        inner = found[-1] if found and last[0] is output else None
        if inner is not None and inner.path.startswith(path + "."):
            inner.path, inner.module = path, part
            return
        last[0] = output
        sizes, node = _sizes_of_maps(output, clip), _node_of(output)
        found.append(_Entry(path, part, sizes, isinstance(part, _POOLS), node))

    with hooked([part for _, part in parts], ends):
        logits, leaf = _with_graph(run, clip, found.clear)
    nodes = set(cut_nodes(logits, leaf))
    classes = logits.shape[1]
    for entry in found:
        entry.read_by_all, entry.node = entry.node in nodes, None
    found = [entry for entry in found if not _is_logits(entry.sizes, classes)]
    latest: dict[str, _Entry] = {}
    for entry in reversed(found):
        latest.setdefault(entry.path, entry)
    return [
        entry
        for entry in latest.values()
        if entry.sizes and not entry.aside and not _classifies(entry.module, classes)
    ]


def _with_graph(run: Run, clip: ClipTensor, again: Callable[[], None]) -> tuple[Tensor, Tensor]:
    """The logits of a clip and the clip, with the graph between them if memory suffices."""
    leaf = clip.clone().requires_grad_()
    try:
        return run(leaf.clone()), leaf
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    torch.cuda.empty_cache()
    again()
    with torch.no_grad():
        return run(clip.clone()), leaf


def _node_of(output: Any) -> Any:  # noqa: ANN401 - whatever a layer returns, and PyTorch's node
    tensors = (leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor))
    first = next(tensors, None)
    return None if first is None else first.grad_fn


def _classifies(module: nn.Module, classes: int) -> bool:
    """Whether a layer has an output for each class."""
    sizes = (getattr(module, "out_features", None), getattr(module, "out_channels", None))
    return isinstance(module, _CLASSIFIERS) and classes in sizes


def _is_logits(sizes: Sequence[tuple[int, ...]], classes: int) -> bool:
    """Whether the only tensor that could be a map has a number for each class, and no more."""
    return [math.prod(one[1:]) for one in sizes] == [classes]


def _sizes_of_maps(output: Any, clip: ClipTensor) -> list[tuple[int, ...]]:  # noqa: ANN401
    frames, size = clip.shape[1], (clip.shape[3], clip.shape[4])
    # Of a network that runs frame by frame, a call has a row for a clip.
    return [
        tuple(leaf.shape)
        for leaf in pytree.tree_leaves(output)
        if isinstance(leaf, Tensor)
        and leaf.is_floating_point()
        and could_be_map(tuple(leaf.shape), 1, frames, size)
    ]
