"""Does an explanation move along when the clip does?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from temporal_attr._require import LONGEST, require_count
from temporal_attr._typing import ClipTensor
from temporal_attr.evaluation._again import Again
from temporal_attr.evaluation._case import Case, ScoresOf, require_clips
from temporal_attr.evaluation._metric import Metric, MetricTraits, Score
from temporal_attr.evaluation._similarity import mean_similarity, similarity


def later_clip(clip: ClipTensor, frames: int = 1) -> ClipTensor:
    """A clip shown later: the first frame stands as long, and the last ones are left out.

    Args:
        clip: `(1, time, channel, height, width)`.
        frames: By how many frames later.

    Example:
        >>> later_clip(torch.arange(4.0).reshape(1, 4, 1, 1, 1)).flatten()
        tensor([0., 0., 1., 2.])
    """
    require_clips(clip)
    require_count("frames", frames, 0, LONGEST)
    return clip[:, _moved(clip.shape[1], frames, clip)]


def displaced_clip(clip: ClipTensor, pixels: int = 4) -> ClipTensor:
    """A clip moved to the right and down; the values of the left and upper edge are repeated.

    Args:
        clip: `(1, time, channel, height, width)`.
        pixels: By how many pixels, both ways.

    Example:
        >>> displaced_clip(torch.arange(4.0).reshape(1, 1, 1, 2, 2), pixels=1).flatten()
        tensor([0., 0., 0., 0.])
    """
    require_clips(clip)
    require_count("pixels", pixels, 0, LONGEST)
    height, width = clip.shape[3:]
    rows, columns = _moved(height, pixels, clip), _moved(width, pixels, clip)
    return clip[..., rows, :][..., columns]


def _moved(length: int, by: int, clip: Tensor) -> Tensor:
    return (torch.arange(length, device=clip.device) - by).clamp(min=0)


@dataclass(frozen=True)
class FrameShift(Metric):
    """How well an explanation moves along when the clip is shown later.

    The rank correlation of the explanation of the clip and that of `later_clip`, of each frame that
    both clips have: its score before and after. Of a method that knows nothing of positions, and a
    model in which the repeated first frame changes nothing else, it is 1. The value is in [-1, 1].
    NaN where the clips share no two frames, or all scores of one are equal.

    Args:
        of: What is scored.
        frames: By how many frames later.

    Example:
        >>> FrameShift("pixels", frames=2).name
        'frame-shift-pixels(frames=2)'
    """

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="frame-shift",
        question="Does it move along when the clip is shown a frame later?",
        family="robustness",
        needs=("method",),
        higher_is_better=True,
        lowest=-1.0,
        highest=1.0,
        cost="1 A",
        source="",
    )

    of: ScoresOf = "frames"
    frames: int = 1

    def __post_init__(self) -> None:
        require_count("frames", self.frames, 1)

    def score(self, case: Case) -> Score:
        """Judge one explanation."""
        again = Again(case, self.require_explain(case), self.of)
        before = case.scores(self.of)
        if self.frames >= len(before):
            return Score(math.nan, note=f"a clip of {len(before)} frames is out of view")
        after = again.scores(later_clip(case.clip, self.frames))
        kept = len(before) - self.frames
        return mean_similarity([similarity(before[:kept], after[self.frames :], "rank")])


@dataclass(frozen=True)
class PixelShift(Metric):
    """How well an explanation moves along when the clip is moved to the right and down.

    The rank correlation of the explanation of the clip and that of `displaced_clip`, of each pixel
    that both clips have: its score before and after. Scores of frames should stay what they are,
    and are compared as they are. The value is in [-1, 1]. NaN where the clips share no two pixels,
    or all scores of one are equal.

    Args:
        of: What is scored.
        pixels: By how many pixels, both ways.

    Example:
        >>> PixelShift().name
        'pixel-shift-pixels'
    """

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="pixel-shift",
        question="Does it move along when the clip is moved to the right and down?",
        family="robustness",
        needs=("method",),
        higher_is_better=True,
        lowest=-1.0,
        highest=1.0,
        cost="1 A",
        source="",
    )

    of: ScoresOf = "pixels"
    pixels: int = 4

    def __post_init__(self) -> None:
        require_count("pixels", self.pixels, 1)

    def score(self, case: Case) -> Score:
        """Judge one explanation."""
        again = Again(case, self.require_explain(case), self.of)
        height, width = case.clip.shape[3:]
        if self.pixels >= min(height, width):
            return Score(math.nan, note=f"a clip of {height} x {width} pixels is out of view")
        before = case.scores(self.of)
        after = again.scores(displaced_clip(case.clip, self.pixels))
        if self.of == "pixels":
            before = before[:, : height - self.pixels, : width - self.pixels]
            after = after[:, self.pixels :, self.pixels :]
        return mean_similarity([similarity(before, after, "rank")])
