"""Tables of pandas, which is an extra."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from temporal_attr.attributions._tables import require_pandas

if TYPE_CHECKING:
    from pandas import DataFrame
else:
    DataFrame = Any

_NAMES = ("model", "clip", "method", "metric", "curve", "note")


def read_csv(path: Path) -> DataFrame:
    """A table whose names are text, also those that look like numbers or gaps."""
    gaps: dict[str, list[str]] = {name: [] for name in _NAMES}
    names: dict[str, Any] = dict.fromkeys(_NAMES, str)
    pandas = require_pandas("comparisons")
    head = pandas.read_csv(path, nrows=0).columns
    numbers = {name: [""] for name in head if name not in _NAMES}
    found: DataFrame = pandas.read_csv(
        path, dtype=names, na_values=gaps | numbers, keep_default_na=False
    )
    return found
