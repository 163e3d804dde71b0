"""Results as tables for pandas: one observation a row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from importlib import import_module
from inspect import get_annotations
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor

from temporal_attr._activation import output_name
from temporal_attr._errors import ClipError, OptionError
from temporal_attr.clips import Clip

if TYPE_CHECKING:
    import pandas

Result: TypeAlias = Any
"""A `Result`, which builds on this file."""

Columns = dict[str, Any]
"""A column of numbers or text by its name."""

PLACES = {
    "batch": "clip",
    "time": "frame",
    "steps": "timestep",
    "rows": "timestep",
    "shuffles": "order",
    "orders": "order",
    "classes": "class",
    "pairs": "pair",
}
"""What a place along an axis is called in a table; other axes keep their name."""


def result_table(
    result: Result, table: str, clip: Clip | Sequence[Clip] | None
) -> pandas.DataFrame:
    """A table of a result: of its frames, of its clips, or of one tensor; see `to_dataframe`."""
    axes = axes_of(result)
    if table == "frames" and ("batch", "time") in axes.values():
        columns = _frame_columns(result, axes)
    elif table == "clips":
        columns = _clip_columns(result, axes)
    elif table in axes and axes[table][0] == "batch":
        columns = long_columns(getattr(result, table), axes[table], table)
        if "rows" in axes[table]:
            # Some of the timesteps only, which are told by their own numbers.
            columns["timestep"] = np.asarray(result.rows)[columns["timestep"]]
    else:
        known = [name for name, of in axes.items() if of[0] == "batch"]
        frames = ["frames"] if ("batch", "time") in axes.values() else []
        known = [f'"{name}"' for name in (*frames, "clips", *known)]
        raise OptionError(
            f"a table of this result: {', '.join(known)}",
            repr(table),
            "Choose one; a tensor that was not asked for has none.",
        )
    places = {name: columns.pop(name) for name in list(columns) if name in _PLACE_NAMES}
    return frame_of({**places, **_context(result, places, clip), **columns})


def axes_of(record: Any) -> dict[str, tuple[str, ...]]:  # noqa: ANN401
    """The axes of each field that is a tensor, by the name of the field, as they are annotated."""
    found = {}
    for entry in fields(record):
        axes = _named_axes(_hints(type(record)).get(entry.name))
        value = getattr(record, entry.name)
        if isinstance(value, Tensor) and len(axes) == value.ndim > 0:
            found[entry.name] = axes
    return found


def _hints(kind: type[Any]) -> dict[str, Any]:
    """What each field is annotated with, as far as that can be told outside of its module."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        try:
            found |= get_annotations(base, eval_str=True)
        except NameError:
            # Annotations of a class inside a function may name what only that function knows.
            continue
    return found


def _named_axes(hint: Any) -> tuple[str, ...]:  # noqa: ANN401
    """The axes of jaxtyping's array types, also of one that may be None."""
    for choice in (hint, *get_args(hint)):
        axes = getattr(choice, "dim_str", None)
        if axes is not None and "..." not in axes:
            return tuple(axes.split())
    return ()


def _frame_columns(result: Result, axes: Mapping[str, tuple[str, ...]]) -> Columns:
    names = [name for name, of in axes.items() if of == ("batch", "time")]
    columns = long_columns(getattr(result, names[0]), axes[names[0]], names[0])
    return columns | {name: array_of(getattr(result, name)).ravel() for name in names}


def _clip_columns(result: Result, axes: Mapping[str, tuple[str, ...]]) -> Columns:
    chosen = result.target[:, None].to(result.logits.device)
    columns: Columns = {
        "clip": np.arange(len(chosen)),
        output_name(result.activation): array_of(result.logits.gather(1, chosen)[:, 0]),
    }
    if result.probabilities is not None:
        columns["probability"] = array_of(result.probabilities.gather(1, chosen)[:, 0])
        if result.logits.shape[1] > 1:
            columns["top_class"] = array_of(result.logits.argmax(1))
    intervals: Mapping[str, Tensor] = getattr(result, "intervals", {})
    for name in (name for name, of in axes.items() if of == ("batch",) and name != "target"):
        columns |= interval_columns(name, getattr(result, name), intervals.get(name))
    return columns


def interval_columns(name: str, values: Tensor, ends: Tensor | None) -> Columns:
    """A column of a measure, and two of the ends of its interval `(..., 2)`, if there is one."""
    columns = {name: array_of(values).ravel()}
    if ends is not None:
        low, high = array_of(ends).reshape(-1, 2).T
        columns |= {f"{name}_low": low, f"{name}_high": high}
    return columns


def long_columns(values: Tensor, axes: Sequence[str], name: str) -> Columns:
    """A row for each entry: a column of places for each axis, and one of the entries."""
    places = np.indices(values.shape).reshape(values.ndim, -1)
    columns: Columns = {}
    for axis, along in zip(axes, places, strict=True):
        place = PLACES.get(axis, axis)
        # The second axis of timesteps is that of the timesteps that are read.
        columns[f"read_{place}" if place in columns else place] = along
    return {**columns, name: array_of(values).ravel()}


_PLACE_NAMES = {*PLACES.values(), *(f"read_{place}" for place in PLACES.values())}


def _context(result: Result, places: Columns, clip: Clip | Sequence[Clip] | None) -> Columns:
    """What belongs to the clip of a row: where it is from, and what was explained."""
    numbers = places["clip"]
    columns = class_columns(result, numbers)
    if clip is None:
        return columns
    clips = _one_for_each(clip, len(result.target))
    known: Columns = {"source": np.array([one.source for one in clips], object)[numbers]}
    if "frame" in places:
        times = np.array([_timestamps(one, 1 + int(places["frame"].max())) for one in clips])
        known["timestamp"] = times[numbers, places["frame"]]
    return known | columns


def class_columns(result: Result, clips: np.ndarray) -> Columns:
    """The class explained in each row, and what it is called; `clips` are the numbers of clips."""
    target = array_of(result.target)
    names = [result.class_names[number] if result.class_names else None for number in target]
    return {"target": target[clips], "class_name": np.array(names, object)[clips]}


def _one_for_each(clip: Clip | Sequence[Clip], batch: int) -> Sequence[Clip]:
    clips = [clip] if isinstance(clip, Clip) else list(clip)
    if len(clips) != batch:
        raise ClipError(
            f"a clip for each of the {batch} that were explained",
            f"{len(clips)}",
            "Give a list of them, in the order of the batch.",
        )
    return clips


def _timestamps(clip: Clip, frames: int) -> tuple[float, ...]:
    if len(clip.timestamps) != frames:
        raise ClipError(
            f"the clip that was explained, with {frames} frames",
            f"one with {len(clip.timestamps)}",
            "Pass the Clip whose tensor went into explain().",
        )
    return clip.timestamps


def array_of(values: Tensor) -> np.ndarray:
    """The numbers of a tensor; bfloat16, which NumPy lacks, as float32."""
    numbers = values.detach().cpu()
    array: np.ndarray = (numbers.float() if numbers.dtype is torch.bfloat16 else numbers).numpy()
    return array


def frame_of(columns: Mapping[str, Iterable[Any]]) -> pandas.DataFrame:
    """A pandas table of columns.

    Raises:
        OptionError: If pandas is not installed.
    """
    library = require_pandas("to_dataframe()", "; to_dict() needs nothing")
    table: pandas.DataFrame = library.DataFrame(dict(columns))
    return table


def require_pandas(purpose: str, otherwise: str = "") -> Any:  # noqa: ANN401 - a module
    """The module pandas, which is an extra.

    Args:
        purpose: What needs it, as an error names it.
        otherwise: What else can be done, to end the error with.

    Raises:
        OptionError: If it is not installed.
    """
    try:
        library: Any = import_module("pandas")
    except ImportError:
        raise OptionError(
            f"pandas to be installed, for {purpose}",
            "no such module",
            f"Install it: pip install 'temporal-attr[tables]'{otherwise}.",
        ) from None
    return library
