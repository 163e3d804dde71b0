"""Networks of whole clips in which a layer, found by running them, has one frame a timestep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from temporal_attr._errors import ModelError, OptionError
from temporal_attr._typing import ClipTensor, Features, Frames, Logits
from temporal_attr.clips import Preprocessing
from temporal_attr.models._base import FrameLogits, FramewiseModel, RunStage
from temporal_attr.models._outputs import logits_of
from temporal_attr.models.layers._axes import TimeAxis, one_and_two
from temporal_attr.models.layers._recording import Shape, first_tensor
from temporal_attr.models.layers._runs import run_to
from temporal_attr.models.layers._timesteps import Dependence, LayerTimesteps


class FramewiseLayerTimesteps(FramewiseModel):
    """A network whose timesteps are those of a layer, and that reads single frames until another.

    It is a `LayerTimesteps` of which an earlier layer, the `encoder`, depends on one frame at each
    of its timesteps: as where a network folds time into the batch for its convolutions. So frames
    can be encoded in any order and number, and methods take the paths that need less time or
    memory. That no frame sees another there is tried by every method, on the clip at hand.

    Args:
        model: The network, which must take clips of one frame as far as the encoder.
        layer: See `LayerTimesteps`; so are the others.
        encoder: Path of the layer whose timesteps are frames.
        encoder_axis: Which axis of its output is time.
        layout: See `LayerTimesteps`.
        time_axis: Likewise.
        exactness: Likewise.
        substitutes: Likewise.
        output: Likewise.
        keyword: Likewise.
        listed: Likewise.
        preprocessing: See `VideoModel`.

    Example:
        >>> import torch
        >>> class Folded(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.frames = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1))
        ...         self.mix = nn.Conv1d(4, 4, 3, padding=1)
        ...         self.classifier = nn.Linear(4, 5)
        ...     def forward(self, video):
        ...         rows = self.frames(video.flatten(0, 1)).flatten(1)
        ...         mixed = self.mix(rows.unflatten(0, video.shape[:2]).transpose(1, 2))
        ...         return self.classifier(mixed.mean(2))
        >>> network = Folded().eval()
        >>> model = FramewiseLayerTimesteps(
        ...     network, "mix", encoder="frames", encoder_axis=0, time_axis=2,
        ...     layout="batch time channel height width",
        ... )
        >>> clip = torch.rand(2, 6, 3, 8, 8)
        >>> steps = model.frame_logits(clip)
        >>> tuple(steps.logits.shape), torch.allclose(steps.clip_logits(), network(clip), atol=1e-6)
        ((2, 6, 5), True)
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str,
        *,
        encoder: str,
        encoder_axis: int,
        layout: str = "batch channel time height width",
        time_axis: int = 2,
        exactness: Dependence = "linear",
        substitutes: Mapping[str, nn.Module] | None = None,
        output: Callable[[Any], Tensor] = logits_of,
        keyword: str | None = None,
        listed: bool = False,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__(preprocessing)
        self.timesteps = LayerTimesteps(
            model,
            layer,
            layout=layout,
            time_axis=time_axis,
            exactness=exactness,
            stages=[encoder] if encoder != layer else [],
            substitutes=substitutes,
            output=output,
            keyword=keyword,
            listed=listed,
            preprocessing=preprocessing,
        )
        self.encoder = encoder
        self.encoder_axis = encoder_axis
        self._frame_sizes: dict[Any, torch.Size] = {}
        self._of_one_frame: TimeAxis | None = None
        self._time_major: bool | None = None
        self.exactness = exactness
        self._adopt_mode(self.timesteps)

    @property
    def model(self) -> nn.Module:
        """The network."""
        return self.timesteps.model

    def forward(self, clip: ClipTensor) -> Logits:
        """The network's own logits; those of the network with its substitutes, if it has any."""
        logits: Tensor = self.timesteps(clip)
        return logits

    def features(self, clip: ClipTensor, run: RunStage = lambda stage, x: stage(x)) -> Features:
        """The encoder's output for each frame, `(batch, time, ...)`."""
        self.timesteps.prepare(clip)
        self.timesteps.check_parts(clip)
        return super().features(clip, run)

    def encode(self, frames: Frames) -> Features:
        """The encoder's output for frames, each as a clip of its own."""
        video = self.timesteps.to_layout(frames.unsqueeze(1))
        output = first_tensor(run_to(self.timesteps.network, video, self.encoder))
        features = self._axis_of(frames).to_features(output)[:, 0]
        self._frame_sizes[_kind(features)] = frames.shape[1:]
        return features

    def head(self, features: Features) -> Logits:
        """What follows the encoder."""
        return self.timesteps.head(self._to_timesteps(features))

    def frame_head(self, features: Features) -> FrameLogits:
        """Logits of each timestep; see `LayerTimesteps` for what they mean."""
        return self.timesteps.frame_head(self._to_timesteps(features))

    def _to_timesteps(self, features: Features) -> Features:
        """From the encoder to the layer of the timesteps."""
        self._prepare_for(features)
        stages = self.timesteps.stages
        if len(stages) == 1:
            return features
        return stages[1](self._axis_for(features).to_output(features))

    def _prepare_for(self, features: Features) -> None:
        """Note how clips of such features run, which a head alone does not tell."""
        size = self._frame_sizes.get(_kind(features[0]))
        if size is not None:
            random = torch.Generator().manual_seed(0)
            shape = (1, features.shape[1], *size)
            clip = torch.randn(shape, generator=random).to(features)
            self.timesteps.prepare(clip)
            self._note_order(clip)

    @torch.no_grad()
    def _axis_of(self, frames: Frames) -> TimeAxis:
        """Where time is in the encoder's output for a frame, told from that for one and for two."""
        if self._of_one_frame is None:
            frame = frames[:1, None].detach()
            one, two = (self._tried(clips) for clips in one_and_two(frame))
            axis = TimeAxis.of(self.encoder_axis, Shape.told(one, two))
            if axis.steps != 1:
                raise OptionError(
                    "an encoder_axis with one entry for one frame",
                    f"encoder_axis={self.encoder_axis}, which has {axis.steps}",
                    f"The output of one frame has shape {tuple(one.shape)}; name that of frames.",
                )
            self._of_one_frame = axis
        return self._of_one_frame

    @torch.no_grad()
    def _note_order(self, clip: ClipTensor) -> None:
        """Measure in which order clips and frames are folded, if they are; once."""
        axis = self._of_one_frame
        if axis is None or not axis.folded or self._time_major is not None or clip.shape[1] == 1:
            return
        one, two = (self._tried(clips) for clips in one_and_two(clip))
        self._time_major = replace(axis, steps=clip.shape[1]).found_in(one, two).time_major

    def _tried(self, clips: ClipTensor) -> Tensor:
        """The encoder's output for clips, of which the network keeps nothing."""
        network = replace(self.timesteps.network, own_buffers=True)
        # A copy, because the network may work in place.
        video = self.timesteps.to_layout(clips.clone())
        return first_tensor(run_to(network, video, self.encoder))

    def _axis_for(self, features: Features) -> TimeAxis:
        """Where time is in the encoder's output for clips of such features."""
        if self._of_one_frame is None:
            raise ModelError(
                f"features of frames that {type(self.model).__name__} has encoded",
                f"a tensor of shape {tuple(features.shape)}",
                "Get them from features(clip) or encode(frames).",
            )
        steps = features.shape[1]
        return replace(self._of_one_frame, steps=steps, time_major=bool(self._time_major))


def _kind(rows: Tensor) -> tuple[Any, ...]:
    """What tells features of frames of one size from those of another."""
    return tuple(rows.shape[1:]), rows.dtype, rows.device
