"""Metrics against what is known to decide: they take numbers only, and run no model."""

from temporal_attr.evaluation.truth._areas import Areas, areas, average_precision
from temporal_attr.evaluation.truth._highest import (
    IoU,
    RankAccuracy,
    TopKIntersection,
    intersection_over_union,
    rank_accuracy,
    top_k_intersection,
)
from temporal_attr.evaluation.truth._mass import MassAccuracy, mass_accuracy
from temporal_attr.evaluation.truth._pointing import (
    PeakDistance,
    PointingGame,
    PointingRule,
    peak_distance,
    pointing_game,
)
from temporal_attr.evaluation.truth._precision import (
    AUP,
    AUPRC,
    AUR,
    PairAP,
    pair_average_precision,
)

__all__ = [
    "AUP",
    "AUPRC",
    "AUR",
    "Areas",
    "IoU",
    "MassAccuracy",
    "PairAP",
    "PeakDistance",
    "PointingGame",
    "PointingRule",
    "RankAccuracy",
    "TopKIntersection",
    "areas",
    "average_precision",
    "intersection_over_union",
    "mass_accuracy",
    "pair_average_precision",
    "peak_distance",
    "pointing_game",
    "rank_accuracy",
    "top_k_intersection",
]
