"""The maps of space and time that layers of a model give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from temporal_attr._errors import OptionError
from temporal_attr._memory import is_out_of_memory
from temporal_attr._typing import ClipTensor
from temporal_attr.models.layers._axes import FITS_NOT
from temporal_attr.models.layers._map_axes import PROBED, measured_layout, probing_clips
from temporal_attr.models.layers._map_layout import Channels, MapLayout, Maps, could_be_map
from temporal_attr.models.layers._tapped import Tap, TappedRun

Run = Callable[[ClipTensor], Tensor]
"""From clips to logits: a run of the model as it is."""


@dataclass(frozen=True)
class MapSource:
    """A tensor of a layer's output that is a map of space and time.

    Attributes:
        name: Of the layer, and of the tensor if there are several.
        layer: Which of the layers.
        tensor: Which of the tensors that it returns.
        layout: Where its axes are.
        step_of_frame: Which step of the map each frame belongs to.
    """

    name: str
    layer: int
    tensor: int
    layout: MapLayout
    step_of_frame: tuple[int, ...]

    def of(self, calls: list[list[list[Tensor]]], batch: int) -> Maps:
        """The map `(batch, feature, steps, rows, columns)` in what the layers gave."""
        return self.layout.to_maps(together(calls[self.layer], self.tensor), batch)


def together(calls: list[list[Tensor]], tensor: int) -> Tensor:
    """A tensor of a layer's output; of several calls one after another in the first axis."""
    parts = [call[tensor] for call in calls]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def found_maps(taps: Sequence[Tap], model: object, run: Run, clip: ClipTensor) -> list[MapSource]:
    """Where the maps of layers are, measured on a clip.

    It takes a forward pass of five clips; and where a map has fewer steps than the clip has frames,
    but more than one, another of a clip that is twice as long, which tells the stride.

    Args:
        taps: The layers.
        model: What they belong to, by whose modules it is told whether channels come first.
        run: The model.
        clip: `(1, time, channel, height, width)`.

    Raises:
        OptionError: If a layer gives no map.
    """
    tapped = TappedRun(taps)
    with tapped.running():
        run(probing_clips(clip))
    found: list[tuple[str, int, int, MapLayout, Tensor]] = []
    for place, (tap, calls) in enumerate(zip(taps, tapped.calls, strict=True)):
        _require_alike(tap.name, calls)
        outputs = [together(calls, tensor) for tensor in range(len(calls[0]))]
        kept = [
            one for one in range(len(outputs)) if len(outputs) == 1 or _may_be(outputs[one], clip)
        ]
        for tensor in kept or [0]:
            output = outputs[tensor]
            channels = channels_by_kind(model, tap, output.ndim)
            name = tap.name if len(kept) < 2 else f"{tap.name}[{tensor}]"
            layout = measured_layout(name, output, clip, len(calls), channels)
            found.append((name, place, tensor, layout, output))
    longer = _Longer(taps, run, clip)
    return [
        MapSource(name, place, tensor, layout, longer.step_of_frame(place, tensor, layout, output))
        for name, place, tensor, layout, output in found
    ]


def _may_be(output: Tensor, clip: ClipTensor) -> bool:
    """Whether one of several outputs is a map by its sizes: attention weights come beside it."""
    size = (clip.shape[3], clip.shape[4])
    return could_be_map(tuple(output.shape), PROBED, clip.shape[1], size)


def _require_alike(name: str, calls: list[list[Tensor]]) -> None:
    """Raise unless all calls of a layer return tensors of the same sizes, but for the first."""
    kinds = {tuple(tuple(one.shape[1:]) for one in call) for call in calls}
    if len(kinds) > 1:
        raise OptionError(
            f"a layer that returns maps of one size, at {name!r}",
            f"{len(calls)} calls for a clip, with outputs of {len(kinds)} sizes",
            "Name a layer that runs once for a clip, or once for each frame.",
        )


class _Longer:
    """How many steps the layers have of a clip that is twice as long, if it is taken."""

    def __init__(self, taps: Sequence[Tap], run: Run, clip: ClipTensor) -> None:
        self._taps, self._run, self._clip = taps, run, clip
        self._calls: list[list[list[Tensor]]] | None = None
        self._tried = False

    def step_of_frame(
        self, place: int, tensor: int, layout: MapLayout, output: Tensor
    ) -> tuple[int, ...]:
        """Which step each frame belongs to."""
        frames, (steps, *_) = self._clip.shape[1], layout.places(output, PROBED)
        more = None
        if 1 < steps < frames:
            longer = self._longer()
            if longer is not None and len(longer[place]) == 1:
                more = layout.steps_of(longer[place][0][tensor], 1)
        return steps_of_frames(frames, steps, more)

    def _longer(self) -> list[list[list[Tensor]]] | None:
        if not self._tried:
            self._tried = True
            tapped = TappedRun(self._taps)
            try:
                with tapped.running():
                    self._run(torch.cat([self._clip, self._clip], 1))
                self._calls = tapped.calls
            except (MemoryError, *FITS_NOT) as error:
                # Then the stride is told from this clip alone.
                if is_out_of_memory(error):
                    torch.cuda.empty_cache()
        return self._calls


def steps_of_frames(frames: int, steps: int, longer: int | None = None) -> tuple[int, ...]:
    """Which of a map's steps each frame belongs to.

    A step at stride s stands for s frames from its own on, and the last one for all that are left.
    Where steps lie frame by frame but are fewer, as after kernels without padding, the outer frames
    belong to the outer steps.

    Args:
        frames: Of the clip.
        steps: Of its map.
        longer: Of the map of a clip twice as long, which tells the stride; None where no other
            length is taken. Of several strides that it could be, it is a power of two. Where none
            fits, steps share out the frames evenly.

    Example:
        >>> steps_of_frames(5, 2, longer=3), steps_of_frames(13, 2, longer=4)[6:9]
        ((0, 0, 0, 0, 1), (0, 0, 1))
        >>> steps_of_frames(6, 3), steps_of_frames(6, 4, longer=10)
        ((0, 0, 1, 1, 2, 2), (0, 0, 1, 2, 3, 3))
    """
    places = range(frames)
    if longer is not None and longer - steps == frames:
        before = (frames - steps) // 2
        return tuple(min(max(place - before, 0), steps - 1) for place in places)
    strides = [
        stride
        for stride in range(1, frames + 1)
        if _makes(frames, stride, steps) and (longer is None or _makes(2 * frames, stride, longer))
    ]
    if frames % steps == 0 and longer in (None, 2 * steps):
        strides = [frames // steps]
    stride = next((one for one in strides if one & (one - 1) == 0), (strides or [0])[0])
    if not stride:
        return tuple(place * steps // frames for place in places)
    return tuple(min(place // stride, steps - 1) for place in places)


def _makes(frames: int, stride: int, steps: int) -> bool:
    """Whether so many frames can have so many steps at a stride."""
    return steps in (frames // stride, -(-frames // stride))


_FIRST: dict[int, tuple[type[nn.Module], ...]] = {
    5: (nn.Conv3d, nn.BatchNorm3d, nn.InstanceNorm3d, nn.MaxPool3d, nn.AvgPool3d),
    4: (nn.Conv2d, nn.BatchNorm2d, nn.InstanceNorm2d, nn.MaxPool2d, nn.AvgPool2d),
}
_LAST = (nn.Linear, nn.LayerNorm)


def channels_by_kind(model: object, tap: Tap, axes: int) -> Channels:
    """Whether channels come first or last in a layer's output, by the kinds of modules.

    Those of the layer itself say it; or that they come first, those of the smallest part of the
    model around it that has any, but not that they come last, as a classifier is of that kind.
    None where they are of both kinds.

    Example:
        >>> stem = nn.Sequential(nn.Conv3d(3, 4, 3), nn.ReLU())
        >>> channels_by_kind(stem, Tap("1", stem[1]), axes=5)
        'first'
    """
    first = _FIRST.get(axes, ())
    around = [tap.module]
    path = next(
        (
            name
            for name, part in (model.named_modules() if isinstance(model, nn.Module) else ())
            if part is tap.module
        ),
        "",
    )
    while "." in path:
        path = path.rpartition(".")[0]
        assert isinstance(model, nn.Module)
        around.append(model.get_submodule(path))
    if isinstance(model, nn.Module):
        around.append(model)
    for part in around:
        kinds = {
            "first" if isinstance(one, first) else "last"
            for one in part.modules()
            if isinstance(one, (*first, *_LAST))
        }
        if len(kinds) > 1:
            return None
        if kinds:
            if kinds == {"first"}:
                return "first"
            return "last" if part is tap.module else None
    return None
