"""The time axis of what a layer returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from temporal_attr._errors import OptionError
from temporal_attr._typing import Features
from temporal_attr.models.layers._recording import Shape

AXES = ("batch", "time", "channel", "height", "width")


@dataclass(frozen=True)
class TimeAxis:
    """Where time is in a layer's output, beside the clips of a batch.

    Attributes:
        axis: Of the timesteps.
        batch_axis: Of the clips; the same where the timesteps of one clip stand after those of
            another.
        steps: How many timesteps a clip has.

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
        if self.axis == self.batch_axis:
            features: Tensor = output.movedim(self.axis, 0).unflatten(0, (-1, self.steps))
            return features
        return output.movedim((self.batch_axis, self.axis), (0, 1))

    def to_output(self, features: Features) -> Tensor:
        """Features as the layer returns them."""
        if self.axis == self.batch_axis:
            return features.flatten(0, 1).movedim(0, self.axis)
        return features.movedim((0, 1), (self.batch_axis, self.axis))


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
