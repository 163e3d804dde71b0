"""One unit of a suite's work: an explanation, and what all metrics say of it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from temporal_attr._errors import DataError, printable
from temporal_attr._typing import ClipTensor
from temporal_attr.evaluation._case import Case, Example, Explanation, Model
from temporal_attr.evaluation._metric import Metric
from temporal_attr.evaluation.faithfulness import shared_clips
from temporal_attr.evaluation.suite._compared import Ask, Compared
from temporal_attr.evaluation.suite._digest import seed_of
from temporal_attr.evaluation.suite._peak_memory import peak_memory
from temporal_attr.evaluation.suite._rows import Row


@dataclass(frozen=True, eq=False)
class Unit:
    """What is to be done.

    Attributes:
        key: What tells it from all other work.
        model_name: In the table.
        example: With its target.
        seed: Of the suite; what draws at random has one of its own, by its name and the clip's.
    """

    key: str
    model_name: str
    model: Model
    example: Example
    method: Compared
    seed: int

    def seed_of(self, purpose: str) -> int:
        """What draws for a purpose on this clip draws by this."""
        return seed_of(self.seed, self.example.name, purpose)

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
        if model is not None and unit.method.of_one_model:
            raise DataError(
                f"a method that can be asked of another model than {unit.model_name}",
                f"{unit.method.name}, which cannot be made for it",
                "Give a function of a model, or of model, clip and target.",
            )
        if model is not None or (seed is not None and unit.method.seeded):
            ask = unit.method.make(
                unit.model if model is None else model,
                clip.shape[1],
                unit.seed_of(unit.method.name) if seed is None else seed,
            )
        # A method may write into what it is given.
        found = ask(clip.clone(), target)
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
            return unit.method.make(unit.model, frames, unit.seed_of(unit.method.name))
        if place not in self._made:
            self._made[place] = unit.method.make(unit.model, frames, 0)
        return self._made[place]


def run_unit(unit: Unit, made: Made, metrics: Sequence[Metric]) -> list[Row]:
    """The rows of all metrics. An error of the method, or of a metric, is a row."""
    clip, target = unit.example.clip, unit.example.target
    assert target is not None
    begin = time.perf_counter()
    try:
        with peak_memory(clip.device) as peak:
            ask = made.of(unit)
            # A method may write into what it is given.
            explained = ask(clip.clone(), target)
    except Exception as error:  # noqa: BLE001 - of any method: the row says what it was
        failed: dict[str, Any] = {"value": math.nan, "failed": True, "note": told_error(error)}
        return [unit.row(metric.name, **failed) for metric in metrics]
    taken = {
        "evaluations": explained.evaluations,
        "seconds": time.perf_counter() - begin,
        "peak_memory": peak.value,
    }
    again = Again(unit, ask)
    seed = unit.seed_of("metrics")
    case = Case(unit.model, clip, target, explained.explanation, unit.example.truth, again, seed)
    with shared_clips():
        return [_judged(unit, metric, case, again, taken) for metric in metrics]


def _judged(unit: Unit, metric: Metric, case: Case, again: Again, taken: dict[str, float]) -> Row:
    """What one metric says."""
    begin, before = time.perf_counter(), again.evaluations
    try:
        score = metric.score(case)
    except DataError as error:
        # The explanation or the clip has not what the metric asks for: no fault.
        return unit.row(metric.name, value=math.nan, note=told_error(error), **taken)
    except Exception as error:  # noqa: BLE001 - of any metric: the row says what it was
        return unit.row(metric.name, value=math.nan, failed=True, note=told_error(error), **taken)
    return unit.row(
        metric.name,
        value=score.value,
        standard_error=score.standard_error,
        metric_evaluations=score.forward_passes + again.evaluations - before,
        metric_seconds=time.perf_counter() - begin,
        note=score.note,
        curves=score.curves,
        **taken,
    )


def told_error(error: Exception) -> str:
    """What went wrong, in one line."""
    text = " ".join(str(error).split())
    return printable(f"{type(error).__name__}: {text}"[:400], keep="")
