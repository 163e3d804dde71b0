"""Reference architectures, small and configurable."""

from temporal_attr.zoo._architectures import ARCHITECTURES, build_model
from temporal_attr.zoo._base import SteppedModel
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
from temporal_attr.zoo._small import small_recurrent
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
    "recurrent",
    "small_recurrent",
    "tam2d",
]
