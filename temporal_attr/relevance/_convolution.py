"""Convolutions, whose transposed map computes only what relevance of one timestep can reach."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor
from torch.nn import grad

from temporal_attr.relevance._maps import TransposedMap, is_batched
from temporal_attr.relevance._phases import CONVOLUTIONS, phase_kernels, transposed_by_phases

Transposed: TypeAlias = Callable[[Tensor, Sequence[int], Sequence[int]], Tensor]
"""A transposed convolution: from values of outputs, size of the input and padding to the input."""

TRANSPOSED: dict[int, Callable[..., Tensor]] = {
    1: grad.conv1d_input,
    2: grad.conv2d_input,
    3: grad.conv3d_input,
}
FEW = 8
"""Up to so many channels, phases are faster: for a network's first layer about three times."""


@dataclass(frozen=True)
class Convolution:
    """A convolution's geometry; as a `LinearMap`, it knows what an output can reach.

    The relevance of one timestep is zero outside its receptive field. So the transposed map skips
    the examples that have none (frames, in a network of single frames) and, for kernels over time,
    the timesteps before the first and after the last that has some.
    """

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def __call__(self, x: Tensor, weight: Tensor | None) -> tuple[Tensor, TransposedMap]:
        """The output, and the transposed map."""
        assert weight is not None
        forward = CONVOLUTIONS[len(self.stride)]
        output = forward(x, weight, None, self.stride, self.padding, self.dilation, self.groups)
        size, whole = x.shape, self._transposed(weight)
        # In a network over images the first axis of the kernel is no time.
        kernel = weight.shape[2] if len(self.stride) != 2 else None

        def transposed(values: Tensor) -> Tensor:
            if is_batched(values):
                return whole(values, size, self.padding)
            return self._reached(values, size, kernel, whole)

        return output, transposed

    def _transposed(self, weight: Tensor) -> Transposed:
        """The transposed convolution of this weight, by the fastest kernel for its shape."""
        few = self.groups == 1 and weight.shape[1] <= FEW
        if few and max(self.stride) > 1 and max(self.dilation) == 1:
            phases = phase_kernels(weight, self.stride)
            return lambda values, size, padding: transposed_by_phases(
                values, phases, self.stride, padding, size
            )

        def transposed(values: Tensor, size: Sequence[int], padding: Sequence[int]) -> Tensor:
            settings = (self.stride, tuple(padding), self.dilation, self.groups)
            return TRANSPOSED[len(self.stride)](list(size), weight, values, *settings)

        return transposed

    def _reached(
        self, values: Tensor, size: Sequence[int], kernel: int | None, transposed: Transposed
    ) -> Tensor:
        """The transposed map of those examples that have a value other than zero."""
        busy = values.flatten(1).any(1)
        if busy.all():
            return self._reached_in_time(values, size, kernel, transposed)
        found = values.new_zeros(size)
        if busy.any():
            part = values[busy]
            size = (len(part), *size[1:])
            found[busy] = self._reached_in_time(part, size, kernel, transposed)
        return found

    def _reached_in_time(
        self, values: Tensor, size: Sequence[int], kernel: int | None, transposed: Transposed
    ) -> Tensor:
        """The transposed map from the first to the last timestep with a value other than zero."""
        first, last = (0, values.shape[2] - 1) if kernel is None else span(values, 2)
        if last - first + 1 == values.shape[2]:
            return transposed(values, size, self.padding)
        assert kernel is not None
        begin = first * self.stride[0] - self.padding[0]
        length = (last - first) * self.stride[0] + (kernel - 1) * self.dilation[0] + 1
        window = transposed(
            values[:, :, first : last + 1],
            (*size[:2], length, *size[3:]),
            (0, *self.padding[1:]),
        )
        low, high = max(begin, 0), min(begin + length, size[2])
        found = values.new_zeros(size)
        # Outputs that read nothing but padding reach nothing.
        if high > low:
            found[:, :, low:high] = window[:, :, low - begin : high - begin]
        return found


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
