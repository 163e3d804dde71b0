"""Numbers computed from attributions and clips."""

from temporal_attr._checked import check_calls
from temporal_attr.clips._flow import FlowAlgorithm
from temporal_attr.measures._agreement import (
    Agreement,
    FlowAgreement,
    flow_agreement,
    saliency_video,
)
from temporal_attr.measures._bootstrap import (
    Interval,
    Statistic,
    bootstrap,
    hierarchical_bootstrap,
    natural_order_p_value,
    paired_permutation_test,
)
from temporal_attr.measures._categories import (
    context_category,
    need_category,
    reliance_category,
    tracking_category,
)
from temporal_attr.measures._correlation import (
    Correlation,
    Overlap,
    correlation,
    rank_correlation,
    temporal_overlap,
)
from temporal_attr.measures._flow import flow_magnitude, optical_flow
from temporal_attr.measures._frame_scores import (
    Reduction,
    ReductionName,
    frame_scores,
    require_reduction,
)
from temporal_attr.measures._keyframes import (
    KeyframeAgreement,
    frame_changes,
    histogram_changes,
    keyframe_agreement,
    keyframes,
    stand_out,
)
from temporal_attr.measures._score_ratios import (
    flow_correlations,
    median_log_ratio,
    motion_reliance_ratio,
    profile_correlations,
    rising_share,
    score_ratios,
)
from temporal_attr.measures._shuffle_measures import (
    SHUFFLE_MEASURES,
    ShuffleMeasure,
    measure_label,
    shuffle_samples,
)
from temporal_attr.measures._temporal_range import (
    MatrixAverage,
    average_by_class,
    average_matrices,
    average_range,
    maximum_range,
    ranges,
    shortest_runs,
)
from temporal_attr.measures._window_bounds import window_bounds, windowed_clip

__all__ = [
    "SHUFFLE_MEASURES",
    "Agreement",
    "Correlation",
    "FlowAgreement",
    "FlowAlgorithm",
    "Interval",
    "KeyframeAgreement",
    "MatrixAverage",
    "Overlap",
    "Reduction",
    "ReductionName",
    "ShuffleMeasure",
    "Statistic",
    "average_by_class",
    "average_matrices",
    "average_range",
    "bootstrap",
    "context_category",
    "correlation",
    "flow_agreement",
    "flow_correlations",
    "flow_magnitude",
    "frame_changes",
    "frame_scores",
    "hierarchical_bootstrap",
    "histogram_changes",
    "keyframe_agreement",
    "keyframes",
    "maximum_range",
    "measure_label",
    "median_log_ratio",
    "motion_reliance_ratio",
    "natural_order_p_value",
    "need_category",
    "optical_flow",
    "paired_permutation_test",
    "profile_correlations",
    "ranges",
    "rank_correlation",
    "reliance_category",
    "require_reduction",
    "rising_share",
    "saliency_video",
    "score_ratios",
    "shortest_runs",
    "shuffle_samples",
    "stand_out",
    "temporal_overlap",
    "tracking_category",
    "window_bounds",
    "windowed_clip",
]

check_calls(
    __name__,
    own={
        "attribution", "bins", "bootstrap.confidence", "correlation.confidence", "first",
        "flow_agreement.flow", "hierarchical_bootstrap.confidence", "k",
        "keyframe_agreement.keyframes", "levels",
        "matrices", "matrix", "pixels", "rank_correlation.confidence", "relevance", "resamples",
        "saliency", "second", "seed", "shuffles", "sigma", "threshold", "top", "windowed_clip.clip",
    },
)  # fmt: skip
