"""Does an explanation stay what it is where nothing that matters changes?"""

from temporal_attr.evaluation.robustness._frame_rate import FrameRate, slower_clip
from temporal_attr.evaluation.robustness._noisy_clips import (
    AverageSensitivity,
    LocalLipschitz,
    MaxSensitivity,
)
from temporal_attr.evaluation.robustness._recompression import Recompression, recompressed
from temporal_attr.evaluation.robustness._repeats import Repeats
from temporal_attr.evaluation.robustness._shifts import (
    FrameShift,
    PixelShift,
    displaced_clip,
    later_clip,
)

__all__ = [
    "AverageSensitivity",
    "FrameRate",
    "FrameShift",
    "LocalLipschitz",
    "MaxSensitivity",
    "PixelShift",
    "Recompression",
    "Repeats",
    "displaced_clip",
    "later_clip",
    "recompressed",
    "slower_clip",
]
