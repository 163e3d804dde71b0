"""What an annotation takes: whether a value fits it, and how that is said."""

from __future__ import annotations

import operator
import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args, get_origin

import numpy as np
from jaxtyping import AbstractArray
from torch import Tensor, nn

from temporal_attr._errors import (
    ClipError,
    DataError,
    ModelError,
    OptionError,
    TemporalAttrError,
)
from temporal_attr._told import usable

Take: TypeAlias = Callable[[object], object]

UNFIT = object()
"""What `Taken.take` gives for a value that does not fit."""


_ODD = (Tensor, np.ndarray, type)
"""What is compared entry by entry, or can be called, and so passes for something else."""


@dataclass(frozen=True)
class Taken:
    """What a parameter takes.

    Attributes:
        words: As an error says it.
        take: From a value to the value that the function gets, such as the whole number that a
            NumPy integer is; `UNFIT` if it does not fit.
        error: What its error is.
        at_least: Whether a function may say itself what is wrong with a value that does not fit: of
            a tensor, its axes; of a list, what is in it; of what should be a number or a name,
            whatever is no array and no class.
        axes: Of an array, the names of its axes, if they are all known.
        names: Of one of several names, these.
    """

    words: str
    take: Take
    error: type[TemporalAttrError] = OptionError
    at_least: Callable[[object], bool] = lambda value: not isinstance(value, _ODD)
    axes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


def taken_by(hint: Any) -> Taken:  # noqa: ANN401 - any annotation
    """What an annotation takes.

    Args:
        hint: The annotation, resolved.

    Example:
        >>> taken_by(int | None).words, taken_by(int).take(True) is UNFIT
        ('a whole number or None', True)
    """
    origin = get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _any_of([taken_by(one) for one in get_args(hint)])
    if origin is Literal:
        return _one_of(get_args(hint))
    kind = origin or hint
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    return _by_class(kind, get_args(hint)) if isinstance(kind, type) else ANYTHING


def _by_class(kind: type, parts: tuple[Any, ...]) -> Taken:
    if issubclass(kind, AbstractArray):
        return _array(kind)
    if issubclass(kind, Mapping):
        return _mapping(parts)
    if issubclass(kind, Iterable) and kind.__module__ in ("builtins", "collections.abc"):
        return _several(kind, parts)
    return _instance(kind)


ANYTHING = Taken("anything", lambda value: value, at_least=lambda value: True)


def _any_of(options: Sequence[Taken]) -> Taken:
    if ANYTHING in options:
        return ANYTHING
    if _PATH in options:
        # Text may then be a path too, but none that the system cannot read.
        options = [_TEXT_OF_PATH if one is _TEXT else one for one in options]

    def take(value: object) -> object:
        found = [it for one in options if (it := one.take(value)) is not UNFIT]
        # As it is, if one of them takes it so: a list is no tuple where both may be given.
        return value if any(it is value for it in found) else next(iter(found), UNFIT)

    words = list(dict.fromkeys(said for one in options for said in (one.names or (one.words,))))
    if "a number" in words:
        words = [said for said in words if said != "a whole number"]

    def at_least(value: object) -> bool:
        return any(one.at_least(value) for one in options)

    arrays = [one.axes for one in options if one.axes]
    axes = arrays[0] if len(arrays) == 1 else ()
    return Taken(_either(words), take, options[0].error, at_least, axes)


def _one_of(names: Sequence[object]) -> Taken:
    def take(value: object) -> object:
        # By type first: not everything can be compared to a text.
        return value if type(value) in map(type, names) and value in names else UNFIT

    quoted = tuple(f'"{name}"' for name in names)
    return Taken(_either(quoted), take, names=quoted)


def _either(words: Sequence[str]) -> str:
    """As it is read: "a number, text or None"."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def _whole(value: object) -> object:
    if isinstance(value, int):
        return UNFIT if isinstance(value, bool) else value
    return operator.index(value) if isinstance(value, Integral) else UNFIT


def _real(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, Real):
        return UNFIT
    try:
        number = float(value)
    except OverflowError:  # of a whole number
        return UNFIT
    # NumPy's numbers and fractions become Python's.
    kind: type = type(value)
    return value if issubclass(kind, int | float) and kind.__module__ != "numpy" else number


def _flag(value: object) -> object:
    return bool(value) if isinstance(value, bool | np.bool_) else UNFIT


def _called(value: object) -> object:
    # A class can be called, but makes an instance of itself and no number; or what is entered.
    makes_itself = isinstance(value, type) and not issubclass(value, AbstractContextManager)
    return value if callable(value) and not makes_itself else UNFIT


def _text(value: object) -> object:
    return value if isinstance(value, str) else UNFIT


def _path(value: object) -> object:
    if isinstance(value, Path):
        return UNFIT if "\0" in str(value) else value
    text = os.fspath(value) if isinstance(value, PathLike) else value
    return UNFIT if _text_of_path(text) is UNFIT else Path(text)  # type: ignore[arg-type]


def _text_of_path(value: object) -> object:
    # The system's calls end at a null character.
    return value if isinstance(value, str) and "\0" not in value else UNFIT


_TEXT, _TEXT_OF_PATH = Taken("text", _text), Taken("text", _text_of_path)
_PATH = Taken("a path", _path, at_least=lambda value: False)
_NOTHING = Taken(
    "None",
    lambda value: None if value is None else UNFIT,
    at_least=lambda value: False,
)
_SIMPLE: dict[Any, Taken] = {
    Any: ANYTHING,
    object: ANYTHING,
    None: _NOTHING,
    types.NoneType: _NOTHING,
    float: Taken("a number", _real),
    bool: Taken("True or False", _flag),
    int: Taken("a whole number", _whole),
    str: _TEXT,
    Path: _PATH,
    Callable: Taken("a function", _called, ModelError),
    Tensor: Taken("a tensor", lambda value: value if usable(value) else UNFIT, ClipError, usable),
}


def _mapping(parts: Sequence[Any]) -> Taken:
    keys, values = (taken_by(one) for one in parts) if parts else (ANYTHING, ANYTHING)

    def take(value: object) -> object:
        if not isinstance(value, Mapping):
            return UNFIT
        taken = {keys.take(key): values.take(entry) for key, entry in value.items()}
        return UNFIT if UNFIT in taken or any(it is UNFIT for it in taken.values()) else value

    words = f"a mapping from {keys.words} to {values.words}"
    return Taken(words, take, at_least=lambda value: isinstance(value, Mapping))


def _several(kind: type, parts: Sequence[Any]) -> Taken:
    """A list, a tuple or the like. Of a generator, the entries are looked at by nobody."""
    counted = kind is tuple and parts and parts[-1] is not ...
    kinds = [taken_by(one) for one in parts if one is not ...] or [ANYTHING]
    sized = issubclass(kind, Sequence)

    def at_least(value: object) -> bool:
        if isinstance(value, bytes | Mapping | Tensor | np.ndarray | nn.Module | type):
            return False
        return isinstance(value, Sequence if sized else Iterable)

    def take(value: object) -> object:
        # A text is a sequence of texts too, but nobody means its letters.
        if isinstance(value, str) or not at_least(value):
            return UNFIT
        if not isinstance(value, Sequence | set | frozenset):
            return value
        if counted and len(value) != len(kinds):
            return UNFIT
        each = kinds if counted else kinds[:1] * len(value)
        entries = [one.take(entry) for one, entry in zip(each, value, strict=True)]
        if any(entry is UNFIT for entry in entries):
            return UNFIT
        as_it_is = all(map(operator.is_, entries, value)) and isinstance(value, kind)
        return value if as_it_is else tuple(entries) if kind is tuple else entries

    words = ", ".join(one.words for one in kinds) if counted else f"{kinds[0].words}, any number"
    return Taken(f"a {kind.__name__.lower()} of ({words})", take, kinds[0].error, at_least)


_RECORDS = ("temporal_attr.attributions.", "temporal_attr.evaluation.", "temporal_attr.measures.")
"""Whose classes hold what was found; those of other rooms are options."""


def _instance(kind: type) -> Taken:
    error: type[TemporalAttrError] = OptionError
    if issubclass(kind, nn.Module):
        error = ModelError
    elif kind.__name__ == "Clip":
        error = ClipError
    elif kind.__module__.startswith(_RECORDS):
        error = DataError
    name = f"{'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__}"

    def take(value: object) -> object:
        return value if isinstance(value, kind) else UNFIT

    return Taken(name, take, error, at_least=lambda value: True)


def _array(hint: Any) -> Taken:  # noqa: ANN401 - a type of jaxtyping
    free, axes = hint.index_variadic is not None, hint.dim_str.split()
    fixed = len(hint.dims) - free
    names = _names(hint.dtypes)
    is_tensor = hint.array_type is Tensor

    def at_least(value: object) -> bool:
        if not (usable(value) if is_tensor else isinstance(value, np.ndarray)):
            return False
        dtype = str(value.dtype).rpartition(".")[2]  # type: ignore[attr-defined]
        return dtype in names if names else not dtype.startswith(("complex", "object", "<U"))

    def take(value: object) -> object:
        if not at_least(value):
            return UNFIT
        rank = value.ndim  # type: ignore[attr-defined]
        return value if rank == fixed or (free and rank > fixed) else UNFIT

    of = " or ".join(dict.fromkeys(map(_kind, sorted(names)))) or "numbers"
    shape = f" ({', '.join(axes)})" if axes else ""
    words = f"{'a tensor' if is_tensor else 'an array'} of {of}{shape}"
    error = ClipError if {"height", "channel"} & set(axes) else DataError
    return Taken(words, take, error, at_least, () if free else tuple(axes))


def _kind(dtype: str) -> str:
    """What a type of numbers is called."""
    kinds = {"float": "floats", "bfloat": "floats", "uint": "whole numbers", "int": "whole numbers"}
    kinds |= {"bool": "true or false", "bool_": "true or false"}
    return "bytes" if dtype == "uint8" else kinds.get(dtype.rstrip("0123456789"), dtype)


def _names(dtypes: Any) -> set[str]:  # noqa: ANN401 - names, or jaxtyping's word for any
    if not isinstance(dtypes, list | tuple | set | frozenset):
        return set()
    # float8 and less are stored in by networks, and computed with by nobody.
    return {str(one) for one in dtypes if not str(one).startswith(("float8", "float4"))}
