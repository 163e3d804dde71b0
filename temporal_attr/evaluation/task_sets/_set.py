"""What all task sets share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from temporal_attr._require import require_count
from temporal_attr.evaluation._case import Example
from temporal_attr.models import VideoModel
from temporal_attr.synthetic import PlantedVideo


class TaskSetPart(NamedTuple):
    """One comparison of a task set, to be handed to a `Suite`.

    Attributes:
        name: Of the part; it is the only one of its set.
        models: By their names.
        clips: With what is known of them, the same for all models of the part.
    """

    name: str
    models: Mapping[str, VideoModel]
    clips: Sequence[PlantedVideo | Example]


class TaskSet(ABC):
    """Models and clips with a known truth, under a name that stands for exactly these.

    What a name stands for never changes: other tasks, recipes or clips get another name.

    Example:
        >>> from temporal_attr.evaluation.task_sets import task_set
        >>> task_set("planted-v1").name
        'planted-v1'
    """

    name: ClassVar[str]

    @property
    @abstractmethod
    def digest(self) -> str:
        """The SHA-256 of the definition, which a table of results can name."""

    def parts(self, clips: int = 20) -> Iterator[TaskSetPart]:
        """The comparisons that the set consists of, one after another.

        Args:
            clips: How many there are in each part. A suite leaves those out that a model gets
                wrong (`only_correct`), model by model.

        Raises:
            ModelError: If a model is not there, or damaged.
            DataError: If the generator draws other clips than those that the set is named for.
        """
        require_count("clips", clips, 1)
        yield from self._parts(clips)

    @abstractmethod
    def _parts(self, clips: int) -> Iterator[TaskSetPart]:
        """As `parts`."""


def cache_of(name: str) -> Path:
    """Where the checkpoints of a set are kept, unless another folder is named."""
    return Path.home() / ".cache" / "temporal_attr" / "task_sets" / name
