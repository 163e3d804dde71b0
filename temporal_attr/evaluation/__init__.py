"""How good is an explanation: what a model still gets right where it sees only so much."""

from temporal_attr._checked import check_calls
from temporal_attr.evaluation._windows import WindowAccuracy, accuracy_by_window, windowed_logits

__all__ = ["WindowAccuracy", "accuracy_by_window", "windowed_logits"]

check_calls(__name__, own={"clip", "model"})
