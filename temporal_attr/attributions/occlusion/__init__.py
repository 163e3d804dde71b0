"""What the prediction loses when a tube of pixels is masked."""

from temporal_attr.attributions.occlusion._method import Occlusion
from temporal_attr.attributions.occlusion._result import OcclusionResult

__all__ = ["Occlusion", "OcclusionResult"]
