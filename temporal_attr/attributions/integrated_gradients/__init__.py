"""The integral of the gradient along a path from another clip to the clip."""

from temporal_attr.attributions.integrated_gradients._method import IntegratedGradients
from temporal_attr.attributions.integrated_gradients._result import IntegratedGradientsResult

__all__ = ["IntegratedGradients", "IntegratedGradientsResult"]
