"""Temporal saliency rescaling: what masking a frame, then a part of it, does to an attribution."""

from temporal_attr.attributions.frame_masking_tsr._method import FrameMaskingTSR
from temporal_attr.attributions.frame_masking_tsr._result import FrameMaskingTSRResult

__all__ = ["FrameMaskingTSR", "FrameMaskingTSRResult"]
