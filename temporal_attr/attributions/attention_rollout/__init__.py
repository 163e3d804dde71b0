"""Attention rollout: the attention of all layers multiplied, down to the pixels."""

from temporal_attr.attributions.attention_rollout._method import AttentionRollout
from temporal_attr.attributions.attention_rollout._result import AttentionRolloutResult

__all__ = ["AttentionRollout", "AttentionRolloutResult"]
