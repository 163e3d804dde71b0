"""How one model of a task set is trained, and where its checkpoint is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from temporal_attr._errors import ModelError
from temporal_attr.models import VideoModel
from temporal_attr.synthetic import TASKS, Task
from temporal_attr.zoo import Card, load_pretrained, pretrained_card, pretrained_names

TRAINER = "python benchmarks/train_task_sets.py"
"""The command that trains what is missing."""

LEARNED = 0.9
"""The accuracy that a model needs: one that does not know its task is no ground truth."""


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """How one model is trained.

    Attributes:
        name: Of the model: task, level, family and seed.
        task: A name in `synthetic.TASKS`.
        task_options: Of the task.
        architecture: A name in `zoo.ARCHITECTURES`.
        options: Of the architecture.
        seed: Of weights, videos and batches.
        steps: Of the optimiser.
        rate: The highest learning rate.
        each_step: The last share of timesteps that are also taught one by one.
        batch: Videos a step.
        videos: How many videos there are to train on.
        data: What else decides the videos, such as the checksums of footage.

    Example:
        >>> from temporal_attr.evaluation.task_sets import task_set
        >>> recipe = task_set("planted-v1").entries[0].recipe
        >>> recipe.name, len(recipe.digest)
        ('appearance-easy-late-fusion-0', 64)
    """

    name: str
    task: str
    task_options: Mapping[str, Any]
    architecture: str
    options: Mapping[str, Any]
    seed: int
    steps: int
    rate: float = 3e-3
    each_step: float = 0.0
    batch: int = 16
    videos: int = 2000
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """The SHA-256 of everything above: another recipe has another."""
        return digest_of_json(asdict(self))

    @property
    def checkpoint(self) -> str:
        """The name of the checkpoint, which ends in the beginning of the digest."""
        return f"{self.name}-{self.digest[:12]}"

    def make_task(self) -> Task:
        """The task with its options."""
        return TASKS[self.task](**self.task_options)

    def is_trained(self, folder: Path) -> bool:
        """Whether its checkpoint is in a folder."""
        return self.checkpoint in pretrained_names(folder)

    def card(self, folder: Path) -> Card:
        """What is known of the trained model.

        Raises:
            ModelError: If it is not there.
        """
        self._require(folder)
        return pretrained_card(self.checkpoint, folder)

    def load(self, folder: Path) -> VideoModel:
        """The trained model, in evaluation mode.

        Raises:
            ModelError: If it is not there, or damaged.
        """
        self._require(folder)
        return load_pretrained(self.checkpoint, folder)

    def _require(self, folder: Path) -> None:
        if not self.is_trained(folder):
            raise ModelError(
                f"the checkpoint {self.checkpoint} in {folder}",
                "none",
                f"Train it, in a checkout of the library: {TRAINER} --help says how.",
            )


def digest_of_json(value: object) -> str:
    """The SHA-256 of what strict JSON makes of a value, its keys in order."""
    text = json.dumps(value, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
