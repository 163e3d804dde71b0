"""Which models were tried already."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary, ref

from torch import nn

from temporal_attr.models.trials._evaluation_mode import modules_behind


@dataclass(eq=False)
class _Tried:
    """What was tried of a model as it was.

    Attributes:
        parts: Its modules, held weakly.
        versions: How often each parameter was written to.
        calls: The hooks of each module, by the numbers they got, and a `forward` of its own.
        what: What was tried.
    """

    parts: tuple[ref[nn.Module], ...]
    versions: tuple[int, ...]
    calls: tuple[Any, ...]
    what: set[str] = field(default_factory=set)


_known: WeakKeyDictionary[Any, _Tried] = WeakKeyDictionary()
_lock = threading.Lock()


@contextmanager
def tried(model: object, *what: str) -> Iterator[set[str]]:
    """What is yet to be tried of a model, noted as tried when the block ends well.

    A model that cannot be held weakly is tried each time. What was tried with several clips holds
    for one. A part that was replaced, a hook or `forward` that was put on one, or a parameter
    that was written to, makes it a new model.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> for _ in range(2):
        ...     with tried(layer, "repetition") as left:
        ...         print(left)
        {'repetition'}
        set()
    """
    parts = [part for module in modules_behind(model) for part in module.modules()]
    parameters = [entry for part in parts for entry in part.parameters(recurse=False)]
    # Tensors made in inference mode do not count their versions.
    now = tuple(0 if entry.is_inference() else entry._version for entry in parameters)
    calls = tuple(map(_called, parts))
    with _lock:
        known = _remembered(model)
        if known is None or known.calls != calls or not _same(known, parts, now):
            known = _Tried(tuple(map(ref, parts)), now, calls)
        left = {one for one in what if one not in known.what}
        if "examples" in known.what:
            left.discard("repetition")
    yield left
    with _lock:
        known.what |= left
        try:
            _known[model] = known
        except TypeError:
            return


def _called(part: nn.Module) -> tuple[Any, ...]:
    """What a call of a module runs besides its class; the number of a hook is never used again."""
    own = vars(part).get("forward")
    # A bound method is made anew at each look, its function is not.
    own = getattr(own, "__func__", own)
    return tuple(part._forward_hooks), tuple(part._forward_pre_hooks), id(own)


def _remembered(model: object) -> _Tried | None:
    try:
        return _known.get(model)
    except TypeError:
        return None


def _same(known: _Tried, parts: list[nn.Module], versions: tuple[int, ...]) -> bool:
    if known.versions != versions or len(known.parts) != len(parts):
        return False
    return all(held() is part for held, part in zip(known.parts, parts, strict=True))
