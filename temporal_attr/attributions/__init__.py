"""The attribution methods, one folder each, and what they share."""

from temporal_attr._checked import check_calls
from temporal_attr._run import Run, RunContext, started
from temporal_attr.attributions._estimate import Estimate
from temporal_attr.attributions._method import VideoMethod
from temporal_attr.attributions._notebook import register_painter
from temporal_attr.attributions._registry import METHODS
from temporal_attr.attributions._result_files import require_free
from temporal_attr.attributions._results import PixelResult, Result, ScoreResult
from temporal_attr.attributions._storage import Stored, load_result
from temporal_attr.attributions._traits import Traits
from temporal_attr.attributions.contrastive_lrp import (
    ContrastiveLRPTemporal,
    ContrastiveLRPTemporalResult,
)
from temporal_attr.attributions.extremal_perturbation import (
    ExtremalPerturbation,
    ExtremalPerturbationResult,
)
from temporal_attr.attributions.frame_masking_tsr import FrameMaskingTSR, FrameMaskingTSRResult
from temporal_attr.attributions.frame_shapley import FrameShapley, FrameShapleyResult
from temporal_attr.attributions.lrp import LRP, LRPResult
from temporal_attr.attributions.shuffle_probe import (
    ShuffleCurve,
    ShuffleProbe,
    ShuffleProbeResult,
    ShuffleSet,
)
from temporal_attr.attributions.temporal_gradient import TemporalGradient, TemporalGradientResult

__all__ = [
    "LRP",
    "METHODS",
    "ContrastiveLRPTemporal",
    "ContrastiveLRPTemporalResult",
    "Estimate",
    "ExtremalPerturbation",
    "ExtremalPerturbationResult",
    "FrameMaskingTSR",
    "FrameMaskingTSRResult",
    "FrameShapley",
    "FrameShapleyResult",
    "LRPResult",
    "PixelResult",
    "Result",
    "Run",
    "RunContext",
    "ScoreResult",
    "ShuffleCurve",
    "ShuffleProbe",
    "ShuffleProbeResult",
    "ShuffleSet",
    "Stored",
    "TemporalGradient",
    "TemporalGradientResult",
    "Traits",
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
