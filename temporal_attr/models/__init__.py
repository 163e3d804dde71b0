"""Wrappers that make every family of video model look alike."""

from temporal_attr._activation import Activation
from temporal_attr._checked import check_calls
from temporal_attr.models._agreement import check_wrapper
from temporal_attr.models._base import (
    Exactness,
    FrameLogits,
    FramewiseModel,
    VideoModel,
    check_logits,
)
from temporal_attr.models._conv3d import Conv3D
from temporal_attr.models._early_fusion import EarlyFusion
from temporal_attr.models._frame_transformer import FrameTransformer
from temporal_attr.models._late_fusion import LateFusion
from temporal_attr.models._logits import model_logits, named_misfit
from temporal_attr.models._recurrent import FrameRecurrent
from temporal_attr.models._wrap import require_wrapped, wrap
from temporal_attr.models.discovery import layers
from temporal_attr.models.layers import LayerTable, LayerTimesteps
from temporal_attr.models.loading._checkpoint_folder import load_transformers
from temporal_attr.models.loading._load import class_names, load_model
from temporal_attr.models.trials._evaluation_mode import require_evaluation_mode
from temporal_attr.models.trials._fits import check_fits, check_weights_of_gradients
from temporal_attr.models.trials._trials import Trial, require_as_assumed, require_framewise
from temporal_attr.models.trials._visible_attention import require_visible_attention

__all__ = [
    "Activation",
    "Conv3D",
    "EarlyFusion",
    "Exactness",
    "FrameLogits",
    "FrameRecurrent",
    "FrameTransformer",
    "FramewiseModel",
    "LateFusion",
    "LayerTable",
    "LayerTimesteps",
    "Trial",
    "VideoModel",
    "check_fits",
    "check_logits",
    "check_weights_of_gradients",
    "check_wrapper",
    "class_names",
    "layers",
    "load_model",
    "load_transformers",
    "model_logits",
    "named_misfit",
    "require_as_assumed",
    "require_evaluation_mode",
    "require_framewise",
    "require_visible_attention",
    "require_wrapped",
    "wrap",
]

check_calls(
    __name__,
    own={"aggregation", "check_wrapper.wrapper", "class_names", "readout"},
)
