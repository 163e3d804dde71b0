"""Tasks about what happens for a moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Bool

from temporal_attr._errors import OptionError
from temporal_attr._require import require_count, require_range
from temporal_attr.synthetic._draw import Layer, bright_colours, stamp
from temporal_attr.synthetic._moving import KINDS, Moving
from temporal_attr.synthetic._task import Plan, Task


def moment(
    task: Task,
    random: np.random.Generator,
    kind: int,
    visible: Bool[np.ndarray, " time"],
    place: tuple[tuple[float, float], float],
) -> Layer:
    """A shape that stands still at a place (centre and radius), in some frames only."""
    (down, across), radius = place
    still = np.full(task.frames, down), np.full(task.frames, across)
    shape, texture = KINDS[kind]
    layer = stamp(shape, texture, still, radius, bright_colours(random), task.shape)
    return Layer(layer.mask * visible[:, None, None], layer.colour)


@dataclass(frozen=True, kw_only=True)
class Order(Task):
    """Two events: the class is which of them comes first.

    A disc and a cross appear, each for `duration` frames, at one place anywhere in the frame; the
    second begins `distance` frames after the first. A timestep can tell the classes only if it
    reads both, and so reaches `distance` frames, less `duration - 1` at their nearest: the pairs
    that matter. One that reads a single event can guess from when that happens, since the first is
    early more often, and is then right with probability 1/2 + d / 2n at most, with
    n = frames - distance - duration + 1 starts and d = min(distance, n).

    That is about one timestep. A model that knows the time of every frame can also add up
    evidence over its timesteps (the disc counts against lateness, the cross for it) and needs no
    reach at all; to ask about reach, look at the timesteps, or average few of them (`ensemble`).

    Args:
        distance: Frames from the beginning of one event to that of the other; from `duration`
            to `frames - duration`.
        duration: Frames that an event lasts.

    Example:
        >>> Order(distance=3).class_names, Order(frames=24, distance=3).guessing_accuracy
        (('disc then cross', 'cross then disc'), 0.575)
    """

    name: ClassVar[str] = "order"
    shortest: ClassVar[int] = 2

    distance: int = 4
    duration: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("duration", self.duration, 1, self.frames // 2)
        require_count("distance", self.distance, self.duration, self.frames - self.duration)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Which event comes first."""
        return ("disc then cross", "cross then disc")

    @property
    def guessing_accuracy(self) -> float:
        """The best that a timestep can do that knows when one event happens, and not the other."""
        starts = self.frames - self.distance - self.duration + 1
        return 0.5 + min(self.distance, starts) / (2 * starts)

    def _plan(self, random: np.random.Generator, label: int) -> Plan:
        latest = self.frames - self.distance - self.duration
        first = int(random.integers(latest + 1))
        starts = (first, first + self.distance)
        radius = self._radius(random)
        centre = self._inside(random, radius)
        time = np.arange(self.frames)
        layers, visible = [], []
        for kind, start in zip((0, 3), starts[:: 1 - 2 * label], strict=True):
            seen = (time >= start) & (time < start + self.duration)
            layers.append(moment(self, random, kind, seen, (centre, radius)))
            visible.append(seen)
        cue = np.maximum(layers[0].mask, layers[1].mask) > 0.5
        pairs = visible[0][:, None] & visible[1]
        return Plan(layers, cue, visible[0] | visible[1], pairs | pairs.T)


@dataclass(frozen=True, kw_only=True)
class Keyframe(Moving):
    """The class is a shape that stands still for a moment; a moving disc is always there.

    Args:
        classes: 2 to 7.
        moment: Fewest and most frames that the cue can be seen, one to three by default.
        span: Part of the video within which the cue stands, as shares of its length: (0, 1) is
            anywhere, (0, 0.25) early.

    Example:
        >>> Keyframe(classes=2, moment=(1, 1)).sample(0).deciding_frames.sum().item()
        1
    """

    name: ClassVar[str] = "keyframe"

    classes: int = 4
    moment: tuple[int, int] = (1, 3)
    span: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("classes", self.classes, 2, len(KINDS) - 1)
        require_range("span", self.span, 0, 1)
        first, last = self._span()
        if last == first:
            raise OptionError("span of at least one frame", str(self.span), "Make it longer.")
        require_range("moment", self.moment, 1, last - first, whole=True)

    def _span(self) -> tuple[int, int]:
        """First frame of the span, and the one after its last."""
        return round(self.span[0] * self.frames), round(self.span[1] * self.frames)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Texture and shape."""
        return tuple(f"{texture} {shape}" for shape, texture in KINDS[1 : self.classes + 1])

    def _plan(self, random: np.random.Generator, label: int) -> Plan:
        bystander = self._one_object(random, 0, self._any_heading(random))
        length = int(random.integers(self.moment[0], self.moment[1] + 1))
        first, last = self._span()
        start = int(random.integers(first, last - length + 1))
        time = np.arange(self.frames)
        visible = (time >= start) & (time < start + length)
        radius = self._radius(random)
        centre = self._inside(random, radius)
        layer = moment(self, random, label + 1, visible, (centre, radius))
        return Plan([*bystander.layers, layer], layer.mask > 0.5, visible)
