"""From scores of frames in many orders to the measures of a `ShuffleProbeResult`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from temporal_attr._activation import Activation, resolved_activation
from temporal_attr._typing import (
    FrameScores,
    Logits,
    PerExample,
    ShuffledLogits,
    ShuffledScores,
    Target,
    TargetLike,
)
from temporal_attr.attributions.shuffle_probe._scores import OrderScores
from temporal_attr.gradients import resolve_target
from temporal_attr.measures import (
    SHUFFLE_MEASURES,
    bootstrap,
    median_log_ratio,
    motion_reliance_ratio,
    natural_order_p_value,
    score_ratios,
    shuffle_samples,
)


@dataclass(frozen=True)
class Asked:
    """What is asked of scores and logits.

    Attributes:
        target: The class explained, in any of Captum's forms.
        activation: What turns logits into probabilities; None if that is to be found out.
        seed: Of the bootstrap.
    """

    target: TargetLike
    activation: Activation | None
    seed: int


@dataclass(frozen=True)
class Measured:
    """Measures by name, with their 95 % bootstrap intervals over shuffles.

    Attributes:
        values: `(batch,)` each.
        intervals: `(batch, 2)` each.
    """

    values: dict[str, PerExample]
    intervals: dict[str, Float[Tensor, "batch 2"]]


@dataclass(frozen=True)
class ShuffleNumbers:
    """What follows from scores and logits alone, all on the CPU.

    The names are those of `ShuffleProbeResult`; `measured` has the measures that have an interval.
    """

    activation: Activation

    measured: Measured
    frame_ratios: FrameScores
    ratios: ShuffledScores
    ordered_scores: FrameScores
    shuffled_scores: ShuffledScores
    logits: Logits
    shuffled_logits: ShuffledLogits
    target: Target
    static_ratio: PerExample
    p_value: PerExample
    logit_p_value: PerExample
    left_out: Int[Tensor, "batch"]
    flow: Float[Tensor, "batch pairs"] | None

    def value(self, name: str) -> PerExample:
        """A measure by name; NaN where it was not measured, as without flow or probabilities."""
        values = self.measured.values
        return values.get(name, torch.full_like(values["mrr"], torch.nan))


def frame_ratios(scored: OrderScores) -> FrameScores:
    """The median ratio of each frame over shuffles; the natural order comes first."""
    ratios = score_ratios(scored.scores[:, 0], scored.scores[:, 1:])
    by_frame = ratios.transpose(1, 2).flatten(0, 1).unsqueeze(1)
    found: Tensor = motion_reliance_ratio(by_frame).unflatten(0, (len(ratios), -1))
    return found


def explained_target(target: TargetLike, scored: OrderScores) -> Target:
    """The class of each clip that is explained, on the CPU."""
    return resolve_target(target, scored.logits[:, 0]).cpu()


def shuffle_numbers(
    scored: OrderScores,
    static: OrderScores,
    asked: Asked,
    flow: Float[Tensor, "batch pairs"] | None,
) -> ShuffleNumbers:
    """The numbers of clips.

    Args:
        scored: Of the clips: the natural order first.
        static: Of the clips made of one frame.
        asked: Of which class, and how its probability is made.
        flow: Mean magnitudes, if known.
    """
    scores, logits = scored.scores.cpu(), scored.logits.cpu()
    classes = explained_target(asked.target, scored)
    activation = resolved_activation(asked.activation, logits[:, 0])
    ordered, shuffled = scores[:, 0], scores[:, 1:]
    samples = shuffle_samples(
        ordered, shuffled, logits[:, 0], logits[:, 1:], classes, flow, activation
    )
    return ShuffleNumbers(
        activation=activation,
        measured=measured(samples, asked.seed),
        frame_ratios=frame_ratios(OrderScores(scores, logits)),
        ratios=samples["mrr"],
        ordered_scores=ordered,
        shuffled_scores=shuffled,
        logits=logits[:, 0],
        shuffled_logits=logits[:, 1:],
        target=classes,
        static_ratio=_static_ratio(static.scores.cpu(), ordered),
        p_value=_p_value(scores.double().mean(2), ordered.dtype),
        logit_p_value=_p_value(_of_target(logits, classes), logits.dtype),
        left_out=samples["mrr"][:, 0].isnan().sum(1),
        flow=flow,
    )


def measured(samples: dict[str, Tensor], seed: int) -> Measured:
    """Each measure of each clip, and its bootstrap interval over shuffles."""
    values, intervals = {}, {}
    for name, drawn in samples.items():
        measure = SHUFFLE_MEASURES[name]
        values[name] = measure.of(drawn)
        found = [bootstrap(one.numpy(), measure.statistic, seed=seed) for one in drawn]
        intervals[name] = torch.tensor([[i.low, i.high] for i in found], dtype=torch.float64)
    return Measured(values, intervals)


def measured_by_group(scored: OrderScores, asked: Asked, counts: tuple[int, ...]) -> list[Measured]:
    """The measures of each group of orders; the natural order comes first, then the groups."""
    scores, logits = scored.scores.cpu(), scored.logits.cpu()
    groups = zip(scores[:, 1:].split(counts, 1), logits[:, 1:].split(counts, 1), strict=True)
    target, activation = explained_target(asked.target, scored), asked.activation
    samples = (
        shuffle_samples(scores[:, 0], shuffled, logits[:, 0], others, target, None, activation)
        for shuffled, others in groups
    )
    return [measured(one, asked.seed) for one in samples]


def repeat_change(scored: OrderScores, again: OrderScores) -> float:
    """How far scores of the same clips are from each other: the largest median |log R| of a clip.

    0 if that is rounding.
    """
    ratios = score_ratios(scored.scores[:, 0], again.scores)
    change = median_log_ratio(ratios).nan_to_num().max().item()
    rounding: float = torch.finfo(ratios.dtype).eps ** 0.5
    return change if change > rounding else 0.0


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
