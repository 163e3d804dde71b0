"""Clips of two shots, joined at a known frame, and clips that only look like it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from temporal_attr._errors import OptionError
from temporal_attr.clips import Preprocessing, load_clip, open_source
from temporal_attr.evaluation._case import Example, Truth
from temporal_attr.evaluation.task_sets._footage import Footage

FRAMES = 40
PLACES = (12, 16, 20, 24, 28)
"""Last frames of the first shot: not only the middle, which some methods prefer anyway."""
DISSOLVE = 8
"""Frames of a soft cut in which both shots are seen."""
DISTANCE = 8
"""Frames from a cut to the middle of what distracts from it."""
FLASH, WHITE = 2, 0.8
"""Frames that a flash lasts, and how much of them is white."""
PAN = 8
"""Frames in which the picture goes once around, an eighth of its width a frame."""
LOADED = 400
"""Frames of a video that shots are cut from, from its beginning."""

Kind: TypeAlias = Literal["hard", "soft", "hard-flash", "hard-pan", "flash", "pan"]
KINDS: tuple[Kind, ...] = ("hard", "soft", "hard-flash", "hard-pan", "flash", "pan")
WITHOUT_CUT: tuple[Kind, ...] = ("flash", "pan")
NO_CUT, CUT = 0, 1

Shot: TypeAlias = Float[Tensor, "time channel height width"]


@dataclass(frozen=True)
class CutClips:
    """Draws clips of one kind, with the cut at one place.

    Attributes:
        footage: What the shots are cut from.
        kind: What is shown.
        place: The last frame before the cut, or of the first half of a dissolve; in clips without
            a cut, the frame asked about, near what is shown instead.
        preprocessing: Of the network, to pixel values from 0 to 1.
    """

    footage: Footage
    kind: Kind
    place: int
    preprocessing: Preprocessing

    def example(self, index: int, seed: int) -> Example:
        """One clip; the same for the same arguments."""
        random = np.random.default_rng((seed, index, self.place, KINDS.index(self.kind)))
        name = f"{self.kind} at {self.place} (seed {seed}, clip {index})"
        if self.kind in WITHOUT_CUT:
            (shot,) = self._shots(random, [(0, FRAMES)])
            # Its first frame differs from the one asked about.
            clip, truth = self._distracted(shot, self.kind, self.place + 1), None
        else:
            clip, truth = self._joined(random), Truth(frames=self._deciding())
            if self.kind.startswith("hard-"):
                where = self.place + (DISTANCE if self.place < FRAMES // 2 else -DISTANCE)
                clip = self._distracted(clip, self.kind.removeprefix("hard-"), where)
        # What a file would hold: bytes.
        clip = (255 * clip).round() / 255
        return Example(clip[None], NO_CUT if truth is None else CUT, truth, name)

    def _joined(self, random: np.random.Generator) -> Shot:
        reach = self._reach - 1
        ends = [(0, self.place + 1 + reach), (self.place + 1 - reach, FRAMES)]
        first, second = self._shots(random, ends)
        clip = torch.empty(FRAMES, *first.shape[1:])
        clip[: len(first)] = first
        both = 2 * reach
        share = (torch.arange(both) + 1) / (both + 1)
        mixed = torch.lerp(first[len(first) - both :], second[:both], share[:, None, None, None])
        clip[len(first) - both :] = torch.cat([mixed, second[both:]])
        return clip

    @property
    def _reach(self) -> int:
        """Frames to either side of the cut that tell it: one beside a hard cut."""
        return DISSOLVE // 2 + 1 if self.kind == "soft" else 1

    def _deciding(self) -> Bool[Tensor, " time"]:
        """The frames beside a hard cut; those of a dissolve, and the whole ones beside it."""
        time = torch.arange(FRAMES)
        return (time > self.place - self._reach) & (time <= self.place + self._reach)

    def _distracted(self, clip: Shot, how: str, middle: int) -> Shot:
        """The clip with a flash, or with a picture that goes once around."""
        clip = clip.clone()
        if how == "flash":
            first = middle - FLASH // 2 + 1
            clip[first : first + FLASH] += WHITE * (1 - clip[first : first + FLASH])
            return clip
        first, width = middle - PAN // 2 + 1, clip.shape[-1]
        for turn in range(PAN):
            clip[first + turn] = clip[first + turn].roll(round(turn * width / PAN), -1)
        return clip

    def _shots(self, random: np.random.Generator, ends: list[tuple[int, int]]) -> list[Shot]:
        """Shots of different videos, each as long as it is seen."""
        videos = [_loaded(path, self.preprocessing) for path in self.footage.checksums.values()]
        found: list[Shot] = []
        for first, last in ends:
            left = [number for number, video in enumerate(videos) if len(video) >= last - first]
            if not left:
                raise OptionError(
                    f"footage of {len(ends)} videos of {last - first} frames at least",
                    f"{', '.join(str(len(video)) for video in videos) or 'none'} left",
                    "Add longer videos.",
                )
            video = videos.pop(left[int(random.integers(len(left)))])
            start = int(random.integers(len(video) - (last - first) + 1))
            found.append(torch.from_numpy(video[start : start + last - first]).float() / 255)
        return found


@lru_cache(maxsize=32)
def _loaded(
    path: Path, preprocessing: Preprocessing
) -> UInt8[np.ndarray, "time channel height width"]:
    """The beginning of a video, as bytes."""
    with open_source(path) as video:
        frames = min(video.frame_count, LOADED)
    clip = load_clip(path, indices=list(range(frames)), preprocessing=preprocessing)
    pixels: np.ndarray = (255 * clip.tensor[0]).round().byte().numpy()
    return pixels
