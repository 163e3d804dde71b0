"""What the numbers of a shuffled clip mean in words: categories, and notes on what limits them."""

from __future__ import annotations

from collections.abc import Iterator

from temporal_attr.attributions.shuffle_probe._statistics import ShuffleNumbers
from temporal_attr.measures import (
    context_category,
    need_category,
    reliance_category,
    tracking_category,
)

FEW_FRAMES, FEW_SHUFFLES = 6, 10
"""Below these a number means little, and a note says so."""


def categories_of(numbers: ShuffleNumbers, example: int) -> dict[str, str]:
    """The categories of one clip, by the name of the measure."""
    values = numbers.measured.values
    probabilities = numbers.logits.double().softmax(1)
    categories = {
        "probability_drop": need_category(
            values["probability_drop"][example].item(),
            probabilities[example, numbers.target[example]].item(),
        ),
        "mrr": reliance_category(
            values["mrr"][example].item(), values["median_log_ratio"][example].item()
        ),
        "relative_drop": context_category(values["relative_drop"][example].item()),
        "flow_correlation_drop": tracking_category(numbers.flow_correlation_drop[example].item()),
    }
    if 2 * numbers.left_out[example] > numbers.ratios.shape[2]:
        few = "no category, as most frames have no ratio"
        categories |= {"mrr": few, "relative_drop": few}
    return categories


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
    if flow is not None and numbers.flow_correlation_drop[example].isnan():
        still = flow[example].max() == flow[example].min()
        what = "the flow is constant" if still else "a profile of scores or the flow is constant"
        yield f"no flow correlation drop: {what}"
