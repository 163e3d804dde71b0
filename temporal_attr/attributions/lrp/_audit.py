"""What every operation does with relevance, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from temporal_attr.attributions._tables import frame_of
from temporal_attr.relevance import AuditedCall

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class RelevanceAudit:
    """What `LRP.audit` found: an account of all relevance of one clip's logit.

    Attributes:
        calls: The functions that relevance reached, in the order of the forward pass.
        logit: What was distributed.
        clip: The sum of what the clip got.
        sinks: What got anything else, by name.

    Example:
        >>> calls = (AuditedCall("linear", "module 'head'", "ZPlus", 2.0, 1.5, 0.5, 1.5),)
        >>> print(RelevanceAudit(calls, logit=2.0, clip=1.5, sinks={"head.bias": 0.5}))
        function  module         rule   arrived  to data  to sinks  unexplained  magnitude
        linear    module 'head'  ZPlus        2      1.5       0.5            0        1.5
        logit 2 = clip 1.5 + sinks 0.5 + lost 0
    """

    calls: tuple[AuditedCall, ...]
    logit: float
    clip: float
    sinks: Mapping[str, float]

    @property
    def lost(self) -> float:
        """What neither the clip nor a sink got: rounding, or the fault of a handler."""
        return self.logit - self.clip - sum(self.sinks.values())

    def to_dataframe(self) -> pandas.DataFrame:
        """One row a function (needs pandas)."""
        names = ("function", "module", "rule", *(attribute for _, attribute in _NUMBERS))
        return frame_of({name: [getattr(call, name) for call in self.calls] for name in names})

    def __str__(self) -> str:
        """The table as text, and the account under it."""
        heads = ("function", "module", "rule", *(name for name, _ in _NUMBERS))
        rows = [
            (
                call.function,
                call.module,
                call.rule,
                *(f"{getattr(call, attribute):.4g}" for _, attribute in _NUMBERS),
            )
            for call in self.calls
        ]
        widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
        lines = ["  ".join(_aligned(row, widths)).rstrip() for row in (heads, *rows)]
        account = (
            f"logit {self.logit:.4g} = clip {self.clip:.4g} + sinks "
            f"{sum(self.sinks.values()):.4g} + lost {self.lost:.2g}"
        )
        return "\n".join([*lines, account])


_NUMBERS = (
    ("arrived", "arrived"),
    ("to data", "to_data"),
    ("to sinks", "to_sinks"),
    ("unexplained", "unexplained"),
    ("magnitude", "magnitude"),
)
"""Headings of numbers, and the attributes that hold them."""


def _aligned(row: tuple[str, ...], widths: list[int]) -> list[str]:
    """Text to the left, numbers to the right."""
    return [
        entry.ljust(width) if at < 3 else entry.rjust(width)
        for at, (entry, width) in enumerate(zip(row, widths, strict=True))
    ]
