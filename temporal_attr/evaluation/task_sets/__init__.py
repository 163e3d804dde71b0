"""Named sets of models and clips whose truth is known, to compare methods on."""

from temporal_attr.evaluation.task_sets._cuts_set import CutDetector, CutsSet
from temporal_attr.evaluation.task_sets._footage_set import FootageSet
from temporal_attr.evaluation.task_sets._named import TASK_SETS, task_set
from temporal_attr.evaluation.task_sets._planted_set import PlantedSet, TaskSetEntry
from temporal_attr.evaluation.task_sets._recipe import TrainingRecipe
from temporal_attr.evaluation.task_sets._set import TaskSet, TaskSetPart

__all__ = [
    "TASK_SETS",
    "CutDetector",
    "CutsSet",
    "FootageSet",
    "PlantedSet",
    "TaskSet",
    "TaskSetEntry",
    "TaskSetPart",
    "TrainingRecipe",
    "task_set",
]
