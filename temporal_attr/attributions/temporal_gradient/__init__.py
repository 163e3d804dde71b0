"""The gradient of a prediction with respect to every frame."""

from temporal_attr.attributions.temporal_gradient._method import TemporalGradient
from temporal_attr.attributions.temporal_gradient._result import TemporalGradientResult

__all__ = ["TemporalGradient", "TemporalGradientResult"]
