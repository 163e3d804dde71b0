"""Planted videos that a model gets right."""

from __future__ import annotations

from dataclasses import dataclass

from temporal_attr._errors import ModelError
from temporal_attr._require import require_count
from temporal_attr.evaluation._case import Model
from temporal_attr.evaluation.suite._examples import example_for, with_target
from temporal_attr.synthetic import PlantedVideo, Task

MOST = 100_000
"""More videos than anybody waits for."""
AT_MOST = 20
"""Videos that are drawn for each that is wanted, before a model counts as one that knows nothing
of the task: by chance it would get that many right of 20 classes."""


@dataclass(frozen=True)
class PlantedClips:
    """Videos, and how many were drawn to find them.

    Attributes:
        videos: Those that the model gets right.
        drawn: How many were drawn.
        classes: Of the task.
    """

    videos: tuple[PlantedVideo, ...]
    drawn: int
    classes: int

    @property
    def accuracy(self) -> float:
        """The share of the videos drawn that the model gets right."""
        return len(self.videos) / self.drawn


def planted_clips(task: Task, model: Model, count: int, seed: int = 0) -> PlantedClips:
    """The first videos of a task that a model gets right.

    What a model gets wrong, it did not get from what was planted.

    Args:
        task: What is planted.
        model: Trained on the task; not asked for more than its class.
        count: How many videos.
        seed: Of the videos; take another than those of training.

    Raises:
        ModelError: If it gets fewer right than it would by guessing among 20 classes.

    Example:
        >>> from temporal_attr.synthetic import Mixed
        >>> from temporal_attr.zoo import load_pretrained
        >>> model = load_pretrained("mixed-motion-inflated-resnet")
        >>> found = planted_clips(Mixed(appearance_reliability=0.0), model, 2, seed=9)
        >>> len(found.videos), found.accuracy > 0.5
        (2, True)
    """
    require_count("count", count, 1, MOST)
    videos: list[PlantedVideo] = []
    for index in range(AT_MOST * count):
        video = task.sample(index, seed)
        _, other = with_target(example_for(video, index, model), model)
        if other is None:
            videos.append(video)
        if len(videos) == count:
            return PlantedClips(tuple(videos), index + 1, len(task.class_names))
    raise ModelError(
        f"a model that gets {count} of {AT_MOST * count} videos of {task.name} right",
        f"{len(videos)}",
        "Train one on the task, or compare with clips of its own.",
    )
