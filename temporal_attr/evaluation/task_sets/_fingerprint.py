"""Whether a generator still draws the videos that a task set was named for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from temporal_attr._errors import DataError
from temporal_attr.synthetic import PlantedVideo

FILE = Path(__file__).parent / "fingerprints.json"
"""By set, task and level."""

TOLERANCE = {"grey": 0.02, "spread": 0.02, "skew": 0.02, "region": 2}
"""Processors differ in the last bits of a sine, and so now and then in a pixel by one grey level. A
mean over thousands of pixels moves by less than this; another scene moves it by more."""


def fingerprint(video: PlantedVideo) -> dict[str, Any]:
    """What is the same on every machine: the truth, and means over many pixels.

    Example:
        >>> from temporal_attr.synthetic import Keyframe
        >>> found = fingerprint(Keyframe(frames=6, size=16, moment=(2, 2)).sample(0))
        >>> found["label"], found["frames"], found["region"] > 0
        (3, '000110', True)
    """
    pixels = video.frames.astype(np.float64)
    slope = np.linspace(-1, 1, pixels.size).reshape(pixels.shape)
    return {
        "label": video.label,
        "frames": "".join(map(str, video.deciding_frames.astype(int))),
        "region": int(video.region.sum()),
        "grey": round(float(pixels.mean()), 4),
        "spread": round(float(pixels.std()), 4),
        # Pixels that change places leave the mean as it is, and not this.
        "skew": round(float((slope * pixels).mean()), 4),
    }


def require_fingerprints(set_name: str, part: str, videos: Sequence[PlantedVideo]) -> None:
    """Raise unless the first videos of a part of a set are those that the set was named for.

    Raises:
        DataError: If the generator draws others now.
    """
    known = json.loads(FILE.read_text("utf-8"))[set_name][part]
    # Fewer videos than are known: those are compared.
    for place, (video, wanted) in enumerate(zip(videos, known, strict=False)):
        found = fingerprint(video)
        for key, value in wanted.items():
            near = key in TOLERANCE and abs(found[key] - value) <= TOLERANCE[key]
            if found[key] != value and not near:
                raise DataError(
                    f"{key} {value} in clip {place} of {part}, as when {set_name} was named",
                    f"{found[key]}: the generator draws other clips",
                    "Install the version of the set; results of other clips need another name.",
                )
