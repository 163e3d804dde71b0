"""Shapley values of features by weighted regression."""

from temporal_attr.attributions.kernel_shap._method import KernelSHAP
from temporal_attr.attributions.kernel_shap._result import KernelSHAPResult

__all__ = ["KernelSHAP", "KernelSHAPResult"]
