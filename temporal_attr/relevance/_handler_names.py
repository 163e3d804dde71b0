"""Which names a handler of the user's own can have: those of functions that a model can call."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Iterator

import torch
from torch.overrides import get_testing_overrides

from temporal_attr._errors import OptionError
from temporal_attr.relevance._functions import OWN, plain_name


def require_function_names(names: Iterable[str]) -> None:
    """Raise unless all are names by which the engine meets functions.

    These are torch's functions, the methods of tensors, and operators that somebody registered with
    PyTorch (`torch.library`). All forms of one go by one name: "add" for `x += y`.

    Raises:
        OptionError: With the nearest names.

    Example:
        >>> require_function_names(["softmax", "roll"])
        >>> require_function_names(["sofmax"])
        Traceback (most recent call last):
        ...
        temporal_attr._errors.OptionError: ... got 'sofmax'. Nearest: 'softmax', ...
    """
    others = [name for name in names if name not in _of_torch()]
    # Operators can be registered at any time, so they are looked up anew.
    known = {*_of_torch(), *_registered()} if others else set()
    for name in others:
        if name in known:
            continue
        listed = ", ".join(map(repr, _nearest(name, known)))
        raise OptionError(
            "handlers by the names of torch functions",
            repr(name),
            f"Nearest: {listed}." if listed else "There is none like it.",
        )


def _nearest(name: str, known: set[str]) -> list[str]:
    plain, _ = plain_name(name)
    if plain in known:
        return [plain]
    functions = [one for one in known if "." not in one]
    return difflib.get_close_matches(plain.lower(), sorted(functions), n=3)


@functools.cache
def _of_torch() -> frozenset[str]:
    return OWN.union(plain_name(function)[0] for function in get_testing_overrides())


def _registered() -> Iterator[str]:
    # PyTorch has no public list of them.
    for full in torch._C._dispatch_get_all_op_names():
        name = full.rpartition("::")[2]
        packet, _, overload = name.partition(".")
        yield plain_name(packet)[0]
        yield plain_name(f"{packet}.{overload or 'default'}")[0]
