"""How well scores point at what was planted: areas under precision, and under recall."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

Scores = Float[np.ndarray, " features"]
Truth = Bool[np.ndarray, " features"]


@dataclass(frozen=True)
class Areas:
    """Numbers of one clip, each in [0, 1].

    Attributes:
        aup: Area under precision.
        aur: Area under recall.
        aupr: Area under precision over recall.
        ranked_aup: The same with all features counting the same.
        ranked_aur: And so on.
        ap: The last of them, the average precision.
    """

    aup: float
    aur: float
    aupr: float
    ranked_aup: float
    ranked_aur: float
    ap: float


def areas(scores: Scores, truth: Truth) -> Areas:
    """Areas of one clip, after Ismail et al. (2020).

    Features are taken as salient in the order of their scores until they hold a share d of the sum
    of all scores. Precision is then the share of true ones among the salient, and recall the share
    of salient ones among the true, both weighted by the scores; AUP and AUR are areas under the
    two over d from 0 to 1, and AUPR that under the one over the other. Their code takes nine values
    of d and the nearest whole number of features; here the area is exact: a feature at which d ends
    counts in part, and so do all that have its score, as nothing says which of them comes first.
    Equal scores for all then give the share of true features for AUP, AUPR and AP, and 0.5 for AUR.

    Two things follow from the weights. One true feature with all of the scores is a perfect find.
    And where only true features have scores, recall is d, so that AUR is 0.5, as by chance; it is
    larger where true features come first but hold little of the sum. The ranked areas are without
    that: there every feature counts the same, and for the best all true ones have to come first.

    Args:
        scores: 0 or more; all 0 is as if all were equal.
        truth: True for at least one feature.
    """
    if not truth.any():
        raise ValueError("no feature is true")
    weights = scores if scores.any() else np.ones_like(scores)
    return Areas(*_areas(scores, weights, truth), *_areas(scores, np.ones_like(scores), truth))


def _areas(scores: Scores, weights: Scores, truth: Truth) -> tuple[float, float, float]:
    _, group = np.unique(-scores, return_inverse=True)
    all_of = np.bincount(group, weights)
    true_of = np.bincount(group, weights * truth)
    true_of, all_of = true_of[all_of > 0], all_of[all_of > 0]
    total, true_total = all_of.sum(), true_of.sum()
    salient, true_salient = np.cumsum(all_of), np.cumsum(true_of)
    before, true_before = salient - all_of, true_salient - true_of
    # Within a group precision is (true_before + slope * x) / (before + x), for x up to all_of.
    slope = true_of / all_of
    # The first group starts at nothing, and precision is its slope.
    with np.errstate(divide="ignore", invalid="ignore"):
        bent = np.where(before > 0, (true_before - slope * before) * np.log1p(all_of / before), 0)
    precision = np.maximum(bent + slope * all_of, 0)
    if not true_total:
        return float(precision.sum() / total), 0.0, 0.0
    recall = (true_before + true_salient) / 2 * all_of
    return (
        float(precision.sum() / total),
        float(recall.sum() / (total * true_total)),
        float((slope * precision).sum() / true_total),
    )


def frame_areas(scores: Float[np.ndarray, " time"], truth: Bool[np.ndarray, " time"]) -> Areas:
    """Areas of scores of frames."""
    return areas(np.asarray(scores, np.float64), truth)


def pixel_areas(
    attribution: Float[np.ndarray, "time channel height width"],
    region: Bool[np.ndarray, "time height width"],
) -> Areas:
    """Areas of the norm over channels of an attribution."""
    norm = np.sqrt((np.asarray(attribution, np.float64) ** 2).sum(1))
    return areas(norm.flatten(), region.flatten())
