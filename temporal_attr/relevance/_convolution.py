"""Convolutions, whose way back computes only what a row of relevance can reach."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch.nn.functional as F
from torch import Tensor
from torch.nn import grad

from temporal_attr.relevance._maps import Pull, is_batched

Back: TypeAlias = Callable[[Tensor, Sequence[int], Sequence[int]], Tensor]
"""From what outputs pass back, the size of the input and the padding to what inputs receive."""

FORWARD = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
BACK: dict[int, Callable[..., Tensor]] = {
    1: grad.conv1d_input,
    2: grad.conv2d_input,
    3: grad.conv3d_input,
}
FEW = 8
"""Up to so many channels, phases are faster: for a network's first layer about three times."""


@dataclass(frozen=True)
class Convolution:
    """A convolution's geometry; as a `LinearMap`, it knows what a row can reach.

    The relevance of one timestep is zero outside its receptive field. So the way back skips the
    examples that have none (frames, in a network of single frames) and, for kernels over time, the
    timesteps before the first and after the last that has some.
    """

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def __call__(self, x: Tensor, weight: Tensor | None) -> tuple[Tensor, Pull]:
        """The output, and the way back."""
        assert weight is not None
        forward = FORWARD[len(self.stride)]
        output = forward(x, weight, None, self.stride, self.padding, self.dilation, self.groups)
        size, back = x.shape, self._back(weight)
        # In a network over images the first axis of the kernel is no time.
        kernel = weight.shape[2] if len(self.stride) != 2 else None

        def pull(share: Tensor) -> Tensor:
            if is_batched(share):
                return back(share, size, self.padding)
            return self._reached(share, size, kernel, back)

        return output, pull

    def _back(self, weight: Tensor) -> Back:
        few = self.groups == 1 and weight.shape[1] <= FEW
        if few and max(self.stride) > 1 and max(self.dilation) == 1:
            phases = phase_kernels(weight, self.stride)
            return lambda share, size, padding: pull_phases(
                share, phases, self.stride, padding, size
            )

        def back(share: Tensor, size: Sequence[int], padding: Sequence[int]) -> Tensor:
            settings = (self.stride, tuple(padding), self.dilation, self.groups)
            return BACK[len(self.stride)](list(size), weight, share, *settings)

        return back

    def _reached(
        self, share: Tensor, size: Sequence[int], kernel: int | None, back: Back
    ) -> Tensor:
        """The way back of those examples and timesteps that have relevance."""
        busy = share.flatten(1).any(1)
        if not busy.all():
            pulled = share.new_zeros(size)
            if busy.any():
                part = share[busy]
                pulled[busy] = self._reached(part, (len(part), *size[1:]), kernel, back)
            return pulled
        first, last = (0, share.shape[2] - 1) if kernel is None else span(share, 2)
        if last - first + 1 == share.shape[2]:
            return back(share, size, self.padding)
        assert kernel is not None
        begin = first * self.stride[0] - self.padding[0]
        length = (last - first) * self.stride[0] + (kernel - 1) * self.dilation[0] + 1
        window = back(
            share[:, :, first : last + 1],
            (*size[:2], length, *size[3:]),
            (0, *self.padding[1:]),
        )
        low, high = max(begin, 0), min(begin + length, size[2])
        pulled = share.new_zeros(size)
        # Outputs that read nothing but padding pass nothing back.
        if high > low:
            pulled[:, :, low:high] = window[:, :, low - begin : high - begin]
        return pulled


def span(values: Tensor, axis: int) -> tuple[int, int]:
    """First and last place along an axis with anything but zero; there must be one.

    Example:
        >>> import torch
        >>> span(torch.tensor([[0.0, 1.0, 0.0, 2.0, 0.0]]), 1)
        (1, 3)
    """
    places = range(values.shape[axis])
    # From both ends inwards: where all is reached, only two places are looked at.
    first = next(place for place in places if values.select(axis, place).any())
    last = next(place for place in reversed(places) if values.select(axis, place).any())
    return first, last


def convolution_of(
    x: Tensor,
    weight: Tensor,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Convolution | None:
    """The geometry of a call; None for one without a batch axis, or padded unevenly."""
    axes = weight.ndim - 2
    if x.ndim != axes + 2:
        return None
    steps, gaps = _tuple(stride, axes), _tuple(dilation, axes)
    if isinstance(padding, str):
        reach = [
            gap * (size - 1) if padding == "same" else 0
            for gap, size in zip(gaps, weight.shape[2:], strict=True)
        ]
        if any(total % 2 for total in reach):
            return None
        padding = [total // 2 for total in reach]
    return Convolution(steps, _tuple(padding, axes), gaps, groups)


def _tuple(setting: int | Sequence[int], axes: int) -> tuple[int, ...]:
    if isinstance(setting, int):
        return (setting,) * axes
    return tuple(setting) * (axes if len(setting) == 1 else 1)


def phase_kernels(weight: Tensor, stride: Sequence[int]) -> Tensor:
    """The kernels of a strided convolution's way back, one for each phase of the stride.

    Going back through stride s is s interleaved convolutions without stride, one for every place
    modulo s :cite:p:`shi2016`. As a plain convolution from many channels to few it runs several
    times faster than the usual kernel for this shape, which pads the few channels to a full vector.
    """
    axes = len(stride)
    for axis, step in enumerate(stride):
        missing = -weight.shape[2 + axis] % step
        weight = F.pad(weight, (0, 0) * (axes - 1 - axis) + (0, missing))
    taps = [
        part
        for size, step in zip(weight.shape[2:], stride, strict=True)
        for part in (size // step, step)
    ]
    split = weight.reshape(*weight.shape[:2], *taps)
    order = [1, *range(3, 3 + 2 * axes, 2), 0, *range(2, 2 + 2 * axes, 2)]
    kernels = split.permute(order).flatten(0, axes)
    return kernels.flip(tuple(range(2, 2 + axes))).contiguous()


def pull_phases(
    share: Tensor,
    kernels: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    size: Sequence[int],
) -> Tensor:
    """The way back of a strided convolution, from the kernels of its phases."""
    axes = len(stride)
    full = [taps - 1 for taps in kernels.shape[2:]]
    phases = FORWARD[axes](share, kernels, padding=full)
    places = phases.shape[2:]
    channels = len(kernels) // math.prod(stride)
    phases = phases.unflatten(1, (channels, *stride))
    order = [0, 1, *(axis for n in range(axes) for axis in (2 + axes + n, 2 + n))]
    sizes = [place * step for place, step in zip(places, stride, strict=True)]
    pulled = phases.permute(order).reshape(len(share), channels, *sizes)
    # Places that no output reads lie past the end, and receive nothing.
    past = [
        (0, max(0, before + want - have))
        for want, have, before in zip(size[2:], sizes, padding, strict=True)
    ]
    pulled = F.pad(pulled, [side for pair in reversed(past) for side in pair])
    for axis, (before, want) in enumerate(zip(padding, size[2:], strict=True)):
        pulled = pulled.narrow(2 + axis, before, want)
    return pulled
