"""Wrappers that make every family of video model look alike."""

from temporal_attr._activation import Activation
from temporal_attr.models._base import (
    Exactness,
    FrameLogits,
    FramewiseModel,
    VideoModel,
    check_logits,
    require_evaluation_mode,
)
from temporal_attr.models._conv3d import Conv3D
from temporal_attr.models._early_fusion import EarlyFusion
from temporal_attr.models._late_fusion import LateFusion
from temporal_attr.models._load import class_names, load_model
from temporal_attr.models._recurrent import FrameRecurrent
from temporal_attr.models._wrap import wrap

__all__ = [
    "Activation",
    "Conv3D",
    "EarlyFusion",
    "Exactness",
    "FrameLogits",
    "FrameRecurrent",
    "FramewiseModel",
    "LateFusion",
    "VideoModel",
    "check_logits",
    "class_names",
    "load_model",
    "require_evaluation_mode",
    "wrap",
]
