"""The curve of the prediction as frames are deleted, or inserted, one after another."""

from temporal_attr.attributions.deletion_curve._method import DeletionCurve
from temporal_attr.attributions.deletion_curve._result import DeletionCurveResult

__all__ = ["DeletionCurve", "DeletionCurveResult"]
