"""Video in: decode a file, choose frames, bring them to a model's values."""

from temporal_attr.clips._check import check_finite, check_layout
from temporal_attr.clips._clip import Clip, Sampling, clip_windows, load_clip
from temporal_attr.clips._decode import VideoFile, write_video
from temporal_attr.clips._files import VIDEO_SUFFIXES
from temporal_attr.clips._orders import (
    BlockShuffle,
    FullShuffle,
    LocalShuffle,
    Reversal,
    Shuffling,
    count_orders,
    draw_orders,
)
from temporal_attr.clips._preprocess import IDENTITY, Normalization, Preprocessing
from temporal_attr.clips._sampling import (
    dense_indices,
    require_positive,
    uniform_indices,
    window_starts,
    window_step,
)

__all__ = [
    "IDENTITY",
    "VIDEO_SUFFIXES",
    "BlockShuffle",
    "Clip",
    "FullShuffle",
    "LocalShuffle",
    "Normalization",
    "Preprocessing",
    "Reversal",
    "Sampling",
    "Shuffling",
    "VideoFile",
    "check_finite",
    "check_layout",
    "clip_windows",
    "count_orders",
    "dense_indices",
    "draw_orders",
    "load_clip",
    "require_positive",
    "uniform_indices",
    "window_starts",
    "window_step",
    "write_video",
]
