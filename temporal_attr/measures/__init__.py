"""Numbers computed from attributions and clips."""

from temporal_attr.measures._atr import (
    MatrixAverage,
    average_by_class,
    average_matrices,
    average_range,
    maximum_range,
    ranges,
    shortest_runs,
)
from temporal_attr.measures._frame_scores import frame_scores
from temporal_attr.measures._statistics import (
    Correlation,
    Overlap,
    correlation,
    temporal_overlap,
)
from temporal_attr.measures._window_bounds import window_bounds, windowed_clip
from temporal_attr.measures._windows import (
    WindowAccuracy,
    accuracy_by_window,
    windowed_logits,
)

__all__ = [
    "Correlation",
    "MatrixAverage",
    "Overlap",
    "WindowAccuracy",
    "accuracy_by_window",
    "average_by_class",
    "average_matrices",
    "average_range",
    "correlation",
    "frame_scores",
    "maximum_range",
    "ranges",
    "shortest_runs",
    "temporal_overlap",
    "window_bounds",
    "windowed_clip",
    "windowed_logits",
]
