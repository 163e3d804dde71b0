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
from temporal_attr.models._recognise import require_wrapped
from temporal_attr.models._recurrent import FrameRecurrent
from temporal_attr.models._without_timesteps import WithoutTimesteps
from temporal_attr.models._wrap import wrap
from temporal_attr.models.discovery import layers
from temporal_attr.models.layers import LayerTable, LayerTimesteps
from temporal_attr.models.libraries._slowfast import SlowFast
from temporal_attr.models.loading._checkpoint_folder import load_transformers
from temporal_attr.models.loading._load import class_names, load_model
from temporal_attr.models.outputs._at_timestep import at_timestep
from temporal_attr.models.outputs._class_difference import rather_than
from temporal_attr.models.outputs._derived import Derived, DerivedFunction
from temporal_attr.models.outputs._layer_features import layer_features
from temporal_attr.models.outputs._linear import linear_outputs, similarity_to
from temporal_attr.models.outputs._network_outputs import ReducedOutput, StepOutputs
from temporal_attr.models.trials._by_frame import predicts_by_frame
from temporal_attr.models.trials._evaluation_mode import require_evaluation_mode
from temporal_attr.models.trials._fits import check_fits, check_weights_of_gradients
from temporal_attr.models.trials._trials import Trial, require_as_assumed, require_framewise
from temporal_attr.models.trials._visible_attention import require_visible_attention

__all__ = [
    "Activation",
    "Conv3D",
    "Derived",
    "DerivedFunction",
    "EarlyFusion",
    "Exactness",
    "FrameLogits",
    "FrameRecurrent",
    "FrameTransformer",
    "FramewiseModel",
    "LateFusion",
    "LayerTable",
    "LayerTimesteps",
    "ReducedOutput",
    "SlowFast",
    "StepOutputs",
    "Trial",
    "VideoModel",
    "WithoutTimesteps",
    "at_timestep",
    "check_fits",
    "check_logits",
    "check_weights_of_gradients",
    "check_wrapper",
    "class_names",
    "layer_features",
    "layers",
    "linear_outputs",
    "load_model",
    "load_transformers",
    "model_logits",
    "named_misfit",
    "predicts_by_frame",
    "rather_than",
    "require_as_assumed",
    "require_evaluation_mode",
    "require_framewise",
    "require_visible_attention",
    "require_wrapped",
    "similarity_to",
    "wrap",
]

check_calls(
    __name__,
    own={"aggregation", "at_timestep.model", "check_wrapper.wrapper", "class_names", "readout"},
)
