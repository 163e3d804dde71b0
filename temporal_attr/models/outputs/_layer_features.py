"""The features of a layer as outputs: what makes a channel respond?"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from temporal_attr._errors import FrameLogitsError, ModelError, OptionError
from temporal_attr._told import told
from temporal_attr._typing import ClipTensor, Features, Frames, Logits
from temporal_attr.models._base import FrameLogits, FramewiseModel, RunStage, VideoModel
from temporal_attr.models.outputs._derived import attribute_of


class LayerFeatures(VideoModel):
    """The mean of every channel of a layer's output; see `layer_features`.

    Attributes:
        base: The model that has the layer.
        layer: The path of the layer in it.
        channel_axis: Of the layer's output.
        time_axis: Of the layer's output; None where timesteps are not told apart.
    """

    layout = attribute_of("base.layout")

    def __init__(
        self, base: VideoModel, layer: str, channel_axis: int, time_axis: int | None
    ) -> None:
        super().__init__(base.preprocessing)
        self.base, self.layer = base, layer
        self.channel_axis, self.time_axis = channel_axis, time_axis
        self.activation = "none"
        self.clip_frames = base.clip_frames
        self.exactness = "none" if time_axis is None else "linear"
        self._channels, self._frames_per_step = 0, 1
        self._own_names: tuple[str, ...] = ()
        self._adopt_mode(base)

    @property
    def frames_per_step(self) -> int:  # type: ignore[override]
        """Input frames from one timestep to the next, as the last clip told."""
        return self._frames_per_step

    @property
    def class_names(self) -> tuple[str, ...]:
        """Such as "channel 5 of layer4", one for each; empty before the first clip."""
        numbered = (f"channel {number} of {self.layer}" for number in range(self._channels))
        return self._own_names or tuple(numbered)

    @class_names.setter
    def class_names(self, names: tuple[str, ...]) -> None:
        self._own_names = tuple(names)

    @property
    def channels(self) -> int:
        """Those of the clips of the base."""
        return self.base.channels

    def to_layout(self, clip: ClipTensor) -> Tensor:
        """The clip in the layout of the base."""
        return self.base.to_layout(clip)

    def features(self, clip: ClipTensor, run: RunStage = lambda stage, x: stage(x)) -> Features:
        """The channels of the layer `(batch, steps, channel)`; one step without a time axis."""
        caught = self._caught(lambda: self.base(clip))
        means = self._by_step(caught, len(clip))
        self._frames_per_step = max(1, round(clip.shape[1] / means.shape[1]))
        return means

    def head(self, features: Features) -> Logits:
        """The mean over timesteps."""
        self._channels = features.shape[2]
        return features.mean(1)

    def frame_head(self, features: Features) -> FrameLogits:
        """The channels at every timestep."""
        if self.time_axis is None:
            raise FrameLogitsError(
                "layer_features with the time_axis of the layer's output",
                "none",
                "Give the axis, or use a method that needs no timesteps.",
            )
        self._channels = features.shape[2]
        steps = features.shape[1]
        return FrameLogits(features, features.new_full((steps,), 1 / steps))

    def _caught(self, run: Callable[[], object]) -> Tensor:
        """What the layer gives while something runs; no hook of it stays."""
        caught: list[Any] = []
        own = threading.get_ident()

        def keep(layer: nn.Module, given: object, output: Any) -> None:  # noqa: ANN401
            # Another thread may run the same network.
            if threading.get_ident() == own:
                first = output[0] if isinstance(output, (tuple, list)) and output else output
                # A copy, as the next layer may overwrite it.
                caught.append(first.clone() if isinstance(first, Tensor) else first)

        handle = self.base.get_submodule(self.layer).register_forward_hook(keep)
        try:
            run()
        finally:
            handle.remove()
        if len(caught) != 1:
            raise ModelError(
                f"a layer that runs once in a forward pass, as {self.layer!r} should",
                f"{len(caught)} runs",
                "Name a layer inside or around it that does.",
            )
        (found,) = caught
        if not isinstance(found, Tensor) or not found.is_floating_point():
            raise ModelError(
                f"a tensor of features from {self.layer!r}", told(found), "Name another layer."
            )
        return found

    def _by_step(self, output: Tensor, batch: int) -> Tensor:
        """`(batch, steps, channel)`: the mean over all other axes."""
        named = [self.channel_axis, *([] if self.time_axis is None else [self.time_axis])]
        known = all(-output.ndim <= axis < output.ndim for axis in named)
        axes = [axis % output.ndim for axis in named] if known else []
        # Of a first axis with several rows of a clip, those of one clip follow each other.
        folded = self.time_axis in (0, None)
        if not known or axes[0] == 0 or len(output) % batch or not (folded or len(output) == batch):
            raise ModelError(
                f"features of {self.layer!r} for a batch of {batch} on axis 0, with the channels "
                f"on axis {self.channel_axis}"
                + ("" if self.time_axis is None else f" and time on axis {self.time_axis}"),
                f"shape {tuple(output.shape)}",
                "Name the axes as they are; time_axis=0 where frames are folded into the batch.",
            )
        if not folded:
            ordered = output.movedim((axes[1], axes[0]), (1, 2))
            return ordered.flatten(3).mean(3) if ordered.ndim > 3 else ordered
        rows = output.movedim(axes[0], 1)
        rows = rows.flatten(2).mean(2) if rows.ndim > 2 else rows
        steps: Tensor = rows.unflatten(0, (batch, -1))
        return steps if self.time_axis == 0 else steps.mean(1, keepdim=True)


class FramewiseLayerFeatures(LayerFeatures, FramewiseModel):
    """The same of a layer in the encoder of a `FramewiseModel`: each frame by itself."""

    @property
    def stages(self) -> tuple[Callable[[Tensor], Tensor], ...]:
        """The encoder, up to the layer's channels."""
        return (self.encode,)

    def encode(self, frames: Frames) -> Features:
        """The channels of the layer for each frame `(frames, channel)`."""
        base = self.base
        assert isinstance(base, FramewiseModel)
        return self._by_step(self._caught(lambda: base.encode(frames)), 1)[0]

    def features(self, clip: ClipTensor, run: RunStage = lambda stage, x: stage(x)) -> Features:
        """Those of every frame `(batch, time, channel)`."""
        return FramewiseModel.features(self, clip, run)


def layer_features(
    model: VideoModel, layer: str, channel_axis: int = 1, time_axis: int | None = None
) -> LayerFeatures:
    """A model whose outputs are the channels of a layer: what makes a channel respond?

    Output k is the mean of channel k over all other axes of the layer's output (over time, space
    and tokens). A direction of the channels, such as a concept vector, is `linear_outputs` of it,
    and how similar its channels are to another clip's is `similarity_to`. The layer's output is
    read by a hook that is gone after each forward pass.

    With a `time_axis` the timesteps are those of the layer, and the output is their mean
    (`exactness="linear"`). A layer in the encoder of a `FramewiseModel` has a timestep for each
    frame, and the model stays framewise.

    Args:
        model: A `VideoModel`.
        layer: The path of the layer, as in `model.named_modules()`, such as "model.layer4".
        channel_axis: The axis of the layer's output that counts the channels; -1 is the last.
        time_axis: The axis that is time; 0 where frames are folded into the batch, clip by clip.

    Raises:
        OptionError: If there is no such layer, or the axes are one.
        ModelError: With the first clip, if the layer does not run once, or gives no such axes.

    Example:
        >>> import torch
        >>> from temporal_attr import TemporalGradient, wrap
        >>> import torchvision
        >>> model = wrap(torchvision.models.video.mc3_18().eval())
        >>> channels = layer_features(model, "model.layer2", time_axis=2)
        >>> clip = torch.rand(1, 4, 3, 32, 32)
        >>> result = TemporalGradient(channels).explain(clip, target=7)
        >>> result.class_label(), tuple(result.influence.shape)
        ('channel 7 of model.layer2 (7)', (1, 4, 4))
    """
    names = [name for name, _ in model.named_modules() if name]
    if layer not in names:
        inside = [name for name in names if name.endswith(f".{layer}")]
        shown = ", ".join(inside[:3] or names[:6])
        raise OptionError(
            f"layer among the modules of {type(model).__name__}, such as {shown}",
            repr(layer),
            "Give the whole path, as in model.named_modules().",
        )
    if channel_axis == time_axis:
        raise OptionError(
            "a channel_axis other than the time_axis", f"{channel_axis} for both", "Name them."
        )
    if isinstance(model, FramewiseModel) and layer.split(".", maxsplit=1)[0] == "encoder":
        return FramewiseLayerFeatures(model, layer, channel_axis, 0)
    return LayerFeatures(model, layer, channel_axis, time_axis)
