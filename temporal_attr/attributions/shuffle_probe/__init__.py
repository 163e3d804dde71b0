"""Does the prediction depend on the order of the frames, how strongly, and at which range?"""

from temporal_attr.attributions.shuffle_probe._curve import ShuffleCurve
from temporal_attr.attributions.shuffle_probe._method import ShuffleProbe
from temporal_attr.attributions.shuffle_probe._result import ShuffleProbeResult
from temporal_attr.attributions.shuffle_probe._set import ShuffleSet

__all__ = ["ShuffleCurve", "ShuffleProbe", "ShuffleProbeResult", "ShuffleSet"]
