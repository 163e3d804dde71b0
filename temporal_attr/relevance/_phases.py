"""Transposed strided convolutions as interleaved convolutions without stride."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def phase_kernels(weight: Tensor, stride: Sequence[int]) -> Tensor:
    """The kernels of a transposed strided convolution, one for each phase of the stride.

    The transpose of stride s is s interleaved convolutions without stride, one for every place
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


def transposed_by_phases(
    values: Tensor,
    kernels: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    size: Sequence[int],
) -> Tensor:
    """The transposed map of a strided convolution, from the kernels of its phases."""
    axes = len(stride)
    full = [taps - 1 for taps in kernels.shape[2:]]
    phases = CONVOLUTIONS[axes](values, kernels, padding=full)
    places = phases.shape[2:]
    channels = len(kernels) // math.prod(stride)
    phases = phases.unflatten(1, (channels, *stride))
    order = [0, 1, *(axis for n in range(axes) for axis in (2 + axes + n, 2 + n))]
    sizes = [place * step for place, step in zip(places, stride, strict=True)]
    found = phases.permute(order).reshape(len(values), channels, *sizes)
    # Places that no output reads lie past the end, and receive nothing.
    past = [
        (0, max(0, before + want - have))
        for want, have, before in zip(size[2:], sizes, padding, strict=True)
    ]
    found = F.pad(found, [side for pair in reversed(past) for side in pair])
    for axis, (before, want) in enumerate(zip(padding, size[2:], strict=True)):
        found = found.narrow(2 + axis, before, want)
    return found
