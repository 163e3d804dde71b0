"""Two pathways: a slow one that looks, and a fast one that follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from temporal_attr._errors import ClipError, OptionError
from temporal_attr._require import require_size, require_within
from temporal_attr._typing import ClipTensor
from temporal_attr.zoo._base import Ensemble, SteppedModel, pool_space
from temporal_attr.zoo._residual import (
    WIDTHS,
    require_odd,
    require_widths,
    stage,
    volume_stem,
    volumetric,
)


class SlowFast(SteppedModel):
    """A slow pathway over every alpha-th frame, and a thin fast one over all frames.

    SlowFast :cite:p:`feichtenhofer2019`: after the stem and every stage but the last, a strided
    temporal convolution hands the fast pathway's map to the slow one. The slow pathway's own
    kernels span time in the later half of its stages only (the middle one counts as later), the
    fast one's everywhere.

    It takes one canonical clip and picks the slow frames 0, alpha, 2 alpha, ... itself. A
    timestep is a frame of the fast pathway. The slow pathway's feature stands at its frame, times
    alpha, and counts as zero at the others; so the mean over timesteps is the mean over each
    pathway, as :cite:t:`fan2022` merge them, and a timestep between slow frames says what the
    fast pathway contributes.

    Args:
        classes: Number of classes.
        alpha: Fast frames for each slow frame.
        beta: Channels of the fast pathway, as a share of those of the slow one (rounded, and at
            least one).
        lateral_kernel: Frames that a lateral convolution spans; odd.
        temporal_kernel: Frames that the other kernels span; odd.
        widths: Channels of each stage of the slow pathway.
        blocks: Residual blocks a stage.
        ensemble: See `SteppedModel`; a multiple of alpha, so that each pathway gets its share.
        size: See `SteppedModel`.

    Example:
        >>> model = SlowFast(classes=5, widths=(4, 8)).eval()
        >>> tuple(model.frame_logits(torch.rand(2, 8, 3, 32, 32)).logits.shape)
        (2, 8, 5)
    """

    layout = "batch channel time height width"

    def __init__(
        self,
        classes: int,
        alpha: int = 4,
        beta: float = 0.25,
        lateral_kernel: int = 5,
        temporal_kernel: int = 3,
        widths: Sequence[int] = WIDTHS,
        blocks: int = 1,
        ensemble: Ensemble = "all",
        size: int | None = None,
    ) -> None:
        require_widths(widths, blocks)
        require_size("alpha", alpha, 1)
        require_within("beta", beta, 0, 1)
        require_odd("lateral_kernel", lateral_kernel)
        require_odd("temporal_kernel", temporal_kernel)
        thin = [max(1, round(width * beta)) for width in widths]
        super().__init__(widths[-1] + thin[-1], classes, ensemble, size)
        if isinstance(ensemble, int) and ensemble % alpha:
            raise OptionError(
                f"ensemble to be a multiple of alpha ({alpha})", str(ensemble), f"Try {alpha}."
            )
        self.alpha = self.merged_steps = alpha
        half = len(widths) // 2
        spans = [1 if place < half else temporal_kernel for place in range(len(widths))]
        self.slow_stem = volume_stem(self.channels, widths[0], 1)
        self.fast_stem = volume_stem(self.channels, thin[0], temporal_kernel)
        slow, fast, lateral = [], [], []
        inside = (widths[0], thin[0])
        for place, width in enumerate(widths):
            lateral.append(_lateral(inside[1], alpha, lateral_kernel))
            slow.append(_stage(inside[0] + 2 * inside[1], width, spans[place], blocks))
            fast.append(_stage(inside[1], thin[place], temporal_kernel, blocks))
            inside = (width, thin[place])
        self.slow, self.fast, self.lateral = map(nn.ModuleList, (slow, fast, lateral))

    @property
    def stages(self) -> tuple[Callable[[Tensor], Tensor], ...]:
        """Both pathways at once, since they speak to each other."""
        return (self._pathways,)

    def to_layout(self, clip: ClipTensor) -> Tensor:
        """The clip, if its frames can be shared out between the pathways."""
        if isinstance(clip, Tensor) and clip.ndim == 5 and clip.shape[1] % self.alpha:
            raise ClipError(
                f"a multiple of {self.alpha} frames (alpha, the fast frames for each slow one)",
                f"{clip.shape[1]}",
                "Load the clip with such a number of frames.",
            )
        return super().to_layout(clip)

    def _pathways(self, volume: Tensor) -> Tensor:
        slow, fast = self.slow_stem(volume[:, :, :: self.alpha]), self.fast_stem(volume)
        for slow_stage, fast_stage, lateral in zip(self.slow, self.fast, self.lateral, strict=True):
            slow = slow_stage(torch.cat([slow, lateral(fast)], 1))
            fast = fast_stage(fast)
        followed, looked = pool_space(fast), pool_space(slow)
        placed = followed.new_zeros(*followed.shape[:2], looked.shape[2])
        placed[:, :: self.alpha] = looked * self.alpha
        return torch.cat([placed, followed], 2)


def _stage(inside: int, outside: int, span: int, blocks: int) -> nn.Module:
    return nn.Sequential(*stage(volumetric(span), nn.BatchNorm3d, (inside, outside), blocks))


def _lateral(channels: int, alpha: int, kernel: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(
            channels, 2 * channels, (kernel, 1, 1), (alpha, 1, 1), (kernel // 2, 0, 0), bias=False
        ),
        nn.BatchNorm3d(2 * channels),
        nn.ReLU(),
    )
