"""What does an explanation say of a clip in which nothing moves?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from temporal_attr._typing import ClipTensor
from temporal_attr.evaluation._again import ZERO, Again, values_of
from temporal_attr.evaluation._case import Case, ScoresOf, require_clips
from temporal_attr.evaluation._metric import Metric, MetricTraits, Score


def still_clip(clip: ClipTensor) -> ClipTensor:
    """The middle frame (of an even number, the later of two), shown all the time.

    Args:
        clip: `(1, time, channel, height, width)`.

    Example:
        >>> import torch
        >>> still_clip(torch.arange(4.0).reshape(1, 4, 1, 1, 1)).flatten()
        tensor([2., 2., 2., 2.])
    """
    require_clips(clip)
    time = clip.shape[1]
    return clip[:, time // 2 : time // 2 + 1].repeat(1, time, 1, 1, 1)


@dataclass(frozen=True)
class StaticClip(Metric):
    r"""How much of an explanation is left when nothing moves.

    :math:`\sum |\phi(x_{still})| / \sum |\phi(x)|`, where the still clip shows the middle frame all
    the time, see `still_clip`. An explanation that claims to be of motion must come to 0; one that
    also explains what is seen need not. The value is 0 or more; NaN where the explanation is zero.

    Args:
        of: `"frames"` for their scores, `"pixels"` for the attribution with its channels.

    Example:
        >>> StaticClip().name
        'static-clip-frames'
    """

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="static-clip",
        question="How much of it is left when nothing in the clip moves?",
        family="sanity",
        needs=("method",),
        higher_is_better=False,
        lowest=0.0,
        highest=math.inf,
        cost="1 A",
        source="",
    )

    of: ScoresOf = "frames"

    def score(self, case: Case) -> Score:
        """Judge one explanation."""
        again = Again(case, self.require_explain(case), self.of)
        before = float(np.abs(values_of(case.explanation, self.of)).sum())
        if not before:
            return Score(math.nan, note=ZERO)
        after = float(np.abs(again.values(still_clip(case.clip))).sum())
        return Score(after / before)
