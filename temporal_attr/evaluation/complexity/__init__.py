"""Metrics of the scores alone: how few they lie on, and how they jump; nothing of truth."""

from temporal_attr.evaluation.complexity._roughness import TemporalRoughness, temporal_roughness
from temporal_attr.evaluation.complexity._spread import (
    EffectiveFrames,
    Entropy,
    Gini,
    effective_frames,
    entropy,
    gini,
)

__all__ = [
    "EffectiveFrames",
    "Entropy",
    "Gini",
    "TemporalRoughness",
    "effective_frames",
    "entropy",
    "gini",
    "temporal_roughness",
]
