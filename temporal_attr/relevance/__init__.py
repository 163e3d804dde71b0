"""Relevance: a prediction shared among the pixels that brought it about, and conserved."""

from temporal_attr.relevance._composite import Composite
from temporal_attr.relevance._operations import Call, Handled, Handler, NoRuleError
from temporal_attr.relevance._rules import Box, Epsilon, Flat, Gamma, Rule, WSquare, ZPlus
from temporal_attr.relevance._trace import Trace, trace

__all__ = [
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
    "Trace",
    "WSquare",
    "ZPlus",
    "trace",
]
