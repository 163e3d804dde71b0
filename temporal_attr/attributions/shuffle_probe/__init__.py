"""Does the order of the frames matter to a model?"""

from temporal_attr.attributions.shuffle_probe._method import ShuffleProbe
from temporal_attr.attributions.shuffle_probe._result import (
    ShuffleCurve,
    ShuffleProbeResult,
    ShuffleSet,
)

__all__ = ["ShuffleCurve", "ShuffleProbe", "ShuffleProbeResult", "ShuffleSet"]
