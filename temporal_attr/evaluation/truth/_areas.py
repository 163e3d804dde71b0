"""How well scores point at what is true: areas under precision, and under recall."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from temporal_attr._errors import DataError
from temporal_attr._require import require_within
from temporal_attr.evaluation._scores import ScoreRow, Scores, TrueFeatures, TrueRow, rows_of


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

    def __post_init__(self) -> None:
        for entry in fields(self):
            require_within(entry.name, getattr(self, entry.name), 0, 1)


def areas(scores: Scores, truth: TrueFeatures) -> Areas:
    """Areas of one clip, after :cite:t:`ismail2020`.

    Features are taken as salient in the order of their scores until they hold a share d of the sum
    of all scores. Precision is then the share of true ones among the salient, and recall the share
    of salient ones among the true, both weighted by the scores; AUP and AUR are areas under the
    two over d from 0 to 1, and AUPR that under the one over the other. Their code takes nine values
    of d and the nearest whole number of features; here the area is exact: a feature at which d ends
    counts in part, and so do all that have its score, as nothing says which of them comes first.
    Of AUP and AUR that is the mean over all orders of those with equal scores. Equal scores for all
    give the share of true features for AUP, AUPR and AP, and 0.5 for AUR.

    Two things follow from the weights. One true feature with all of the scores is a perfect find.
    And where only true features have scores, recall is d, so that AUR is 0.5, as by chance; it is
    larger where true features come first but hold little of the sum. The ranked areas are without
    that: there every feature counts the same, and for the best all true ones have to come first.

    Args:
        scores: `(*features)`, 0 or more; all 0 is as if all were equal.
        truth: `(*features)`, true for at least one feature.

    Returns:
        Six numbers in [0, 1].

    Raises:
        DataError: If the shapes are not one, a score is negative or no number, or nothing is true.

    Example:
        >>> found = areas(np.array([0.5, 0.5, 0.0]), np.array([True, False, False]))
        >>> found.aup, found.aur
        (0.5, 0.5)
    """
    row, true = rows_of(scores, truth)
    if row.min() < 0:
        raise DataError(
            "scores of 0 or more",
            f"{row.min():g}",
            "Pass their magnitudes, or only what supports the class.",
        )
    alike = np.ones_like(row)
    # The largest is 1, so that no sum overflows.
    weights = row / row.max() if row.any() else alike
    return Areas(*_areas(row, weights, true), *_areas(row, alike, true))


def average_precision(scores: Scores, truth: TrueFeatures) -> float:
    """The area under precision over recall, of the order of the scores alone.

    Features are called true in the order of their scores. Those with equal scores are so together,
    in proportion, as nothing says which comes first; so is each feature by itself. That is the
    interpolation of :cite:t:`davis2006`, carried to its limit. Equal scores for all give the share
    of true features. Functions that take the precision just after each true
    feature, as scikit-learn's `average_precision_score` does, give a larger number.

    Args:
        scores: `(*features)`, of any sign.
        truth: `(*features)`, true for at least one feature.

    Returns:
        A number in [0, 1]: 1 if all true features come before all others.

    Raises:
        DataError: If the shapes are not one, a score is no number, or nothing is true.

    Example:
        >>> average_precision(np.array([3.0, -1.0, -2.0]), np.array([True, True, False]))
        1.0
    """
    row, true = rows_of(scores, truth)
    return _areas(row, np.ones_like(row), true)[2]


def _areas(scores: ScoreRow, weights: ScoreRow, truth: TrueRow) -> tuple[float, float, float]:
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
    # Rounding may lead out of the range.
    aup = min(float(precision.sum() / total), 1.0)
    if not true_total:
        return aup, 0.0, 0.0
    recall = (true_before + true_salient) / 2 * all_of
    aur = min(float(recall.sum() / (total * true_total)), 1.0)
    return aup, aur, min(float((slope * precision).sum() / true_total), 1.0)
