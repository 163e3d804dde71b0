"""What `ShuffleProbe` finds: for clips, for a set of clips or windows, over block lengths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from temporal_attr._errors import OptionError
from temporal_attr._typing import (
    FrameScores,
    Orders,
    PerExample,
    ShuffledLogits,
    ShuffledScores,
    Target,
)
from temporal_attr.attributions._results import Result, plain
from temporal_attr.measures import (
    SHUFFLE_MEASURES,
    Interval,
    hierarchical_bootstrap,
    natural_order_p_value,
    shuffle_samples,
)

ROUNDING = 3e-4
"""Differences of levels, relative to them, that count as none: half of the digits of float32."""


@dataclass(frozen=True, eq=False)
class ShuffleProbeResult(Result):
    """What `ShuffleProbe.explain` found.

    Attributes:
        frame_ratios: `(batch, time)`, what `attribute` gives: the median of R_t^s over shuffles.
        ratios: `(batch, shuffles, time)`, R_t^s = G_t^s / G_t; a column is a frame, wherever it
            stood. NaN for a frame whose score in order is zero or rounding only.
        ordered_scores: `(batch, time)`, G_t.
        shuffled_scores: `(batch, shuffles, time)`, G_t^s, aligned like the ratios.
        permutations: `(shuffles, time)`: entry p of a row is the frame shown at place p.
        shuffled_logits: `(batch, shuffles, classes)`.
        mrr: `(batch,)`, motion reliance ratio: the median of all ratios; 1 where order changes
            nothing, with no upper bound.
        relative_drop: `(batch,)`, 1 - MRR.
        flow_correlation_drop: `(batch,)`, how much better the scores follow the motion in order, in
            [-2, 2]; NaN where it is not defined (see `notes`).
        static_ratio: `(batch,)`, mean score of the clip made of its middle frame only, over the
            mean score of the clip.
        median_log_ratio: `(batch,)`, the median of `|log R|`: how much scores change, up or down.
        rising_share: `(batch,)`, the share of ratios above 1, in [0, 1].
        logit_fall: `(batch,)`, the target's logit in order less its mean over shuffles.
        probability_fall: `(batch,)`, the same of its probability, in [-1, 1].
        rank_correlation: `(batch,)`, mean over shuffles of Spearman's correlation of the frames'
            scores with those in order, in [-1, 1].
        p_value: `(batch,)`, the probability that an order drawn at random has a mean score as far
            from that of the others as the natural one; at least 1 / (shuffles + 1). It asks whether
            the natural order is special, and of the level only, not of which frames have it.
        logit_p_value: `(batch,)`, the same for the target's logit.
        left_out: `(batch,)`, frames without a ratio.
        flow: `(batch, time - 1)`, mean magnitude of the flow from frame t to t + 1 in pixels; None
            if it was not asked for.
        intervals: By the name of a field: `(batch, 2)`, the ends of its 95 % bootstrap interval
            over shuffles.
        categories: For each clip, what its probability fall, MRR, RD and FCD are called, by field.
        notes: For each clip, what a reader should know before believing the numbers.
        windows: For each clip, the same numbers window by window; None if not asked for.
        shuffling: The family of orders.
        scored_by: What the scores of frames are.
    """

    frame_ratios: FrameScores
    ratios: ShuffledScores
    ordered_scores: FrameScores
    shuffled_scores: ShuffledScores
    permutations: Orders
    shuffled_logits: ShuffledLogits
    mrr: PerExample
    relative_drop: PerExample
    flow_correlation_drop: PerExample
    static_ratio: PerExample
    median_log_ratio: PerExample
    rising_share: PerExample
    logit_fall: PerExample
    probability_fall: PerExample
    rank_correlation: PerExample
    p_value: PerExample
    logit_p_value: PerExample
    left_out: Int[Tensor, "batch"]
    flow: Float[Tensor, "batch pairs"] | None
    intervals: dict[str, Float[Tensor, "batch 2"]]
    categories: tuple[dict[str, str], ...]
    notes: tuple[tuple[str, ...], ...]
    windows: tuple[ShuffleSet, ...] | None
    shuffling: str
    scored_by: str

    def samples(self, example: int) -> dict[str, Tensor]:
        """What each measure of one clip is computed from: `(1, shuffles, ...)` by its name."""
        one = slice(example, example + 1)
        return shuffle_samples(
            self.ordered_scores[one],
            self.shuffled_scores[one],
            self.logits[one],
            self.shuffled_logits[one],
            self.target[one],
            None if self.flow is None else self.flow[one],
        )

    def levels(self, example: int) -> Float[Tensor, "orders"]:
        """A clip's mean score over its mean in all orders: the natural one first, then the others.

        NaN if all scores are zero.
        """
        ordered = self.ordered_scores[example : example + 1]
        scores = torch.cat([ordered, self.shuffled_scores[example]]).double().mean(1)
        return scores / scores.mean()

    def target_logits(self, example: int) -> Float[Tensor, "orders"]:
        """The target's logit of a clip: in natural order first, then in the others."""
        shown = torch.cat([self.logits[example : example + 1], self.shuffled_logits[example]])
        return shown[:, self.target[example]].double()

    def interval(self, name: str, example: int = 0) -> Interval:
        """A measure of one clip with its interval; the names are those of the fields."""
        if name not in self.intervals:
            names = ", ".join(self.intervals)
            raise OptionError(f"a measure with an interval: {names}", repr(name), "Choose one.")
        low, high = self.intervals[name][example].tolist()
        return Interval(getattr(self, name)[example].item(), low, high, 0.95)

    def _details(self, example: int) -> list[str]:
        frames, shuffles = self.ratios.shape[2], self.ratios.shape[1]
        lines = [f"{frames} frames, {shuffles} orders by {self.shuffling}, {self.scored_by}"]
        called = self.categories[example]
        for name in self.intervals:
            line = f"{SHUFFLE_MEASURES[name].label}: {self.interval(name, example)}"
            lines.append(f"{line}: {called[name]}" if name in called else line)
        lines.append(f"static ratio: {self.static_ratio[example]:.2f}")
        lines.append(
            "natural against random orders: "
            f"p = {self.p_value[example]:.2g} for the sensitivity, "
            f"{self.logit_p_value[example]:.2g} for the logit"
        )
        lines += [f"note: {note}" for note in self.notes[example]]
        if self.windows is not None:
            lines += self.windows[example].summary().splitlines()
        return lines


@dataclass(frozen=True, eq=False)
class ShuffleSet:
    """Many clips, or the windows of one: a number each, and the mean of all.

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
        notes: What the clips' own notes say, and of how many clips.
        starts: Where each window begins, in frames of the clip; None for clips.
        size: Frames in a window; None for clips.
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

    @classmethod
    def of(
        cls,
        clips: Sequence[ShuffleProbeResult | tuple[ShuffleProbeResult, int]],
        names: Sequence[str] | None = None,
        starts: Sequence[int] | None = None,
        size: int | None = None,
        seed: int = 0,
    ) -> ShuffleSet:
        """Put results together.

        Args:
            clips: Results, of which every clip of the batch is taken, or (result, example) for
                one of them.
            names: What each clip is called; their numbers by default.
            starts: For windows, where each begins.
            size: For windows, their length.
            seed: Of the bootstrap and the permutation test.

        Raises:
            OptionError: If there is no clip, not one name for each, or they were not all shuffled
                and scored in the same way.
        """
        entries = [pair for clip in clips for pair in _entries(clip)]
        names = [str(number) for number in range(len(entries))] if names is None else names
        if not entries or len(names) != len(entries):
            raise OptionError(
                "a name for each of at least one clip",
                f"{len(names)} for {len(entries)}",
                "Give as many names as there are clips in all results.",
            )
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
        )

    def summary(self) -> str:
        """The means in a few lines of text."""
        what = "clips" if self.size is None else f"windows of {self.size} frames"
        lines = [f"mean over {len(self.names)} {what}"]
        lines += [f"  {SHUFFLE_MEASURES[name].label}: {mean}" for name, mean in self.means.items()]
        short = {name: count for name, count in self.defined.items() if count < len(self.names)}
        lines += [
            f"  note: {SHUFFLE_MEASURES[name].label} is defined for {count} of {len(self.names)}"
            for name, count in short.items()
        ]
        lines.append(
            "  natural against random orders: "
            f"p = {self.p_value:.2g} for the sensitivity, {self.logit_p_value:.2g} for the logit"
        )
        lines += [f"  note: {note}" for note in self.notes]
        if self.size is not None:
            lines.append("  note: windows overlap, so intervals over them are too narrow")
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

    def to_dict(self) -> dict[str, Any]:
        """Plain Python, ready for JSON; what is not a finite number becomes None."""
        found: dict[str, Any] = plain(vars(self))
        return found


@dataclass(frozen=True, eq=False)
class ShuffleCurve:
    """At which range order matters: `ShuffleProbe.curve` found these, one for each shuffling.

    Attributes:
        shufflings: The families of orders, as text.
        lengths: The block length or radius of each, in frames.
        kind: `"block length"` or `"radius"`, what the lengths are.
        orders: How many orders of each there were; fewer than were asked for where there are no
            more.
        target: `(batch,)`, the class that was explained.
        values: By the name of a measure: `(batch, shufflings)`.
        intervals: By the name of a measure: `(batch, shufflings, 2)`, 95 % over shuffles.
    """

    shufflings: tuple[str, ...]
    lengths: tuple[int, ...]
    kind: str
    orders: tuple[int, ...]
    target: Target
    values: dict[str, Float[Tensor, "batch shufflings"]]
    intervals: dict[str, Float[Tensor, "batch shufflings 2"]]

    def summary(self) -> str:
        """A table for each clip: a line for each length."""
        shown = list(self.values)
        lines = []
        for example, target in enumerate(self.target.tolist()):
            lines.append(f"clip {example}: target {target}")
            lines.append("  ".join([self.kind, "orders", *shown]))
            for place, (length, count) in enumerate(zip(self.lengths, self.orders, strict=True)):
                cells = [f"{self.values[one][example, place]:.2f}".rjust(len(one)) for one in shown]
                first = [f"{length}".rjust(len(self.kind)), f"{count}".rjust(len("orders"))]
                lines.append("  ".join([*first, *cells]))
        if min(self.orders) < max(self.orders):
            lines.append("note: fewer orders than asked for at some lengths; there are no more")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain Python, ready for JSON."""
        found: dict[str, Any] = plain(vars(self))
        return found


def _entries(
    clip: ShuffleProbeResult | tuple[ShuffleProbeResult, int],
) -> list[tuple[ShuffleProbeResult, int]]:
    if isinstance(clip, tuple):
        return [clip]
    return [(clip, example) for example in range(len(clip.target))]


def _require_alike(results: Sequence[ShuffleProbeResult]) -> None:
    """Raise unless numbers of all results mean the same."""
    kinds = {
        (one.shuffling, one.scored_by, "without" if one.flow is None else "with") for one in results
    }
    if len(kinds) > 1:
        raise OptionError(
            "clips that were shuffled and scored in the same way",
            "; ".join(f"{how}, {scored}, {flow} flow" for how, scored, flow in sorted(kinds)),
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
