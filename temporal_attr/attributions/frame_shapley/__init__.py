"""Shapley values of frames, and Owen values of their regions."""

from temporal_attr.attributions.frame_shapley._method import FrameShapley
from temporal_attr.attributions.frame_shapley._result import FrameShapleyResult

__all__ = ["FrameShapley", "FrameShapleyResult"]
