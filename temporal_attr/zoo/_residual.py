"""Residual networks over frames and over volumes, from one block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from torch import Tensor, nn

from temporal_attr._errors import OptionError
from temporal_attr._require import require_size

Convolution: TypeAlias = Callable[[int, int, int], nn.Module]
"""From channels in, channels out and spatial stride to a convolution that keeps the frames."""

WIDTHS = (16, 32, 64)
"""Channels of each stage, by default; every stage halves height and width."""


class Residual(nn.Module):
    """Two convolutions beside a shortcut :cite:p:`he2016`, with an optional module in front.

    The module in front is on the main branch only.
    """

    def __init__(
        self,
        convolution: Convolution,
        norm: type[nn.BatchNorm2d] | type[nn.BatchNorm3d],
        channels: tuple[int, int],
        stride: int,
        front: nn.Module | None = None,
    ) -> None:
        super().__init__()
        inside, outside = channels
        self.main = nn.Sequential(
            nn.Identity() if front is None else front,
            convolution(inside, outside, stride),
            norm(outside),
            nn.ReLU(),
            convolution(outside, outside, 1),
            norm(outside),
        )
        self.shortcut = nn.Sequential()
        if stride > 1 or inside != outside:
            point = _point2d if norm is nn.BatchNorm2d else _point3d
            self.shortcut = nn.Sequential(point(inside, outside, stride), norm(outside))
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        activated: Tensor = self.activation(self.main(x) + self.shortcut(x))
        return activated


def _point2d(inside: int, outside: int, stride: int) -> nn.Module:
    return nn.Conv2d(inside, outside, 1, stride, bias=False)


def _point3d(inside: int, outside: int, stride: int) -> nn.Module:
    return nn.Conv3d(inside, outside, 1, (1, stride, stride), bias=False)


def planar(inside: int, outside: int, stride: int) -> nn.Module:
    """A 3x3 convolution of images."""
    return nn.Conv2d(inside, outside, 3, stride, 1, bias=False)


def volumetric(temporal_kernel: int) -> Convolution:
    """Convolutions of volumes: `temporal_kernel` x 3 x 3."""

    def convolution(inside: int, outside: int, stride: int) -> nn.Module:
        return nn.Conv3d(
            inside,
            outside,
            (temporal_kernel, 3, 3),
            (1, stride, stride),
            (temporal_kernel // 2, 1, 1),
            bias=False,
        )

    return convolution


def factorised_width(temporal_kernel: int, kernel: int, inside: int, outside: int) -> int:
    """Channels between the two halves of a (2+1)D convolution.

    The most for which it has no more weights than the full one: M of :cite:t:`tran2018`, section
    3.5, rounded down, and at least 1.

    Example:
        >>> factorised_width(3, 3, 64, 64)
        144
    """
    require_size("temporal_kernel", temporal_kernel, 1)
    require_size("kernel", kernel, 1)
    require_size("inside", inside, 1)
    require_size("outside", outside, 1)
    area = kernel**2
    weights = temporal_kernel * area * inside * outside
    return max(1, weights // (area * inside + temporal_kernel * outside))


def factorised(temporal_kernel: int) -> Convolution:
    """Convolutions of volumes as 1x3x3, batch norm, ReLU, then `temporal_kernel` x 1 x 1."""

    def convolution(inside: int, outside: int, stride: int) -> nn.Module:
        middle = factorised_width(temporal_kernel, 3, inside, outside)
        return nn.Sequential(
            volumetric(1)(inside, middle, stride),
            nn.BatchNorm3d(middle),
            nn.ReLU(),
            nn.Conv3d(
                middle,
                outside,
                (temporal_kernel, 1, 1),
                padding=(temporal_kernel // 2, 0, 0),
                bias=False,
            ),
        )

    return convolution


def require_widths(widths: Sequence[int], blocks: int) -> None:
    """Raise unless there is a stage, and every stage has channels and a block."""
    if not widths:
        raise OptionError("widths of at least one stage", "none", "Try widths=(16, 32, 64).")
    for width in widths:
        require_size("widths", width, 1)
    require_size("blocks", blocks, 1)


def require_odd(name: str, kernel: int) -> None:
    """Raise unless a kernel has a middle."""
    require_size(name, kernel, 1)
    if kernel % 2 == 0:
        raise OptionError(f"{name} to be odd, from 1", str(kernel), "Try 3.")


def stage(
    convolution: Convolution,
    norm: type[nn.BatchNorm2d] | type[nn.BatchNorm3d],
    channels: tuple[int, int],
    blocks: int,
    front: Callable[[int], nn.Module] | None = None,
) -> list[nn.Module]:
    """Residual blocks of one width, the first of which halves height and width."""
    inside, width = channels
    parts: list[nn.Module] = []
    for block in range(blocks):
        first = None if front is None else front(inside)
        stride = 2 if block == 0 else 1
        parts.append(Residual(convolution, norm, (inside, width), stride, first))
        inside = width
    return parts


def volume_stem(inside: int, outside: int, span: int) -> nn.Sequential:
    """The first layers of a network over volumes: `span` x 5 x 5, half the height and width."""
    return nn.Sequential(
        nn.Conv3d(inside, outside, (span, 5, 5), (1, 2, 2), (span // 2, 2, 2), bias=False),
        nn.BatchNorm3d(outside),
        nn.ReLU(),
    )


class FrameEncoder(nn.Sequential):
    """A residual network from frames `(frames, channel, height, width)` to `(frames, features)`.

    Args:
        channels: Of a frame.
        widths: Channels of each stage.
        blocks: Residual blocks a stage.
        grid: The last map is averaged to `grid` x `grid` places; more than one keeps where things
            are, which a head that follows motion needs. A map with fewer places than that gives
            some of them more than once.

    Example:
        >>> import torch
        >>> FrameEncoder(widths=(4, 8)).eval()(torch.rand(2, 3, 32, 32)).shape[0]
        2
    """

    def __init__(
        self,
        channels: int = 3,
        widths: Sequence[int] = WIDTHS,
        blocks: int = 1,
        grid: int = 1,
    ) -> None:
        require_widths(widths, blocks)
        require_size("channels", channels, 1)
        require_size("grid", grid, 1)
        layers: list[nn.Module] = [
            nn.Conv2d(channels, widths[0], 5, 2, 2, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        ]
        for inside, width in zip((widths[0], *widths), widths, strict=False):
            layers += stage(planar, nn.BatchNorm2d, (inside, width), blocks)
        super().__init__(*layers, nn.AdaptiveAvgPool2d(grid), nn.Flatten())
        self.features = widths[-1] * grid**2
