"""The time axis of what a layer returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from temporal_attr._errors import OptionError
from temporal_attr._memory import is_out_of_memory
from temporal_attr._typing import ClipTensor, Features
from temporal_attr.models.layers._recording import Shape
from temporal_attr.models.trials._trials import tolerance

AXES = ("batch", "time", "channel", "height", "width")

FITS_NOT = (RuntimeError, ValueError, AssertionError, LookupError)
"""What networks raise of a number of frames that they do not take."""


@dataclass(frozen=True)
class TimeAxis:
    """Where time is in a layer's output, beside the clips of a batch.

    Attributes:
        axis: Of the timesteps.
        batch_axis: Of the clips; the same where both are folded into one axis.
        steps: How many timesteps a clip has.
        time_major: Whether in a folded axis the clips of one timestep stand after those of another,
            and not the timesteps of one clip after those of another.

    Example:
        >>> import torch
        >>> folded = TimeAxis(0, 0, steps=4)
        >>> folded.to_features(torch.rand(8, 5)).shape
        torch.Size([2, 4, 5])
        >>> TimeAxis(2, 0, steps=4).to_features(torch.rand(2, 5, 4)).shape
        torch.Size([2, 4, 5])
    """

    axis: int
    batch_axis: int
    steps: int
    time_major: bool = False

    @property
    def folded(self) -> bool:
        """Whether clips and timesteps are one axis."""
        return self.axis == self.batch_axis

    @classmethod
    def of(cls, axis: int, shape: Shape) -> TimeAxis:
        """An axis of outputs of a shape.

        Raises:
            OptionError: If there is no such axis.
        """
        sizes = shape.sizes
        place = axis if axis >= 0 else len(sizes) + axis
        if not 0 <= place < len(sizes):
            raise OptionError(
                f"a time axis of an output with {len(sizes)} axes", f"{axis}", _said(sizes)
            )
        if shape.batch_axis is None:
            raise OptionError(
                "a layer whose output has an axis that grows with the batch",
                f"{sizes} for any number of clips",
                "Name another layer.",
            )
        return cls(place, shape.batch_axis, sizes[place])

    def to_features(self, output: Tensor) -> Features:
        """An output as `(batch, time, ...)`."""
        if not self.folded:
            return output.movedim((self.batch_axis, self.axis), (0, 1))
        rows = output.movedim(self.axis, 0)
        sizes = (self.steps, -1) if self.time_major else (-1, self.steps)
        features: Tensor = rows.unflatten(0, sizes)
        return features.transpose(0, 1) if self.time_major else features

    def to_output(self, features: Features) -> Tensor:
        """Features as the layer returns them."""
        if not self.folded:
            return features.movedim((0, 1), (self.batch_axis, self.axis))
        rows = features.transpose(0, 1) if self.time_major else features
        return rows.flatten(0, 1).movedim(0, self.axis)

    def found_in(self, one: Tensor, two: Tensor) -> TimeAxis:
        """The same, with the order in a folded axis told from two outputs.

        Args:
            one: Of a clip.
            two: Of that clip and another.
        """
        if not self.folded or self.steps == 1:
            return self
        fits = []
        for time_major in (False, True):
            axis = replace(self, time_major=time_major)
            apart = (axis.to_features(two)[:1] - axis.to_features(one)).abs().max()
            fits.append(bool(apart <= tolerance(one) * one.abs().max()))
        return replace(self, time_major=fits == [False, True])


def measured_axis(
    named: int, shape: Shape, output_of: Callable[[ClipTensor], Tensor], clip: ClipTensor
) -> TimeAxis:
    """The time axis of a layer's output; where clips are folded into it, in the order they have.

    Args:
        named: Which axis it is.
        shape: Of the output for the clip.
        output_of: From clips to the output.
        clip: `(1, time, channel, height, width)`.

    Raises:
        OptionError: If there is no such axis, or it is that of the clips alone.

    Example:
        >>> output = torch.zeros(6, 4)
        >>> shape = Shape.told(output, torch.zeros(12, 4))
        >>> measured_axis(0, shape, lambda clips: clips.mean((3, 4)).flatten(0, 1),
        ...               torch.rand(1, 6, 4, 2, 2))
        TimeAxis(axis=0, batch_axis=0, steps=6, time_major=False)
    """
    axis = TimeAxis.of(named, shape)
    if not axis.folded:
        return axis
    if axis.steps == 1:
        _require_growth(named, shape, output_of, clip)
        return axis
    one, two = (output_of(clips) for clips in one_and_two(clip))
    return axis.found_in(one, two)


def one_and_two(clip: ClipTensor) -> tuple[Tensor, Tensor]:
    """A clip, and a batch of it and another."""
    return clip, torch.cat([clip, clip.flip(1) / 2])


def _require_growth(
    named: int, shape: Shape, output_of: Callable[[ClipTensor], Tensor], clip: ClipTensor
) -> None:
    """Raise if an axis with one entry for a clip of several frames has one for more, too."""
    frames = clip.shape[1]
    if frames == 1:
        return
    try:
        longer: Tensor | None = output_of(torch.cat([clip, clip], 1))
    except FITS_NOT as error:
        if is_out_of_memory(error):
            raise
        longer = None
    if longer is None or longer.shape[named] == 1:
        raise OptionError(
            "a time axis with an entry for each timestep, beside the clips or folded with them",
            f"time_axis={named}, the axis of clips, which has one for a clip of {frames} frames",
            f"{_said(shape.sizes)} Name another axis of it.",
        )


def require_layout(layout: str) -> None:
    """Raise unless a text is an einops pattern over the axes of a clip.

    Raises:
        OptionError: With the axes.

    Example:
        >>> require_layout("batch (time channel) height width")
        >>> require_layout("batch channel frames height width")
        Traceback (most recent call last):
        ...
        temporal_attr._errors.OptionError: expected layout over batch, time, channel, height, ...
    """
    named = layout.replace("(", " ").replace(")", " ").split() if isinstance(layout, str) else []
    if sorted(named) != sorted(AXES):
        raise OptionError(
            f"layout over {', '.join(AXES)}, each once",
            repr(layout),
            'Such as "batch channel time height width".',
        )


def _said(sizes: tuple[int, ...]) -> str:
    return f"The output of one clip has shape {sizes}."
