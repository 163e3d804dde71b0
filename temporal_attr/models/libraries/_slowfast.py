"""Networks of two pathways: a slow one over few frames, and a thin fast one over all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from temporal_attr._errors import ClipError, ModelError, UnsupportedModelError
from temporal_attr._require import require_count
from temporal_attr._typing import ClipTensor, Features, Logits
from temporal_attr.clips import Preprocessing
from temporal_attr.models._base import FrameLogits
from temporal_attr.models._conv3d import pool_space, require_mean, time_weights
from temporal_attr.models._outputs import logits_of
from temporal_attr.models._parts import WholeAndParts
from temporal_attr.models._sizes import SizeCheck
from temporal_attr.models.layers._copies import ModuleCopies
from temporal_attr.models.libraries._slowfast_builds import SlowFastBuild

Sampling: TypeAlias = Literal["linspace", "stride"]
"""Which frames the slow pathway reads; see `SlowFast`."""

SlowClip: TypeAlias = Float[Tensor, "batch slow_time channel height width"]


class SlowFast(WholeAndParts):
    r"""A SlowFast network :cite:p:`feichtenhofer2019` of another library, on one clip.

    The network takes two clips: a slow one of every alpha-th frame, and a fast one of all frames.
    The wrapper makes both from one canonical clip, so that an attribution comes back on that
    clip's own frames; a frame that both pathways read gets both parts. For one attribution a
    pathway, explain `of_pathways` on the clips that `pathways` makes.

    A timestep is one of the fast pathway. With classifier weights :math:`W` of either pathway,
    features :math:`x` of its timesteps, and weights :math:`v_j` and :math:`w_i` of the slow and
    the fast timesteps in the means over time, timestep i has the logits

    .. math::
        W_\text{fast} x^\text{fast}_i + b
        + \tfrac{v_j}{w_i} W_\text{slow} x^\text{slow}_j \;[\text{j is at frame i}]

    so that their mean with weights :math:`w_i` is the network's output (`exactness="linear"`), and
    a timestep between slow frames says what the fast pathway contributes. As :cite:t:`fan2022`
    merge the pathways, `merged_steps` is alpha: `ContrastiveLRPTemporal` adds up its matrix in
    blocks of alpha timesteps, each of which has one slow frame. Set `model.merged_steps = 1` for
    the matrix before merging.

    The network itself is left alone: it gets fresh lists, as it overwrites what it is given, and a
    softmax or sigmoid at its end is left out, so that outputs are logits; it becomes the wrapper's
    `activation`.

    Args:
        model: A network that takes the list `[slow, fast]`, built as pytorchvideo's (`blocks`, of
            which the last but one pools and concatenates both in this order, and the last has a
            linear layer `proj`) or as PySlowFast's (a `head` with `pathway0_avgpool`,
            `pathway1_avgpool` and a linear layer `projection`).
        sampling: Which frames are slow. `"linspace"`: evenly from the first to the last, rounded
            down (0, 4, 8, 13, ..., 31 of 32), as pytorchvideo and PySlowFast take them.
            `"stride"`: 0, alpha, 2 alpha, ..., as mmaction2 takes them.
        alpha: Fast frames for each slow one. None is read from the stride of the convolutions that
            lead from the fast to the slow pathway; it must be given where there are none.
        preprocessing: See `VideoModel`.

    Raises:
        UnsupportedModelError: If the network is not of this build.
        OptionError: If alpha contradicts the network, or is needed.

    Example:
        >>> from pytorchvideo.models import create_slowfast  # doctest: +SKIP
        >>> model = SlowFast(create_slowfast(model_num_class=5).eval())  # doctest: +SKIP
        >>> model.alpha, model.merged_steps  # doctest: +SKIP
        (4, 4)
    """

    layout = "batch channel time height width"

    def __init__(
        self,
        model: nn.Module,
        sampling: Sampling = "linspace",
        alpha: int | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__(model, preprocessing)
        build = SlowFastBuild.of(model)
        if build is None:
            raise UnsupportedModelError(
                "a network of two pathways: with blocks, of which the last two pool and "
                "concatenate both, and classify; or with a head that has pathway0_avgpool and "
                "pathway1_avgpool",
                type(model).__name__,
                "Subclass VideoModel, and make both pathways from the clip in its stages.",
            )
        self._build = build
        if alpha is not None:
            require_count("alpha", alpha, 1)
        self.sampling = sampling
        self.alpha = self.merged_steps = build.alpha(model, alpha)
        for pool in build.parts(model)[0]:
            require_mean(pool)
        self.activation = build.left_out(model)
        self._check_size = SizeCheck(self.alpha)

    @property
    def _pools(self) -> tuple[nn.Module, nn.Module]:
        """Of the slow and the fast pathway."""
        return self._build.parts(self.model)[0]

    @property
    def classifier(self) -> nn.Linear:
        """The network's own, over features of the slow, then of the fast pathway."""
        return self._build.parts(self.model)[1]

    def slow_frames(self, frames: int) -> Int[Tensor, " slow"]:
        """Which of so many frames the slow pathway reads, in order."""
        if self.sampling == "stride":
            return torch.arange(0, frames, self.alpha)
        return torch.linspace(0, frames - 1, frames // self.alpha).long()

    def pathways(self, clip: ClipTensor) -> tuple[SlowClip, ClipTensor]:
        """The slow and the fast clip `(batch, time, channel, height, width)` of a clip.

        Args:
            clip: `(batch, time, channel, height, width)`, of a multiple of alpha frames.

        Raises:
            ClipError: If the network does not take its size.
        """
        self.to_layout(clip)
        return clip.index_select(1, self.slow_frames(clip.shape[1]).to(clip.device)), clip

    def of_pathways(self, slow: SlowClip, fast: ClipTensor) -> Logits:
        """Logits `(batch, classes)` of a slow and a fast clip.

        A function of two clips, as `TemporalGradient`, `FrameMaskingTSR` and others take one. The
        sum over both, each at its own frames, is the attribution of the one clip where it is a
        gradient.

        Args:
            slow: `(batch, time, channel, height, width)`.
            fast: The same, of alpha times as many frames.
        """
        network = self.model
        if self.activation is not None:
            network = ModuleCopies(network, {self._build.ending: nn.Identity()}).root
        # A fresh list, as the network overwrites it.
        return logits_of(network([slow.transpose(1, 2), fast.transpose(1, 2)]))

    def forward(self, clip: ClipTensor) -> Logits:
        """The network's own output, without a softmax or sigmoid at its end."""
        return self.of_pathways(*self.pathways(clip))

    def to_layout(self, clip: ClipTensor) -> Tensor:
        """The clip, if its frames can be shared out and both pathways take its size."""
        volume = super().to_layout(clip)
        if volume.shape[2] % self.alpha:
            raise ClipError(
                f"a multiple of {self.alpha} frames (alpha, the fast frames for each slow one)",
                f"{volume.shape[2]}",
                "Load the clip with such a number of frames.",
            )
        self._check_size(self.model, volume, lambda clip: [clip[:, :, :: self.alpha], clip])
        return volume

    @property
    def stages(self) -> tuple[Callable[[Tensor], Tensor], ...]:
        """Both pathways at once, since they speak to each other."""
        return (self._merged,)

    def _merged(
        self, volume: Float[Tensor, "batch channel time height width"]
    ) -> Float[Tensor, "batch steps feature"]:
        """Features of the fast timesteps, beside those of the slow ones at their frames."""
        chosen = self.slow_frames(volume.shape[2])
        pathways = [volume.index_select(2, chosen.to(volume.device)), volume]
        maps = self._build.maps(self.model, pathways)
        slow, fast = (
            pool_space(pool, one).mean((3, 4)).transpose(1, 2)
            for pool, one in zip(self._pools, maps, strict=True)
        )
        if fast.shape[1] != self.alpha * slow.shape[1] or slow.shape[1] != len(chosen):
            raise ModelError(
                f"pathways that keep their {volume.shape[2]} and {len(chosen)} frames",
                f"{fast.shape[1]} and {slow.shape[1]} timesteps after their last blocks",
                "Subclass VideoModel for a network whose pathways have temporal strides.",
            )
        counts = (time_weights(self._pools[0], slow.shape[1], slow), self._weights(fast))
        share = counts[0] / counts[1][chosen]
        placed = fast.new_zeros(*fast.shape[:2], slow.shape[2])
        placed[:, chosen] = slow * share[:, None]
        return torch.cat([placed, fast], 2)

    def _weights(self, features: Float[Tensor, "batch steps feature"]) -> Tensor:
        """Of the fast timesteps in the mean over time."""
        return time_weights(self._pools[1], features.shape[1], features)

    def head(self, features: Features) -> Logits:
        """Logits of the mean over time."""
        logits: Tensor = self.classifier((features * self._weights(features)[:, None]).sum(1))
        return logits

    def frame_head(self, features: Features) -> FrameLogits:
        """Logits of each timestep of the fast pathway."""
        return FrameLogits(self.classifier(features), self._weights(features))
