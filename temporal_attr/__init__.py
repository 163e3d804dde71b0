"""What does a trained video classifier get from time?

Canonical clips are `(batch, time, channel, height, width)`, RGB, in the values of the model's own
preprocessing.

Example:
    >>> import torch, torchvision
    >>> import temporal_attr as ta
    >>> model = ta.wrap(torchvision.models.video.mc3_18().eval())
    >>> clip = torch.rand(1, 4, 3, 32, 32)
    >>> result = ta.TemporalGradient(model).explain(clip, target=0)
    >>> tuple(result.influence.shape)
    (1, 4, 4)
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from temporal_attr import clips, evaluation, measures, models, perturbations
from temporal_attr._errors import (
    ClipError,
    DamagedVideoError,
    DataError,
    FrameLogitsError,
    FrameSizeError,
    HalfPrecisionWarning,
    ModelError,
    NotAVideoError,
    OptionError,
    ResultError,
    TargetError,
    TemporalAttrError,
    ToleranceWarning,
    TooFewFramesError,
    TruncatedVideoError,
    UnsupportedModelError,
    VideoError,
    VideoNotFoundError,
    WeightsWarning,
)
from temporal_attr._run import Run
from temporal_attr.clips import Clip, Normalization, Preprocessing, clip_windows, load_clip
from temporal_attr.measures import frame_scores
from temporal_attr.models import (
    Conv3D,
    EarlyFusion,
    FrameLogits,
    FrameRecurrent,
    FrameTransformer,
    FramewiseModel,
    LateFusion,
    LayerTimesteps,
    ReducedOutput,
    SlowFast,
    StepOutputs,
    VideoModel,
    at_timestep,
    check_wrapper,
    layer_features,
    linear_outputs,
    rather_than,
    similarity_to,
    wrap,
)
from temporal_attr.perturbations import (
    Blocks,
    FeatureMask,
    FlowSegments,
    Pixels,
    Superpixels,
    Supervoxels,
    Tubes,
)

if TYPE_CHECKING:
    from temporal_attr import attributions, gradients, relevance, views
    from temporal_attr.attributions import (
        LRP,
        RISE,
        AttentionRollout,
        AttentionRolloutResult,
        ClassActivationResult,
        ContrastiveLRPTemporal,
        ContrastiveLRPTemporalResult,
        DeletionCurve,
        DeletionCurveResult,
        ExpectedGradients,
        ExpectedGradientsResult,
        FrameMaskingTSR,
        FrameMaskingTSRResult,
        FrameShapley,
        FrameShapleyResult,
        GradCAM,
        GradCAMPlusPlus,
        GradientAttention,
        GradientAttentionResult,
        HiResCAM,
        IntegratedGradients,
        IntegratedGradientsResult,
        KernelSHAP,
        KernelSHAPResult,
        LayerCAM,
        LRPResult,
        Occlusion,
        OcclusionResult,
        Result,
        RISEResult,
        ScoreCAM,
        SelectiveRelevance,
        SelectiveRelevanceResult,
        ShuffleCurve,
        ShuffleProbe,
        ShuffleProbeResult,
        ShuffleSet,
        SlidingFrames,
        SlidingFramesResult,
        TemporalGradient,
        TemporalGradientResult,
        VideoLIME,
        VideoLIMEResult,
        load_result,
    )

__version__ = version("temporal-attr")

__all__ = [
    "LRP",
    "RISE",
    "AttentionRollout",
    "AttentionRolloutResult",
    "Blocks",
    "ClassActivationResult",
    "Clip",
    "ClipError",
    "ContrastiveLRPTemporal",
    "ContrastiveLRPTemporalResult",
    "Conv3D",
    "DamagedVideoError",
    "DataError",
    "DeletionCurve",
    "DeletionCurveResult",
    "EarlyFusion",
    "ExpectedGradients",
    "ExpectedGradientsResult",
    "FeatureMask",
    "FlowSegments",
    "FrameLogits",
    "FrameLogitsError",
    "FrameMaskingTSR",
    "FrameMaskingTSRResult",
    "FrameRecurrent",
    "FrameShapley",
    "FrameShapleyResult",
    "FrameSizeError",
    "FrameTransformer",
    "FramewiseModel",
    "GradCAM",
    "GradCAMPlusPlus",
    "GradientAttention",
    "GradientAttentionResult",
    "HalfPrecisionWarning",
    "HiResCAM",
    "IntegratedGradients",
    "IntegratedGradientsResult",
    "KernelSHAP",
    "KernelSHAPResult",
    "LRPResult",
    "LateFusion",
    "LayerCAM",
    "LayerTimesteps",
    "ModelError",
    "Normalization",
    "NotAVideoError",
    "Occlusion",
    "OcclusionResult",
    "OptionError",
    "Pixels",
    "Preprocessing",
    "RISEResult",
    "ReducedOutput",
    "Result",
    "ResultError",
    "Run",
    "ScoreCAM",
    "SelectiveRelevance",
    "SelectiveRelevanceResult",
    "ShuffleCurve",
    "ShuffleProbe",
    "ShuffleProbeResult",
    "ShuffleSet",
    "SlidingFrames",
    "SlidingFramesResult",
    "SlowFast",
    "StepOutputs",
    "Superpixels",
    "Supervoxels",
    "TargetError",
    "TemporalAttrError",
    "TemporalGradient",
    "TemporalGradientResult",
    "ToleranceWarning",
    "TooFewFramesError",
    "TruncatedVideoError",
    "Tubes",
    "UnsupportedModelError",
    "VideoError",
    "VideoLIME",
    "VideoLIMEResult",
    "VideoModel",
    "VideoNotFoundError",
    "WeightsWarning",
    "at_timestep",
    "attributions",
    "check_wrapper",
    "clip_windows",
    "clips",
    "evaluation",
    "frame_scores",
    "gradients",
    "layer_features",
    "linear_outputs",
    "load_clip",
    "load_result",
    "measures",
    "models",
    "perturbations",
    "rather_than",
    "relevance",
    "similarity_to",
    "views",
    "wrap",
]

# Captum imports matplotlib, which a server that only reads clips and runs models can do without;
# so what stands on Captum, and the pictures, are imported when they are first named.
_LATE_ROOMS = ("attributions", "gradients", "relevance", "views")
_LATE_NAMES = (
    "LRP",
    "RISE",
    "ClassActivationResult",
    "AttentionRollout",
    "AttentionRolloutResult",
    "ContrastiveLRPTemporal",
    "ContrastiveLRPTemporalResult",
    "DeletionCurve",
    "DeletionCurveResult",
    "FrameMaskingTSR",
    "FrameMaskingTSRResult",
    "FrameShapley",
    "FrameShapleyResult",
    "KernelSHAP",
    "KernelSHAPResult",
    "GradientAttention",
    "GradientAttentionResult",
    "IntegratedGradients",
    "IntegratedGradientsResult",
    "ExpectedGradients",
    "ExpectedGradientsResult",
    "SelectiveRelevance",
    "SelectiveRelevanceResult",
    "LRPResult",
    "Occlusion",
    "OcclusionResult",
    "RISEResult",
    "GradCAM",
    "GradCAMPlusPlus",
    "HiResCAM",
    "LayerCAM",
    "Result",
    "ScoreCAM",
    "ShuffleCurve",
    "ShuffleProbe",
    "ShuffleProbeResult",
    "ShuffleSet",
    "SlidingFrames",
    "SlidingFramesResult",
    "TemporalGradient",
    "TemporalGradientResult",
    "VideoLIME",
    "VideoLIMEResult",
    "load_result",
)


def __getattr__(name: str) -> object:
    if name in _LATE_ROOMS:
        return import_module(f"{__name__}.{name}")
    if name in _LATE_NAMES:
        # The pictures with them, so that a notebook shows a result as one.
        import_module(f"{__name__}.views")
        return getattr(import_module(f"{__name__}.attributions"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
