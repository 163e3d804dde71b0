"""From which frames each timestep's prediction comes, and how far that is."""

from temporal_attr.attributions.contrastive_lrp._method import ContrastiveLRPTemporal
from temporal_attr.attributions.contrastive_lrp._result import ContrastiveLRPTemporalResult

__all__ = ["ContrastiveLRPTemporal", "ContrastiveLRPTemporalResult"]
