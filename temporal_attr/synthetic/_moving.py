"""Tasks about what moves, and where it moves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Bool

from temporal_attr._errors import OptionError
from temporal_attr._require import require_count, require_range, require_within
from temporal_attr.synthetic._draw import SHAPES, TEXTURES, Track, bright_colours, stamp
from temporal_attr.synthetic._task import Plan, Task

KINDS = tuple(zip(SHAPES, TEXTURES, strict=True))
"""What the classes of appearance look like: shape and texture."""

# Down and across; the axes first, so that few classes differ most.
_DIRECTIONS = {
    "right": (0, 1),
    "left": (0, -1),
    "down": (1, 0),
    "up": (-1, 0),
    "down right": (1, 1),
    "up left": (-1, -1),
    "down left": (1, -1),
    "up right": (-1, 1),
}


def _glide(
    start: tuple[float, float], heading: tuple[float, float], speed: float, frames: int
) -> tuple[Track, Track]:
    """Centres (down, across) of an object that keeps its heading."""
    length = float(np.hypot(*heading)) or 1.0
    time = np.arange(frames) * speed / length
    return start[0] + time * heading[0], start[1] + time * heading[1]


@dataclass(frozen=True, kw_only=True)
class Moving(Task):
    """A task about one object that keeps moving across the frame, and comes in again opposite.

    Since it leaves and enters like that from a random start, its place in any one frame is
    independent of where it goes.

    Args:
        speed: Slowest and fastest, as a share of the short side a frame.
    """

    slowest: ClassVar[float] = 0.0

    speed: tuple[float, float] = (0.04, 0.08)

    def __post_init__(self) -> None:
        super().__post_init__()
        # At half the frame a step forward is a step backward.
        require_range("speed", self.speed, self.slowest, 0.4)

    def _any_heading(self, random: np.random.Generator) -> tuple[float, float]:
        angle = random.uniform(0, 2 * np.pi)
        return float(np.sin(angle)), float(np.cos(angle))

    def _one_object(
        self,
        random: np.random.Generator,
        kind: int,
        heading: tuple[float, float],
    ) -> Plan:
        radius, start = self._radius(random), self._anywhere(random)
        speed = float(random.uniform(*self.speed)) * min(self.shape)
        centre = _glide(start, heading, speed, self.frames)
        shape, texture = KINDS[kind]
        layer = stamp(shape, texture, centre, radius, bright_colours(random), self.shape)
        return Plan([layer], layer.mask > 0.5, np.ones(self.frames, bool))


@dataclass(frozen=True, kw_only=True)
class Appearance(Moving):
    """The class is what moves, its shape and texture; where it goes is random.

    Every frame tells the class, so every frame decides. 2 to 8 classes.

    Example:
        >>> Appearance(classes=3).class_names
        ('plain disc', 'stripes square', 'checks triangle')
    """

    name: ClassVar[str] = "appearance"

    classes: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("classes", self.classes, 2, len(KINDS))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Texture and shape."""
        return tuple(f"{texture} {shape}" for shape, texture in KINDS[: self.classes])

    def _plan(self, random: np.random.Generator, label: int) -> Plan:
        return self._one_object(random, label, self._any_heading(random))


@dataclass(frozen=True, kw_only=True)
class Motion(Moving):
    """The class is where an identical object moves: up to eight directions.

    One frame says nothing. A set of frames without their order is as likely for a direction as
    for the opposite one, so no order-blind model can be right more than half of the time. Two
    neighbouring frames tell all; so do others, as long as the object has gone less than half of the
    frame between them.

    Args:
        classes: 2, 4, 6 or 8, so that every direction has its opposite.

    Example:
        >>> video = Motion(frames=4, size=32).sample(0)
        >>> video.class_names[video.label], video.pairs.astype(int)[0].tolist()
        ('down left', [0, 1, 0, 0])
    """

    name: ClassVar[str] = "motion"
    shortest: ClassVar[int] = 2
    slowest: ClassVar[float] = 0.01

    classes: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("classes", self.classes, 2, len(_DIRECTIONS))
        if self.classes % 2:
            remedy = "Every direction needs its opposite: try 4 or 8."
            raise OptionError("an even number of classes", str(self.classes), remedy)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Directions."""
        return tuple(_DIRECTIONS)[: self.classes]

    def _plan(self, random: np.random.Generator, label: int) -> Plan:
        plan = self._one_object(random, 0, tuple(_DIRECTIONS.values())[label])
        return replace(plan, pairs=neighbours(self.frames))


@dataclass(frozen=True, kw_only=True)
class Mixed(Moving):
    """Appearance and motion both carry the class, each as often as its reliability says.

    An unreliable cue supports another class, any of them equally likely; so a reliability of
    1 / classes says nothing about the class, and one of 0 rules a class out. `video.cues` tells the
    two cues apart.

    Args:
        classes: 2 to 8.
        appearance_reliability: Chance that the shape and texture are those of the class.
        motion_reliability: Chance that the direction is that of the class.

    Example:
        >>> Mixed(classes=2).class_names
        ('plain disc, right', 'stripes square, left')
        >>> Mixed(classes=2, motion_reliability=0).sample(0, label=1).cues
        {'appearance': 1, 'motion': 0}
    """

    name: ClassVar[str] = "mixed"
    shortest: ClassVar[int] = 2
    slowest: ClassVar[float] = 0.01

    classes: int = 4
    appearance_reliability: float = 1.0
    motion_reliability: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("classes", self.classes, 2, len(KINDS))
        require_within("appearance_reliability", self.appearance_reliability, 0, 1)
        require_within("motion_reliability", self.motion_reliability, 0, 1)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What moves, and where."""
        both = zip(KINDS, _DIRECTIONS, strict=True)
        return tuple(f"{texture} {shape}, {way}" for (shape, texture), way in both)[: self.classes]

    def _plan(self, random: np.random.Generator, label: int) -> Plan:
        cues = {
            "appearance": self._spoken(random, label, self.appearance_reliability),
            "motion": self._spoken(random, label, self.motion_reliability),
        }
        heading = tuple(_DIRECTIONS.values())[cues["motion"]]
        return replace(self._one_object(random, cues["appearance"], heading), cues=cues)

    def _spoken(self, random: np.random.Generator, label: int, reliability: float) -> int:
        true = random.uniform() < reliability
        other = int(random.integers(1, self.classes))
        return label if true else (label + other) % self.classes


def neighbours(frames: int) -> Bool[np.ndarray, "time time"]:
    """True for frames next to each other."""
    time = np.arange(frames)
    near: Bool[np.ndarray, "time time"] = abs(time[:, None] - time) == 1
    return near
