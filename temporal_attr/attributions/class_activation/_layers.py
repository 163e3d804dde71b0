"""Which layers a class activation map is of."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from temporal_attr._errors import OptionError
from temporal_attr._told import shown
from temporal_attr._typing import ClipTensor
from temporal_attr.gradients import isolated_autograd
from temporal_attr.models import model_logits
from temporal_attr.models.layers import MapSource, Tap, found_maps, last_maps, require_read

LayerName: TypeAlias = str | nn.Module
LayerLike: TypeAlias = LayerName | tuple[LayerName, ...]
"""A layer by its path or itself, or one for each pathway; `"last"` is found."""

LAST = "last"


@dataclass(frozen=True)
class MappedLayers:
    """The layers whose maps are taken, and where time and place are in their outputs.

    Attributes:
        taps: The layers.
        sources: The maps, one or more for each layer.
    """

    taps: tuple[Tap, ...]
    sources: tuple[MapSource, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What the maps are called."""
        return tuple(source.name for source in self.sources)


def require_layer(layer: object, model: object) -> None:
    """Raise unless this names layers of a model, or is them.

    Raises:
        OptionError: With layers that there are.
    """
    several = layer if isinstance(layer, tuple) else (layer,)
    if not several or not all(isinstance(one, (str, nn.Module)) for one in several):
        raise OptionError(
            'layer to be a path, a module, a tuple of these, or "last"',
            shown(layer),
            "Name one as in model.named_modules().",
        )
    taps = [] if layer == LAST else taps_of(layer, model)  # type: ignore[arg-type]
    if len({id(tap.module) for tap in taps}) < len(taps):
        raise OptionError("each layer once", shown(layer), "Name another for each pathway.")
    if layer == LAST and not isinstance(model, nn.Module):
        raise OptionError(
            "a model whose layers are known, to find the last one",
            f"the function {getattr(model, '__name__', type(model).__name__)}",
            "Pass the layer itself: layer=network.layer4. Or wrap the model: wrap(network).",
        )


def taps_of(layer: LayerLike, model: object) -> list[Tap]:
    """The layers that are named."""
    named = layer if isinstance(layer, tuple) else (layer,)
    return [_tap(one, model) for one in named]


def _tap(layer: LayerName, model: object) -> Tap:
    parts = dict(model.named_modules()) if isinstance(model, nn.Module) else {}
    if isinstance(layer, nn.Module):
        path = next((path for path, part in parts.items() if part is layer), None)
        return Tap(path or type(layer).__name__, layer)
    if layer in parts and layer:
        return Tap(layer, parts[layer])
    # A wrapper has the network, whose own paths its user knows, under a name of its own.
    inside = [path for path in parts if path.endswith(f".{layer}")]
    least = min((path.count(".") for path in inside), default=0)
    nearest = [path for path in inside if path.count(".") == least]
    if len(nearest) == 1:
        return Tap(nearest[0], parts[nearest[0]])
    some = ", ".join((nearest or [path for path in parts if path])[-4:])
    kind = type(model).__name__
    raise OptionError(
        f"layer among the modules of {kind}" + (f", such as {some}" if some else ""),
        shown(layer) + (f", which {len(nearest)} of them could be" if nearest else ""),
        "Give its whole path, as in model.named_modules(), or the module itself.",
    )


def mapped_layers(
    layer: LayerLike,
    model: Callable[..., Any],
    clip: ClipTensor,
    arguments: tuple[Any, ...] = (),
    by_gradient: bool = True,
) -> MappedLayers:
    """The layers, and where their axes are, found on the first clip of a batch.

    They are found once for clips of a size, and again when a layer of the model was replaced.

    Args:
        layer: As given to a method.
        model: A wrapper, or any function of clips.
        clip: `(batch, time, channel, height, width)`.
        arguments: Handed to the model after the clip.
        by_gradient: Whether gradients are taken, which must not all be 0.

    Raises:
        OptionError: If a layer gives no map of space and time, or none of its places is read.
        ModelError: If it does not run.
    """
    named = layer if isinstance(layer, tuple) else (layer,)
    # The layer is held by what is known of it, so that no other can have its number.
    named_by = tuple(one if isinstance(one, str) else id(one) for one in named)
    key = (named_by, by_gradient, tuple(clip.shape[1:]), clip.dtype, clip.device)
    with _lock:
        held = _remembered(model)
        known = held.get(key)
    if known is None or not _in_place(known, model):
        known = _found(layer, model, clip, arguments, by_gradient)
        with _lock:
            held[key] = known
    return known


_known: WeakKeyDictionary[Any, dict[Any, MappedLayers]] = WeakKeyDictionary()
_lock = threading.Lock()


def _remembered(model: Callable[..., Any]) -> dict[Any, MappedLayers]:
    """What is known of a model; nothing of one that cannot be held weakly."""
    try:
        return _known.setdefault(model, {})
    except TypeError:
        return {}


def _in_place(known: MappedLayers, model: Callable[..., Any]) -> bool:
    """Whether the layers still are in the model."""
    if not isinstance(model, nn.Module):
        return True
    parts = set(model.modules())
    return all(tap.module in parts for tap in known.taps)


def _found(
    layer: LayerLike,
    model: Callable[..., Any],
    clip: ClipTensor,
    arguments: tuple[Any, ...],
    by_gradient: bool,
) -> MappedLayers:
    with isolated_autograd((clip[:1],)) as (first,):

        def run(clips: ClipTensor) -> Tensor:
            given = tuple(of_example(one, 0, len(clip), len(clips)) for one in arguments)
            return model_logits(model, (clips,), given)

        if layer == LAST:
            assert isinstance(model, nn.Module)  # require_layer has refused others
            taps, sources = last_maps(model, run, first)
        else:
            taps = taps_of(layer, model)
            sources = found_maps(taps, model, run, first)
            if by_gradient:
                require_read(taps, sources, run, first)
    return MappedLayers(tuple(taps), tuple(sources))


def of_example(argument: Any, example: int, batch: int, times: int) -> Any:  # noqa: ANN401
    """What goes with one clip of a batch, for so many copies of it, as Captum expands arguments.

    Example:
        >>> import torch
        >>> of_example(torch.tensor([5, 6]), example=1, batch=2, times=3)
        tensor([6, 6, 6])
    """
    if isinstance(argument, Tensor) and argument.ndim and len(argument) == batch:
        return argument[example : example + 1].expand(times, *argument.shape[1:])
    return argument
