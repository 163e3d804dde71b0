"""The models that methods_on_planted.py asks: five families, each trained on planted key frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from train_zoo import Recipe, finished
from transformer_training import TASKS, folder_of, one_try, settings

from temporal_attr.models import VideoModel
from temporal_attr.zoo import Card, load_pretrained, pretrained_card

FOLDER = Path(__file__).parent / "checkpoints" / "methods"
FRAMES, SIZE, SEED = 8, 32, 0
TASK = {"frames": FRAMES, **TASKS["keyframe"], "classes": 4}
"""Of two classes one can be what the model says where it sees nothing; of four only one can."""
SMALL = {"widths": (8, 16)}
TUBELETS = {"frames": FRAMES, "features": 32, "tubelet": 2}


def recipe(kind: str, options: dict[str, Any], steps: int, each_step: float = 0.0) -> Recipe:
    """How a family is trained."""
    return Recipe("keyframe", kind, options, TASK, "methods", steps, 3e-3, SIZE, each_step)


MODELS = {
    "late fusion": recipe("late-fusion", SMALL, 350),
    "GRU": recipe("gru", {**SMALL, "ensemble": "all", "hidden": 32}, 700),
    "3D ResNet": recipe("inflated-resnet", SMALL, 350),
    "tubelet transformer": recipe("tubelet-transformer", TUBELETS, 1500),
    "SlowFast": recipe("slowfast", {**SMALL, "alpha": 2}, 350),
}
"""By the name in the tables."""


def trained(entry: Recipe) -> tuple[VideoModel, Card]:
    """A model and what is known of it; it is trained where it is not there yet."""
    folder = folder_of(FOLDER, SEED)
    if not finished(entry, folder, settings(SEED)):
        one_try(entry, SEED, FOLDER)
    return load_pretrained(entry.name, folder), pretrained_card(entry.name, folder)
