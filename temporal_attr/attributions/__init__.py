"""The attribution methods, one folder each, and what they share."""

from temporal_attr._checked import check_calls
from temporal_attr._run import Run, RunContext, started
from temporal_attr.attributions._attention_result import AttentionResult
from temporal_attr.attributions._estimate import Estimate
from temporal_attr.attributions._method import VideoMethod
from temporal_attr.attributions._notebook import register_painter
from temporal_attr.attributions._perturbing import PerturbingMethod
from temporal_attr.attributions._registry import METHODS
from temporal_attr.attributions._result_files import require_free
from temporal_attr.attributions._results import PixelResult, Result, ScoreResult
from temporal_attr.attributions._storage import Stored, load_result
from temporal_attr.attributions._traits import Traits
from temporal_attr.attributions.attention_rollout import AttentionRollout, AttentionRolloutResult
from temporal_attr.attributions.class_activation import (
    ClassActivationMethod,
    ClassActivationResult,
    GradCAM,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    ScoreCAM,
)
from temporal_attr.attributions.contrastive_lrp import (
    ContrastiveLRPTemporal,
    ContrastiveLRPTemporalResult,
)
from temporal_attr.attributions.deletion_curve import DeletionCurve, DeletionCurveResult
from temporal_attr.attributions.expected_gradients import (
    ExpectedGradients,
    ExpectedGradientsResult,
)
from temporal_attr.attributions.extremal_perturbation import (
    ExtremalPerturbation,
    ExtremalPerturbationResult,
)
from temporal_attr.attributions.frame_masking_tsr import FrameMaskingTSR, FrameMaskingTSRResult
from temporal_attr.attributions.frame_shapley import FrameShapley, FrameShapleyResult
from temporal_attr.attributions.gradient_attention import (
    GradientAttention,
    GradientAttentionResult,
)
from temporal_attr.attributions.integrated_gradients import (
    IntegratedGradients,
    IntegratedGradientsResult,
)
from temporal_attr.attributions.kernel_shap import KernelSHAP, KernelSHAPResult
from temporal_attr.attributions.lrp import LRP, LRPResult
from temporal_attr.attributions.occlusion import Occlusion, OcclusionResult
from temporal_attr.attributions.rise import RISE, RISEResult
from temporal_attr.attributions.selective_relevance import (
    SelectiveRelevance,
    SelectiveRelevanceResult,
)
from temporal_attr.attributions.shuffle_probe import (
    ShuffleCurve,
    ShuffleProbe,
    ShuffleProbeResult,
    ShuffleSet,
)
from temporal_attr.attributions.sliding_frames import SlidingFrames, SlidingFramesResult
from temporal_attr.attributions.temporal_gradient import TemporalGradient, TemporalGradientResult
from temporal_attr.attributions.video_lime import VideoLIME, VideoLIMEResult

__all__ = [
    "LRP",
    "METHODS",
    "RISE",
    "AttentionResult",
    "AttentionRollout",
    "AttentionRolloutResult",
    "ClassActivationMethod",
    "ClassActivationResult",
    "ContrastiveLRPTemporal",
    "ContrastiveLRPTemporalResult",
    "DeletionCurve",
    "DeletionCurveResult",
    "Estimate",
    "ExpectedGradients",
    "ExpectedGradientsResult",
    "ExtremalPerturbation",
    "ExtremalPerturbationResult",
    "FrameMaskingTSR",
    "FrameMaskingTSRResult",
    "FrameShapley",
    "FrameShapleyResult",
    "GradCAM",
    "GradCAMPlusPlus",
    "GradientAttention",
    "GradientAttentionResult",
    "HiResCAM",
    "IntegratedGradients",
    "IntegratedGradientsResult",
    "KernelSHAP",
    "KernelSHAPResult",
    "LRPResult",
    "LayerCAM",
    "Occlusion",
    "OcclusionResult",
    "PerturbingMethod",
    "PixelResult",
    "RISEResult",
    "Result",
    "Run",
    "RunContext",
    "ScoreCAM",
    "ScoreResult",
    "SelectiveRelevance",
    "SelectiveRelevanceResult",
    "ShuffleCurve",
    "ShuffleProbe",
    "ShuffleProbeResult",
    "ShuffleSet",
    "SlidingFrames",
    "SlidingFramesResult",
    "Stored",
    "TemporalGradient",
    "TemporalGradientResult",
    "Traits",
    "VideoLIME",
    "VideoLIMEResult",
    "VideoMethod",
    "load_result",
    "register_painter",
    "require_free",
    "started",
]

check_calls(
    __name__,
    own={
        "ShuffleProbe.shuffling", "attribute.target", "curve.target", "estimate.target",
        "explain.target", "feature_mask", "inputs", "method", "model",
    },
)  # fmt: skip
