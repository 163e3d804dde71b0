"""All methods, in the order in which a newcomer meets them. A new method adds its line here."""

from temporal_attr.attributions._method import VideoMethod
from temporal_attr.attributions.contrastive_lrp import ContrastiveLRPTemporal
from temporal_attr.attributions.extremal_perturbation import ExtremalPerturbation
from temporal_attr.attributions.frame_masking_tsr import FrameMaskingTSR
from temporal_attr.attributions.frame_shapley import FrameShapley
from temporal_attr.attributions.lrp import LRP
from temporal_attr.attributions.shuffle_probe import ShuffleProbe
from temporal_attr.attributions.temporal_gradient import TemporalGradient

METHODS: tuple[type[VideoMethod], ...] = (
    TemporalGradient,
    ShuffleProbe,
    FrameMaskingTSR,
    LRP,
    ContrastiveLRPTemporal,
    FrameShapley,
    ExtremalPerturbation,
)
"""Every method of the library, by which the command line, the docs and the tests know them."""
