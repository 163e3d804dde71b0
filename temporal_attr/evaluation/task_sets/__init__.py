"""Named sets of models and clips whose truth is known, to compare methods on."""

from temporal_attr.evaluation.task_sets._named import TASK_SETS, task_set
from temporal_attr.evaluation.task_sets._planted_set import TaskSetEntry, PlantedSet
from temporal_attr.evaluation.task_sets._recipe import TrainingRecipe
from temporal_attr.evaluation.task_sets._set import TaskSetPart, TaskSet

__all__ = [
    "TASK_SETS",
    "TaskSetEntry",
    "TaskSetPart",
    "PlantedSet",
    "TrainingRecipe",
    "TaskSet",
    "task_set",
]
