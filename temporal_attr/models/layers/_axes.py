"""The time axis of what a layer returns."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from temporal_attr._errors import OptionError
from temporal_attr._typing import Features
from temporal_attr.models.layers._recording import Shape
from temporal_attr.models.trials._trials import tolerance

AXES = ("batch", "time", "channel", "height", "width")


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
