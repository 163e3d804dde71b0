"""The numbers of what tsr.py measured, and what changes them, with intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Literal, TypeAlias

import numpy as np
from train_zoo import Recipe
from tsr_methods import METHODS, RECIPES, Outcome

from temporal_attr.evaluation import Areas
from temporal_attr.measures import Interval, hierarchical_bootstrap

Level: TypeAlias = Literal["frames", "pixels"]
MEASURES = [field.name for field in fields(Areas)]
LABELS = {"aup": "AUP", "aur": "AUR", "aupr": "AUPR", "ranked_aur": "AUR, ranked", "ap": "AP"}
"""Those that are shown."""
JUDGED, EVERY = ("aupr", "ap"), ("aup", "aur", "aupr", "ap")
TWO_STEPS = [name for name, method in METHODS.items() if method.two]
ONE, TWO, TIME = "one step", "two steps", "time relevance"


@dataclass(frozen=True)
class Change:
    """What something changes, and which way it goes by its interval."""

    found: Interval

    @property
    def verdict(self) -> str:
        """In a word."""
        if self.found.low > 0:
            return "better"
        return "worse" if self.found.high < 0 else "undecided"

    def __str__(self) -> str:
        found = self.found
        ends = f"{found.low + 0.0:+.3f} to {found.high + 0.0:+.3f}"
        return f"{found.value + 0.0:+.3f} ({ends}), {self.verdict}"


class Table:
    """Outcomes of those methods that were asked for all seeds of a model."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        seeds = Counter((one.name, one.method) for one in outcomes)
        self.outcomes = [
            one for one in outcomes if seeds[one.name, one.method] == seeds[one.name, "chance"]
        ]
        self.models = [
            entry for entry in RECIPES if any(any(self.of(entry, name)) for name in METHODS)
        ]

    def missing(self) -> list[str]:
        """What has not been measured, model by model."""
        lines = []
        for entry in RECIPES:
            absent = [name for name in METHODS if not any(self.of(entry, name))]
            if any(self.of(entry, "chance")) and absent:
                lines.append(f"{entry.name} ({', '.join(absent)})")
        return lines

    def of(self, entry: Recipe, called: str) -> Iterator[Outcome]:
        """Those of a model and a method, seed by seed."""
        for one in self.outcomes:
            if (one.name, one.method) == (entry.name, called):
                yield one

    def groups(
        self, entry: Recipe, called: str, variant: str, level: Level, measure: str
    ) -> list[np.ndarray]:
        """A number for each clip, an array a seed; none where it was not measured."""
        place = MEASURES.index(measure)
        found = [one.numbers.get(variant, {}).get(level, []) for one in self.of(entry, called)]
        return [np.array(areas)[:, place] for areas in found if areas]

    def value(
        self, entry: Recipe, called: str, variant: str, level: Level, measure: str
    ) -> Interval | None:
        """The mean with its interval."""
        return mean_of(self.groups(entry, called, variant, level, measure))

    def change(
        self,
        entry: Recipe,
        first: tuple[str, str],
        second: tuple[str, str],
        level: Level,
        measure: str,
    ) -> Change | None:
        """The mean over clips of one method and variant less another, clip by clip."""
        one = self.groups(entry, *first, level, measure)
        other = self.groups(entry, *second, level, measure)
        if not one or len(one) != len(other):
            return None
        found = mean_of([a - b for a, b in zip(one, other, strict=True)])
        return None if found is None else Change(found)

    def clips(self, entry: Recipe) -> int:
        """How many clips of a model, all seeds together."""
        return sum(map(len, self.groups(entry, "chance", "alone", "pixels", "ap")))


def mean_of(groups: Sequence[np.ndarray]) -> Interval | None:
    """Mean over seeds of the mean over clips; seeds are drawn again, and clips within them."""
    return hierarchical_bootstrap(groups, lambda drawn: drawn.mean(1)) if groups else None


def named(entry: Recipe) -> str:
    """A model in the tables."""
    return entry.name


def cell(found: Interval | Change | None) -> str:
    """A number in a table."""
    if found is None:
        return ""
    if isinstance(found, Change):
        return str(found)
    return f"{found.value + 0.0:.3f} ({found.low + 0.0:.3f} to {found.high + 0.0:.3f})"


def has_frames(table: Table, entry: Recipe) -> bool:
    """Whether only some frames decide."""
    return bool(table.groups(entry, "chance", "alone", "frames", "ap"))


def order_of(table: Table, entry: Recipe, called: str) -> list[str]:
    """The variants of a method, as they were measured."""
    found = next(table.of(entry, called), None)
    return list(found.numbers) if found else []
