"""The measures of a shuffled clip by name: what each is computed from, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from temporal_attr._activation import (
    Activation,
    output_name,
    probabilities,
    resolved_activation,
)
from temporal_attr._errors import OptionError
from temporal_attr._targets import resolve_target
from temporal_attr._typing import (
    FrameScores,
    Logits,
    PerExample,
    ShuffledLogits,
    ShuffledScores,
    Target,
)
from temporal_attr.measures._score_ratios import (
    flow_correlations,
    median_log_ratio,
    motion_reliance_ratio,
    profile_correlations,
    rising_share,
    score_ratios,
)

Samples = Float[Tensor, "batch shuffles ..."]
"""One value, or one for each frame, of every shuffled clip."""


@dataclass(frozen=True)
class ShuffleMeasure:
    """A measure of a shuffled clip: one number for each clip of the batch.

    Attributes:
        label: What it is called.
        of: From samples to one number for each clip.

    Example:
        >>> ratios = torch.tensor([[[0.5, 1.0], [0.7, 0.9]]])
        >>> measure = SHUFFLE_MEASURES["mrr"]
        >>> measure.label, measure.of(ratios)
        ('Motion Reliance Ratio', tensor([0.8000], dtype=torch.float64))
    """

    label: str
    of: Callable[[Samples], PerExample]

    def statistic(self, drawn: Shaped[np.ndarray, "resamples shuffles ..."]) -> np.ndarray:
        """The same for resamples, as `bootstrap` asks for it."""
        found: np.ndarray = self.of(torch.from_numpy(drawn)).numpy()
        return found


def _mean(samples: Samples) -> PerExample:
    return samples.double().mean(1)


def _relative_drop(ratios: Samples) -> PerExample:
    return 1 - motion_reliance_ratio(ratios)


SHUFFLE_MEASURES: Mapping[str, ShuffleMeasure] = {
    "probability_drop": ShuffleMeasure("drop of the target's probability", _mean),
    "mrr": ShuffleMeasure("Motion Reliance Ratio", motion_reliance_ratio),
    "relative_drop": ShuffleMeasure("Relative Drop", _relative_drop),
    "flow_correlation_drop": ShuffleMeasure("Flow Correlation Drop", _mean),
    "median_log_ratio": ShuffleMeasure("median |log R|", median_log_ratio),
    "rising_share": ShuffleMeasure("share of scores that rise", rising_share),
    "logit_drop": ShuffleMeasure("drop of the target's logit", _mean),
    "rank_correlation": ShuffleMeasure("rank correlation with the profile in order", _mean),
}
"""The measures that have an interval over shuffles, the drop of the probability first."""


def measure_label(name: str, activation: Activation | None) -> str:
    """What a measure is called, where the model's outputs are what an activation says.

    Raises:
        OptionError: If there is no such measure.

    Example:
        >>> measure_label("logit_drop", "softmax"), measure_label("logit_drop", "none")
        ("drop of the target's logit", "drop of the target's output")
    """
    if name == "logit_drop":
        return f"drop of the target's {output_name(activation)}"
    if name not in SHUFFLE_MEASURES:
        known = ", ".join(SHUFFLE_MEASURES)
        raise OptionError(f"a measure: {known}", repr(name), "Choose one.")
    return SHUFFLE_MEASURES[name].label


def shuffle_samples(
    ordered: FrameScores,
    shuffled: ShuffledScores,
    logits: Logits,
    shuffled_logits: ShuffledLogits,
    target: Target,
    flow: Float[Tensor, "batch pairs"] | None = None,
    activation: Activation | None = None,
) -> dict[str, Samples]:
    """What each measure is computed from, by the measure's name.

    Args:
        ordered: G, `(batch, time)`.
        shuffled: G^s, `(batch, shuffles, time)`, aligned.
        logits: `(batch, classes)`, of the clip in order.
        shuffled_logits: `(batch, shuffles, classes)`.
        target: `(batch,)`; negative numbers count from the last class.
        flow: OF, `(batch, time - 1)`; without it there is no flow correlation drop.
        activation: What turns logits into probabilities; None finds it out from those in order.
            With `"none"` there is no drop of the probability.

    Returns:
        `(batch, shuffles, time)` for what is a median or share of ratios, `(batch, shuffles)` for
        what is a mean.

    Raises:
        TargetError: If there is no such class.
        DataError: If the flow is not that between these frames.

    Example:
        >>> ordered, shuffled = torch.tensor([[2.0, 4.0]]), torch.tensor([[[1.0, 4.0]]])
        >>> logits, shuffled_logits = torch.tensor([[3.0, 0.0]]), torch.tensor([[[1.0, 0.0]]])
        >>> found = shuffle_samples(ordered, shuffled, logits, shuffled_logits, torch.tensor([0]))
        >>> found["mrr"], found["logit_drop"]
        (tensor([[[0.5000, 1.0000]]]), tensor([[2.]], dtype=torch.float64))
    """
    target = resolve_target(target, logits)
    ratios = score_ratios(ordered, shuffled)
    natural, others = logits.double(), shuffled_logits.double()
    samples = dict.fromkeys(("mrr", "relative_drop", "median_log_ratio", "rising_share"), ratios)
    samples["rank_correlation"] = profile_correlations(ordered, shuffled)
    samples["logit_drop"] = _drop(natural, others, target)
    known = resolved_activation(activation, logits)
    if known != "none":
        chances = probabilities(natural, known), probabilities(others, known)
        samples["probability_drop"] = _drop(*chances, target)
    if flow is not None:
        in_order = flow_correlations(flow, ordered.unsqueeze(1))
        samples["flow_correlation_drop"] = in_order - flow_correlations(flow, shuffled)
    return {name: samples[name] for name in SHUFFLE_MEASURES if name in samples}


def _drop(natural: Logits, shuffled: ShuffledLogits, target: Target) -> Samples:
    of_target = target[:, None, None].expand(-1, shuffled.shape[1], 1)
    return natural.gather(1, target[:, None]) - shuffled.gather(2, of_target).squeeze(2)
