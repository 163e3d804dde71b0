"""Every public call is checked against its own annotations, at the one place they all pass.

A room calls `check_calls` at its end. From then on whoever calls what it hands out, from outside or
from another room, has each argument looked at first: what does not fit its annotation is an error
with the parameter's name. So functions check ranges and what belongs together, and never types.
"""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Collection, Mapping, Set
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import nn

from temporal_attr._takes import UNFIT, Taken, taken_by
from temporal_attr._told import advice, told

_MANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

F = TypeVar("F", bound=Callable[..., Any])


def check_calls(room: str, own: Set[str] = frozenset(), but: Collection[str] = ()) -> None:
    """Check the calls of all functions and classes that a room hands out.

    Args:
        room: Its name, as `__name__`; it must have its `__all__`.
        own: Parameters that functions check themselves, in better words, by name or as
            "function.parameter" or "Class.parameter": what does not fit is left to them, if it is
            of the kind at all (see `Taken.at_least`).
        but: What is left alone: records and tools that engines make and use by the thousand.
    """
    module = sys.modules[room]
    for name in module.__all__:
        thing = getattr(module, name)
        # What another room hands on is checked there.
        if name in but or not getattr(thing, "__module__", "").startswith(f"{room}."):
            continue
        if inspect.isfunction(thing):
            guarded = checked(thing, own)
            setattr(module, name, guarded)
            # There too, or it could not be pickled.
            setattr(sys.modules[thing.__module__], name, guarded)
        elif inspect.isclass(thing) and not issubclass(thing, BaseException):
            _check_class(thing, own)


def _check_class(kind: type, own: Set[str]) -> None:
    """Check calls of a class: its constructor, and its public methods unless it is a module."""
    fields: Collection[str] = getattr(kind, "__dataclass_fields__", ())
    for name, member in list(vars(kind).items()):
        wanted = name in ("__init__", "__call__") or not name.startswith("_")
        # A module is called as PyTorch calls it, also while it is compiled.
        if not wanted or name in fields or (issubclass(kind, nn.Module) and name != "__init__"):
            continue
        if isinstance(member, classmethod | staticmethod):
            setattr(kind, name, type(member)(checked(member.__func__, own, kind)))
        elif inspect.isfunction(member):
            setattr(kind, name, checked(member, own, kind))


def checked(function: F, own: Set[str] = frozenset(), owner: type | None = None) -> F:
    """The function, which looks at its arguments first.

    Args:
        function: Annotated.
        own: See `check_calls`.
        owner: The class that it is a method of.

    Example:
        >>> def double(number: int) -> int:
        ...     return 2 * number
        >>> checked(double)("3")
        Traceback (most recent call last):
        ...
        temporal_attr._errors.OptionError: expected number to be a whole number, got '3'. ...
    """
    places = list(inspect.signature(function).parameters)
    # Of a constructor, the class.
    place = owner.__name__ if owner and function.__name__ == "__init__" else function.__name__
    known: dict[str, Taken] = {}

    def look(name: str, value: object) -> object:
        if name not in known:
            known[name] = taken_by(annotation(function, name, owner))
        taken = known[name]
        found = taken.take(value)
        if found is not UNFIT:
            return found
        if not own.isdisjoint((name, f"{place}.{name}")) and taken.at_least(value):
            return value
        remedy = advice(value) or f"See help({function.__qualname__})."
        raise taken.error(f"{name} to be {taken.words}", told(value), remedy)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the function has it
        if torch.compiler.is_compiling():
            return function(*args, **kwargs)
        seen = {name: look(name, value) for name, value in zip(places, args, strict=False)}
        named = {name: look(name, value) for name, value in kwargs.items()}
        _require_one_size({**seen, **named}, known, own)
        return function(*seen.values(), *args[len(seen) :], **named)

    return call  # type: ignore[return-value]


def _require_one_size(given: Mapping[str, Any], known: Mapping[str, Taken], own: Set[str]) -> None:
    """Raise where an axis of one name has one length in one argument and another in another."""
    found: dict[str, tuple[str, int]] = {}
    for name, value in given.items():
        taken = known[name]
        # Where an array may be given or something else, or a function words it better itself.
        shape = tuple(getattr(value, "shape", ())) if taken.axes else ()
        if len(shape) != len(taken.axes) or name in own:
            continue
        for axis, length in zip(taken.axes, shape, strict=True):
            first, other = found.setdefault(axis, (name, length))
            if axis.isidentifier() and not axis.startswith("_") and length != other:
                raise taken.error(
                    f"{name} of as many along {axis!r} as {first}, which has {other}",
                    f"shape {shape}",
                    "They must belong together.",
                )


def annotation(function: Callable[..., Any], name: str, owner: type | None = None) -> Any:  # noqa: ANN401
    """The annotation of a parameter, resolved; `Any` if it has none.

    Raises:
        NameError: If it cannot be, which a test rules out.
    """
    one = inspect.signature(function).parameters.get(name)
    if one is None or one.annotation is one.empty or one.kind in _MANY:
        return Any
    # A field that a dataclass inherits is written in the words of the file of its base.
    bases = [sys.modules[base.__module__].__dict__ for base in (owner.__mro__ if owner else ())]
    for names in (inspect.unwrap(function).__globals__, *bases):
        holder = type("Holder", (), {"__annotations__": {name: one.annotation}})
        try:
            return typing.get_type_hints(holder, names)[name]
        except NameError:
            continue
    raise NameError(f"{name}: {one.annotation} of {function.__qualname__}")
