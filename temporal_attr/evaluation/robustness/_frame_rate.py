"""Does an explanation stay when the video has fewer frames a second?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from temporal_attr._require import LONGEST, require_count
from temporal_attr._typing import ClipTensor
from temporal_attr.evaluation._again import Again
from temporal_attr.evaluation._case import Case, require_clips
from temporal_attr.evaluation._metric import Metric, MetricTraits, Score
from temporal_attr.evaluation._similarity import mean_similarity, similarity


def slower_clip(clip: ClipTensor, keep: int = 2) -> ClipTensor:
    """A clip at a lower frame rate: one frame of so many, each shown as long as all of them.

    Args:
        clip: `(1, time, channel, height, width)`.
        keep: One of how many frames is kept, the first of them.

    Example:
        >>> slower_clip(torch.arange(5.0).reshape(1, 5, 1, 1, 1)).flatten()
        tensor([0., 0., 2., 2., 4.])
    """
    require_clips(clip)
    require_count("keep", keep, 1, LONGEST)
    times = torch.arange(clip.shape[1], device=clip.device)
    return clip[:, times - times % keep]


@dataclass(frozen=True)
class FrameRate(Metric):
    """How well scores of frames stay when fewer frames a second are shown.

    The rank correlation of the scores of the frames that are kept, each at its own time, before and
    after; see `slower_clip`. The value is in [-1, 1]; NaN where fewer than two frames are kept, or
    all scores of an explanation are equal.

    Args:
        keep: One of how many frames is kept.

    Example:
        >>> FrameRate(keep=4).name
        'frame-rate(keep=4)'
    """

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="frame-rate",
        question="Do scores of frames stay when every second frame is shown twice?",
        family="robustness",
        needs=("method",),
        higher_is_better=True,
        lowest=-1.0,
        highest=1.0,
        cost="1 A",
        source="",
    )

    keep: int = 2

    def __post_init__(self) -> None:
        require_count("keep", self.keep, 2)

    def score(self, case: Case) -> Score:
        """Judge one explanation."""
        again = Again(case, self.require_explain(case), "frames")
        before = case.scores("frames")[:: self.keep]
        if len(before) < 2:
            return Score(math.nan, note="fewer than two frames are kept")
        after = again.scores(slower_clip(case.clip, self.keep))[:: self.keep]
        return mean_similarity([similarity(before, after, "rank")])
