"""Planted videos: what decides their class is known, frame by frame and pixel by pixel."""

from temporal_attr._checked import check_calls
from temporal_attr.synthetic._events import Keyframe, Order
from temporal_attr.synthetic._gait import Gait
from temporal_attr.synthetic._moving import Appearance, Mixed, Motion
from temporal_attr.synthetic._task import PlantedVideo, Task

TASKS: dict[str, type[Task]] = {
    task.name: task for task in (Appearance, Motion, Order, Keyframe, Gait, Mixed)
}
"""The tasks by name."""

__all__ = [
    "TASKS",
    "Appearance",
    "Gait",
    "Keyframe",
    "Mixed",
    "Motion",
    "Order",
    "PlantedVideo",
    "Task",
]

check_calls(__name__)
