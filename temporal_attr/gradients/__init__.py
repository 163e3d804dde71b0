"""Gradients of scalar outputs of a model with respect to frames, in whatever memory there is."""

from temporal_attr._checked import check_calls
from temporal_attr._memory import is_out_of_memory
from temporal_attr._targets import resolve_target
from temporal_attr.gradients._autograd import (
    isolated_autograd,
    mended,
    native_recurrence,
    reliable_backward,
)
from temporal_attr.gradients._halving import DEFAULT_CHUNK, halving
from temporal_attr.gradients._memory_ladder import Memory, gradients_of, require_memory
from temporal_attr.gradients._objectives import (
    OBJECTIVES,
    Objective,
    ObjectiveName,
    logit,
    resolve_objective,
)
from temporal_attr.gradients._query import (
    GradientQuery,
    Gradients,
    encode_frames,
    frame_graph,
    gradient_at_features,
)
from temporal_attr.gradients._vector_jacobian import vector_jacobian_products

__all__ = [
    "DEFAULT_CHUNK",
    "OBJECTIVES",
    "GradientQuery",
    "Gradients",
    "Memory",
    "Objective",
    "ObjectiveName",
    "encode_frames",
    "frame_graph",
    "gradient_at_features",
    "gradients_of",
    "halving",
    "is_out_of_memory",
    "isolated_autograd",
    "logit",
    "mended",
    "native_recurrence",
    "reliable_backward",
    "require_memory",
    "resolve_objective",
    "resolve_target",
    "vector_jacobian_products",
]

check_calls(__name__)
