"""Class activation maps: what the values of a layer say of the target, in space and time."""

from temporal_attr.attributions.class_activation._by_gradient import (
    GradCAM,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
)
from temporal_attr.attributions.class_activation._method import ClassActivationMethod
from temporal_attr.attributions.class_activation._result import ClassActivationResult
from temporal_attr.attributions.class_activation._score_cam import ScoreCAM

__all__ = [
    "ClassActivationMethod",
    "ClassActivationResult",
    "GradCAM",
    "GradCAMPlusPlus",
    "HiResCAM",
    "LayerCAM",
    "ScoreCAM",
]
