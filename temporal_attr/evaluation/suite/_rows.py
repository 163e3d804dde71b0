"""What a suite finds, row by row, and what is kept of it on disk."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from temporal_attr._errors import ResultError
from temporal_attr._files import held, named_errors

ROWS, LOCK = "rows.jsonl", "lock"


@dataclass(frozen=True)
class Row:
    """What a metric says of one explanation.

    Attributes:
        model: Its name.
        clip: The name of the example.
        method: Its name.
        metric: Its name.
        value: NaN where there is none, which `note` explains.
        standard_error: Of what the metric draws at random; NaN where nothing is.
        evaluations: What the explanation took: forward passes of the clip, and two for each
            backward pass; NaN if nobody knows.
        seconds: What the explanation took, in wall-clock time.
        peak_memory: Bytes that were in use at most beyond those before; NaN if nobody knows.
        metric_evaluations: What the metric took besides, in the same unit. What several metrics of
            an explanation ask for counts for the first of them.
        metric_seconds: And its time.
        failed: Whether an error stopped the method or the metric.
        note: What it was, or what else the reader should know.
        curves: Numbers for pictures, by name; in a table of their own.
    """

    model: str
    clip: str
    method: str
    metric: str
    value: float
    standard_error: float = math.nan
    evaluations: float = math.nan
    seconds: float = math.nan
    peak_memory: float = math.nan
    metric_evaluations: float = 0.0
    metric_seconds: float = 0.0
    failed: bool = False
    note: str = ""
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class LeftOut:
    """A clip that was not explained to a model, and why."""

    model: str
    clip: str
    reason: str


@dataclass(frozen=True)
class MetricSummary:
    """What is known of a metric besides its name.

    Attributes:
        name: In the table.
        question: What it answers.
        family: Of metrics.
        higher_is_better: None where neither is.
    """

    name: str
    question: str
    family: str
    higher_is_better: bool | None


_NUMBERS = {entry.name for entry in fields(Row) if entry.type == "float"}


class RowStore:
    """Rows in a folder, a line for each explanation: what is on a line is whole.

    A process that is killed leaves at most one line that is not, which is cut off.

    Args:
        folder: Where they are.

    Raises:
        ResultError: If a line that ended is none of ours.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / ROWS
        self._known: dict[str, dict[str, Row]] = {}
        if self.path.exists():
            self._read()

    def _read(self) -> None:
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(self.path, len(whole))
        for number, line in enumerate(whole.decode("utf-8").splitlines(), 1):
            try:
                entry = json.loads(line)
                rows = {key: Row(**_read(row)) for key, row in entry["rows"].items()}
                self._known.setdefault(entry["unit"], {}).update(rows)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ResultError(
                    f"rows of a suite on line {number} of {self.path}",
                    f"{type(error).__name__}: {error}"[:200],
                    "Choose another folder, or delete that line, which is then computed again.",
                ) from error

    def rows(self, unit: str) -> dict[str, Row]:
        """What is there of a unit of work, by the metric's digest; what was found last counts."""
        return dict(self._known.get(unit, {}))

    def add(self, unit: str, found: Mapping[str, Row]) -> None:
        """Write what was found of a unit, and see it onto the disk."""
        written = {key: _written(row) for key, row in found.items()}
        line = json.dumps({"unit": unit, "rows": written}, allow_nan=False) + "\n"
        with self.path.open("ab") as file:
            file.write(line.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        self._known.setdefault(unit, {}).update(found)


def require_ours(place: Path) -> None:
    """Raise if a folder holds what no comparison wrote, or is none.

    Raises:
        ResultError: With what it holds.
    """
    if place.exists() and not place.is_dir():
        raise ResultError(f"a folder at {place}", "a file", "Choose another place.")
    others = sorted(path.name for path in place.iterdir()) if place.exists() else []
    if ROWS not in others and others not in ([], [LOCK]):
        raise ResultError(
            f"a new or empty folder at {place}, or one of an earlier comparison",
            f"one with {', '.join(others[:3])}",
            "Choose another.",
        )


@contextmanager
def kept_rows(folder: str | Path | None) -> Iterator[RowStore | None]:
    """The rows in a folder, to which nobody else writes meanwhile; None for none.

    Raises:
        ResultError: If another run writes there, or the folder holds something else.
    """
    if folder is None:
        yield None
        return
    place = Path(folder)
    require_ours(place)
    with named_errors(place):
        place.mkdir(parents=True, exist_ok=True)
    with held(place / LOCK, str(place)):
        yield RowStore(place)


def _written(row: Row) -> dict[str, Any]:
    """Strict JSON has no NaN and no infinity: the one is null, the others are text."""
    known = asdict(row)
    known |= {name: _number_written(known[name]) for name in _NUMBERS}
    known["curves"] = {name: [*map(_number_written, curve)] for name, curve in row.curves.items()}
    return known


def _number_written(value: float) -> float | str | None:
    if math.isfinite(value):
        return value
    return None if math.isnan(value) else str(value)


def _read(row: dict[str, Any]) -> dict[str, Any]:
    """The fields of a row, of which an earlier version may have written fewer."""
    known = dict(row)
    known |= {name: _number_read(row[name]) for name in _NUMBERS if name in row}
    known["curves"] = {
        name: tuple(map(_number_read, curve)) for name, curve in row.get("curves", {}).items()
    }
    return known


def _number_read(value: float | str | None) -> float:
    return math.nan if value is None else float(value)
