"""How much a model's sensitivity depends on the order of the frames: numbers from frame scores.

G is `(batch, time)`, each frame's score in the natural order; G^s is `(batch, shuffles, time)`,
each frame's score in a shuffled clip, aligned: column t is of the same frame in both.
"""

from __future__ import annotations

import math

import numpy as np
import scipy
import torch
from jaxtyping import Float
from torch import Tensor

from temporal_attr._errors import DataError
from temporal_attr._typing import FrameScores, PerExample, ShuffledScores


def score_ratios(ordered: FrameScores, shuffled: ShuffledScores) -> ShuffledScores:
    """R_t^s = G_t^s / G_t: each frame's score in the shuffled clips over its score in order.

    The definition adds a small epsilon to G_t; then a frame whose score is zero or rounding only
    has a ratio of rounding over epsilon, which can be anything. Here such a frame, one whose G_t is
    at most the precision of its type times the largest G of the clip, has no ratio: NaN.

    Args:
        ordered: G, `(batch, time)`, 0 or more.
        shuffled: G^s, `(batch, shuffles, time)`, 0 or more, aligned.

    Returns:
        `(batch, shuffles, time)`, 0 or more, without a unit; NaN for frames without a ratio.

    Raises:
        DataError: If a score is negative.

    Example:
        >>> score_ratios(torch.tensor([[2.0, 0.0]]), torch.tensor([[[1.0, 1.0]]]))
        tensor([[[0.5000,    nan]]])
    """
    _require_none_negative("scores", ordered, shuffled)
    noise = torch.finfo(ordered.dtype).eps * ordered.amax(1, keepdim=True)
    counted = torch.where(ordered > noise, ordered, torch.nan)
    return shuffled / counted.unsqueeze(1)


def motion_reliance_ratio(ratios: ShuffledScores) -> PerExample:
    """MRR: the median of the ratios of a clip over frames and shuffles; NaN if it has none.

    1 where the order changes no score. It has no upper bound, and scores that rise hide scores that
    drop: see `median_log_ratio` and `rising_share`.

    Example:
        >>> motion_reliance_ratio(torch.tensor([[[0.5, 1.0, torch.nan, 0.7]]]))
        tensor([0.7000], dtype=torch.float64)
    """
    return _median(ratios)


def median_log_ratio(ratios: ShuffledScores) -> PerExample:
    """The median of `|log R|`, natural: how much a score changes, up or down; 0 where none does.

    A score that vanishes is known to the precision of its type only, so that `|log R|` is at most
    log(1 / eps): 15.9 for float32, 36.0 for float64.

    Raises:
        DataError: If a ratio is negative.

    Example:
        >>> ratios = torch.tensor([[[0.5, 1.0, 2.0]]])  # the median of these is 1
        >>> round(median_log_ratio(ratios).item(), 3)
        0.693
    """
    _require_none_negative("ratios", ratios)
    most = -math.log(torch.finfo(ratios.dtype).eps)
    return _median(ratios.double().log().abs().clamp_max(most))


def rising_share(ratios: ShuffledScores) -> PerExample:
    """The share of ratios above 1, in [0, 1]; NaN if there are none.

    A rise counts where it is beyond half of the digits: for float32 above 1.0003.

    Example:
        >>> rising_share(torch.tensor([[[0.5, 1.0, 2.0, 3.0]]]))
        tensor([0.5000], dtype=torch.float64)
    """
    known = ~ratios.isnan()
    rising = ratios > 1 + torch.finfo(ratios.dtype).eps ** 0.5
    share: Tensor = rising.double().sum((1, 2)) / known.double().sum((1, 2))
    return share


def profile_correlations(
    ordered: FrameScores, shuffled: ShuffledScores
) -> Float[Tensor, "batch shuffles"]:
    """Spearman's rank correlation of each shuffled profile with the natural one, in [-1, 1].

    1 where the frames keep their ranks. NaN where a profile is constant.

    Example:
        >>> ordered = torch.tensor([[1.0, 2.0, 3.0]])
        >>> shuffled = torch.tensor([[[1.0, 5.0, 9.0], [3.0, 2.0, 1.0]]])
        >>> profile_correlations(ordered, shuffled).round(decimals=3)
        tensor([[ 1., -1.]], dtype=torch.float64)
    """
    return pearson(ranks(ordered.unsqueeze(1)), ranks(shuffled))


def flow_correlations(
    flow: Float[Tensor, "batch pairs"], scores: Float[Tensor, "batch shuffles time"]
) -> Float[Tensor, "batch shuffles"]:
    """Pearson's correlation of the flow into a frame with that frame's score, in [-1, 1].

    corr(OF_1..T-1, G_2..T): OF_t is the mean magnitude of the flow from frame t to t + 1 of the
    clip in its natural order. NaN where the flow or the scores are constant. The flow correlation
    drop (FCD, in [-2, 2]) is that of the scores in order less the mean of those shuffled: how much
    better the scores follow the motion while the frames are in order.

    Raises:
        DataError: If there is not one flow between any two frames that follow each other.

    Example:
        >>> flow = torch.tensor([[1.0, 2.0, 3.0]])
        >>> flow_correlations(flow, torch.tensor([[[9.0, 2.0, 4.0, 6.0]]])).round(decimals=3)
        tensor([[1.]], dtype=torch.float64)
    """
    pairs = scores.shape[-1] - 1
    if flow.shape[1] != pairs:
        raise DataError(
            f"the flow between {pairs + 1} frames, {pairs} numbers a clip",
            f"{flow.shape[1]}",
            "Measure it on the clip whose frames have the scores.",
        )
    return pearson(flow.unsqueeze(1), scores[..., 1:])


def pearson(first: Float[Tensor, "... n"], second: Float[Tensor, "... n"]) -> Tensor:
    """Pearson's correlation along the last axis, in float64; NaN where a side is constant."""
    return (unit_deviations(first) * unit_deviations(second)).sum(-1).clamp(-1, 1)


def unit_deviations(values: Float[Tensor, "... n"]) -> Float[Tensor, "... n"]:
    """Deviations from the mean along the last axis, of length 1, in float64; NaN where constant.

    The product of two of them is Pearson's correlation.
    """
    noise = torch.finfo(values.dtype).eps * values.shape[-1] ** 0.5
    numbers = values.double()
    centred = numbers - numbers.mean(-1, keepdim=True)
    length = torch.linalg.vector_norm(centred, dim=-1, keepdim=True)
    # What differs by rounding only is constant, and would correlate by that rounding.
    constant = length <= noise * numbers.abs().amax(-1, keepdim=True)
    return centred / torch.where(constant, torch.nan, length)


def ranks(values: Float[Tensor, "... n"]) -> Float[Tensor, "... n"]:
    """Ranks along the last axis from 1, in float64; equal values share the mean of their ranks."""
    found: np.ndarray = scipy.stats.rankdata(values.detach().cpu().double().numpy(), axis=-1)
    return torch.from_numpy(found).to(values.device)


def _require_none_negative(what: str, *given: Tensor) -> None:
    """Raise on negative numbers, whose ratios and logarithms say nothing."""
    for values in given:
        if bool((values < 0).any()):
            raise DataError(
                f"{what} of 0 or more",
                f"{values.nan_to_num().min():.3g}",
                "Take magnitudes, such as those of frame_scores.",
            )


def _median(ratios: ShuffledScores) -> PerExample:
    if not ratios.numel():
        raise DataError("ratios of frames", f"shape {tuple(ratios.shape)}", "Shuffle a clip first.")
    return ratios.double().flatten(1).nanquantile(0.5, dim=1)
