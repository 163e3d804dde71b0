"""planted-v1: what is planted, how hard it is to see, and who is trained to see it."""

from __future__ import annotations

from typing import Any

from temporal_attr.evaluation.task_sets._recipe import TrainingRecipe

SIZE = 32
LEVELS = ("easy", "medium", "hard")
SEEDS = (0, 1, 2, 3, 4)
"""Of models: weights, training videos and batches."""

CLIP_SEED = 2_000_000
"""Of the videos that are explained; no model is trained on them or measured by them."""

_SHORT = {"frames": 8, "size": SIZE}
# Two events in 8 frames come so near the ends that the time of one alone tells the class.
_LONG = {"frames": 12, "size": SIZE}
# The look changes from video to video, and says nothing about the class: its motion does.
_ANY_LOOK = {**_SHORT, "classes": 4, "appearance_reliability": 0.25, "motion_reliability": 1.0}

TASK_OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "appearance": {
        "easy": {**_SHORT, "classes": 4, "cue_size": (0.5, 0.7), "noise": 4.0},
        "medium": {**_SHORT, "classes": 4, "cue_size": (0.4, 0.55), "noise": 12.0},
        "hard": {**_SHORT, "classes": 4, "cue_size": (0.3, 0.45), "noise": 20.0},
    },
    "motion": {
        "easy": {**_SHORT, "classes": 4, "cue_size": (0.5, 0.7), "speed": (0.06, 0.1)},
        "medium": {**_SHORT, "classes": 4, "cue_size": (0.35, 0.5), "noise": 8.0},
        "hard": {
            **_SHORT,
            "classes": 8,
            "cue_size": (0.3, 0.4),
            "speed": (0.04, 0.06),
            "noise": 12.0,
        },
    },
    "order": {
        "easy": {**_LONG, "cue_size": (0.5, 0.7), "distance": 2},
        "medium": {**_LONG, "cue_size": (0.4, 0.6), "distance": 3},
        "hard": {**_LONG, "cue_size": (0.4, 0.55), "distance": 4, "duration": 1, "noise": 8.0},
    },
    "keyframe": {
        "easy": {**_SHORT, "classes": 4, "cue_size": (0.5, 0.7), "moment": (3, 4)},
        "medium": {**_SHORT, "classes": 4, "cue_size": (0.5, 0.7), "moment": (2, 3)},
        "hard": {**_SHORT, "classes": 4, "cue_size": (0.45, 0.6), "moment": (1, 1), "noise": 8.0},
    },
    "gait": {
        "easy": {**_SHORT, "cue_size": (0.75, 0.95), "travel": (0.0, 0.0)},
        "medium": {**_SHORT, "cue_size": (0.65, 0.9), "travel": (0.0, 0.02), "noise": 6.0},
        "hard": {**_SHORT, "cue_size": (0.6, 0.75), "travel": (0.0, 0.04), "noise": 10.0},
    },
    "mixed": {
        "easy": {**_ANY_LOOK, "cue_size": (0.5, 0.7), "speed": (0.06, 0.1)},
        "medium": {**_ANY_LOOK, "cue_size": (0.35, 0.5), "noise": 8.0},
        "hard": {**_ANY_LOOK, "cue_size": (0.3, 0.4), "speed": (0.04, 0.06), "noise": 12.0},
    },
}
"""Options of each task at each level."""

FRAMES_TELL = ("appearance", "keyframe")
"""Tasks whose class can be told from one frame."""

_SMALL = {"widths": [8, 16], "size": SIZE}
_OPTIONS: dict[str, dict[str, Any]] = {
    "late-fusion": _SMALL,
    "tam2d": {**_SMALL, "temporal_kernel": 5},
    "gru": {**_SMALL, "ensemble": "all", "hidden": 32},
    "inflated-resnet": _SMALL,
    "slowfast": {**_SMALL, "alpha": 2},
    "tubelet-transformer": {"size": SIZE, "features": 32, "tubelet": 2},
}

FAMILIES = tuple(_OPTIONS)
"""Of all tasks; see `families_of`."""

_STEPS = {
    "late-fusion": 350,
    "tam2d": 350,
    "gru": 700,
    "inflated-resnet": 350,
    "slowfast": 350,
    "tubelet-transformer": 1500,
}
_TRAINING: dict[tuple[str, str], dict[str, Any]] = {
    # A memory learns what lies between frames sooner where its later timesteps are taught too.
    ("motion", "gru"): {"steps": 1200, "each_step": 0.5},
    ("mixed", "gru"): {"steps": 1200, "each_step": 0.5},
    ("gait", "gru"): {"steps": 1200, "each_step": 0.5},
}
"""What is trained otherwise than its family is."""


def families_of(task: str) -> tuple[str, ...]:
    """The five kinds of model that are trained on a task, each of which can tell its classes.

    A network that looks at frames one by one (`late-fusion`) is blind to order. Where no single
    frame tells the class, one whose layers mix neighbouring frames takes its place (`tam2d`).
    """
    by_frame = "late-fusion" if task in FRAMES_TELL else "tam2d"
    return (by_frame, "gru", "inflated-resnet", "slowfast", "tubelet-transformer")


def recipe_of(task: str, level: str, family: str, seed: int) -> TrainingRecipe:
    """How a model is trained."""
    task_options = TASK_OPTIONS[task][level]
    options = dict(_OPTIONS[family])
    if family == "tubelet-transformer":
        options["frames"] = task_options["frames"]
    return TrainingRecipe(
        name=f"{task}-{level}-{family}-{seed}",
        task=task,
        task_options=task_options,
        architecture=family,
        options=options,
        seed=seed,
        **{"steps": _STEPS[family], **_TRAINING.get((task, family), {})},
    )
