"""What a clip loses, or gains, where what scores low is replaced."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float

from temporal_attr._errors import DataError
from temporal_attr.attributions._objective_values import check_pixel_baselines, pixel_baseline
from temporal_attr.evaluation._case import Case, ScoresOf
from temporal_attr.evaluation._metric import Metric, MetricTraits, Score
from temporal_attr.evaluation.faithfulness._predicted import CasePredictions, scores_that_fit
from temporal_attr.perturbations import Baselines, BlendedFrames, ComposedClips


def average_drop(whole: float, masked: float) -> float:
    """By which share a probability drops (:cite:t:`chattopadhay2018`, section 5.1, one clip).

    Args:
        whole: The probability of the clip.
        masked: That of the masked clip.

    Returns:
        In [0, 1]; 0 where it rises; NaN where there is none to drop.

    Raises:
        DataError: If one is no probability.

    Example:
        >>> average_drop(0.5, 0.25), average_drop(0.8, 0.9)
        (0.5, 0.0)
    """
    _require_probabilities(whole, masked)
    # The difference of probabilities can round to just above the first.
    return min(1.0, max(0.0, whole - masked) / whole) if whole else math.nan


def average_increase(whole: float, masked: float) -> float:
    """Whether a probability rises: 1 or 0 (:cite:t:`chattopadhay2018`, section 5.1, one clip).

    Args:
        whole: The probability of the clip.
        masked: That of the masked clip; if it is the same, it does not rise.

    Raises:
        DataError: If one is no probability.

    Example:
        >>> average_increase(0.8, 0.6), average_increase(0.8, 0.9)
        (0.0, 1.0)
    """
    _require_probabilities(whole, masked)
    return float(masked > whole)


def scaled(scores: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Scores moved and scaled to [0, 1], as a mask.

    Raises:
        DataError: If all are equal.

    Example:
        >>> scaled(np.array([-1.0, 0.0, 3.0]))
        array([0.  , 0.25, 1.  ])
    """
    low, high = float(scores.min()), float(scores.max())
    if low == high:
        raise DataError("scores that differ", f"{low:g} only", "Equal scores make no mask.")
    found: np.ndarray = (scores - low) / (high - low)
    return found


@dataclass(frozen=True)
class _Masked(Metric):
    """Base of both.

    Attributes:
        of: Whether frames or pixels are masked by their scores.
        baselines: What replaces what scores low.

    Raises:
        OptionError: If these are no baselines, or have no value for every pixel.
    """

    of: ScoresOf = "frames"
    baselines: Baselines = "blur"

    def __post_init__(self) -> None:
        check_pixel_baselines(self.baselines)

    def _probabilities(self, case: Case) -> tuple[float, float, float]:
        """Of the clip, of the masked clip, and what that took; NaN where there is no mask."""
        scores = scores_that_fit(case, self.of)
        asked = CasePredictions(case)
        whole = float(asked.objective(asked.whole, "probability")[0])
        if np.ptp(scores) == 0:
            return whole, math.nan, asked.spent()
        clip = asked.clip
        time, _, height, width = clip.shape[1:]
        mask = torch.from_numpy(scaled(scores)).to(clip)
        if self.of == "frames":
            mask = mask[:, None, None].expand(time, height, width)
        numbers = torch.arange(time, device=clip.device)
        places = torch.stack([torch.zeros_like(numbers), numbers], 1)
        baseline = pixel_baseline(clip, self.baselines)
        table = BlendedFrames(clip, baseline, places, mask, numbers, again=False)
        composed = ComposedClips(table, numbers[None], torch.zeros_like(numbers[:1]))
        masked = asked.objective(asked.logits(composed), "probability")[0]
        return whole, float(masked), asked.spent()


_NO_MASK = "all scores are equal, which makes no mask"


@dataclass(frozen=True)
class AverageDrop(_Masked):
    """By which share does the probability drop if what scores low is replaced?

    Scores are moved and scaled to [0, 1], and the clip is blended with the baseline by them: what
    has the largest score stays, what has the smallest is replaced. The value is that of one clip;
    the average drop of :cite:t:`chattopadhay2018` (section 5.1) is the mean over clips, in percent.
    There negative values of the map are cut off first, and a black picture is the baseline; here
    signs count, and it is the blur, which is nearer to a natural clip.

    Args:
        of: Whether frames or pixels are masked by their scores.
        baselines: What replaces what scores low, with a value for every pixel.

    Example:
        >>> from temporal_attr.evaluation._case import Case, Explanation
        >>> clip = torch.tensor([0.25, 0.5]).reshape(1, 2, 1, 1, 1)
        >>> def sure(clip):
        ...     found = clip.sum((1, 2, 3, 4))
        ...     return torch.stack([found, 1 - found], 1)
        >>> case = Case(sure, clip, 0, Explanation(torch.tensor([0.0, 1.0])))
        >>> round(AverageDrop(baselines=0.0).score(case).value, 6)
        0.333333
    """

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="average-drop",
        question="By which share does the probability drop if what scores low is replaced?",
        family="faithfulness",
        needs=("model",),
        higher_is_better=False,
        lowest=0.0,
        highest=1.0,
        cost="2 F",
        source="chattopadhay2018",
    )

    def score(self, case: Case) -> Score:
        """The share; NaN if all scores are equal, or the probability is 0 before."""
        whole, masked, spent = self._probabilities(case)
        if math.isnan(masked):
            return Score(math.nan, forward_passes=spent, note=_NO_MASK)
        value = average_drop(whole, masked)
        note = "the class has no probability that could drop" if math.isnan(value) else ""
        curves = {"probability": (whole, masked)}
        return Score(value, forward_passes=spent, note=note, curves=curves)


@dataclass(frozen=True)
class AverageIncrease(_Masked):
    """Does the probability rise if what scores low is replaced?

    The value of one clip is 1 or 0; the average increase of :cite:t:`chattopadhay2018` (section
    5.1) is the mean over clips. The masked clip is that of `AverageDrop`.

    Args:
        of: Whether frames or pixels are masked by their scores.
        baselines: What replaces what scores low, with a value for every pixel.

    Example:
        >>> from temporal_attr.evaluation._case import Case, Explanation
        >>> clip = torch.tensor([0.75, -0.25]).reshape(1, 2, 1, 1, 1)
        >>> def sure(clip):
        ...     found = clip.sum((1, 2, 3, 4))
        ...     return torch.stack([found, 1 - found], 1)
        >>> case = Case(sure, clip, 0, Explanation(torch.tensor([1.0, 0.0])))
        >>> AverageIncrease(baselines=0.0).score(case).value
        1.0
    """

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="average-increase",
        question="Does the probability rise if what scores low is replaced?",
        family="faithfulness",
        needs=("model",),
        higher_is_better=True,
        lowest=0.0,
        highest=1.0,
        cost="2 F",
        source="chattopadhay2018",
    )

    def score(self, case: Case) -> Score:
        """1 or 0; NaN if all scores are equal."""
        whole, masked, spent = self._probabilities(case)
        if math.isnan(masked):
            return Score(math.nan, forward_passes=spent, note=_NO_MASK)
        curves = {"probability": (whole, masked)}
        return Score(average_increase(whole, masked), forward_passes=spent, curves=curves)


def _require_probabilities(whole: float, masked: float) -> None:
    for value in (whole, masked):
        if not 0 <= value <= 1:
            raise DataError(
                "probabilities from 0 to 1", f"{value:g}", "See temporal_attr.Activation."
            )
