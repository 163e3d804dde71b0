"""What a handler of the user's own gives back, checked where the engine takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from temporal_attr._errors import ModelError
from temporal_attr.relevance._calls import Call, Handled, Split


def checked_handler(handled: Any, call: Call) -> Handled:  # noqa: ANN401 - whatever it gave
    """What a handler gave, whose splits are looked at when they are made.

    Raises:
        ModelError: With the handler's name, if it is no `Handled`.
    """
    if not isinstance(handled, Handled):
        raise _misfit(call.name, "a Handled", type(handled).__name__)
    return replace(handled, split=_checked_split(handled, call.name))


def _checked_split(handled: Handled, name: str) -> Split:
    shapes = [tuple(entry.shape) for entry in handled.inputs]
    split = handled.split

    def checked(relevance: Any) -> Sequence[Tensor | None]:  # noqa: ANN401 - one, or several
        parts = split(relevance)
        if not isinstance(parts, (tuple, list)) or len(parts) != len(shapes):
            got = f"{len(parts)}" if isinstance(parts, (tuple, list)) else type(parts).__name__
            raise _misfit(name, f"a split into {len(shapes)} parts, one for each input", got)
        for part, shape in zip(parts, shapes, strict=True):
            if part is None:
                continue
            if not isinstance(part, Tensor) or tuple(part.shape) != shape:
                got = f"{tuple(part.shape)}" if isinstance(part, Tensor) else type(part).__name__
                raise _misfit(name, f"relevance of its input's shape {shape}", got)
        return parts

    return checked


def _misfit(name: str, expected: str, got: str) -> ModelError:
    return ModelError(
        f"{expected} from the handler of {name}",
        got,
        "Return Handled(output, inputs, split), whose split gives a tuple with the relevance of "
        "each input, or None.",
    )
