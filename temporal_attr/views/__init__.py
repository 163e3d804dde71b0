"""Pictures of results; figures are returned, not shown."""

from temporal_attr.views._influence import influence_map
from temporal_attr.views._overlay import overlay_grid, overlay_video
from temporal_attr.views._planted import planted_sheet
from temporal_attr.views._side_by_side import side_by_side
from temporal_attr.views._strip import frame_strip

__all__ = [
    "frame_strip",
    "influence_map",
    "overlay_grid",
    "overlay_video",
    "planted_sheet",
    "side_by_side",
]
