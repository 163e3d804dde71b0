"""Layer-wise relevance propagation: a prediction distributed over the pixels, and conserved."""

from temporal_attr.attributions.lrp._audit import RelevanceAudit
from temporal_attr.attributions.lrp._method import LRP
from temporal_attr.attributions.lrp._result import LRPResult

__all__ = ["LRP", "LRPResult", "RelevanceAudit"]
