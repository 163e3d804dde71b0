"""What the command line was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from temporal_attr.clips import Sampling

FRAMES = 16
"""How many are decoded where neither the user nor the model says."""


@dataclass(frozen=True)
class Settings:
    """What `explain` was asked for; the names are those of its own options.

    Attributes:
        rather_than: The class that the target is compared with; None explains the target alone.
        frames: None for as many as the model is made for, or `FRAMES` where that is not known.
        stride: None for what `load_clip` does without; likewise `start`.
        resize: As it was written, in place of what the model knows; likewise `crop`, `mean`, `std`.
        overwrite: Whether finished videos of a folder are explained again.
        estimate: Whether only the cost is said.
        options: Of the method: what was given, by the parameter's name.
    """

    video: Path | None
    model: str
    out: Path
    video_dir: Path | None = None
    weights: Path | None = None
    classes: Path | None = None
    method: str = "temporal-gradient"
    target: str = "top"
    rather_than: str | None = None
    frames: int | None = None
    sampling: Sampling = "uniform"
    stride: int | None = None
    start: int | None = None
    resize: str | None = None
    crop: str | None = None
    mean: str | None = None
    std: str | None = None
    device: str = "cpu"
    seed: int = 0
    overwrite: bool = False
    estimate: bool = False
    options: Mapping[str, str | bool] = field(default_factory=dict)
