"""How good is an explanation, and what a model still gets right where it sees only so much."""

from temporal_attr._checked import check_calls
from temporal_attr.evaluation._case import Case, Example, Explain, Explanation, Truth
from temporal_attr.evaluation._metric import Metric, MetricTraits, Score
from temporal_attr.evaluation._named import metric_names
from temporal_attr.evaluation._registry import METRICS
from temporal_attr.evaluation._windows import WindowAccuracy, accuracy_by_window, windowed_logits
from temporal_attr.evaluation.suite import (
    CHANCE,
    Comparison,
    Difference,
    LeftOut,
    MetricSummary,
    PlantedClips,
    Ranked,
    Row,
    Suite,
    planted_clips,
)

__all__ = [
    "CHANCE",
    "METRICS",
    "Case",
    "Comparison",
    "Difference",
    "Example",
    "Explain",
    "Explanation",
    "LeftOut",
    "Metric",
    "MetricSummary",
    "MetricTraits",
    "PlantedClips",
    "Ranked",
    "Row",
    "Score",
    "Suite",
    "Truth",
    "WindowAccuracy",
    "accuracy_by_window",
    "metric_names",
    "planted_clips",
    "windowed_logits",
]

check_calls(__name__, own={"clip", "clips", "methods", "metrics", "model", "models"})
