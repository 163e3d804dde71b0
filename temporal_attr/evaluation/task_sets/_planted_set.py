"""Planted videos, and models that were trained on them, as a task set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from temporal_attr._errors import OptionError
from temporal_attr._require import require_within
from temporal_attr.evaluation.task_sets._fingerprint import require_fingerprints
from temporal_attr.evaluation.task_sets._planted import (
    CLIP_SEED,
    FAMILIES,
    LEVELS,
    SEEDS,
    TASK_OPTIONS,
    families_of,
    recipe_of,
)
from temporal_attr.evaluation.task_sets._recipe import LEARNED, TrainingRecipe, digest_of_json
from temporal_attr.evaluation.task_sets._set import TaskSet, TaskSetPart, cache_of
from temporal_attr.synthetic import PlantedVideo


@dataclass(frozen=True)
class TaskSetEntry:
    """One model of a set.

    Attributes:
        task: What is planted.
        level: How hard it is to see.
        family: A name in `zoo.ARCHITECTURES`.
        seed: Of weights, training videos and batches.
        recipe: How the model is trained.

    Example:
        >>> from temporal_attr.evaluation.task_sets import task_set
        >>> entry = task_set("planted-v1").select(tasks=["order"], levels=["hard"]).entries[0]
        >>> entry.part, entry.model, entry.recipe.task_options["distance"]
        ('order-hard', 'tam2d-0', 4)
    """

    task: str
    level: str
    family: str
    seed: int
    recipe: TrainingRecipe = field(repr=False)

    @property
    def part(self) -> str:
        """The name of the part of the set that it is in."""
        return f"{self.task}-{self.level}"

    @property
    def model(self) -> str:
        """Its name in that part."""
        return f"{self.family}-{self.seed}"


@dataclass(frozen=True)
class PlantedSet(TaskSet):
    """planted-v1: the six planted tasks at three levels, five families of models, five seeds.

    A part is a task at a level. Its clips are the same for all models, and those of later counts
    begin with those of earlier ones. Which frames decide is a question only for `keyframe` and
    `order`: of the other tasks all frames do, and the truth is in the pixels, or in the pairs of
    frames (`motion`, `order`).

    The weights do not come along. `python benchmarks/train_task_sets.py` in a checkout trains
    them, in 10 to 40 seconds each on one core.

    Args:
        folder: Where the checkpoints are; None for `~/.cache/temporal_attr/task_sets/planted-v1`.
        tasks: Those that are asked about; as the next three, see `select`.
        levels: Of difficulty.
        families: Of models.
        seeds: Of models.
        trained_only: Whether models that are not there are left out of `parts`, rather than an
            error.
        least_accuracy: A model that gets a smaller share of fresh videos right is left out of
            `parts`: one that does not know its task is no ground truth.

    Raises:
        OptionError: If there is no such task, level, family or seed.

    Example:
        >>> planted = PlantedSet()
        >>> len(planted.entries), planted.select(tasks=["gait"], seeds=[0]).entries[0].model
        (450, 'tam2d-0')
    """

    name: ClassVar[str] = "planted-v1"

    folder: str | Path | None = None
    tasks: Sequence[str] = tuple(TASK_OPTIONS)
    levels: Sequence[str] = LEVELS
    families: Sequence[str] = FAMILIES
    seeds: Sequence[int] = SEEDS
    trained_only: bool = False
    least_accuracy: float = LEARNED

    def __post_init__(self) -> None:
        require_within("least_accuracy", self.least_accuracy, 0, 1)
        for name, known in self._known().items():
            asked = getattr(self, name)
            odd = [one for one in asked if one not in known]
            if odd or not asked:
                raise OptionError(
                    f"{name} among {', '.join(map(str, known))}",
                    ", ".join(map(str, odd)) or "none",
                    "Choose among them.",
                )

        # In names and hashes, numbers of NumPy would be others.
        object.__setattr__(self, "seeds", tuple(int(seed) for seed in self.seeds))

    def _known(self) -> dict[str, Sequence[Any]]:
        return {
            "tasks": tuple(TASK_OPTIONS),
            "levels": LEVELS,
            "families": FAMILIES,
            "seeds": SEEDS,
        }

    def select(
        self,
        tasks: Sequence[str] | None = None,
        levels: Sequence[str] | None = None,
        families: Sequence[str] | None = None,
        seeds: Sequence[int] | None = None,
    ) -> PlantedSet:
        """A part of the set; None leaves what is asked about as it is.

        Raises:
            OptionError: If there is no such task, level, family or seed.
        """
        asked = {"tasks": tasks, "levels": levels, "families": families, "seeds": seeds}
        given: dict[str, Any] = {name: some for name, some in asked.items() if some is not None}
        return replace(self, **given)

    @property
    def entries(self) -> tuple[TaskSetEntry, ...]:
        """The models that are asked about: level by level within a seed."""
        return tuple(
            TaskSetEntry(task, level, family, seed, self.recipe_of(task, level, family, seed))
            for seed in self.seeds
            for level in self.levels
            for task in self.tasks
            for family in families_of(task)
            if family in self.families
        )

    @property
    def digest(self) -> str:
        """The SHA-256 of all recipes and of the seed of the clips, whatever is selected."""
        whole = self.select(**self._known())
        recipes = [entry.recipe.digest for entry in whole.entries]
        return digest_of_json([self.name, CLIP_SEED, recipes])

    @property
    def place(self) -> Path:
        """The folder of the checkpoints."""
        return cache_of(self.name) if self.folder is None else Path(self.folder)

    def recipe_of(self, task: str, level: str, family: str, seed: int) -> TrainingRecipe:
        """How a model is trained."""
        return recipe_of(task, level, family, seed)

    def missing(self) -> tuple[TaskSetEntry, ...]:
        """The models asked about that are not trained yet."""
        return tuple(one for one in self.entries if not one.recipe.is_trained(self.place))

    def unlearned(self) -> tuple[TaskSetEntry, ...]:
        """Those that are trained, and get less than `least_accuracy` of fresh videos right."""
        found = [one for one in self.entries if one.recipe.is_trained(self.place)]
        return tuple(one for one in found if not self._knows(one))

    def _knows(self, entry: TaskSetEntry) -> bool:
        return entry.recipe.card(self.place).accuracy >= self.least_accuracy

    def video(self, task: str, level: str, index: int, seed: int = CLIP_SEED) -> PlantedVideo:
        """One video of a part; by default one of those that are explained."""
        family = families_of(task)[0]
        return self.recipe_of(task, level, family, 0).make_task().sample(index, seed)

    def _parts(self, clips: int) -> Iterator[TaskSetPart]:
        for level in self.levels:
            for task in self.tasks:
                entries = [one for one in self.entries if (one.task, one.level) == (task, level)]
                if self.trained_only:
                    entries = [one for one in entries if one.recipe.is_trained(self.place)]
                models = {
                    one.model: one.recipe.load(self.place) for one in entries if self._knows(one)
                }
                if models:
                    videos = [self.video(task, level, index) for index in range(clips)]
                    self._check(task, level, videos)
                    yield TaskSetPart(f"{task}-{level}", models, videos)

    def _check(self, task: str, level: str, videos: Sequence[PlantedVideo]) -> None:
        require_fingerprints(self.name, f"{task}-{level}", videos)
