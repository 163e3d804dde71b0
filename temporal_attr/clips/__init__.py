"""Video in: decode a file, choose frames, bring them to a model's values."""

from temporal_attr._checked import check_calls
from temporal_attr.clips._check import check_finite, check_layout
from temporal_attr.clips._clip import Clip, Sampling, load_clip
from temporal_attr.clips._decode import VideoFile
from temporal_attr.clips._files import VIDEO_SUFFIXES
from temporal_attr.clips._images import IMAGE_SUFFIXES, ImageSequence, open_source
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
from temporal_attr.clips._windows import clip_windows
from temporal_attr.clips._write import write_video

__all__ = [
    "IDENTITY",
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "BlockShuffle",
    "Clip",
    "FullShuffle",
    "ImageSequence",
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
    "open_source",
    "require_positive",
    "uniform_indices",
    "window_starts",
    "window_step",
    "write_video",
]

check_calls(
    __name__,
    own={
        "clip", "count", "length", "overlap", "radius", "seed", "write_video.fps",
        "write_video.frames",
    },
)  # fmt: skip
