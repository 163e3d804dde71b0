"""Is a model in evaluation mode, also where a function hides it?"""

from __future__ import annotations

import dis
from collections.abc import Iterator
from functools import lru_cache, partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.instancenorm import _InstanceNorm

from temporal_attr._errors import ModelError

DEPTH = 4
"""How many functions and objects deep a model is looked for."""

MOST = 10_000
"""Objects that are looked at, at most."""

_SAME_IN_BOTH = (nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
"""Read the flag to choose between two ways to the same numbers; their parts are looked at too."""

_CHANCES = ("p", "drop_prob", "drop")
"""What layers that leave something out at random call the probability."""


def require_evaluation_mode(model: object) -> None:
    """Raise if a part of a model behaves otherwise in training mode, and is in that mode.

    There batch norm mixes the examples and changes its statistics, and dropout draws random
    numbers. A part that does the same in both modes may be in either: one that does not read its
    flag, dropout with probability 0, recurrent layers without dropout. What a function, bound
    method or `functools.partial` calls is looked at too, as far as these hold it.

    Raises:
        ModelError: With the part's name and class.

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        >>> require_evaluation_mode(lambda clips: network(clips.mean((1, 3, 4))))
        Traceback (most recent call last):
        ...
        temporal_attr._errors.ModelError: expected a model in evaluation mode, got 1 (BatchN...
        >>> network.eval()[0].train()  # a linear layer is the same in both modes
        Linear(in_features=2, out_features=2, bias=True)
        >>> require_evaluation_mode(network)
    """
    for module in modules_behind(model):
        for name, part in module.named_modules():
            if isinstance(part, _BatchNorm) and part.running_mean is None:
                raise ModelError(
                    "batch norm with statistics of its own",
                    f"{name}, which has track_running_stats=False and mixes the examples",
                    "Give it running statistics; there is no gradient of one example alone.",
                )
            if part.training and depends_on_training(part):
                kind = type(part).__name__
                raise ModelError(
                    "a model in evaluation mode",
                    f"{f'{name} ({kind})' if name else kind} in training mode",
                    "Call model.eval(): in training mode batch norm mixes the examples and changes "
                    "its statistics, and dropout draws random numbers.",
                )


def modules_behind(model: object) -> list[nn.Module]:
    """The modules that a model is or calls, as far as functions and objects hold them.

    Looked at are closures, defaults, the globals that a function names, what a `partial` binds, the
    object of a bound method, and the attributes of objects that can be called; modules hold
    functions too, such as a readout.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> modules_behind(partial(lambda x, layer: layer(x), layer=layer)) == [layer]
        True
    """
    found: list[nn.Module] = []
    seen: dict[
        int, object
    ] = {}  # objects are kept, as the number of one that is gone is used again
    waiting: list[tuple[object, int]] = [(model, 0)]
    while waiting and len(seen) < MOST:
        entry, depth = waiting.pop()
        if id(entry) in seen or depth > DEPTH:
            continue
        seen[id(entry)] = entry
        if isinstance(entry, nn.Module):
            found.append(entry)
        waiting += [(held, depth + 1) for held in _held(entry)]
    inner = {id(part) for module in found for part in module.modules() if part is not module}
    return [module for module in found if id(module) not in inner]


def _held(entry: Any) -> Iterator[object]:  # noqa: ANN401 - it may be anything
    """What something may call that is no part of it by registration."""
    if isinstance(entry, nn.Module):
        for part in entry.modules():
            if not type(part).__module__.startswith("torch."):
                yield from (one for one in vars(part).values() if isinstance(one, _FUNCTIONS))
    elif isinstance(entry, partial):
        yield from (entry.func, *entry.args, *entry.keywords.values())
    elif isinstance(entry, MethodType):
        yield from (entry.__self__, entry.__func__)
    elif isinstance(entry, FunctionType):
        if not str(entry.__module__).startswith("torch."):
            yield from _of_function(entry)
    elif isinstance(entry, (list, tuple)):
        yield from entry
    elif isinstance(entry, dict):
        yield from entry.values()
    elif not isinstance(entry, (type, ModuleType, Tensor)):
        yield from getattr(entry, "__dict__", {}).values()


_FUNCTIONS = (FunctionType, MethodType, partial)


def _of_function(function: FunctionType) -> Iterator[object]:
    """What a function reads from outside: its closure, its defaults, and the globals it names."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            continue
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    for code in _codes(function.__code__):
        for name in _globals_read(code):
            yield function.__globals__.get(name)


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The code of a function, and of those inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


@lru_cache(maxsize=1024)
def _globals_read(code: CodeType) -> tuple[str, ...]:
    reads = ("LOAD_GLOBAL", "LOAD_NAME")
    return tuple(step.argval for step in dis.get_instructions(code) if step.opname in reads)


def depends_on_training(part: nn.Module) -> bool:
    """Whether a part, without its own parts, does something else in training mode.

    Example:
        >>> [depends_on_training(part) for part in (nn.Dropout(0.5), nn.Dropout(0.0), nn.ReLU())]
        [True, False, False]
    """
    if isinstance(part, (nn.RNNBase, nn.MultiheadAttention)):
        return part.dropout > 0
    if isinstance(part, _DropoutNd):
        return part.p > 0
    if isinstance(part, _InstanceNorm):
        return part.running_mean is not None
    if isinstance(part, torch.jit.ScriptModule):
        return True  # its code cannot be looked at
    kind: Any = type(part)
    if kind in _SAME_IN_BOTH or not _reads_training(kind):
        return False
    chances = [vars(part)[name] for name in _CHANCES if name in vars(part)]
    return not chances or any(chances)


@lru_cache(maxsize=1024)
def _reads_training(kind: type[nn.Module]) -> bool:
    """Whether any function of a class reads a flag `training`."""
    for base in kind.__mro__:
        # The library's wrappers mirror the flag of what they hold, and do nothing else with it.
        if base is nn.Module or base.__module__.startswith("temporal_attr.models."):
            continue
        for member in vars(base).values():
            function = getattr(member, "fget", None) or getattr(member, "__func__", member)
            if not isinstance(function, FunctionType) or function.__name__ == "__init__":
                continue
            if any(
                "training" in (*code.co_names, *_texts(code)) for code in _codes(function.__code__)
            ):
                return True
    return False


def _texts(code: CodeType) -> Iterator[str]:
    return (constant for constant in code.co_consts if isinstance(constant, str))
