"""What of an attribution is about motion, and what about appearance."""

from temporal_attr.attributions.selective_relevance._method import SelectiveRelevance
from temporal_attr.attributions.selective_relevance._result import SelectiveRelevanceResult

__all__ = ["SelectiveRelevance", "SelectiveRelevanceResult"]
