"""All methods, in the order in which a newcomer meets them. A new method adds its line here."""

from temporal_attr.attributions._method import VideoMethod
from temporal_attr.attributions.attention_rollout import AttentionRollout
from temporal_attr.attributions.class_activation import (
    GradCAM,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    ScoreCAM,
)
from temporal_attr.attributions.contrastive_lrp import ContrastiveLRPTemporal
from temporal_attr.attributions.deletion_curve import DeletionCurve
from temporal_attr.attributions.expected_gradients import ExpectedGradients
from temporal_attr.attributions.extremal_perturbation import ExtremalPerturbation
from temporal_attr.attributions.frame_masking_tsr import FrameMaskingTSR
from temporal_attr.attributions.frame_shapley import FrameShapley
from temporal_attr.attributions.gradient_attention import GradientAttention
from temporal_attr.attributions.integrated_gradients import IntegratedGradients
from temporal_attr.attributions.kernel_shap import KernelSHAP
from temporal_attr.attributions.lrp import LRP
from temporal_attr.attributions.occlusion import Occlusion
from temporal_attr.attributions.rise import RISE
from temporal_attr.attributions.selective_relevance import SelectiveRelevance
from temporal_attr.attributions.shuffle_probe import ShuffleProbe
from temporal_attr.attributions.sliding_frames import SlidingFrames
from temporal_attr.attributions.temporal_gradient import TemporalGradient
from temporal_attr.attributions.video_lime import VideoLIME

METHODS: tuple[type[VideoMethod], ...] = (
    TemporalGradient,
    ShuffleProbe,
    FrameMaskingTSR,
    LRP,
    ContrastiveLRPTemporal,
    FrameShapley,
    DeletionCurve,
    SlidingFrames,
    Occlusion,
    RISE,
    KernelSHAP,
    VideoLIME,
    GradCAM,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    ScoreCAM,
    AttentionRollout,
    GradientAttention,
    IntegratedGradients,
    ExpectedGradients,
    SelectiveRelevance,
    ExtremalPerturbation,
)
"""Every method of the library, by which the command line, the docs and the tests know them."""
