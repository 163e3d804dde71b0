"""Numbers computed from attributions and clips."""

from temporal_attr.measures._frame_scores import frame_scores

__all__ = ["frame_scores"]
