"""Task sets by their names."""

from __future__ import annotations

from inspect import signature
from typing import Any

from temporal_attr._errors import OptionError
from temporal_attr.evaluation.task_sets._cuts_set import CutsSet
from temporal_attr.evaluation.task_sets._footage_set import FootageSet
from temporal_attr.evaluation.task_sets._planted_set import PlantedSet
from temporal_attr.evaluation.task_sets._set import TaskSet

TASK_SETS: dict[str, type[TaskSet]] = {
    kind.name: kind for kind in (PlantedSet, FootageSet, CutsSet)
}
"""The task sets by name."""


def task_set(
    name: str,
    **options: Any,  # noqa: ANN401 - whatever the set takes
) -> TaskSet:
    """A named, versioned task set: models and clips with a known truth.

    Args:
        name: `"planted-v1"` (`PlantedSet`), `"planted-on-footage-v1"` (`FootageSet`) or
            `"cuts-v1"` (`CutsSet`).
        options: Those of the class behind the name, such as `footage` of the last two.

    Raises:
        OptionError: If there is no such set, or it does not take an option or its value.

    Example:
        >>> planted = task_set("planted-v1", tasks=["keyframe"], seeds=[0])
        >>> len(planted.entries), planted.digest[:12]
        (15, '2bd8871c3f35')
    """
    if name not in TASK_SETS:
        raise OptionError(f"a task set, one of {', '.join(TASK_SETS)}", repr(name), "Choose one.")
    known = signature(TASK_SETS[name]).parameters
    for option in options:
        if option not in known:
            raise OptionError(
                f"options of {name}, of which there are {', '.join(known)}",
                repr(option),
                "Choose among them.",
            )
    return TASK_SETS[name](**options)
