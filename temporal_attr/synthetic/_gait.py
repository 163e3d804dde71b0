"""A stick figure that walks or runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from temporal_attr._require import require_range
from temporal_attr.synthetic._draw import Layer, Plane, Track, bright_colours, limb, offsets
from temporal_attr.synthetic._task import Plan, Task

# Strides (both legs once) a frame. The two legs look alike, so the picture repeats twice as often;
# the fastest is still below half a repetition a frame.
_STRIDES = {"walking": (0.045, 0.065), "running": (0.13, 0.17)}


@dataclass(frozen=True, kw_only=True)
class Gait(Task):
    """A stick figure walks or runs: the same look and the same speed across, another stride.

    The poses are the same in both classes, and a video starts at any of them, so one frame says
    nothing. How fast arms and legs swing tells the class: the limbs are the region. No one pair
    of frames decides, since a limb moves slowly where it turns back.

    The walking and running of KTH :cite:p:`schuldt2004` in small.

    Args:
        cue_size: Height of the figure, as a share of the short side.
        travel: Slowest and fastest speed across, as a share of the short side a frame.

    Example:
        >>> Gait().class_names, bool(Gait(frames=8).sample(0).region.any((1, 2)).all())
        (('walking', 'running'), True)
    """

    name: ClassVar[str] = "gait"
    shortest: ClassVar[int] = 2

    cue_size: tuple[float, float] = (0.6, 0.85)
    travel: tuple[float, float] = (0.0, 0.04)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("travel", self.travel, 0, 0.4)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Walking and running."""
        return tuple(_STRIDES)

    def _plan(self, random: np.random.Generator, label: int) -> Plan:
        tall = float(random.uniform(*self.cue_size)) * min(self.shape)
        rhythm, phase = random.uniform(), random.uniform(0, 2 * np.pi)
        slow, fast = list(_STRIDES.values())[label]
        time = np.arange(self.frames)
        turn = phase + 2 * np.pi * (slow + rhythm * (fast - slow)) * time
        facing = 1.0 if random.uniform() < 0.5 else -1.0
        _, start = self._anywhere(random)
        pace = facing * float(random.uniform(*self.travel)) * min(self.shape)
        room = (self.shape[0] - tall) / 2
        # The legs reach a little farther down than the head up.
        hip = (self.shape[0] - 1) / 2 - 0.02 * tall + float(random.uniform(-room, room))
        colour = bright_colours(random)[0].astype(np.float32)
        figure = _Figure(np.full(self.frames, hip), start + pace * time, tall, facing, self.shape)
        limbs, trunk = figure.limbs(turn), figure.trunk()
        layer = Layer(np.maximum(limbs, trunk), colour)
        return Plan([layer], limbs > 0.5, np.ones(self.frames, bool))


@dataclass(frozen=True)
class _Figure:
    """A body about its hip: where it is, how tall, which way it faces (1 is right)."""

    down: Track
    across: Track
    tall: float
    facing: float
    size: tuple[int, int]

    def trunk(self) -> Plane:
        """Back and head."""
        still = np.zeros_like(self.down)
        back = self._line(0, (still - 0.28 * self.tall, still), 0.1)
        head = self._line(-0.38, (still, still), 0.2)
        both: Plane = np.maximum(back, head)
        return both

    def limbs(self, turn: Track) -> Plane:
        """Two legs and two arms, at an angle of the stride in each frame."""
        parts = []
        for side in (turn, turn + np.pi):
            swing = 0.6 * np.sin(side)
            # The knee bends while the leg comes forward, the elbow always.
            knee = swing - 0.45 * (1 + np.cos(side))
            parts += self._bent(0, (swing, knee), 0.24, 0.08)
            parts += self._bent(-0.25, (-swing, 0.9 - swing), 0.15, 0.06)
        whole: Plane = np.maximum.reduce(parts)
        return whole

    def _bent(
        self, joint: float, angles: tuple[Track, Track], length: float, width: float
    ) -> list[Plane]:
        """Two bones from a joint above the hip, at angles from hanging down, forward positive."""
        scale = length * self.tall
        upper, lower = (
            (scale * np.cos(angle), self.facing * scale * np.sin(angle)) for angle in angles
        )
        return [self._line(joint, upper, width), self._line(joint, lower, width, upper)]

    def _line(
        self,
        joint: float,
        end: tuple[Track, Track],
        width: float,
        shift: tuple[Track, Track] | tuple[float, float] = (0.0, 0.0),
    ) -> Plane:
        """A line from a joint, `shift` further on, to an end relative to its start."""
        down = self.down + joint * self.tall + shift[0]
        start = offsets(down, self.across + shift[1], self.size)
        return limb(start, end, max(1.2, width * self.tall))
