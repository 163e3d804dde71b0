"""Gradient attention: rollout of what in the attention supports a class."""

from temporal_attr.attributions.gradient_attention._method import GradientAttention
from temporal_attr.attributions.gradient_attention._result import GradientAttentionResult

__all__ = ["GradientAttention", "GradientAttentionResult"]
