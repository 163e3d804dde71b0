"""What the prediction loses when a window of frames is dropped, frozen or reversed."""

from temporal_attr.attributions.sliding_frames._method import SlidingFrames
from temporal_attr.attributions.sliding_frames._result import SlidingFramesResult

__all__ = ["SlidingFrames", "SlidingFramesResult"]
