"""How well scores of frames, and attributions of pixels, point at what was planted."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from temporal_attr.evaluation import Areas, areas


def frame_areas(scores: Float[np.ndarray, " time"], truth: Bool[np.ndarray, " time"]) -> Areas:
    """Areas of scores of frames."""
    return areas(np.asarray(scores, np.float64), truth)


def pixel_areas(
    attribution: Float[np.ndarray, "time channel height width"],
    region: Bool[np.ndarray, "time height width"],
) -> Areas:
    """Areas of the norm over channels of an attribution."""
    norm = np.sqrt((np.asarray(attribution, np.float64) ** 2).sum(1))
    return areas(norm.flatten(), region.flatten())
