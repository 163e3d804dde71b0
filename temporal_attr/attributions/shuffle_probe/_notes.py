"""What the numbers of a shuffled clip mean in words: categories, and notes on what limits them."""

from __future__ import annotations

from collections.abc import Iterator

from temporal_attr._activation import Activation, probabilities
from temporal_attr.attributions.shuffle_probe._statistics import ShuffleNumbers
from temporal_attr.measures import (
    context_category,
    need_category,
    reliance_category,
    tracking_category,
)

FEW_FRAMES, FEW_SHUFFLES = 6, 10
"""Below these a number means little, and a note says so."""

PUBLISHED = ("mrr", "relative_drop", "flow_correlation_drop")
"""Measures whose categories are published, and may contradict each other."""

LOW_PROBABILITY = 0.01
"""A class that is less probable, in order and shuffled, has too little to lose."""


def categories_of(numbers: ShuffleNumbers, example: int) -> dict[str, str]:
    """The categories of one clip, by the name of the measure."""
    values = numbers.measured.values
    categories = {}
    if numbers.activation != "none":
        chances = probabilities(numbers.logits.double(), numbers.activation)
        categories["probability_drop"] = need_category(
            values["probability_drop"][example].item(),
            chances[example, numbers.target[example]].clamp(0, 1).item(),
        )
    categories |= {
        "mrr": reliance_category(
            values["mrr"][example].item(), values["median_log_ratio"][example].item()
        ),
        "relative_drop": context_category(values["relative_drop"][example].item()),
        "flow_correlation_drop": tracking_category(
            numbers.value("flow_correlation_drop")[example].item()
        ),
    }
    if 2 * numbers.left_out[example] > numbers.ratios.shape[2]:
        few = "no category, as most frames have no ratio"
        categories |= {"mrr": few, "relative_drop": few}
    return categories


def leading_sentence(in_order: float, drop: float, activation: Activation | None) -> str:
    """What is to be believed of one clip, from the measure that was found to work.

    That is the drop of the target's probability (`benchmarks/results/shuffle_probe.md`). Where
    there are no probabilities the target's output is told as it is, since nobody knows how large a
    drop of it is large.

    Args:
        in_order: The target's probability, or output, of the clip in order.
        drop: That less its mean over shuffled clips.
        activation: What turned outputs into probabilities.

    Example:
        >>> leading_sentence(0.9, 0.6, "softmax")
        "the prediction depends on the order: the target's probability is 90.0% in order, ..."
    """
    if activation == "none":
        values = f"{in_order:.3f} in order, {in_order - drop:.3f} on average when shuffled"
        return f"the target's output is {values}"
    values = f"{in_order:.1%} in order, {in_order - drop:.1%} on average when shuffled"
    said = f"the target's probability is {values}"
    if max(in_order, in_order - drop) < LOW_PROBABILITY:
        return f"{said}: too low to tell whether the prediction depends on the order"
    return f"{need_category(drop, in_order)}: {said}"


def notes_of(numbers: ShuffleNumbers, example: int) -> tuple[str, ...]:
    """What a reader should know before believing the numbers of one clip."""
    _, shuffles, frames = numbers.ratios.shape
    notes = []
    if frames < FEW_FRAMES:
        notes.append(
            f"{frames} frames are few: a median or a correlation over them is not reliable"
        )
    if shuffles < FEW_SHUFFLES:
        # A single other order is always as far from the mean of both as the natural one.
        smallest = 1 / (shuffles + 1) if shuffles > 1 else 1
        notes.append(
            f"{shuffles} order(s) are few: the intervals are too narrow, and no p-value can be "
            f"below {smallest:.2g}"
        )
    return (*notes, *_on_ratios(numbers, example), *_on_flow(numbers, example))


def _on_ratios(numbers: ShuffleNumbers, example: int) -> Iterator[str]:
    without = numbers.ratios[example, 0].isnan()
    if without.all():
        yield "no frame has a score in order, so there is no ratio"
    elif without.any():
        gained = int((numbers.shuffled_scores[example][:, without] > 0).any(0).sum())
        yield (
            f"{int(without.sum())} of {len(without)} frames have no score in order, and no ratio; "
            f"{gained} of them get one when shuffled, which no ratio shows"
        )


def _on_flow(numbers: ShuffleNumbers, example: int) -> Iterator[str]:
    flow = numbers.flow
    if flow is not None and numbers.value("flow_correlation_drop")[example].isnan():
        still = flow[example].max() == flow[example].min()
        what = "the flow is constant" if still else "a profile of scores or the flow is constant"
        yield f"no flow correlation drop: {what}"
