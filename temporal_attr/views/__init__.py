"""Pictures of results and of bare attributions; figures are returned, not shown."""

from temporal_attr._checked import check_calls
from temporal_attr.views._attention import attention_over_time
from temporal_attr.views._average import average_heatmap
from temporal_attr.views._comparison import (
    method_ranking,
    metric_agreement,
    metric_curves,
    metric_table,
    pictures_of_comparison,
    score_against_cost,
)
from temporal_attr.views._flow_saliency import flow_saliency
from temporal_attr.views._glance import glance
from temporal_attr.views._influence import influence_map
from temporal_attr.views._overlay import overlay_grid, overlay_video
from temporal_attr.views._pictures import pictures, pictures_of_set
from temporal_attr.views._planted import planted_sheet
from temporal_attr.views._relevance import relevance_heatmap
from temporal_attr.views._shuffle import flow_profile, ratio_distribution, shuffle_profile
from temporal_attr.views._shuffle_range import range_curve
from temporal_attr.views._shuffle_sets import clip_overview, segment_timeline
from temporal_attr.views._side_by_side import side_by_side
from temporal_attr.views._strip import frame_strip
from temporal_attr.views._tsr import keyframe_strip
from temporal_attr.views._window_accuracy import window_accuracy

__all__ = [
    "attention_over_time",
    "average_heatmap",
    "clip_overview",
    "flow_profile",
    "flow_saliency",
    "frame_strip",
    "glance",
    "influence_map",
    "keyframe_strip",
    "method_ranking",
    "metric_agreement",
    "metric_curves",
    "metric_table",
    "overlay_grid",
    "overlay_video",
    "pictures",
    "pictures_of_comparison",
    "pictures_of_set",
    "planted_sheet",
    "range_curve",
    "ratio_distribution",
    "relevance_heatmap",
    "score_against_cost",
    "segment_timeline",
    "shuffle_profile",
    "side_by_side",
    "window_accuracy",
]

check_calls(__name__)
