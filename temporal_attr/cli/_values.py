"""From the text of an option to its value, by the type that a method gives it."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Union, get_args, get_origin

from temporal_attr.clips import BlockShuffle, FullShuffle, LocalShuffle, Reversal
from temporal_attr.perturbations import Blocks, Pixels, Superpixels, Supervoxels

RECORDS: dict[str, type] = {
    "full": FullShuffle,
    "reversal": Reversal,
    "block": BlockShuffle,
    "local": LocalShuffle,
    "pixels": Pixels,
    "blocks": Blocks,
    "superpixels": Superpixels,
    "supervoxels": Supervoxels,
}
"""Records that are written as a name, or as a name and whole numbers: `block:4`, `blocks:16x8`."""

EXAMPLES = {"block": "block:4", "blocks": "blocks:16"}


@dataclass(frozen=True)
class Kind:
    """What an option takes.

    Attributes:
        forms: How it may be written, as the help shows it.
        words: The same as an error names it.
        read: From the text to the value, or ValueError if it is written in no such way. A name that
            is none of the method's passes, as the method itself says which it takes.
        example: What is right in any case.
        switch: Whether it can be given without a value: `--x`, or `--no-x`; it takes one, too, if
            it has forms.
    """

    forms: tuple[str, ...]
    words: tuple[str, ...]
    read: Callable[[str], Any]
    example: str
    switch: bool = False

    def or_else(self, other: Kind) -> Kind:
        """What is written in this way, or else in another."""

        def read(text: str) -> Any:  # noqa: ANN401
            try:
                return self.read(text)
            except ValueError as error:
                if type(error) is not ValueError:
                    raise  # the library's own, which says more
                return other.read(text)

        return Kind(self.forms + other.forms, self.words + other.words, read, self.example)


SWITCH = Kind((), (), bool, "", switch=True)


def kind_of(annotation: object, default: object = None) -> Kind | None:
    """What an option of a type takes; None for what cannot be written as text.

    Whole numbers, numbers, switches, names (`Literal`), text, rows of whole numbers, the records
    above, and unions of these. `none` stands for None where that is not the default.

    Args:
        annotation: A type, resolved.
        default: The option's default.
    """
    parts = _parts(annotation)
    if bool in parts:
        numbers = _numbers(tuple(part for part in parts if part is not bool))
        return replace(numbers[0], switch=True) if numbers else SWITCH
    kinds = [
        *_records(parts),
        *_numbers(parts),
        *(_NONE for part in parts if part is type(None) and default is not None),
        *(_names(get_args(part)) for part in parts if get_origin(part) is Literal),
        *([_TEXT] if str in parts else []),
    ]
    if not kinds:
        return None
    first, *others = kinds
    for other in others:
        first = first.or_else(other)
    return first


def _parts(annotation: object) -> tuple[Any, ...]:
    """The members of a union, or the type itself."""
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(part for member in get_args(annotation) for part in _parts(member))
    return (annotation,)


def _whole_numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _none(text: str) -> None:
    if text != "none":
        raise ValueError(text)


_NUMBERS: dict[object, Kind] = {
    float: Kind(("NUMBER",), ("a number",), float, "0.5"),
    int: Kind(("N",), ("a whole number",), int, "1"),
    Sequence[int]: Kind(("N,N,...",), ("whole numbers with commas",), _whole_numbers, "0,1"),
}
_TEXT = Kind(("TEXT",), ("text",), str, "text")
_NONE = Kind(("none",), ("none",), _none, "none")


def _numbers(parts: tuple[Any, ...]) -> list[Kind]:
    # A whole number is a number, too.
    taken = [part for part in _NUMBERS if part in parts and not (part is int and float in parts)]
    return [_NUMBERS[part] for part in taken]


def _names(names: tuple[Any, ...]) -> Kind:
    shown = tuple(str(name) for name in names)
    by_text = dict(zip(shown, names, strict=True))
    return Kind(shown, shown, lambda text: by_text.get(text, text), shown[0])


def _records(parts: tuple[Any, ...]) -> list[Kind]:
    """The records of a type, or of one below it."""
    families = set(parts) - {object}
    known = {
        name: record
        for name, record in RECORDS.items()
        if families.intersection(inspect.getmro(record))
    }
    if not known:
        return []
    forms = tuple(form for name, record in known.items() for form in _forms(name, record))
    example = next((EXAMPLES[name] for name in known if name in EXAMPLES), forms[0])
    return [Kind(forms, forms, lambda text: _record(text, known), example)]


def _forms(name: str, record: type) -> list[str]:
    """How a record is written: `blocks:SIDE` and `blocks:HEIGHTxWIDTH`, or `superpixels`."""
    required, every = _sizes(record)
    forms = [f"{name}:SIDE"] if len(required) == 2 else []
    if not required:
        forms.append(name)
    return [*forms, f"{name}:{'x'.join(map(str.upper, every))}"] if every else forms


def _sizes(record: type) -> tuple[list[str], list[str]]:
    """The numbers that a record needs, and all that it takes."""
    parameters = inspect.signature(record).parameters.values()
    required = [one.name for one in parameters if one.default is one.empty]
    return required, [one.name for one in parameters]


def _record(text: str, known: dict[str, type]) -> Any:  # noqa: ANN401
    name, colon, rest = text.partition(":")
    sizes = rest.split("x") if colon else []
    if name not in known or not all(size.isdecimal() for size in sizes):
        raise ValueError(text)
    required, every = _sizes(known[name])
    if len(sizes) == 1 < len(required):
        sizes *= len(required)
    if not len(required) <= len(sizes) <= len(every):
        raise ValueError(text)
    return known[name](*map(int, sizes))
