"""The numbers of a shuffled clip by name: what each is computed from, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from temporal_attr._typing import (
    FrameScores,
    Logits,
    PerExample,
    ShuffledLogits,
    ShuffledScores,
    Target,
)
from temporal_attr.measures._reliance import (
    flow_correlations,
    median_log_ratio,
    motion_reliance_ratio,
    profile_correlations,
    rising_share,
    score_ratios,
)

Samples = Float[Tensor, "batch shuffles ..."]
"""What is known of each shuffle."""


@dataclass(frozen=True)
class ShuffleMeasure:
    """One number a clip.

    Attributes:
        label: What it is called.
        of: From samples to one number for each clip.
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
    "probability_fall": ShuffleMeasure("fall of the target's probability", _mean),
    "mrr": ShuffleMeasure("Motion Reliance Ratio", motion_reliance_ratio),
    "relative_drop": ShuffleMeasure("Relative Drop", _relative_drop),
    "flow_correlation_drop": ShuffleMeasure("Flow Correlation Drop", _mean),
    "median_log_ratio": ShuffleMeasure("median |log R|", median_log_ratio),
    "rising_share": ShuffleMeasure("share of scores that rise", rising_share),
    "logit_fall": ShuffleMeasure("fall of the target's logit", _mean),
    "rank_correlation": ShuffleMeasure("rank correlation with the profile in order", _mean),
}
"""The numbers that have an interval over shuffles, first what becomes of the prediction."""


def shuffle_samples(
    ordered: FrameScores,
    shuffled: ShuffledScores,
    logits: Logits,
    shuffled_logits: ShuffledLogits,
    target: Target,
    flow: Float[Tensor, "batch pairs"] | None = None,
) -> dict[str, Samples]:
    """What each measure is computed from, by the measure's name.

    Args:
        ordered: G, `(batch, time)`.
        shuffled: G^s, `(batch, shuffles, time)`, aligned.
        logits: `(batch, classes)`, of the clip in order.
        shuffled_logits: `(batch, shuffles, classes)`.
        target: `(batch,)`.
        flow: OF, `(batch, time - 1)`; without it there is no flow correlation drop.

    Returns:
        `(batch, shuffles, time)` for what is a median or share of ratios, `(batch, shuffles)` for
        what is a mean.

    Example:
        >>> ordered, shuffled = torch.tensor([[2.0, 4.0]]), torch.tensor([[[1.0, 4.0]]])
        >>> logits, shuffled_logits = torch.tensor([[3.0, 0.0]]), torch.tensor([[[1.0, 0.0]]])
        >>> found = shuffle_samples(ordered, shuffled, logits, shuffled_logits, torch.tensor([0]))
        >>> found["mrr"], found["logit_fall"]
        (tensor([[[0.5000, 1.0000]]]), tensor([[2.]], dtype=torch.float64))
    """
    ratios = score_ratios(ordered, shuffled)
    natural, others = logits.double(), shuffled_logits.double()
    samples = dict.fromkeys(("mrr", "relative_drop", "median_log_ratio", "rising_share"), ratios)
    samples["rank_correlation"] = profile_correlations(ordered, shuffled)
    samples["logit_fall"] = _fall(natural, others, target)
    samples["probability_fall"] = _fall(natural.softmax(1), others.softmax(2), target)
    if flow is not None:
        in_order = flow_correlations(flow, ordered.unsqueeze(1))
        samples["flow_correlation_drop"] = in_order - flow_correlations(flow, shuffled)
    return {name: samples[name] for name in SHUFFLE_MEASURES if name in samples}


def _fall(natural: Logits, shuffled: ShuffledLogits, target: Target) -> Samples:
    of_target = target[:, None, None].expand(-1, shuffled.shape[1], 1)
    return natural.gather(1, target[:, None]) - shuffled.gather(2, of_target).squeeze(2)
