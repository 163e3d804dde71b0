"""What every metric is: traits that say what it asks for, and a score of one explanation."""

from __future__ import annotations

import hashlib
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from temporal_attr._errors import DataError
from temporal_attr._told import shown
from temporal_attr.evaluation._case import Case, Explain

Family: TypeAlias = Literal["truth", "faithfulness", "sanity", "robustness", "complexity"]
Needs: TypeAlias = Literal["truth", "model", "method", "parameters"]


@dataclass(frozen=True)
class MetricTraits:
    """What a metric is; every metric has them as `Metric.traits`.

    Attributes:
        slug: Its name in tables and at the command line.
        question: What it answers, in the reader's words.
        family: What kind of judgement it is.
        needs: Besides the explanation: what is known to be true of the clip, predictions of the
            model, the method itself, or the model's parameters.
        higher_is_better: None where neither is better.
        lowest: The smallest value there is.
        highest: The largest.
        cost: What it takes for each explanation, in F (forward passes of a clip) and A
            (attributions); "0" where it runs nothing.
        source: The key of its definition in the bibliography; empty if it is this library's own.
    """

    slug: str
    question: str
    family: Family
    needs: tuple[Needs, ...]
    higher_is_better: bool | None
    lowest: float
    highest: float
    cost: str
    source: str


@dataclass(frozen=True)
class Score:
    """What a metric says of one explanation.

    Attributes:
        value: NaN where the metric says nothing of this case, which `note` explains.
        standard_error: Of what is drawn at random; NaN where nothing is.
        forward_passes: Of clips, that the metric took besides the attributions that it asked for.
        note: Why there is no value, or what the reader should know of it.
        curves: Numbers for pictures, by name.
    """

    value: float
    standard_error: float = math.nan
    forward_passes: float = 0.0
    note: str = ""
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


class Metric(ABC):
    """How good is an explanation? One number for one case.

    A subclass is a frozen dataclass whose fields are its options, over a pure function.
    """

    traits: ClassVar[MetricTraits]

    @property
    def name(self) -> str:
        """In tables: the slug, what is scored, and the options that are not the usual ones."""
        given = {entry.name: getattr(self, entry.name) for entry in fields(self)}  # type: ignore[arg-type]
        usual = {entry.name: entry.default for entry in fields(self)}  # type: ignore[arg-type]
        scored = [_scored(given.pop(name)) for name in ("of", "features") if name in given]
        named = "-".join([self.traits.slug, *scored])
        others = [
            f"{key}={value if isinstance(value, str) else _told(value)}"
            for key, value in given.items()
            if isinstance(value, Tensor) or value != usual[key]
        ]
        return f"{named}({', '.join(others)})" if others else named

    @abstractmethod
    def score(self, case: Case) -> Score:
        """Judge one explanation.

        Raises:
            DataError: If the case lacks what the metric needs: truth, pixels, the method.
        """

    def require_explain(self, case: Case) -> Explain:
        """The case's method, to be asked again.

        Raises:
            DataError: If only its explanation is there.
        """
        if case.explain is None:
            raise DataError(
                f"a method that {self.name} can ask again",
                "an explanation only",
                "Give the case's explain, or leave this metric out.",
            )
        return case.explain


def _told(value: object) -> str:
    """An option in a name: a tensor by its shape and the beginning of a hash of its numbers."""
    if not isinstance(value, Tensor):
        return shown(value)
    numbers = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    shape = "x".join(map(str, value.shape))
    return f"tensor {shape} {hashlib.sha256(numbers.tobytes()).hexdigest()[:8]}"


def _scored(what: object) -> str:
    """Frames, pixels, or features: by the name of their kind where they are the usual ones of it.

    Example:
        >>> from temporal_attr.perturbations import Tubes
        >>> _scored("frames"), _scored(Tubes()), _scored(Tubes(8, 4, 4))
        ('frames', 'tubes', 'Tubes(time=8, height=4, width=4)')
    """
    if isinstance(what, str):
        return what
    kind = type(what)
    required = any(
        one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD
        for one in inspect.signature(kind).parameters.values()
    )
    return kind.__name__.lower() if not required and what == kind() else shown(what)
