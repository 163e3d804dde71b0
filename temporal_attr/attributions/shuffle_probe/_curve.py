"""At which range order matters: what `ShuffleProbe.curve` found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from temporal_attr._activation import Activation
from temporal_attr._errors import OptionError
from temporal_attr._run import Run
from temporal_attr._typing import Target
from temporal_attr.attributions._storage import Stored
from temporal_attr.attributions._tables import (
    class_columns,
    frame_of,
    interval_columns,
    long_columns,
)
from temporal_attr.attributions.shuffle_probe._compute import CurveOutcome
from temporal_attr.clips import BlockShuffle, LocalShuffle, Shuffling, count_orders

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, eq=False)
class ShuffleCurve(Stored):
    """At which range order matters: the measures of each of several shufflings.

    Attributes:
        shufflings: The families of orders, as text.
        lengths: The block length or radius of each, in frames.
        kind: `"block length"` or `"radius"`, what the lengths are.
        orders: How many orders of each there were; fewer than were asked for where there are no
            more.
        target: `(batch,)`, the class that was explained.
        values: By the name of a measure: `(batch, shufflings)`.
        intervals: By the name of a measure: `(batch, shufflings, 2)`, 95 % over shuffles.
        run: How the run went.
        class_names: What the model's classes are called, in their order; empty if not known.
        activation: What turned the model's outputs into probabilities; with `"none"` there is no
            drop of the probability.

    Example:
        >>> import torch
        >>> from temporal_attr import ShuffleProbe
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("inflated-resnet", classes=4, widths=(4, 8))
        >>> curve = ShuffleProbe(model, shuffles=5).curve(torch.rand(1, 8, 3, 32, 32), target=2)
        >>> curve.kind, curve.lengths, tuple(curve.values["mrr"].shape)
        ('block length', (1, 2), (1, 2))
    """

    shufflings: tuple[str, ...]
    lengths: tuple[int, ...]
    kind: str
    orders: tuple[int, ...]
    target: Target
    values: dict[str, Float[Tensor, "batch shufflings"]]
    intervals: dict[str, Float[Tensor, "batch shufflings 2"]]
    run: Run
    class_names: tuple[str, ...] = ()
    activation: Activation | None = "softmax"

    def summary(self) -> str:
        """A table for each clip of the batch: a line for each length."""
        shown = list(self.values)
        lines = []
        for example, target in enumerate(self.target.tolist()):
            name = f"{self.class_names[target]} ({target})" if self.class_names else f"{target}"
            lines.append(f"clip {example}: target {name}")
            lines.append("  ".join([self.kind, "orders", *shown]))
            for place, (length, count) in enumerate(zip(self.lengths, self.orders, strict=True)):
                cells = [f"{self.values[one][example, place]:.2f}".rjust(len(one)) for one in shown]
                first = [f"{length}".rjust(len(self.kind)), f"{count}".rjust(len("orders"))]
                lines.append("  ".join([*first, *cells]))
        if min(self.orders) < max(self.orders):
            lines.append("note: fewer orders than asked for at some lengths; there are no more")
        return "\n".join(lines)

    def to_dataframe(self) -> pandas.DataFrame:
        """A tidy table, for pandas (the extra `tables`): a row for each clip and shuffling.

        Columns: `clip`, its number in the batch; `target`, the class explained; `class_name`, what
        that is called (missing if not known); `shuffling`; `length`, its block length or radius in
        frames; `orders`, how many there were; and for each measure, such as `mrr`, the value and
        the ends of its 95 % interval, `mrr_low` and `mrr_high`.

        Raises:
            OptionError: If pandas is not installed.
        """
        first = next(iter(self.values.values()))
        places = long_columns(first, ("batch", "shufflings"), "")
        clip, place = places["clip"], places["shufflings"]
        columns: dict[str, Any] = {
            "clip": clip,
            **class_columns(self, clip),
            "shuffling": [self.shufflings[at] for at in place],
            "length": [self.lengths[at] for at in place],
            "orders": [self.orders[at] for at in place],
        }
        for name, values in self.values.items():
            columns |= interval_columns(name, values, self.intervals[name])
        return frame_of(columns)

    def _at_a_glance(self) -> list[str]:
        lengths = f"{self.kind} {', '.join(map(str, self.lengths))}"
        return [lengths, f"{len(self.target)} clip(s)", *list(self.values)[:2]]


@dataclass(frozen=True)
class CurveShufflings:
    """The shufflings of a curve, which are all of one kind, and how many orders each has."""

    shufflings: tuple[Shuffling, ...]
    kind: str
    lengths: tuple[int, ...]
    orders: tuple[int, ...]


def curve_shufflings(
    shufflings: Sequence[Shuffling] | None, frames: int, limit: int
) -> CurveShufflings:
    """The shufflings that were asked for, checked, or blocks of 1, 2, 4, ... frames.

    Args:
        shufflings: As `ShuffleProbe.curve` takes them.
        frames: Length of the clip.
        limit: How many orders of each are asked for.

    Raises:
        OptionError: If they are not all of one kind that has a length, or one has no other order.
    """
    if shufflings is None:
        shufflings = [BlockShuffle(2**n) for n in range(1 + int(math.log2(frames / 3)))]
    kind, lengths = _range_of(shufflings)
    orders = tuple(count_orders(one, frames, limit) for one in shufflings)
    for one, count in zip(shufflings, orders, strict=True):
        if not count:
            raise OptionError(
                f"shufflings that have another order of {frames} frames",
                repr(one),
                "Leave it out, or take shorter blocks.",
            )
    return CurveShufflings(tuple(shufflings), kind, lengths, orders)


def curve_of(
    asked: CurveShufflings, found: CurveOutcome, run: Run, class_names: tuple[str, ...]
) -> ShuffleCurve:
    """The result of one call."""
    return ShuffleCurve(
        shufflings=tuple(map(repr, asked.shufflings)),
        lengths=asked.lengths,
        kind=asked.kind,
        orders=asked.orders,
        target=found.target,
        values=found.values,
        intervals=found.intervals,
        run=run,
        class_names=class_names,
        activation=found.activation,
    )


def _range_of(shufflings: Sequence[Shuffling]) -> tuple[str, tuple[int, ...]]:
    """What the lengths of a curve are, and the lengths."""
    blocks = tuple(one.length for one in shufflings if isinstance(one, BlockShuffle))
    radii = tuple(one.radius for one in shufflings if isinstance(one, LocalShuffle))
    if shufflings and len(blocks) == len(shufflings):
        return "block length", blocks
    if shufflings and len(radii) == len(shufflings):
        return "radius", radii
    raise OptionError(
        "shufflings that are all BlockShuffle, or all LocalShuffle",
        ", ".join(map(repr, shufflings)) or "none",
        "Give one kind, such as [BlockShuffle(1), BlockShuffle(4)].",
    )
