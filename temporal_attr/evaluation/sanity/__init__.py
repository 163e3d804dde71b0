"""Does an explanation depend on what it is said to explain: the weights, the class, the order?"""

from temporal_attr.evaluation.sanity._changed import shifted
from temporal_attr.evaluation.sanity._entropy import EfficientRandomization, histogram_entropy
from temporal_attr.evaluation.sanity._input_shift import InputShift
from temporal_attr.evaluation.sanity._order import ShuffledTwin
from temporal_attr.evaluation.sanity._order_blind import OrderBlind, order_blind, random_orders
from temporal_attr.evaluation.sanity._other_classes import OtherClass, RandomLogit
from temporal_attr.evaluation.sanity._parameters import parameter_modules, randomized
from temporal_attr.evaluation.sanity._randomization import (
    CascadingRandomization,
    IndependentRandomization,
    SmoothRandomization,
)
from temporal_attr.evaluation.sanity._static_clip import StaticClip, still_clip

__all__ = [
    "CascadingRandomization",
    "EfficientRandomization",
    "IndependentRandomization",
    "InputShift",
    "OrderBlind",
    "OtherClass",
    "RandomLogit",
    "ShuffledTwin",
    "SmoothRandomization",
    "StaticClip",
    "histogram_entropy",
    "order_blind",
    "parameter_modules",
    "random_orders",
    "randomized",
    "shifted",
    "still_clip",
]
