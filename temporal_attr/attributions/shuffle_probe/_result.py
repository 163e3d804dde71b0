"""What `ShuffleProbe.explain` found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from temporal_attr._activation import output_name
from temporal_attr._errors import OptionError
from temporal_attr._require import require_flag
from temporal_attr._run import Run, RunContext
from temporal_attr._typing import (
    FrameScores,
    Orders,
    PerExample,
    ShuffledLogits,
    ShuffledScores,
)
from temporal_attr.attributions._results import Result
from temporal_attr.attributions.shuffle_probe._compute import (
    ProbeOutcome,
    ProbeRequest,
    probe_segments,
)
from temporal_attr.attributions.shuffle_probe._labels import ProbeLabels
from temporal_attr.attributions.shuffle_probe._notes import (
    PUBLISHED,
    categories_of,
    leading_sentence,
    notes_of,
)
from temporal_attr.attributions.shuffle_probe._set import ShuffleSet
from temporal_attr.measures import Interval, measure_label, shuffle_samples


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
        logit_drop: `(batch,)`, the target's logit in order less its mean over shuffles.
        probability_drop: `(batch,)`, the same of its probability, in [-1, 1]; NaN, and without an
            interval, where there are no probabilities (activation "none").
        rank_correlation: `(batch,)`, mean over shuffles of Spearman's correlation of the frames'
            scores with those in order, in [-1, 1].
        p_value: `(batch,)`, the probability that an order drawn at random has a mean score as far
            from that of the others as the natural one; at least 1 / (shuffles + 1). It tests
            whether the natural order is special, and the level only, not which frames have it.
        logit_p_value: `(batch,)`, the same for the target's logit.
        left_out: `(batch,)`, frames without a ratio.
        flow: `(batch, time - 1)`, mean magnitude of the flow from frame t to t + 1 in pixels; None
            if it was not asked for.
        intervals: By the name of a field: `(batch, 2)`, the ends of its 95 % bootstrap interval
            over shuffles.
        categories: For each clip of the batch, the categories of its probability drop, MRR, RD and
            FCD, by field. Those of the last three are published, and did not tell which models use
            motion; a summary has them where they are asked for.
        notes: For each clip of the batch, what a reader should know before believing the numbers.
        segments: For each clip of the batch, the same measures segment by segment; None if not
            asked for.
        shuffling: The family of orders.
        scored_by: What the scores of frames are.

    Example:
        >>> from temporal_attr import ShuffleProbe
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("late-fusion", classes=4, pooling="max", widths=(4, 8))
        >>> result = ShuffleProbe(model).explain(torch.rand(1, 8, 3, 32, 32), target=2)
        >>> tuple(result.ratios.shape), str(result.interval("mrr"))
        ((1, 20, 8), '1.00 (95 % 1.00 to 1.00)')
        >>> result.categories[0]["probability_drop"]
        'the prediction hardly depends on the order'
    """

    main_table: ClassVar[str] = "frames"

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
    logit_drop: PerExample
    probability_drop: PerExample
    rank_correlation: PerExample
    p_value: PerExample
    logit_p_value: PerExample
    left_out: Int[Tensor, "batch"]
    flow: Float[Tensor, "batch pairs"] | None
    intervals: dict[str, Float[Tensor, "batch 2"]]
    categories: tuple[dict[str, str], ...]
    notes: tuple[tuple[str, ...], ...]
    segments: tuple[ShuffleSet, ...] | None
    shuffling: str
    scored_by: str

    @classmethod
    def gather(cls, results: Sequence[ShuffleProbeResult], names: Sequence[str]) -> ShuffleSet:
        """What the results of several clips say together; the names are those of the clips."""
        return ShuffleSet.of(results, names)

    def row(self, example: int = 0) -> dict[str, float]:
        """The measures of one clip and the ends of their intervals, as the columns of a table.

        Raises:
            OptionError: If there is no such example, here and below.
        """
        self._require_example(example)
        found: dict[str, float] = {}
        for name in self.intervals:
            one = self.interval(name, example)
            found |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
        return found

    def samples(self, example: int) -> dict[str, Tensor]:
        """What each measure of one clip is computed from: `(1, shuffles, ...)` by its name."""
        self._require_example(example)
        one = slice(example, example + 1)
        return shuffle_samples(
            self.ordered_scores[one],
            self.shuffled_scores[one],
            self.logits[one],
            self.shuffled_logits[one],
            self.target[one],
            None if self.flow is None else self.flow[one],
            self.activation,
        )

    def levels(self, example: int) -> Float[Tensor, "orders"]:
        """A clip's mean score over its mean in all orders: the natural one first, then the others.

        NaN if all scores are zero.
        """
        self._require_example(example)
        ordered = self.ordered_scores[example : example + 1]
        scores = torch.cat([ordered, self.shuffled_scores[example]]).double().mean(1)
        return scores / scores.mean()

    def target_logits(self, example: int) -> Float[Tensor, "orders"]:
        """The target's logit of a clip: in natural order first, then in the others."""
        self._require_example(example)
        shown = torch.cat([self.logits[example : example + 1], self.shuffled_logits[example]])
        return shown[:, self.target[example]].double()

    def interval(self, name: str, example: int = 0) -> Interval:
        """A measure of one clip with its interval; the names are those of the fields.

        Raises:
            OptionError: If there is no such measure, or example.
        """
        self._require_example(example)
        if name not in self.intervals:
            names = ", ".join(self.intervals)
            raise OptionError(f"a measure with an interval: {names}", repr(name), "Choose one.")
        low, high = self.intervals[name][example].tolist()
        return Interval(getattr(self, name)[example].item(), low, high, 0.95)

    def summary(self, *, categories: bool = False) -> str:
        """The result in a few lines of text: first what the drop of the probability says.

        That is the measure that was found to tell which models need the order. All others are
        given as numbers.

        Args:
            categories: Also give the published categories of MRR, RD and FCD. They may contradict
                the first sentence, and each other.
        """
        require_flag("categories", categories)
        return self._summary(partial(self._details, categories=categories))

    def _details(self, example: int, categories: bool = False) -> list[str]:
        frames, shuffles = self.ratios.shape[2], self.ratios.shape[1]
        lines = [
            self._leading_sentence(example),
            f"{frames} frames, {shuffles} orders by {self.shuffling}, {self.scored_by}",
        ]
        words = {name: self.categories[example][name] for name in PUBLISHED} if categories else {}
        for name in self.intervals:
            line = f"{measure_label(name, self.activation)}: {self.interval(name, example)}"
            lines.append(f"{line}; category: {words[name]}" if name in words else line)
        lines.append(f"static ratio: {self.static_ratio[example]:.2f}")
        lines.append(
            "natural against random orders: "
            f"p = {self.p_value[example]:.2g} for the sensitivity, "
            f"{self.logit_p_value[example]:.2g} for the {output_name(self.activation)}"
        )
        lines += [f"note: {note}" for note in self.notes[example]]
        if self.segments is not None:
            lines += self.segments[example].summary().splitlines()
        return lines

    def _leading_sentence(self, example: int) -> str:
        known = self.probabilities
        drops = self.logit_drop if known is None else self.probability_drop
        values = self.logits if known is None else known.clamp(0, 1)
        in_order = values[example, self.target[example]].item()
        return leading_sentence(in_order, drops[example].item(), self.activation)


def result_of(
    outcome: ProbeOutcome,
    labels: ProbeLabels,
    run: Run,
    segments: tuple[ShuffleSet, ...] | None = None,
    remarks: tuple[str, ...] = (),
) -> ShuffleProbeResult:
    """The result of one call.

    Args:
        outcome: What was found.
        labels: What the result says of the probe.
        run: How it went.
        segments: For each clip of the batch.
        remarks: Notes on the call, after those on the numbers.
    """
    numbers = outcome.numbers
    remarks = (*_on_noise(outcome, labels), *remarks)
    examples = range(len(numbers.target))
    return ShuffleProbeResult(
        logits=numbers.logits,
        target=numbers.target,
        run=run,
        class_names=labels.class_names,
        activation=numbers.activation,
        frame_ratios=numbers.frame_ratios,
        ratios=numbers.ratios,
        ordered_scores=numbers.ordered_scores,
        shuffled_scores=numbers.shuffled_scores,
        permutations=outcome.permutations,
        shuffled_logits=numbers.shuffled_logits,
        mrr=numbers.value("mrr"),
        relative_drop=numbers.value("relative_drop"),
        flow_correlation_drop=numbers.value("flow_correlation_drop"),
        static_ratio=numbers.static_ratio,
        median_log_ratio=numbers.value("median_log_ratio"),
        rising_share=numbers.value("rising_share"),
        logit_drop=numbers.value("logit_drop"),
        probability_drop=numbers.value("probability_drop"),
        rank_correlation=numbers.value("rank_correlation"),
        p_value=numbers.p_value,
        logit_p_value=numbers.logit_p_value,
        left_out=numbers.left_out,
        flow=numbers.flow,
        intervals=numbers.measured.intervals,
        categories=tuple(categories_of(numbers, example) for example in examples),
        notes=tuple((*notes_of(numbers, example), *remarks) for example in examples),
        segments=segments,
        shuffling=labels.shuffling,
        scored_by=labels.scored_by(numbers.activation),
    )


def _on_noise(outcome: ProbeOutcome, labels: ProbeLabels) -> tuple[str, ...]:
    if not outcome.repeat_change:
        return ()
    return (
        f"{labels.method} draws random numbers: the same clip twice has |log R| of "
        f"{outcome.repeat_change:.2g}, which is in every ratio",
    )


def segment_sets(
    request: ProbeRequest, starts: Sequence[int], size: int, labels: ProbeLabels, run: RunContext
) -> tuple[ShuffleSet, ...]:
    """The segments of each clip of the batch.

    Args:
        request: Of the whole clip.
        starts: Where each segment begins.
        size: Frames in a segment.
        labels: What a result says of the probe.
        run: Of the whole clip.
    """
    found = [
        result_of(outcome, labels, part)
        for outcome, part in probe_segments(request, starts, size, run)
    ]
    names = [f"frames {start} to {start + size - 1}" for start in starts]
    return tuple(
        ShuffleSet.of([(one, example) for one in found], names, starts, size, request.seed)
        for example in range(len(request.clip))
    )
