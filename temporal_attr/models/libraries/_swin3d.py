"""Torchvision's Video Swin transformers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from temporal_attr._typing import Features, Logits
from temporal_attr.clips import Preprocessing
from temporal_attr.models._base import FrameLogits, is_affine
from temporal_attr.models._frozen import TokenTimes
from temporal_attr.models._parts import WholeAndParts


class Swin3D(WholeAndParts):
    """Torchvision's swin3d_t, swin3d_s and swin3d_b :cite:p:`liu2022`.

    The last layer norm is on each token, before the mean over time and space, so the logits are the
    mean of the timesteps' logits (`exactness="linear"`): a timestep's are what the classifier says
    of its own tokens, each of which has read a neighbourhood of the clip. A classifier with
    activations makes them contributions (`"frozen"`).

    Clips may have any size. A timestep is a patch of (usually two) frames; where the last patch is
    not full, the network fills it up with zeros.
    """

    layout = "batch channel time height width"

    def __init__(self, model: nn.Module, preprocessing: Preprocessing | None = None) -> None:
        super().__init__(model, preprocessing)
        self.frames_per_step = self._net.patch_embed.proj.stride[0]
        self.exactness = "linear" if is_affine(self._net.head) else "frozen"

    @property
    def _net(self) -> Any:  # noqa: ANN401 - a module of another library
        return self.model

    @property
    def stages(self) -> tuple[Callable[[Tensor], Tensor], ...]:
        """Embedding, each block and merging of patches, and the norm: `(batch, *grid, feature)`."""
        net = self._net
        blocks = [part for stage in net.features for part in _parts(stage)]
        return (net.patch_embed, net.pos_drop, *blocks, net.norm)

    def head(self, features: Features) -> Logits:
        """Logits of the mean token."""
        pooled = self._net.avgpool(features.permute(0, 4, 1, 2, 3)).flatten(1)
        logits: Tensor = self._net.head(pooled)
        return logits

    def frame_head(self, features: Features) -> FrameLogits:
        """Logits of each timestep's mean token."""
        head, steps = self._net.head, features.shape[1]
        if self.exactness == "linear":
            logits = head(features.mean((2, 3)))
            return FrameLogits(logits, logits.new_full((steps,), 1 / steps))
        tokens = features.flatten(1, 3)
        split = TokenTimes(steps).split(tokens / tokens.shape[1])
        return split.through(head).frame_logits()


def _parts(stage: nn.Module) -> list[nn.Module]:
    """The blocks of a stage, which is a Sequential; a merging of patches is one by itself."""
    return list(stage) if isinstance(stage, nn.Sequential) else [stage]
