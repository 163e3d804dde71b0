"""Many shuffled clips, or the segments of one: a number for each, and the mean of all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from temporal_attr._activation import Activation, output_name
from temporal_attr._errors import DataError
from temporal_attr._require import require_count, require_seed
from temporal_attr.attributions._storage import Stored
from temporal_attr.attributions._tables import frame_of, interval_columns
from temporal_attr.measures import (
    SHUFFLE_MEASURES,
    Interval,
    hierarchical_bootstrap,
    measure_label,
    natural_order_p_value,
)

if TYPE_CHECKING:
    import pandas

ROUNDING = 3e-4
"""Differences of levels, relative to them, that count as none: half of the digits of float32."""


@runtime_checkable
class ShuffledClips(Protocol):
    """What a set reads of a `ShuffleProbeResult`, whose fields and methods these are."""

    @property
    def target(self) -> Tensor:
        """`(batch,)`."""

    @property
    def permutations(self) -> Tensor:
        """`(shuffles, time)`."""

    @property
    def flow(self) -> Tensor | None:
        """`(batch, time - 1)`."""

    @property
    def intervals(self) -> dict[str, Tensor]:
        """`(batch, 2)` by measure."""

    @property
    def notes(self) -> tuple[tuple[str, ...], ...]:
        """For each clip of the batch."""

    @property
    def activation(self) -> Activation | None:
        """What turned the model's outputs into probabilities."""

    @property
    def shuffling(self) -> str:
        """The family of orders."""

    @property
    def scored_by(self) -> str:
        """What the scores of frames are."""

    def samples(self, example: int) -> dict[str, Tensor]:
        """What each measure of one clip is computed from."""

    def levels(self, example: int) -> Tensor:
        """A clip's mean score in each order."""

    def target_logits(self, example: int) -> Tensor:
        """The target's logit in each order."""


@dataclass(frozen=True, eq=False)
class ShuffleSet(Stored):
    """Many clips, or the segments of one: a number each, and the mean of all.

    Attributes:
        names: What each clip is called.
        values: `(clips,)` by the name of the measure.
        intervals: `(clips, 2)` by the name of the measure.
        means: The mean over clips of each measure where it is defined, with its interval by
            hierarchical bootstrap over clips and shuffles.
        defined: For how many clips each measure is.
        p_value: The probability that an order drawn at random has a mean score (over that of its
            clip, averaged over clips) as far from that of the others as the natural order; NaN
            where clips were shown in different numbers of orders, or have no scores.
        logit_p_value: The same for the target's logit.
        notes: The notes of the clips, and how many clips have each.
        starts: Where each segment begins, in frames of the clip; None for clips.
        size: Frames in a segment; None for clips.
        activation: What turned the model's outputs into probabilities.

    Example:
        >>> from temporal_attr import ShuffleProbe
        >>> from temporal_attr.zoo import build_model
        >>> probe = ShuffleProbe(build_model("late-fusion", classes=4, widths=(4, 8)), shuffles=5)
        >>> results = [probe.explain(torch.rand(2, 8, 3, 32, 32), target=2) for _ in range(2)]
        >>> together = ShuffleSet.of(results, names=["a", "b", "c", "d"])
        >>> together.defined["mrr"], str(together.means["mrr"])
        (4, '1.00 (95 % 1.00 to 1.00)')
    """

    names: tuple[str, ...]
    values: dict[str, Float[Tensor, "clips"]]
    intervals: dict[str, Float[Tensor, "clips 2"]]
    means: dict[str, Interval]
    defined: dict[str, int]
    p_value: float
    logit_p_value: float
    notes: tuple[str, ...]
    starts: tuple[int, ...] | None = None
    size: int | None = None
    activation: Activation | None = "softmax"

    @classmethod
    def of(
        cls,
        clips: Sequence[ShuffledClips | tuple[ShuffledClips, int]],
        names: Sequence[str] | None = None,
        starts: Sequence[int] | None = None,
        size: int | None = None,
        seed: int = 0,
    ) -> ShuffleSet:
        """Put results together.

        Args:
            clips: Each a `ShuffleProbeResult`, of which every clip of the batch is taken, or
                (result, example) for one of them.
            names: What each clip is called; their numbers by default.
            starts: For segments, where each begins.
            size: For segments, their length.
            seed: Of the bootstrap and the permutation test.

        Raises:
            DataError: If there is no clip, not one name for each, not one start for each of
                segments, or they were not all shuffled and scored in the same way.
            OptionError: If a result has no such example, or a number is out of range.
        """
        entries = [pair for clip in clips for pair in _entries(clip)]
        names = [str(number) for number in range(len(entries))] if names is None else names
        if not entries or len(names) != len(entries):
            raise DataError(
                "a name for each of at least one clip",
                f"{len(names)} for {len(entries)}",
                "Give as many names as there are clips in all results.",
            )
        require_seed(seed)
        _require_segments(starts, size, len(entries))
        _require_alike([result for result, _ in entries])
        measured = list(entries[0][0].intervals)
        values = {
            name: torch.stack([getattr(result, name)[example] for result, example in entries])
            for name in measured
        }
        samples = [result.samples(example) for result, example in entries]
        orders = entries[0][0].permutations
        shared = all(torch.equal(result.permutations, orders) for result, _ in entries)
        return cls(
            names=tuple(names),
            values=values,
            intervals={
                name: torch.stack([result.intervals[name][example] for result, example in entries])
                for name in measured
            },
            means={name: _mean(name, values[name], samples, shared, seed) for name in measured},
            defined={name: int(values[name].isfinite().sum()) for name in measured},
            p_value=_p_value([result.levels(example) for result, example in entries]),
            logit_p_value=_p_value([result.target_logits(example) for result, example in entries]),
            notes=_counted([result.notes[example] for result, example in entries]),
            starts=None if starts is None else tuple(starts),
            size=size,
            activation=entries[0][0].activation,
        )

    def summary(self) -> str:
        """The means in a few lines of text."""
        what = "clips" if self.size is None else f"segments of {self.size} frames"
        lines = [f"mean over {len(self.names)} {what}"]
        labels = {name: measure_label(name, self.activation) for name in self.means}
        lines += [f"  {labels[name]}: {mean}" for name, mean in self.means.items()]
        short = {name: count for name, count in self.defined.items() if count < len(self.names)}
        lines += [
            f"  note: {labels[name]} is defined for {count} of {len(self.names)}"
            for name, count in short.items()
        ]
        lines.append(
            "  natural against random orders: "
            f"p = {self.p_value:.2g} for the sensitivity, {self.logit_p_value:.2g} for the "
            f"{output_name(self.activation)}"
        )
        lines += [f"  note: {note}" for note in self.notes]
        if self.size is not None:
            lines.append("  note: segments overlap, so intervals over them are too narrow")
        return "\n".join(lines)

    def table(self) -> str:
        """One row a clip: its name, and each measure as text, under a line of headings."""
        wide = max(len(name) for name in ("clip", *self.names))
        shown = list(self.values)
        lines = ["  ".join(["clip".ljust(wide), *shown])]
        for place, name in enumerate(self.names):
            cells = [f"{self.values[one][place]:.2f}".rjust(len(one)) for one in shown]
            lines.append("  ".join([name.ljust(wide), *cells]))
        return "\n".join(lines)

    def to_dataframe(self) -> pandas.DataFrame:
        """A tidy table, for pandas (the extra `tables`): a row for each clip, or segment.

        Columns: `clip`, its name; of segments also `start` and `stop`, the first frame of each and
        the one after its last; and for each measure, such as `mrr`, the value and the ends of its
        95 % interval, `mrr_low` and `mrr_high`. Means over clips are in `means`.

        Raises:
            OptionError: If pandas is not installed.
        """
        columns: dict[str, Any] = {"clip": list(self.names)}
        if self.starts is not None and self.size is not None:
            columns |= {"start": self.starts, "stop": [at + self.size for at in self.starts]}
        for name, values in self.values.items():
            columns |= interval_columns(name, values, self.intervals[name])
        return frame_of(columns)

    def _at_a_glance(self) -> list[str]:
        what = "clips" if self.size is None else f"segments of {self.size} frames"
        means = [f"mean {name} {mean}" for name, mean in list(self.means.items())[:2]]
        return [f"{len(self.names)} {what}", *means]


def _entries(
    clip: ShuffledClips | tuple[ShuffledClips, int],
) -> list[tuple[ShuffledClips, int]]:
    if isinstance(clip, tuple):
        require_count("example", clip[1], 0, len(clip[0].target) - 1)
        return [clip]
    return [(clip, example) for example in range(len(clip.target))]


def _require_segments(starts: Sequence[int] | None, size: int | None, count: int) -> None:
    """Raise unless segments have a start each and a size, and clips have neither."""
    if (starts is None) != (size is None) or (starts is not None and len(starts) != count):
        raise DataError(
            f"the starts of {count} segments and their size, or neither",
            f"starts {starts} and size {size}",
            "Give both for segments of a clip.",
        )
    for start in starts or ():
        require_count("a start", start, 0)
    if size is not None:
        require_count("size", size, 1)


def _require_alike(results: Sequence[ShuffledClips]) -> None:
    """Raise unless numbers of all results mean the same."""
    kinds = {
        f"{one.shuffling}, {one.scored_by}, {'without' if one.flow is None else 'with'} flow, "
        f"activation {one.activation}"
        for one in results
    }
    if len(kinds) > 1:
        raise DataError(
            "clips that were shuffled and scored in the same way",
            "; ".join(sorted(kinds)),
            "Put together those that are alike.",
        )


def _mean(
    name: str, values: Tensor, samples: list[dict[str, Tensor]], shared: bool, seed: int
) -> Interval:
    """The mean of a measure over the clips for which it is defined."""
    groups = [
        one[name][0].numpy() for one, value in zip(samples, values, strict=True) if value.isfinite()
    ]
    if not groups:
        return Interval(math.nan, math.nan, math.nan, 0.95)
    statistic = SHUFFLE_MEASURES[name].statistic
    return hierarchical_bootstrap(groups, statistic, seed=seed, shared=shared)


def _p_value(levels: list[Float[Tensor, "orders"]]) -> float:
    """The natural order's place among the others, in the mean over clips."""
    if len({len(one) for one in levels}) > 1 or not all(one.isfinite().all() for one in levels):
        return math.nan
    mean = torch.stack(levels).mean(0)
    return natural_order_p_value(mean, ROUNDING * mean.abs().max().item()).item()


def _counted(notes: list[tuple[str, ...]]) -> tuple[str, ...]:
    """Each note once, with the number of clips that have it."""
    found = dict.fromkeys(note for own in notes for note in own)
    return tuple(f"{sum(note in own for own in notes)} of {len(notes)}: {note}" for note in found)
