"""Task sets by their names."""

from __future__ import annotations

from pathlib import Path

from temporal_attr._errors import OptionError
from temporal_attr.evaluation.task_sets._planted_set import PlantedSet
from temporal_attr.evaluation.task_sets._set import TaskSet

TASK_SETS: dict[str, type[TaskSet]] = {kind.name: kind for kind in (PlantedSet,)}
"""The task sets by name."""


def task_set(name: str, folder: str | Path | None = None) -> TaskSet:
    """A task set.

    Args:
        name: One of `TASK_SETS`.
        folder: Where the checkpoints are; None for a folder in `~/.cache/temporal_attr`.

    Raises:
        OptionError: If there is no such set.

    Example:
        >>> task_set("planted-v1").digest[:12]
        ''
    """
    if name not in TASK_SETS:
        raise OptionError(f"a task set, one of {', '.join(TASK_SETS)}", repr(name), "Choose one.")
    return PlantedSet(folder=folder)
