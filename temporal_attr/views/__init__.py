"""Pictures of results; figures are returned, not shown."""

from temporal_attr.views._influence import influence_map
from temporal_attr.views._overlay import overlay_grid, overlay_video
from temporal_attr.views._planted import planted_sheet
from temporal_attr.views._relevance import average_heatmap, relevance_heatmap
from temporal_attr.views._side_by_side import side_by_side
from temporal_attr.views._strip import frame_strip
from temporal_attr.views._window_accuracy import window_accuracy

__all__ = [
    "average_heatmap",
    "frame_strip",
    "influence_map",
    "overlay_grid",
    "overlay_video",
    "planted_sheet",
    "relevance_heatmap",
    "side_by_side",
    "window_accuracy",
]
