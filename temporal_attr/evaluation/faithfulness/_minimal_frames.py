"""How few frames are enough for the prediction, and how few must go for it to change."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float

from temporal_attr._errors import DataError
from temporal_attr._require import require_within
from temporal_attr.evaluation._case import Case
from temporal_attr.evaluation._metric import Metric, MetricTraits, Score
from temporal_attr.evaluation.faithfulness._curves import taken
from temporal_attr.evaluation.faithfulness._features import (
    FeatureClips,
    falling_by_chance,
    feature_clips,
    ties_note,
)
from temporal_attr.perturbations import FrameBaselines, check_frame_baselines


def smallest_share(holds: Bool[np.ndarray, "time"]) -> float:
    """The smallest share of frames from which on something holds; NaN if it never does.

    It may fail again with more frames: the first time counts.

    Args:
        holds: `(time,)`, whether it does with 1, 2, ... and all frames.

    Returns:
        In [1 / time, 1], or NaN.

    Raises:
        DataError: If there are no frames.

    Example:
        >>> smallest_share(np.array([False, True, False, True]))
        0.5
    """
    if not len(holds):
        raise DataError("at least one frame", "none", "Give one entry for each frame.")
    return float(holds.argmax() + 1) / len(holds) if holds.any() else math.nan


@dataclass(frozen=True)
class _MinimalFrames(Metric):
    """Base of both.

    Attributes:
        baselines: What replaces frames.
        threshold: None if the class must be the predicted one; or which share of its probability
            for the whole clip it must have.

    Raises:
        OptionError: If these are no baselines, or the threshold is none.
    """

    baselines: FrameBaselines = "neighbour"
    threshold: float | None = None

    def __post_init__(self) -> None:
        check_frame_baselines(self.baselines)
        if self.threshold is not None:
            require_within("threshold", self.threshold, 0, 1)

    def _kept(self, case: Case, keep: bool) -> tuple[FeatureClips, Float[np.ndarray, "clips"]]:
        """Whether the class is kept of the whole clip, and with 1, ... and all frames kept or gone.

        NaN if the outputs are no scores of classes.
        """
        clips = feature_clips(case, "frames", self.baselines)
        first = taken(falling_by_chance(clips.means, case.seed), range(1, clips.count + 1))
        logits = clips.logits(first if keep else ~first)
        asked = clips.predictions
        if self.threshold is None:
            return clips, np.concatenate([asked.predicts(asked.whole), asked.predicts(logits)])
        least = self.threshold * clips.whole("probability")
        found = asked.objective(logits, "probability") >= least
        return clips, np.concatenate([[1.0], found.astype(float)])

    def _score(
        self, clips: FeatureClips, kept: Float[np.ndarray, "clips"], keep: bool, none: str
    ) -> Score:
        spent, curves = clips.predictions.spent(), {"kept": tuple(map(float, kept[1:]))}
        if np.isnan(kept).any():
            note = "the model's outputs are no scores of classes, so it predicts none"
            return Score(math.nan, forward_passes=spent, note=note)
        if not kept[0]:
            note = "the class is not the one that is predicted of the whole clip"
            return Score(math.nan, forward_passes=spent, note=note, curves=curves)
        value = smallest_share(kept[1:] == (1.0 if keep else 0.0))
        note = none if math.isnan(value) else ties_note(clips.means)
        return Score(value, forward_passes=spent, note=note, curves=curves)


@dataclass(frozen=True)
class MinimalSufficientFrames(_MinimalFrames):
    """What is the smallest share of frames that keeps the prediction?

    The frames with the largest scores are kept and all others replaced; the value is k / T for the
    smallest k from 1 with which the class stays the predicted one, as the smallest sufficient
    region of :cite:t:`dabkowski2017`. Of independent classes (a sigmoid) it is predicted if its
    probability is above one half. The order of equal scores is drawn from the case's seed.

    Args:
        baselines: What replaces frames; see `AbsentFrames`.
        threshold: None, or the share of the class's probability for the whole clip that must be
            reached instead.

    Example:
        >>> import torch
        >>> from temporal_attr.evaluation._case import Case, Explanation
        >>> clip = torch.tensor([0.0, 9.0, 0.0, 0.0]).reshape(1, 4, 1, 1, 1)
        >>> bright = lambda clip: torch.stack([clip.amax((1, 2, 3, 4)), torch.ones(len(clip))], 1)
        >>> case = Case(bright, clip, 0, Explanation(torch.tensor([0.1, 0.7, 0.2, 0.0])))
        >>> MinimalSufficientFrames(baselines=0.0).score(case).value
        0.25
    """

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="minimal-sufficient-frames",
        question="What is the smallest share of frames that keeps the prediction?",
        family="faithfulness",
        needs=("model",),
        higher_is_better=False,
        lowest=0.0,
        highest=1.0,
        cost="T F; framewise model: at most 2 F",
        source="dabkowski2017",
    )

    def score(self, case: Case) -> Score:
        """The share; NaN if the class is not predicted of the clip itself."""
        clips, kept = self._kept(case, keep=True)
        # With all frames kept the clip is as it is, so there is always one.
        return self._score(clips, kept, keep=True, none="")


@dataclass(frozen=True)
class MinimalNecessaryFrames(_MinimalFrames):
    """What is the smallest share of frames without which the prediction changes?

    The frames with the largest scores are replaced; the value is k / T for the smallest k from 1
    with which the class is no longer the predicted one, as the smallest destroying region of
    :cite:t:`dabkowski2017`. See `MinimalSufficientFrames` for what is predicted.

    Args:
        baselines: What replaces frames; see `AbsentFrames`.
        threshold: None, or the share of the class's probability for the whole clip that it must
            drop below instead.

    Example:
        >>> import torch
        >>> from temporal_attr.evaluation._case import Case, Explanation
        >>> clip = torch.tensor([0.0, 9.0, 0.0, 0.0]).reshape(1, 4, 1, 1, 1)
        >>> bright = lambda clip: torch.stack([clip.amax((1, 2, 3, 4)), torch.ones(len(clip))], 1)
        >>> case = Case(bright, clip, 0, Explanation(torch.tensor([0.1, 0.2, 0.7, 0.0])))
        >>> MinimalNecessaryFrames(baselines=0.0).score(case).value
        0.5
    """

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="minimal-necessary-frames",
        question="What is the smallest share of frames without which the prediction changes?",
        family="faithfulness",
        needs=("model",),
        higher_is_better=False,
        lowest=0.0,
        highest=1.0,
        cost="(T + 1) F; framewise model: at most 2 F",
        source="dabkowski2017",
    )

    def score(self, case: Case) -> Score:
        """The share; NaN if the prediction stays whatever is replaced."""
        clips, kept = self._kept(case, keep=False)
        none = "the class is predicted of the clip with all frames replaced, too"
        return self._score(clips, kept, keep=False, none=none)
