"""The planted tasks on real footage, as a task set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from temporal_attr._require import require_count
from temporal_attr.evaluation.task_sets._footage import Footage, Half, through_jpeg
from temporal_attr.evaluation.task_sets._planted import CLIP_SEED, SEEDS, families_of
from temporal_attr.evaluation.task_sets._planted_set import PlantedSet
from temporal_attr.evaluation.task_sets._recipe import TrainingRecipe
from temporal_attr.synthetic import PlantedVideo

QUALITY = 50
LEVELS = ("easy", "medium")


@dataclass(frozen=True)
class FootageSet(PlantedSet):
    """planted-on-footage-v1: the planted tasks composited on real footage.

    Behind the cues of planted-v1, at its levels easy and medium, are windows of real videos: a
    camera that moves, clutter, and things that move and say nothing about the class. Each frame of
    the composite then goes through JPEG. The truth is that of `PlantedVideo`: what was planted,
    where it was planted; coding blurs it by some pixels and by no frame.

    Models are trained on composites over the first half of each video, and what is explained lies
    over the second half. What the set is depends on the footage: its checksums are in the digest
    and in every recipe, so that other footage finds other checkpoints.

    Args:
        footage: A folder of videos, or the files.
        folder: Of the checkpoints; None for
            `~/.cache/temporal_attr/task_sets/planted-on-footage-v1`.
        quality: Of JPEG, from 1 to 100.

    Raises:
        OptionError: If there is no footage, or as for `PlantedSet`.
        VideoError: If a video cannot be read.

    Example:
        >>> import tempfile
        >>> from temporal_attr.synthetic import Motion
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Motion(frames=24).sample(0).write(f"{folder}/planted.webm")
        ...     planted = FootageSet(footage=folder)
        ...     video = planted.video("keyframe", "easy", index=0)
        >>> video.frames.shape, video.region.any((1, 2)).tolist() == video.deciding_frames.tolist()
        ((8, 32, 32, 3), True)
    """

    name: ClassVar[str] = "planted-on-footage-v1"

    levels: Sequence[str] = LEVELS
    footage: str | Path | Sequence[str | Path] = ()
    quality: int = QUALITY

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("quality", self.quality, 1, 100)
        Footage(self.footage)

    def _known(self) -> dict[str, Sequence[Any]]:
        return {**super()._known(), "levels": LEVELS}

    def recipe_of(self, task: str, level: str, family: str, seed: int) -> TrainingRecipe:
        """How a model is trained: as in planted-v1, on composites."""
        data = {"footage": list(Footage(self.footage).checksums), "quality": self.quality}
        return replace(super().recipe_of(task, level, family, seed), data=data)

    def video(self, task: str, level: str, index: int, seed: int = CLIP_SEED) -> PlantedVideo:
        """One composite; those of the models' own seeds are over the first half of the footage."""
        recipe = super().recipe_of(task, level, families_of(task)[0], 0)
        scene = recipe.make_task()
        # Not the stream that the cues are drawn from.
        random = np.random.default_rng((seed, index, len(self.name)))
        half: Half = "first" if seed in SEEDS else "second"
        size = recipe.task_options["size"]
        scenery = Footage(self.footage).scenery(random, scene.frames, size, half)
        video = scene.sample(index, seed, scenery=scenery)
        return replace(video, frames=through_jpeg(video.frames, self.quality))

    def _check(self, task: str, level: str, videos: Sequence[PlantedVideo]) -> None:
        """Nothing comes along to compare with: the footage is in the digest."""
