"""What the command line was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from temporal_attr.clips import Sampling


@dataclass(frozen=True)
class Settings:
    """What `explain` was asked for; the names are those of its own options.

    Attributes:
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
    frames: int = 16
    sampling: Sampling = "uniform"
    stride: int = 1
    start: int = 0
    device: str = "cpu"
    seed: int = 0
    options: Mapping[str, str | bool] = field(default_factory=dict)
