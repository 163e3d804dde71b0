"""The options of a method at the command line, from the signatures of its class."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_type_hints

from temporal_attr._errors import OptionError
from temporal_attr.attributions import TemporalGradient, VideoMethod
from temporal_attr.cli._docs import argument_texts
from temporal_attr.cli._methods import base_names
from temporal_attr.cli._values import Kind, kind_of
from temporal_attr.clips import Reversal

Part = Literal["constructor", "explain", "base"]

SUPPLIED = ("method_arguments", "normalization", "on_stop", "seed", "show_progress")
"""What the command line itself hands to a method that takes it."""


@dataclass(frozen=True)
class Option:
    """One option of a method.

    Attributes:
        name: Of the parameter.
        kind: What it takes.
        default: What the method does without it.
        text: What its docstring says.
        part: Where the value goes.
    """

    name: str
    kind: Kind
    default: object
    text: str
    part: Part

    @property
    def flag(self) -> str:
        """As it is written at the command line."""
        return f"--{self.name.replace('_', '-')}"

    def value(self, given: str | bool) -> Any:  # noqa: ANN401 - whatever the method takes
        """What the method takes, from what was given.

        Raises:
            OptionError: If it is written in no way that the method can read.
        """
        if not isinstance(given, str):
            return given
        try:
            return self.kind.read(given)
        except OptionError:
            raise
        except ValueError:
            *others, last = self.kind.words
            ways = f"{', '.join(others)} or {last}" if others else last
            remedy = f"Try {self.kind.example}."
            raise OptionError(f"{self.flag} to be {ways}", given, remedy) from None


def options_of(method: type[VideoMethod]) -> dict[str, Option]:
    """All that a method takes at the command line, by the parameter's name.

    These are the parameters of its constructor after the first, and those of `explain` that go by
    keyword, as far as they can be written as text.
    """
    _, *constructor = inspect.signature(method).parameters.values()
    explain = [
        one
        for one in inspect.signature(method.explain).parameters.values()
        if one.kind is one.KEYWORD_ONLY
    ]
    found = {
        **_of_part("constructor", constructor, method.__init__, method.__doc__),
        **_of_part("explain", explain, method.explain, method.explain.__doc__),
    }
    if method.traits.takes_methods:
        found["base"] = _base(getattr(method, "default_method", TemporalGradient).traits.slug)
    return dict(sorted(found.items()))


def _of_part(
    part: Part,
    parameters: list[inspect.Parameter],
    function: Callable[..., Any],
    docstring: str | None,
) -> dict[str, Option]:
    types, texts = get_type_hints(function), argument_texts(docstring)
    kinds = {
        one.name: kind_of(types[one.name], one.default)
        for one in parameters
        if one.name not in SUPPLIED
    }
    return {
        one.name: Option(one.name, kind, one.default, texts.get(one.name, ""), part)
        for one in parameters
        if (kind := kinds.get(one.name)) is not None
    }


def _base(default: str) -> Option:
    names = base_names()
    text = (
        "The method whose attribution is used; those that start from a baseline start from a clip "
        "of zeros (expected-gradients: from its own frames standing still), and those that draw "
        "random numbers do so by --seed."
    )
    return Option("base", Kind(names, names, _base_name, names[-1]), default, text, "base")


def _base_name(text: str) -> str:
    if text not in base_names():
        raise ValueError(text)
    return text


@dataclass(frozen=True)
class Implied:
    """What an option that is given says of another that is not.

    Attributes:
        given: The option that is given.
        implied: The option that is not.
        value: What that one then is.
        only: The value of the first for which this holds; None for all.
    """

    given: str
    implied: str
    value: object
    only: object = None


IMPLIED = (
    # Each of these would be an error, or without an effect, if the other were left at its default.
    Implied("feature_mask", "steps", "two"),
    Implied("segment", "segments", True),
    Implied("segment_overlap", "segments", True),
    Implied("shuffling", "shuffles", 1, only=Reversal()),
)


def values_of(
    method: type[VideoMethod], given: Mapping[str, str | bool]
) -> dict[Part, dict[str, Any]]:
    """What was given for a method, as values, by where they go.

    Raises:
        OptionError: If the method takes no such option, or not such a value.
    """
    options = options_of(method)
    for name in sorted(given.keys() - options.keys()):
        raise OptionError(
            f"options of {method.traits.slug}: "
            + (", ".join(option.flag for option in options.values()) or "none"),
            f"--{name.replace('_', '-')}",
            "Leave it out.",
        )
    values = {name: options[name].value(text) for name, text in given.items()}
    for one in IMPLIED:
        holds = one.given in given and one.only in (None, values[one.given])
        if holds and one.implied in options:
            values.setdefault(one.implied, one.value)
    parts: dict[Part, dict[str, Any]] = {"constructor": {}, "explain": {}, "base": {}}
    for name, value in values.items():
        parts[options[name].part][name] = value
    return parts
