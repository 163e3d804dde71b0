"""What tells the models, methods, clips and metrics of one run from those of another."""

from __future__ import annotations

import hashlib
import inspect
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

_Hash: TypeAlias = Any
"""What `hashlib` gives, which has no name there."""

_PLAIN = (str, bytes, int, float, complex, bool, type(None))
_LEFT_OUT = ("training", "T_destination", "call_super_init", "dump_patches")


def digest_of(*values: object) -> str:
    """The beginning of a hash of what values hold: the same in another process.

    Tensors count by their numbers; modules by their parameters, buffers, parts and plain
    attributes; functions by their code, defaults and what they close over; other objects by their
    class and attributes. What a function reads from global variables is not seen.

    Example:
        >>> digest_of(torch.zeros(2)) == digest_of(torch.zeros(2)) != digest_of(torch.ones(2))
        True
        >>> [digest_of(lambda clip, k=k: clip[:, k]) for k in (1, 2, 1)].count(
        ...     digest_of(lambda clip, k=1: clip[:, k])
        ... )
        2
    """
    found = hashlib.sha256()
    for value in values:
        _add(found, value, set())
    return found.hexdigest()[:24]


def seed_of(seed: int, *parts: str) -> int:
    """A seed of its own for each purpose, which depends on nothing else.

    Example:
        >>> seed_of(0, "clip 1", "method") == seed_of(0, "clip 1", "metric")
        False
    """
    return int(digest_of(seed, *parts)[:8], 16) >> 1


def _add(found: _Hash, value: Any, above: set[int]) -> None:  # noqa: ANN401
    """Add a value; one that holds itself counts once."""
    if isinstance(value, _PLAIN):
        found.update(repr(value).encode("utf-8", "surrogatepass") + b"\0")
        return
    found.update(_name(value if isinstance(value, type) else type(value)).encode("utf-8") + b"\0")
    if isinstance(value, (type, torch.dtype, torch.device, types.ModuleType)):
        found.update(str(value).encode("utf-8"))
        return
    if id(value) in above:
        return
    below = above | {id(value)}
    if isinstance(value, (Tensor, np.ndarray)):
        _add_numbers(found, value)
        return
    for part in _parts(value):
        _add(found, part, below)


def _parts(value: Any) -> list[Any]:  # noqa: ANN401, PLR0911 - a kind a line
    """What an object consists of."""
    if isinstance(value, Mapping):
        return [part for item in value.items() for part in item]
    if isinstance(value, (list, tuple, set, frozenset)):
        return sorted(value, key=repr) if isinstance(value, (set, frozenset)) else list(value)
    if isinstance(value, torch.nn.Module):
        own = {
            name: part
            for name, part in vars(value).items()
            if not name.startswith("_") and name not in _LEFT_OUT
        }
        return [own, dict(value._parameters), dict(value._buffers), dict(value._modules)]
    if isinstance(value, partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, types.FunctionType):
        return _parts_of_function(value)
    if is_dataclass(value):
        return [getattr(value, entry.name) for entry in fields(value)]
    return [dict(getattr(value, "__dict__", {}))]


def _parts_of_function(function: types.FunctionType) -> list[Any]:
    code = function.__code__
    constants = [one for one in code.co_consts if not inspect.iscode(one)]
    inner = [one.co_code for one in code.co_consts if inspect.iscode(one)]
    closed = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    return [code.co_code, code.co_names, constants, inner, function.__defaults__, closed]


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - it raises where there is nothing yet
    except ValueError:
        return False
    return True


def _add_numbers(found: _Hash, value: Tensor | np.ndarray) -> None:
    tensor = torch.as_tensor(value).detach()
    found.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode("ascii"))
    found.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
