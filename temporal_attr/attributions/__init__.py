"""The attribution methods, one file each."""

from temporal_attr.attributions._contrastive_lrp import (
    ContrastiveLRPTemporal,
    ContrastiveLRPTemporalResult,
)
from temporal_attr.attributions._frame_masking_result import FrameMaskingTSRResult
from temporal_attr.attributions._frame_masking_tsr import FrameMaskingTSR
from temporal_attr.attributions._lrp import LRP, LRPResult
from temporal_attr.attributions._memory import Memory
from temporal_attr.attributions._objectives import Objective, ObjectiveName, resolve_target
from temporal_attr.attributions._results import PixelResult, Result, Run
from temporal_attr.attributions._shuffle_probe import ShuffleProbe
from temporal_attr.attributions._shuffle_results import (
    ShuffleCurve,
    ShuffleProbeResult,
    ShuffleSet,
)
from temporal_attr.attributions._temporal_gradient import TemporalGradient, TemporalGradientResult

__all__ = [
    "LRP",
    "ContrastiveLRPTemporal",
    "ContrastiveLRPTemporalResult",
    "FrameMaskingTSR",
    "FrameMaskingTSRResult",
    "LRPResult",
    "Memory",
    "Objective",
    "ObjectiveName",
    "PixelResult",
    "Result",
    "Run",
    "ShuffleCurve",
    "ShuffleProbe",
    "ShuffleProbeResult",
    "ShuffleSet",
    "TemporalGradient",
    "TemporalGradientResult",
    "resolve_target",
]
