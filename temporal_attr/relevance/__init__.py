"""Relevance: a prediction distributed over the pixels that brought it about, and conserved.

A clip passes through these files in order: `_trace` runs the forward pass under `_engine`'s mode,
which makes of each torch function an `_interception`, looks up in `_tensors` what is known of its
arguments, and lets `_structural` move it, `_recurrence` unroll it, or one of `_handlers` (in
`_layers`, `_products`, `_norms`, `_attention` and `_operations`) split its relevance by a rule of
the `_composite`. `_decompositions` computes in parts what is several operations in one call.
`_maps` and `_convolution` compute a rule of `_rules` for a linear map; `_backward` holds the nodes
that the backward pass goes through, and `_sinks` what it brings elsewhere than to the clip.
`_attention_flow` has other rules, by which attention alone decides where mass goes (with
`_attention_refusals` for what has no such rule), `_attention_gradients` the weights of these that
depend on a class, and `_token_means` the places of tokens.
"""

from temporal_attr._checked import check_calls
from temporal_attr.relevance import composites
from temporal_attr.relevance._attention_flow import AttentionCall, AttentionFlow
from temporal_attr.relevance._attention_gradients import AttentionGradients, attention_gradients
from temporal_attr.relevance._audit import AuditedCall, AuditLog
from temporal_attr.relevance._calls import Call, Handled, NoRuleError, Sink
from temporal_attr.relevance._composite import Composite, Handler
from temporal_attr.relevance._rules import (
    Absolute,
    Box,
    Epsilon,
    Flat,
    Gamma,
    Rule,
    Term,
    WSquare,
    ZPlus,
)
from temporal_attr.relevance._token_means import token_means
from temporal_attr.relevance._trace import Trace, trace

__all__ = [
    "Absolute",
    "AttentionCall",
    "AttentionFlow",
    "AttentionGradients",
    "AuditLog",
    "AuditedCall",
    "Box",
    "Call",
    "Composite",
    "Epsilon",
    "Flat",
    "Gamma",
    "Handled",
    "Handler",
    "NoRuleError",
    "Rule",
    "Sink",
    "Term",
    "Trace",
    "WSquare",
    "ZPlus",
    "attention_gradients",
    "composites",
    "token_means",
    "trace",
]

check_calls(__name__)
