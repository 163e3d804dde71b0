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

from temporal_attr import clips, evaluation, gradients, measures, models, perturbations
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
from temporal_attr.perturbations import Blocks, FeatureMask, Pixels, Superpixels, Supervoxels

if TYPE_CHECKING:
    from temporal_attr import attributions, relevance, views
    from temporal_attr.attributions import (
        LRP,
        ContrastiveLRPTemporal,
        ContrastiveLRPTemporalResult,
        ExtremalPerturbation,
        ExtremalPerturbationResult,
        FrameMaskingTSR,
        FrameMaskingTSRResult,
        FrameShapley,
        FrameShapleyResult,
        LRPResult,
        Result,
        ShuffleCurve,
        ShuffleProbe,
        ShuffleProbeResult,
        ShuffleSet,
        TemporalGradient,
        TemporalGradientResult,
        load_result,
    )

__version__ = version("temporal-attr")

__all__ = [
    "LRP",
    "Blocks",
    "Clip",
    "ClipError",
    "ContrastiveLRPTemporal",
    "ContrastiveLRPTemporalResult",
    "Conv3D",
    "DamagedVideoError",
    "DataError",
    "EarlyFusion",
    "ExtremalPerturbation",
    "ExtremalPerturbationResult",
    "FeatureMask",
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
    "HalfPrecisionWarning",
    "LRPResult",
    "LateFusion",
    "LayerTimesteps",
    "ModelError",
    "Normalization",
    "NotAVideoError",
    "OptionError",
    "Pixels",
    "Preprocessing",
    "ReducedOutput",
    "Result",
    "ResultError",
    "Run",
    "ShuffleCurve",
    "ShuffleProbe",
    "ShuffleProbeResult",
    "ShuffleSet",
    "SlowFast",
    "StepOutputs",
    "Superpixels",
    "Supervoxels",
    "TargetError",
    "TemporalAttrError",
    "TemporalGradient",
    "TemporalGradientResult",
    "TooFewFramesError",
    "TruncatedVideoError",
    "UnsupportedModelError",
    "VideoError",
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
_LATE_ROOMS = ("attributions", "relevance", "views")
_LATE_NAMES = (
    "LRP",
    "ContrastiveLRPTemporal",
    "ContrastiveLRPTemporalResult",
    "ExtremalPerturbation",
    "ExtremalPerturbationResult",
    "FrameMaskingTSR",
    "FrameMaskingTSRResult",
    "FrameShapley",
    "FrameShapleyResult",
    "LRPResult",
    "Result",
    "ShuffleCurve",
    "ShuffleProbe",
    "ShuffleProbeResult",
    "ShuffleSet",
    "TemporalGradient",
    "TemporalGradientResult",
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
