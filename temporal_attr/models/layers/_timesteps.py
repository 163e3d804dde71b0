"""Timesteps from any layer of a network whose output has a time axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from temporal_attr._errors import FrameLogitsError, ModelError, OptionError
from temporal_attr._memory import is_out_of_memory
from temporal_attr._require import require_count
from temporal_attr._typing import ClipTensor, Features, Logits
from temporal_attr.clips import Preprocessing
from temporal_attr.models._base import FrameLogits, RunStage
from temporal_attr.models._outputs import logits_of, require_rows
from temporal_attr.models._parts import WholeAndParts
from temporal_attr.models.layers._axes import (
    TimeAxis,
    measured_axis,
    one_and_two,
    require_layout,
)
from temporal_attr.models.layers._copies import Network, first_path, submodule
from temporal_attr.models.layers._reading import Reading, contributions, measured
from temporal_attr.models.layers._recording import first_tensor, recorded, shape_only
from temporal_attr.models.layers._runs import Plan, planned, run_from, run_to
from temporal_attr.models.trials._misfits import FITS_NOT

Dependence = Literal["linear", "frozen"]


class LayerTimesteps(WholeAndParts):
    """A network whose timesteps are those of one of its layers, named by its path.

    `forward` calls the network itself. The layer's output has an axis of time, all that comes after
    reads the clip through it alone, and what each of its timesteps says is found by running what
    comes after:

    - the mean over time, weighted or not, of what each timestep gives by itself, and a linear
      classifier (`exactness="linear"`): the logits of a timestep are those of its features at all
      timesteps. They are a prediction. The weights are measured, by exchanging one timestep after
      another: a pooling with overlapping windows has a trapezoid;
    - something linear with weights of its own for each timestep, such as a linear layer over all of
      them (`"linear"`): a contribution, and `rest` is what no timestep adds, the bias;
    - with activations, norms or attention after timesteps are mixed (`"frozen"`): a contribution,
      with all that depends on the data held at the clip's values; `rest` is the part of the logits
      that belongs to none.

    That the parts make up the network, that nothing passes by the layer, and that what follows is
    as linear as was said, is tried once, on the first clip, in evaluation mode. It takes two passes
    of one clip, and one of two; another one and two for clips of another size.

    The network is not touched: it runs as shallow copies of its modules, with the same weights.

    Args:
        model: The network.
        layer: Path of the layer, as in `named_modules()`; see `layers` for those that can be named.
        layout: Axes of what the network takes, as an einops pattern over
            `batch time channel height width`.
        time_axis: Which axis of the layer's output is time; 0 also where timesteps and clips are
            folded into one axis, in either order, which is measured.
        exactness: `"linear"` or `"frozen"`.
        stages: Paths of earlier layers that all passes through, in order; memory paths recompute
            from one to the next.
        substitutes: Modules that run in place of the network's own, by their path: such as
            `{"head.softmax": nn.Identity()}` for a network that ends in probabilities. Then
            `forward` is the network with them.
        output: From what the network returns to logits `(batch, classes)`.
        keyword: What the network calls its video, where that is not its first argument.
        listed: Whether it takes a list of pathways, and the video as the only one.
        frames_per_step: Frames from one timestep to the next; by default measured on the first
            clip and one twice as long, or, where no other number of frames is taken, the ratio of
            frames to timesteps.
        preprocessing: See `VideoModel`.

    Raises:
        ModelError: If there is no such layer.
        OptionError: If the layout, the axis or the exactness is none.

    Example:
        >>> network = nn.Sequential(
        ...     nn.Conv3d(3, 4, 3, padding="same"), nn.ReLU(), nn.AvgPool3d((2, 16, 16), stride=1),
        ...     nn.Conv3d(4, 5, 1), nn.AdaptiveAvgPool3d(1), nn.Flatten(),
        ... ).eval()
        >>> model = LayerTimesteps(network, "1", time_axis=2)
        >>> clip = torch.rand(2, 4, 3, 16, 16)
        >>> steps = model.frame_logits(clip)
        >>> torch.allclose(steps.clip_logits(), network(clip.transpose(1, 2)), atol=1e-6)
        True
        >>> [round(float(weight), 4) for weight in steps.weights]
        [0.1667, 0.3333, 0.3333, 0.1667]
    """

    remedy = (
        "Something passes by the layer, as a shortcut does or the layer's other outputs; or what "
        "follows it depends on more than its values. Name another one, see layers(model, clip)."
    )

    def __init__(
        self,
        model: nn.Module,
        layer: str,
        *,
        layout: str = "batch channel time height width",
        time_axis: int = 2,
        exactness: Dependence = "linear",
        stages: Sequence[str] = (),
        substitutes: Mapping[str, nn.Module] | None = None,
        output: Callable[[Any], Tensor] = logits_of,
        keyword: str | None = None,
        listed: bool = False,
        frames_per_step: int | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__(model, preprocessing)
        for path in (layer, *stages, *(substitutes or {})):
            submodule(model, path)
        require_layout(layout)
        if exactness not in get_args(Dependence):
            raise OptionError(
                'exactness to be "linear" or "frozen"', repr(exactness), "Choose one of them."
            )
        if frames_per_step is not None:
            require_count("frames_per_step", frames_per_step, 1)
        self.layout = layout
        self.layer = layer
        self.time_axis = time_axis
        self.exactness = exactness
        self.frames_per_step = frames_per_step or 1
        self._rate_is_measured = self._measures_rate = frames_per_step is None
        self._cuts = tuple(first_path(model, path) for path in (*stages, layer))
        self._output = output
        self._handed = (keyword, listed)
        self._substituted = tuple(substitutes or {})
        self._substitutes = nn.ModuleList((substitutes or {}).values())
        self._known: dict[tuple[Any, ...], _Known] = {}

    @property
    def stages(self) -> tuple[Callable[[Tensor], Tensor], ...]:
        """From the network's input to each of the named layers in turn."""
        return tuple(partial(self._to_cut, place) for place in range(len(self._cuts)))

    def forward(self, clip: ClipTensor) -> Logits:
        """The network's own logits; those of the network with its substitutes, if it has any."""
        return require_rows(self._output(self.network(self.to_layout(clip))), len(clip))

    def features(self, clip: ClipTensor, run: RunStage = lambda stage, x: stage(x)) -> Features:
        """The layer's output as `(batch, time, ...)`."""
        self.prepare(clip)
        return super().features(clip, run)

    def head(self, features: Features) -> Logits:
        """What follows the layer."""
        return self._tail(self._of_features(features), features)

    def frame_head(self, features: Features) -> FrameLogits:
        """Logits of each timestep; see the class for what they mean."""
        known = self._of_features(features)
        tail = partial(self._tail, known)
        if known.reading is not None and known.reading.weights is not None:
            return known.reading.predictions(tail, features)
        return contributions(tail, features, frozen=self.exactness == "frozen")

    @property
    def network(self) -> Network:
        """The network with its substitutes, and how it is called."""
        parts = dict(zip(self._substituted, self._substitutes, strict=True))
        return Network(self.model, parts, *self._handed)

    def _to_cut(self, place: int, x: Tensor) -> Tensor:
        """From the cut before, or the network's input, to a cut."""
        stop = self._cuts[place]
        if place == 0:
            output = run_to(self.network, x, stop)
        else:
            known = self._of_tensor(place - 1, x)
            output = run_from(self.network, known.plans[place - 1], x, stop)
        found: Tensor = first_tensor(output)
        if place < len(self._cuts) - 1:
            return found
        return self._of_tensor(place, found).axis.to_features(found)

    def _tail(self, known: _Known, features: Tensor, network: Network | None = None) -> Tensor:
        start = known.axis.to_output(features)
        logits = self._output(run_from(network or self.network, known.plans[-1], start))
        return require_rows(logits, len(features))

    @torch.no_grad()
    def prepare(self, clip: ClipTensor) -> None:
        """Note how clips of this size run, unless it is known."""
        key = (tuple(clip.shape[1:]), clip.dtype, clip.device)
        known, weights = self._known.get(key), self._weights_now()
        if known is not None and (self.exactness == "frozen" or known.measured_with == weights):
            # The last of those that fit: rows of two clips can be as many as those of a longer one.
            self._known.pop(key, None)
            self._known[key] = known
            return
        first = clip[:1].detach()
        network = replace(self.network, own_buffers=True)
        if known is None:
            known = self._planned(network, first)
        if self.exactness == "linear":
            # Weights over time may be the network's own, and be trained in between.
            output = run_to(network, self.to_layout(first.clone()), self.layer)
            features = known.axis.to_features(first_tensor(output))
            reading = measured(partial(self._tail, known, network=network), features)
            if reading is None:
                raise _no_sum(self.layer)
            known = replace(known, reading=reading, measured_with=weights)
        if self._measures_rate:
            self.frames_per_step = self._rate(network, first, known.axis)
            self._measures_rate = False
        self._known[key] = known

    def _rate(self, network: Network, first: ClipTensor, axis: TimeAxis) -> int:
        """Frames from one timestep to the next, told from a clip that is twice as long.

        Of a network that takes no other number of frames, the ratio of both numbers.
        """
        frames = first.shape[1]
        try:
            output = run_to(network, self.to_layout(torch.cat([first, first], 1)), self.layer)
        except FITS_NOT as error:
            if is_out_of_memory(error):
                raise
            return max(1, round(frames / axis.steps))
        added = first_tensor(output).shape[axis.axis] - axis.steps
        return max(1, round(frames / (added if added > 0 else axis.steps)))

    def _require_rate(self, frames: int, steps: int) -> None:
        """Raise unless there are as many timesteps as was said; what was measured is so."""
        if not self._rate_is_measured:
            super()._require_rate(frames, steps)

    def _planned(self, network: Network, first: Tensor) -> _Known:
        """How a clip runs, told from it and from a batch of it and another."""
        # Copies, because the network may work in place.
        runs = []
        for clips in one_and_two(first):
            video = self.to_layout(clips.clone())
            runs.append((shape_only(video), recorded(network, video)[1]))
        plans = tuple(planned(cut, runs[0], runs[1]) for cut in self._cuts)

        def output_of(clips: ClipTensor) -> Tensor:
            return first_tensor(run_to(network, self.to_layout(clips.clone()), self.layer))

        axis = measured_axis(self.time_axis, plans[-1].shape, output_of, first)
        return _Known(plans, axis)

    def _weights_now(self) -> tuple[tuple[int, int], ...]:
        """What tells the network's weights from those that it had before."""
        parts = (self.model, self._substitutes)
        return tuple(
            # Tensors made in inference mode do not count their versions.
            (entry.data_ptr(), 0 if entry.is_inference() else entry._version)
            for part in parts
            for entry in (*part.parameters(), *part.buffers())
        )

    def _of_features(self, features: Features) -> _Known:
        """What is known of clips with such features."""
        sizes = tuple(features.shape[1:])
        return self._found(features, lambda known: known.feature_sizes == sizes)

    def _of_tensor(self, place: int, x: Tensor) -> _Known:
        """What is known of clips of which a cut gives such a tensor."""
        return self._found(x, lambda known: known.plans[place].shape.fits(x))

    def _found(self, like: Tensor, fits: Callable[[_Known], bool]) -> _Known:
        # Of those that fit the one that came last; a copy, as other threads may note more.
        for known in reversed(tuple(self._known.values())):
            shape = known.plans[-1].shape
            if (shape.dtype, shape.device) == (like.dtype, like.device) and fits(known):
                return known
        raise ModelError(
            f"features of clips that {type(self.model).__name__} has seen",
            f"a tensor of shape {tuple(like.shape)}",
            "Get them from features(clip), which notes how clips of that size run.",
        )


def _no_sum(layer: str) -> FrameLogitsError:
    return FrameLogitsError(
        f"all after the layer {layer!r} to be a sum over its timesteps",
        "something that is not linear and mixes them",
        'Say exactness="frozen", which holds that at the clip\'s values; or name a later layer.',
    )


@dataclass(frozen=True, eq=False)
class _Known:
    """What is known of clips of one size.

    Attributes:
        plans: How the network is run from each cut.
        axis: Where time is in the last.
        reading: How the tail reads timesteps, if it is linear.
        measured_with: The weights that were in place when that was found.
    """

    plans: tuple[Plan, ...]
    axis: TimeAxis
    reading: Reading | None = None
    measured_with: tuple[tuple[int, int], ...] = ()

    @property
    def feature_sizes(self) -> tuple[int, ...]:
        """The sizes of features, without the batch."""
        shape = self.plans[-1].shape
        return tuple(self.axis.to_features(shape.empty(1)).shape[1:])


__all__ = ["LayerTimesteps"]
