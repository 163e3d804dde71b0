"""Early fusion: the frames stacked as channels of one image."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from temporal_attr._errors import ClipError, ModelError
from temporal_attr._require import require_count
from temporal_attr._typing import ClipTensor, Features, Logits
from temporal_attr.clips import Preprocessing
from temporal_attr.models._base import FrameLogits, VideoModel, check_logits
from temporal_attr.models.libraries._repositories import folds_frames


class EarlyFusion(VideoModel):
    """An image network whose input channels are the frames of a clip, one after another.

    The first layer already mixes all frames :cite:p:`karpathy2014`, so the model has one
    timestep: `frame_logits` is `(batch, 1, classes)`, the clip's own logits with weight 1, and
    `frames_per_step` is the number of frames.

    A network that takes the frames as channels but makes a batch of them, as TSN, TSM and TAM do,
    is no early fusion: it has a timestep for each frame. `wrap` knows these, and here they are
    refused.

    Args:
        model: `(batch, time * channel, height, width)` to logits; frame-major, so the channels of
            frame 0 come first.
        frames: Number of frames that the model takes.
        preprocessing: See `VideoModel`.

    Raises:
        ModelError: If the network is known to have timesteps.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(4 * 3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> model = EarlyFusion(net.eval(), frames=4)
        >>> clip = torch.rand(2, 4, 3, 8, 8)
        >>> torch.equal(model(clip), net(clip.flatten(1, 2)))
        True
    """

    layout = "batch (time channel) height width"

    def __init__(
        self, model: nn.Module, frames: int, preprocessing: Preprocessing | None = None
    ) -> None:
        super().__init__(preprocessing)
        require_count("frames", frames, 1)
        if folds_frames(model):
            # One timestep for all would say that its temporal range is the whole clip.
            raise ModelError(
                "a network whose first layer mixes all frames",
                f"{type(model).__name__}, which makes a batch of the frames and has a timestep for "
                "each",
                "Use wrap(model).",
            )
        self.model = model
        self.frames_per_step = frames
        self.clip_frames = frames
        self._adopt_mode(model)

    @property
    def stages(self) -> tuple[Callable[[Tensor], Tensor], ...]:
        """The whole model."""
        return (self.model,)

    def to_layout(self, clip: ClipTensor) -> Tensor:
        """The clip with its frames stacked as channels."""
        stacked = super().to_layout(clip)
        if clip.shape[1] != self.frames_per_step:
            raise ClipError(
                f"{self.frames_per_step} frames, as this early-fusion model takes",
                f"{clip.shape[1]}",
                "Load the clip with that many frames.",
            )
        return stacked

    def head(self, features: Features) -> Logits:
        """The features are the logits."""
        batch = features.shape[0] if isinstance(features, Tensor) and features.ndim else 0
        return check_logits(features, batch)

    def frame_head(self, features: Features) -> FrameLogits:
        """The clip's logits as those of the one timestep."""
        return FrameLogits(self.head(features).unsqueeze(1), features.new_ones(1))
