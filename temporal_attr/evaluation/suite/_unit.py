"""One unit of a suite's work: an explanation, and what all metrics say of it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from temporal_attr._errors import DataError, printable
from temporal_attr._typing import ClipTensor
from temporal_attr.evaluation._case import Case, Example, Explanation, Model
from temporal_attr.evaluation._metric import Metric, Score
from temporal_attr.evaluation.suite._compared import Ask, Compared
from temporal_attr.evaluation.suite._peak_memory import peak_memory
from temporal_attr.evaluation.suite._rows import Row


@dataclass(frozen=True, eq=False)
class Unit:
    """What is to be done.

    Attributes:
        key: What tells it from all other work.
        model_name: In the table.
        example: With its target.
        seed: Of the method, if it draws at random, and of what metrics draw.
    """

    key: str
    model_name: str
    model: Model
    example: Example
    method: Compared
    seed: int

    def row(self, metric: str, **known: object) -> Row:
        """A row of the table."""
        return Row(self.model_name, self.example.name, self.method.name, metric, **known)  # type: ignore[arg-type]


class Again:
    """A method that a metric asks again, of whatever clip, class, model and seed; it counts."""

    def __init__(self, unit: Unit, ask: Ask) -> None:
        self.evaluations = 0.0
        self._unit, self._ask = unit, ask

    def __call__(
        self, clip: ClipTensor, target: int, model: Model | None = None, seed: int | None = None
    ) -> Explanation:
        """As `Explain` says."""
        unit, ask = self._unit, self._ask
        if model is not None or (seed is not None and unit.method.seeded):
            ask = unit.method.make(
                unit.model if model is None else model,
                clip.shape[1],
                unit.seed if seed is None else seed,
            )
        found = ask(clip, target)
        self.evaluations += found.evaluations
        return found.explanation


class Made:
    """Methods that were made: as some look at a model first, each is made once where it can be."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str, int], Ask] = {}

    def of(self, unit: Unit) -> Ask:
        """The unit's method; one that draws at random is made anew for each seed."""
        frames = unit.example.clip.shape[1]
        place = unit.model_name, unit.method.name, frames
        if unit.method.seeded:
            return unit.method.make(unit.model, frames, unit.seed)
        if place not in self._made:
            self._made[place] = unit.method.make(unit.model, frames, unit.seed)
        return self._made[place]


def run_unit(unit: Unit, made: Made, metrics: Sequence[Metric]) -> Iterator[Row]:
    """The rows of all metrics. An error of the method, or of a metric, is a row."""
    clip, target = unit.example.clip, unit.example.target
    assert target is not None
    begin = time.perf_counter()
    try:
        with peak_memory(clip.device) as peak:
            ask = made.of(unit)
            explained = ask(clip, target)
    except Exception as error:  # noqa: BLE001 - of any method: the row says what it was
        for metric in metrics:
            yield unit.row(metric.name, value=math.nan, failed=True, note=told_error(error))
        return
    taken = {
        "evaluations": explained.evaluations,
        "seconds": time.perf_counter() - begin,
        "peak_memory": peak.value,
    }
    for metric in metrics:
        again = Again(unit, ask)
        case = Case(
            unit.model, clip, target, explained.explanation, unit.example.truth, again, unit.seed
        )
        begin = time.perf_counter()
        try:
            score = metric.score(case)
        except DataError as error:
            # The explanation or the clip has not what the metric asks for: no fault.
            yield unit.row(metric.name, value=math.nan, note=told_error(error), **taken)
            continue
        except Exception as error:  # noqa: BLE001 - of any metric: the row says what it was
            yield unit.row(
                metric.name, value=math.nan, failed=True, note=told_error(error), **taken
            )
            continue
        yield _scored(unit, metric, score, again, time.perf_counter() - begin, taken)


def _scored(
    unit: Unit,
    metric: Metric,
    score: Score,
    again: Again,
    seconds: float,
    taken: dict[str, float],
) -> Row:
    return unit.row(
        metric.name,
        value=score.value,
        standard_error=score.standard_error,
        metric_evaluations=score.forward_passes + again.evaluations,
        metric_seconds=seconds,
        note=score.note,
        curves=score.curves,
        **taken,
    )


def told_error(error: Exception) -> str:
    """What went wrong, in one line."""
    text = " ".join(str(error).split())
    return printable(f"{type(error).__name__}: {text}"[:400], keep="")
