"""Whether scores rank features as leaving each of them out does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float

from temporal_attr.attributions._objective_values import check_pixel_baselines
from temporal_attr.evaluation._case import Case
from temporal_attr.evaluation._metric import MetricTraits, Score
from temporal_attr.evaluation.faithfulness._correlations import spearman
from temporal_attr.evaluation.faithfulness._features import (
    FeatureClips,
    FeatureMetric,
    feature_clips,
)
from temporal_attr.perturbations import FrameBaselines, check_frame_baselines

_AT_A_TIME = 256
"""Features that are left out in one go, each of its own clip."""


def leave_one_out(
    scores: Float[np.ndarray, "features"], drops: Float[np.ndarray, "features"]
) -> float:
    """Spearman's correlation of scores and of what leaving each feature out does.

    :cite:t:`jain2019` compare attention with leaving words out by Kendall's rank correlation;
    Spearman's is the one of the other metrics here.

    Args:
        scores: `(features,)`.
        drops: `(features,)`, by how much the objective drops without each.

    Returns:
        In [-1, 1]; equal numbers share the mean of their ranks; NaN if one side is constant.

    Raises:
        DataError: If there are not as many of both.

    Example:
        >>> leave_one_out(np.array([3.0, 1.0, 2.0]), np.array([0.9, 0.1, 0.5]))
        1.0
    """
    return spearman(scores, drops)


@dataclass(frozen=True)
class LeaveOneOut(FeatureMetric):
    """Do scores rank features as leaving each of them out does?

    The rank correlation of `leave_one_out`. What a clip is without a feature is a choice, so that
    not even the exact drops agree with themselves from one baseline to another: `curves["ceiling"]`
    has the same correlation between the drops under `baselines` and those under
    `ceiling_baselines`. No explanation can be told to be better than that. A feature that has a
    twin is not missed when it is left out; `ABPC` and `SensitivityN` remove several.

    Args:
        features: As for `Deletion`.
        baselines: As for `Deletion`.
        objective: As for `Deletion`.
        ceiling_baselines: Of the ceiling; None for `"blur"` of frames and `"mean"` of others, and
            for the other usual one where that is `baselines`.

    Example:
        >>> from temporal_attr.evaluation._case import Case, Explanation
        >>> clip = torch.tensor([4.0, 2.0, 1.0, 0.0]).reshape(1, 4, 1, 1, 1)
        >>> total = lambda clip: clip.sum((1, 2, 3, 4))[:, None]
        >>> case = Case(total, clip, 0, Explanation(torch.tensor([9.0, 3.0, 2.0, 1.0])))
        >>> found = LeaveOneOut(baselines=0.0, objective="logit").score(case)
        >>> round(found.value, 6), found.curves["drops"]
        (1.0, (4.0, 2.0, 1.0, 0.0))
    """

    ceiling_baselines: FrameBaselines | None = None

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="leave-one-out",
        question="Do scores rank features as leaving each of them out does?",
        family="faithfulness",
        needs=("model",),
        higher_is_better=True,
        lowest=-1.0,
        highest=1.0,
        cost="2 (N + 1) F for N features; frames of a framewise model: at most 4 F",
        source="jain2019",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ceiling_baselines is not None:
            frames = self.features == "frames"
            (check_frame_baselines if frames else check_pixel_baselines)(self.ceiling_baselines)

    def score(self, case: Case) -> Score:
        """The correlation; `curves` has the drops, those of the ceiling, and the ceiling itself."""
        clips = self.clips(case)
        drops = self._drops(clips)
        others = feature_clips(case, self.features, self._ceiling)
        of_ceiling = self._drops(others)
        spent = clips.predictions.spent() + others.predictions.spent()
        value = leave_one_out(clips.means, drops)
        note = ""
        if math.isnan(value):
            constant = "scores" if np.ptp(clips.means) == 0 else "drops of the prediction"
            note = f"the {constant} are constant, so nothing correlates"
        curves = {
            "drops": tuple(map(float, drops)),
            "ceiling_drops": tuple(map(float, of_ceiling)),
            "ceiling": (leave_one_out(drops, of_ceiling),),
        }
        return Score(value, forward_passes=spent, note=note, curves=curves)

    @property
    def _ceiling(self) -> FrameBaselines:
        if self.ceiling_baselines is not None:
            return self.ceiling_baselines
        given = self._replacing if isinstance(self._replacing, str) else None
        if self.features == "frames":
            return "neighbour" if given == "blur" else "blur"
        return "blur" if given == "mean" else "mean"

    def _drops(self, clips: FeatureClips) -> Float[np.ndarray, "features"]:
        """By how much the objective drops without each feature; what is rounding only is 0."""
        found = []
        for one in torch.arange(clips.count).split(_AT_A_TIME):
            present = torch.ones(len(one), clips.count, dtype=torch.bool)
            present[torch.arange(len(one)), one] = False
            found.append(clips.values(present, self.objective))
        values = np.concatenate(found)
        drops: np.ndarray = clips.whole(self.objective) - values
        drops[np.abs(drops) <= clips.predictions.rounding(values)] = 0
        return drops
