"""Residual networks over volumes that keep every frame: 3D, (2+1)D and TAM2D."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from temporal_attr._require import require_size
from temporal_attr.zoo._base import Ensemble, SteppedModel, pool_space
from temporal_attr.zoo._residual import (
    WIDTHS,
    Convolution,
    factorised,
    require_odd,
    require_widths,
    stage,
    volume_stem,
    volumetric,
)


class TemporalAggregation(nn.Module):
    """The temporal aggregation module: each channel a weighted sum over neighbouring frames.

    A depth-wise convolution over time and ReLU :cite:p:`fan2019`; frames outside the clip count
    as zero.

    Example:
        >>> import torch
        >>> module = TemporalAggregation(channels=2, kernel=3)
        >>> sum(weight.numel() for weight in module.parameters())
        6
    """

    def __init__(self, channels: int, kernel: int = 3) -> None:
        super().__init__()
        require_size("channels", channels, 1)
        require_odd("kernel", kernel)
        self.sum = nn.Conv3d(
            channels,
            channels,
            (kernel, 1, 1),
            padding=(kernel // 2, 0, 0),
            groups=channels,
            bias=False,
        )
        # It begins near the identity, so that a network with it begins much as one without.
        with torch.no_grad():
            self.sum.weight.normal_(std=0.3)[:, :, kernel // 2] += 1
        self.activation = nn.ReLU()

    def forward(self, volume: Tensor) -> Tensor:
        """`(batch, channel, time, height, width)`, of the same shape."""
        aggregated: Tensor = self.activation(self.sum(volume))
        return aggregated


class VolumeResNet(SteppedModel):
    """A residual network over volumes; see the functions that build it for the kinds.

    Time keeps its length all through, so a timestep is a frame.
    """

    layout = "batch channel time height width"

    def __init__(
        self,
        classes: int,
        convolution: Convolution,
        stem_kernel: int,
        widths: Sequence[int] = WIDTHS,
        blocks: int = 1,
        ensemble: Ensemble = "all",
        size: int | None = None,
        front: Callable[[int], nn.Module] | None = None,
    ) -> None:
        require_widths(widths, blocks)
        super().__init__(widths[-1], classes, ensemble, size)
        self.stem = volume_stem(self.channels, widths[0], stem_kernel)
        self.layers = nn.ModuleList()
        for inside, width in zip((widths[0], *widths), widths, strict=False):
            self.layers += stage(convolution, nn.BatchNorm3d, (inside, width), blocks, front)

    @property
    def stages(self) -> tuple[Callable[[Tensor], Tensor], ...]:
        """Stem, blocks, and the mean over space."""
        return (self.stem, *self.layers, pool_space)


def inflated_resnet(
    classes: int,
    temporal_kernel: int = 3,
    widths: Sequence[int] = WIDTHS,
    blocks: int = 1,
    ensemble: Ensemble = "all",
    size: int | None = None,
) -> VolumeResNet:
    """A 3D residual network: every kernel inflated in time, and no pooling over time.

    I3D :cite:p:`carreira2017` on a residual network. A timestep reads
    `(1 + 2 * blocks * len(widths)) * (temporal_kernel // 2)` frames to either side.

    Args:
        classes: Number of classes.
        temporal_kernel: Frames that a kernel spans; odd.
        widths: Channels of each stage.
        blocks: Residual blocks a stage.
        ensemble: See `SteppedModel`.
        size: See `SteppedModel`.

    Example:
        >>> import torch
        >>> model = inflated_resnet(classes=5, widths=(4, 8)).eval()
        >>> steps = model.frame_logits(torch.rand(2, 8, 3, 32, 32))
        >>> tuple(steps.logits.shape)
        (2, 8, 5)
    """
    require_odd("temporal_kernel", temporal_kernel)
    convolution = volumetric(temporal_kernel)
    return VolumeResNet(classes, convolution, temporal_kernel, widths, blocks, ensemble, size)


def factorised_resnet(
    classes: int,
    temporal_kernel: int = 3,
    widths: Sequence[int] = WIDTHS,
    blocks: int = 1,
    ensemble: Ensemble = "all",
    size: int | None = None,
) -> VolumeResNet:
    """A (2+1)D residual network :cite:p:`tran2018`: each 3D convolution split in space and time.

    The stem is inflated and not split. Its convolutions have about as many weights as those of
    `inflated_resnet`, and no more; the reach and the arguments are the same.

    Example:
        >>> import torch
        >>> factorised_resnet(classes=5, widths=(4, 8)).eval()(torch.rand(2, 8, 3, 32, 32)).shape
        torch.Size([2, 5])
    """
    require_odd("temporal_kernel", temporal_kernel)
    convolution = factorised(temporal_kernel)
    return VolumeResNet(classes, convolution, temporal_kernel, widths, blocks, ensemble, size)


def tam2d(
    classes: int,
    temporal_kernel: int = 3,
    widths: Sequence[int] = WIDTHS,
    blocks: int = 1,
    ensemble: Ensemble = "all",
    size: int | None = None,
) -> VolumeResNet:
    """A 2D residual network with a temporal aggregation module in front of each block.

    The module is that of :cite:t:`fan2019`, and the network TAM2D in :cite:t:`fan2022`. Frames meet
    in these modules only, so a timestep reads
    `blocks * len(widths) * (temporal_kernel // 2)` frames to either side. Kernels of 3, 5 and 7
    are usual. The arguments are those of `inflated_resnet`.

    Example:
        >>> import torch
        >>> model = tam2d(classes=5, widths=(4, 8), temporal_kernel=5).eval()
        >>> model(torch.rand(2, 8, 3, 32, 32)).shape
        torch.Size([2, 5])
    """
    require_odd("temporal_kernel", temporal_kernel)

    def front(channels: int) -> nn.Module:
        return TemporalAggregation(channels, temporal_kernel)

    return VolumeResNet(classes, volumetric(1), 1, widths, blocks, ensemble, size, front)
