"""What was measured of video transformers, line by line in a file, and its means with intervals."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from temporal_attr.measures import Interval, hierarchical_bootstrap

Place: TypeAlias = tuple[str, str]
"""A kind of model and a task."""


@dataclass(frozen=True)
class Row:
    """What was measured of one model with one method.

    Attributes:
        weights: The beginning of the hash of the model's file: of a model that was trained again,
            what was measured before does not count.
        clips: How many.
        seconds: Of the process, for one clip.
        numbers: By name, a number or a list for each clip; None where there is none.
    """

    kind: str
    task: str
    seed: int
    weights: str
    method: str
    clips: int
    seconds: float
    numbers: dict[str, list[Any]]

    @property
    def key(self) -> tuple[Any, ...]:
        """What names a row."""
        return self.kind, self.task, self.seed, self.weights, self.method, self.clips

    @property
    def place(self) -> Place:
        """Which models it belongs to."""
        return self.kind, self.task


def rows_of(path: Path) -> list[Row]:
    """The rows that are there; of one that was measured again, the last."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    found = [Row(**json.loads(line)) for line in lines]
    return list({row.key: row for row in found}.values())


def add(path: Path, row: Row) -> None:
    """One more row."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(row)) + "\n")


class Rows:
    """Rows of the models that are looked at."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = list(rows)
        self.places = list(dict.fromkeys(row.place for row in rows))
        self.methods = list(dict.fromkeys(row.method for row in rows))

    def of(self, place: Place, method: str) -> list[Row]:
        """Those of one kind, task and method, a row a seed; none unless all seeds are there."""
        here = [row for row in self.rows if row.place == place]
        own = {row.seed: row for row in here if row.method == method}
        return [own[seed] for seed in sorted(own)] if set(own) == {row.seed for row in here} else []

    def groups(self, places: Sequence[Place], method: str, measure: str) -> list[np.ndarray]:
        """A number for each clip, NaN where there is none, an array a model."""
        rows = [row for place in places for row in self.of(place, method)]
        found = [np.array(row.numbers[measure], float) for row in rows]
        return [numbers for numbers in found if not np.isnan(numbers).all()]

    def value(self, places: Sequence[Place], method: str, measure: str) -> Interval | None:
        """Mean over models of the mean over clips, where all that is asked for is there."""
        if not all(self.of(place, method) for place in places):
            return None
        return mean_of(self.groups(places, method, measure))

    def change(
        self, places: Sequence[Place], method: str, other: str, measure: str
    ) -> Interval | None:
        """One method less another, clip by clip."""
        if not all(self.of(place, name) for place in places for name in (method, other)):
            return None
        both = (self.groups(places, name, measure) for name in (method, other))
        pairs = list(zip(*both, strict=True))
        return mean_of([one - two for one, two in pairs])


def clip_mean(drawn: np.ndarray) -> np.ndarray:
    """`(resamples,)`: the mean over the clips for which there is a number."""
    known = ~np.isnan(drawn)
    with np.errstate(invalid="ignore"):
        found: np.ndarray = np.where(known, drawn, 0).sum(1) / known.sum(1)
    return found


def mean_of(
    groups: Sequence[np.ndarray], statistic: Callable[[np.ndarray], np.ndarray] = clip_mean
) -> Interval | None:
    """Mean over models of the mean over clips; models are drawn again, and clips within them."""
    return hierarchical_bootstrap(groups, statistic) if groups else None


def cell(found: Interval | None, signed: bool = False) -> str:
    """A number in a table, with its 95 % interval."""
    if found is None:
        return ""
    form = "+.2f" if signed else ".2f"
    value, low, high = (
        format(number + 0.0, form) for number in (found.value, found.low, found.high)
    )
    return f"{value} ({low} to {high})"
