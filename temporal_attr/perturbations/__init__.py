"""What is masked in a clip, the baseline that replaces it, and what that does."""

from temporal_attr._checked import check_calls
from temporal_attr._seeding import seeded
from temporal_attr.perturbations._absent_frames import (
    AbsentFrames,
    FrameBaselines,
    check_frame_baselines,
    is_relational,
)
from temporal_attr.perturbations._baselines import (
    BaselineName,
    Baselines,
    baseline_of,
    check_baselines,
    neighbour_of,
)
from temporal_attr.perturbations._clip_baselines import (
    ClipBaselineName,
    ClipBaselines,
    check_clip_baselines,
    clip_baseline_of,
)
from temporal_attr.perturbations._composed import (
    BlendedFrames,
    ComposedClips,
    FrameTable,
    MaskedFrames,
    StoredFrames,
    masked_compositions,
    whole_clips,
)
from temporal_attr.perturbations._effects import (
    ChunkEffects,
    Effects,
    EffectsSoFar,
    MaskQuery,
    OnStop,
    at_least_single,
    require_on_stop,
    stopping,
)
from temporal_attr.perturbations._feature_mask import (
    Blocks,
    FeatureMask,
    Labels,
    Pixels,
    Tubes,
    as_feature_mask,
)
from temporal_attr.perturbations._masks import (
    Mask,
    feature_masks,
    frame_masks,
    masked_clips,
    masked_frames,
    mean_over_windows,
)
from temporal_attr.perturbations._segments import FlowSegments, Superpixels, Supervoxels

__all__ = [
    "AbsentFrames",
    "BaselineName",
    "Baselines",
    "BlendedFrames",
    "Blocks",
    "ChunkEffects",
    "ClipBaselineName",
    "ClipBaselines",
    "ComposedClips",
    "Effects",
    "EffectsSoFar",
    "FeatureMask",
    "FlowSegments",
    "FrameBaselines",
    "FrameTable",
    "Labels",
    "Mask",
    "MaskQuery",
    "MaskedFrames",
    "OnStop",
    "Pixels",
    "StoredFrames",
    "Superpixels",
    "Supervoxels",
    "Tubes",
    "as_feature_mask",
    "at_least_single",
    "baseline_of",
    "check_baselines",
    "check_clip_baselines",
    "check_frame_baselines",
    "clip_baseline_of",
    "feature_masks",
    "frame_masks",
    "is_relational",
    "masked_clips",
    "masked_compositions",
    "masked_frames",
    "mean_over_windows",
    "neighbour_of",
    "require_on_stop",
    "seeded",
    "stopping",
    "whole_clips",
]

check_calls(__name__)
