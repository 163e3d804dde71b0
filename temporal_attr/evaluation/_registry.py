"""All metrics, family by family. A new metric adds its line here."""

from temporal_attr.evaluation._metric import Metric
from temporal_attr.evaluation.complexity import EffectiveFrames, Entropy, Gini, TemporalRoughness
from temporal_attr.evaluation.truth import (
    AUP,
    AUPRC,
    AUR,
    IoU,
    MassAccuracy,
    PairAP,
    PeakDistance,
    PointingGame,
    RankAccuracy,
    TopKIntersection,
)

METRICS: tuple[type[Metric], ...] = (
    AUPRC,
    AUP,
    AUR,
    PointingGame,
    MassAccuracy,
    RankAccuracy,
    TopKIntersection,
    IoU,
    PeakDistance,
    PairAP,
    Entropy,
    Gini,
    EffectiveFrames,
    TemporalRoughness,
)
"""Every metric of the library, by which the suite, the docs and the tests know them."""
