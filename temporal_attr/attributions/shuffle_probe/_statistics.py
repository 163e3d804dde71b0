"""From scores of frames in many orders to the numbers of a `ShuffleProbeResult`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from temporal_attr._typing import FrameScores, PerExample, Target
from temporal_attr.attributions.shuffle_probe._score_sources import OrderScores
from temporal_attr.measures import (
    SHUFFLE_MEASURES,
    bootstrap,
    context_category,
    motion_reliance_ratio,
    natural_order_p_value,
    need_category,
    reliance_category,
    score_ratios,
    shuffle_samples,
    tracking_category,
)

FEW_FRAMES, FEW_SHUFFLES = 6, 10
"""Below these a number means little, and a note says so."""


def frame_ratios(scored: OrderScores) -> FrameScores:
    """The median ratio of each frame over shuffles; the natural order comes first."""
    ratios = score_ratios(scored.scores[:, 0], scored.scores[:, 1:])
    by_frame = ratios.transpose(1, 2).flatten(0, 1).unsqueeze(1)
    found: Tensor = motion_reliance_ratio(by_frame).unflatten(0, (len(ratios), -1))
    return found


def numbers_of(
    scored: OrderScores,
    static: OrderScores,
    target: Target,
    flow: Float[Tensor, "batch pairs"] | None,
    seed: int,
) -> dict[str, Any]:
    """The fields of a result that follow from scores alone, all on the CPU.

    Args:
        scored: Of the clip: the natural order first.
        static: Of the clip made of one frame.
        target: The class explained.
        flow: Mean magnitudes, if known.
        seed: Of the bootstrap.
    """
    scored = replace(scored, scores=scored.scores.cpu(), logits=scored.logits.cpu())
    target = target.cpu()
    ordered, shuffled = scored.scores[:, 0], scored.scores[:, 1:]
    logits, shuffled_logits = scored.logits[:, 0], scored.logits[:, 1:]
    samples = shuffle_samples(ordered, shuffled, logits, shuffled_logits, target, flow)
    values, intervals = values_of(samples, seed)
    values.setdefault("flow_correlation_drop", torch.full_like(values["mrr"], torch.nan))
    fields = {
        **values,
        "frame_ratios": frame_ratios(scored),
        "ratios": samples["mrr"],
        "ordered_scores": ordered,
        "shuffled_scores": shuffled,
        "logits": logits,
        "shuffled_logits": shuffled_logits,
        "target": target,
        "static_ratio": _static_ratio(static.scores.cpu(), ordered),
        "p_value": _p_value(scored.scores.double().mean(2), ordered.dtype),
        "logit_p_value": _p_value(_of_target(scored.logits, target), logits.dtype),
        "left_out": samples["mrr"][:, 0].isnan().sum(1),
        "flow": flow,
        "intervals": intervals,
    }
    return {**fields, "categories": tuple(_categories(fields)), "notes": tuple(_notes(fields))}


def values_of(
    samples: dict[str, Tensor], seed: int
) -> tuple[dict[str, PerExample], dict[str, Float[Tensor, "batch 2"]]]:
    """Each measure of each clip, and its bootstrap interval over shuffles."""
    values, intervals = {}, {}
    for name, drawn in samples.items():
        measure = SHUFFLE_MEASURES[name]
        values[name] = measure.of(drawn)
        found = [bootstrap(one.numpy(), measure.statistic, seed=seed) for one in drawn]
        intervals[name] = torch.tensor([[i.low, i.high] for i in found], dtype=torch.float64)
    return values, intervals


def curve_of(scored: OrderScores, target: Target, counts: list[int], seed: int) -> dict[str, Any]:
    """The values and intervals of a `ShuffleCurve`; `counts` orders belong to each shuffling."""
    scores, logits = scored.scores.cpu(), scored.logits.cpu()
    points = []
    for shuffled, others in zip(
        scores[:, 1:].split(counts, 1), logits[:, 1:].split(counts, 1), strict=True
    ):
        samples = shuffle_samples(scores[:, 0], shuffled, logits[:, 0], others, target.cpu())
        points.append(values_of(samples, seed))
    return {
        "values": {name: torch.stack([p[0][name] for p in points], 1) for name in points[0][0]},
        "intervals": {name: torch.stack([p[1][name] for p in points], 1) for name in points[0][1]},
    }


def _static_ratio(static: Float[Tensor, "batch 1 time"], ordered: FrameScores) -> PerExample:
    level = ordered.double().mean(1)
    return static.squeeze(1).double().mean(1) / level.where(level > 0, torch.nan)


def _of_target(logits: Float[Tensor, "batch orders classes"], target: Target) -> Tensor:
    index = target[:, None, None].expand(-1, logits.shape[1], 1)
    return logits.gather(2, index).squeeze(2).double()


def _p_value(levels: Float[Tensor, "batch orders"], dtype: torch.dtype) -> PerExample:
    # What differs in the last half of the digits is rounding, and counts as equal.
    tolerance = torch.finfo(dtype).eps ** 0.5 * levels.abs().amax(1)
    return torch.stack(
        [
            natural_order_p_value(level, slack.item())
            for level, slack in zip(levels, tolerance, strict=True)
        ]
    )


def _categories(fields: dict[str, Any]) -> Iterator[dict[str, str]]:
    probabilities = fields["logits"].double().softmax(1)
    frames = fields["ratios"].shape[2]
    for example, target in enumerate(fields["target"].tolist()):
        fall, mrr, drop, flow, change = (
            fields[name][example].item()
            for name in (
                "probability_fall",
                "mrr",
                "relative_drop",
                "flow_correlation_drop",
                "median_log_ratio",
            )
        )
        words = {
            "probability_fall": need_category(fall, probabilities[example, target].item()),
            "mrr": reliance_category(mrr, change),
            "relative_drop": context_category(drop),
            "flow_correlation_drop": tracking_category(flow),
        }
        if 2 * fields["left_out"][example] > frames:
            few = "not said, as most frames have no ratio"
            words |= {"mrr": few, "relative_drop": few}
        yield words


def _notes(fields: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    _, shuffles, frames = fields["ratios"].shape
    shared = []
    if frames < FEW_FRAMES:
        shared.append(f"{frames} frames are few: a median over them, and a correlation, say little")
    if shuffles < FEW_SHUFFLES:
        # A single other order is always as far from the mean of both as the natural one.
        smallest = 1 / (shuffles + 1) if shuffles > 1 else 1
        shared.append(
            f"{shuffles} order(s) are few: the intervals are too narrow, and no p-value can be "
            f"below {smallest:.2g}"
        )
    for example in range(len(fields["mrr"])):
        yield (*shared, *_notes_of(fields, example))


def _notes_of(fields: dict[str, Any], example: int) -> Iterator[str]:
    ratios = fields["ratios"][example]
    without = ratios[0].isnan()
    if without.all():
        yield "no frame has a score in order, so there is no ratio"
    elif without.any():
        gained = int((fields["shuffled_scores"][example][:, without] > 0).any(0).sum())
        yield (
            f"{int(without.sum())} of {len(without)} frames have no score in order, and no ratio; "
            f"{gained} of them get one when shuffled, which no ratio shows"
        )
    flow = fields["flow"]
    if flow is not None and fields["flow_correlation_drop"][example].isnan():
        still = flow[example].max() == flow[example].min()
        what = "the flow is constant" if still else "a profile of scores or the flow is constant"
        yield f"no flow correlation drop: {what}"
