"""Integrated gradients, averaged over many clips that a path could begin at."""

from temporal_attr.attributions.expected_gradients._method import ExpectedGradients
from temporal_attr.attributions.expected_gradients._result import ExpectedGradientsResult

__all__ = ["ExpectedGradients", "ExpectedGradientsResult"]
