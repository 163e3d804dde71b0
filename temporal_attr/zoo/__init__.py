"""Reference architectures, small and configurable."""

from temporal_attr._checked import check_calls
from temporal_attr.zoo._architectures import ARCHITECTURES, build_model
from temporal_attr.zoo._base import SteppedModel
from temporal_attr.zoo._checkpoints import (
    Card,
    load_pretrained,
    pretrained_card,
    pretrained_names,
    save_checkpoint,
)
from temporal_attr.zoo._divided_transformer import DividedTransformer
from temporal_attr.zoo._fusion import (
    AttentionPooling,
    NetVLAD,
    TemporalPyramid,
    early_fusion,
    late_fusion,
)
from temporal_attr.zoo._recurrent import InputCellAttention, recurrent
from temporal_attr.zoo._residual import FrameEncoder, factorised_width
from temporal_attr.zoo._slowfast import SlowFast
from temporal_attr.zoo._transformer import TemporalTransformer, TubeletTransformer
from temporal_attr.zoo._volume import (
    TemporalAggregation,
    factorised_resnet,
    inflated_resnet,
    tam2d,
)

__all__ = [
    "ARCHITECTURES",
    "AttentionPooling",
    "Card",
    "DividedTransformer",
    "FrameEncoder",
    "InputCellAttention",
    "NetVLAD",
    "SlowFast",
    "SteppedModel",
    "TemporalAggregation",
    "TemporalPyramid",
    "TemporalTransformer",
    "TubeletTransformer",
    "build_model",
    "early_fusion",
    "factorised_resnet",
    "factorised_width",
    "inflated_resnet",
    "late_fusion",
    "load_pretrained",
    "pretrained_card",
    "pretrained_names",
    "recurrent",
    "save_checkpoint",
    "tam2d",
]

check_calls(__name__)
