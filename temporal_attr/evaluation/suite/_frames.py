"""Tables of pandas, which is an extra."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from temporal_attr._errors import OptionError

if TYPE_CHECKING:
    from pandas import DataFrame
else:
    DataFrame = Any

_NAMES = ("model", "clip", "method", "metric", "curve", "note")


def read_csv(path: Path) -> DataFrame:
    """A table whose names are text, also those that look like numbers or gaps."""
    gaps: dict[str, list[str]] = {name: [] for name in _NAMES}
    names: dict[str, Any] = dict.fromkeys(_NAMES, str)
    head = require_pandas().read_csv(path, nrows=0).columns
    numbers = {name: [""] for name in head if name not in _NAMES}
    return require_pandas().read_csv(
        path, dtype=names, na_values=gaps | numbers, keep_default_na=False
    )


def require_pandas() -> Any:  # noqa: ANN401 - a module
    """The module.

    Raises:
        OptionError: If it is not installed.
    """
    try:
        import pandas  # noqa: PLC0415
    except ImportError:
        raise OptionError(
            "pandas, which tables need", "none", "pip install 'temporal-attr[tables]'."
        ) from None
    return pandas
