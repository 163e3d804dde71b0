"""The suite that compares attribution methods, and what it finds."""

from temporal_attr.evaluation.suite._chance import CHANCE
from temporal_attr.evaluation.suite._comparison import Comparison, LeftOut, MetricSummary
from temporal_attr.evaluation.suite._planted import PlantedClips, planted_clips
from temporal_attr.evaluation.suite._ranking import Difference, Ranked
from temporal_attr.evaluation.suite._rows import Row
from temporal_attr.evaluation.suite._suite import Suite

__all__ = [
    "CHANCE",
    "Comparison",
    "Difference",
    "LeftOut",
    "MetricSummary",
    "PlantedClips",
    "Ranked",
    "Row",
    "Suite",
    "planted_clips",
]
