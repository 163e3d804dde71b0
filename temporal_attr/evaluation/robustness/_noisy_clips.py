"""How far does an explanation move when noise is added to the clip?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from temporal_attr._errors import OptionError
from temporal_attr._require import require_count, require_within
from temporal_attr._typing import ClipTensor
from temporal_attr.evaluation._again import (
    FLAT,
    ZERO,
    Again,
    normalization_of,
    range_of,
    values_of,
)
from temporal_attr.evaluation._case import Case, ScoresOf
from temporal_attr.evaluation._metric import Metric, MetricTraits, Score
from temporal_attr.evaluation._noise import uniform_noise
from temporal_attr.evaluation._similarity import relative_change


@dataclass(frozen=True)
class MaxSensitivity(Metric):
    r"""The largest change of an explanation among clips with a little noise.

    :math:`\max_\delta \lVert \phi(x + \delta) - \phi(x) \rVert_2 / \lVert \phi(x) \rVert_2` over
    samples of uniform noise with :math:`\lVert \delta \rVert_\infty \le r`: the max-sensitivity
    of :cite:t:`yeh2019`, divided by the norm as in Captum's `sensitivity_max`. It is a lower bound
    of the maximum over the ball. Where the model knows its normalization, noise makes no pixel
    blacker than black or whiter than white. The value is 0 or more; NaN where the explanation is
    zero or the clip has one value only.

    Args:
        of: `"frames"` for their scores, `"pixels"` for the attribution with its channels, which is
            what Captum compares.
        radius: r, as a share of the clip's range of values.
        samples: Of the noise.

    Example:
        >>> MaxSensitivity("pixels", samples=5).name
        'max-sensitivity-pixels(samples=5)'
    """

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="max-sensitivity",
        question="By how much does it change at most when a little noise is added to the clip?",
        family="robustness",
        needs=("method",),
        higher_is_better=False,
        lowest=0.0,
        highest=math.inf,
        cost="samples A",
        source="yeh2019",
    )

    of: ScoresOf = "frames"
    radius: float = 0.02
    samples: int = 10

    def __post_init__(self) -> None:
        _require_noise(self.radius, self.samples)

    def score(self, case: Case) -> Score:
        """Judge one explanation."""
        again = Again(case, self.require_explain(case), self.of)
        changes = _changes(again, self.radius, self.samples)
        return changes if isinstance(changes, Score) else _of_changes(changes, max(changes))


@dataclass(frozen=True)
class AverageSensitivity(Metric):
    r"""The mean change of an explanation over clips with a little noise.

    As `MaxSensitivity`, with the mean over samples in place of the maximum, and its standard error.
    The mean depends less on how many samples there are.

    Args:
        of: `"frames"` for their scores, `"pixels"` for the attribution with its channels.
        radius: The largest magnitude of the noise, as a share of the clip's range of values.
        samples: Of the noise.

    Example:
        >>> AverageSensitivity().name
        'average-sensitivity-frames'
    """

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="average-sensitivity",
        question="By how much does it change on average when a little noise is added to the clip?",
        family="robustness",
        needs=("method",),
        higher_is_better=False,
        lowest=0.0,
        highest=math.inf,
        cost="samples A",
        source="yeh2019",
    )

    of: ScoresOf = "frames"
    radius: float = 0.02
    samples: int = 10

    def __post_init__(self) -> None:
        _require_noise(self.radius, self.samples)

    def score(self, case: Case) -> Score:
        """Judge one explanation."""
        again = Again(case, self.require_explain(case), self.of)
        changes = _changes(again, self.radius, self.samples)
        if isinstance(changes, Score):
            return changes
        return _of_changes(changes, math.fsum(changes) / len(changes), standard_error(changes))


@dataclass(frozen=True)
class LocalLipschitz(Metric):
    r"""The steepest change of an explanation near a clip.

    :math:`\max_{x'} \lVert \phi(x) - \phi(x') \rVert_2 / \lVert x - x' \rVert_2` over samples x' of
    uniform noise around x: the local Lipschitz estimate of :cite:t:`alvarezmelis2018`, who optimise
    x'; samples give a lower bound. The value is 0 or more, in the explanation's unit per unit of
    the clip: compare it for explanations in one unit only. NaN where the clip has one value only.

    Args:
        of: `"frames"` for their scores, `"pixels"` for the attribution with its channels.
        radius: The largest magnitude of the noise, as a share of the clip's range of values.
        samples: Of the noise.

    Example:
        >>> LocalLipschitz(radius=0.1).name
        'local-lipschitz-frames(radius=0.1)'
    """

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="local-lipschitz",
        question="How steeply does it change at most near the clip?",
        family="robustness",
        needs=("method",),
        higher_is_better=False,
        lowest=0.0,
        highest=math.inf,
        cost="samples A",
        source="alvarezmelis2018",
    )

    of: ScoresOf = "frames"
    radius: float = 0.02
    samples: int = 10

    def __post_init__(self) -> None:
        _require_noise(self.radius, self.samples)

    def score(self, case: Case) -> Score:
        """Judge one explanation."""
        again = Again(case, self.require_explain(case), self.of)
        if not range_of(case.clip):
            return Score(math.nan, note=FLAT)
        before = values_of(case.explanation, self.of)
        steepness = []
        for clip in _noisy(case, self.radius, self.samples):
            change = np.linalg.norm(again.values(clip) - before)
            steepness.append(float(change / (clip - case.clip).double().norm().item()))
        return Score(max(steepness), curves={"steepness": tuple(steepness)})


def standard_error(values: list[float]) -> float:
    """Of a mean of independent draws; NaN of a single one.

    Example:
        >>> standard_error([1.0, 3.0])
        1.0
    """
    if len(values) < 2:
        return math.nan
    return float(np.std(values, ddof=1)) / math.sqrt(len(values))


def _require_noise(radius: float, samples: int) -> None:
    require_within("radius", radius, 0)
    if not radius:
        raise OptionError("radius above 0", "0", "Without noise nothing changes; try 0.02.")
    require_count("samples", samples, 1)


def _changes(again: Again, radius: float, samples: int) -> list[float] | Score:
    """The relative change for each noisy clip, or why there is none."""
    case = again.case
    before = values_of(case.explanation, again.of)
    if not range_of(case.clip) or not before.any():
        return Score(math.nan, note=ZERO if range_of(case.clip) else FLAT)
    noisy = _noisy(case, radius, samples)
    return [relative_change(before, again.values(clip)) for clip in noisy]


def _noisy(case: Case, radius: float, samples: int) -> Iterator[ClipTensor]:
    known = normalization_of(case.model)
    return uniform_noise(case.clip, radius, samples, case.seed, known)


def _of_changes(changes: list[float], value: float, error: float = math.nan) -> Score:
    return Score(value, standard_error=error, curves={"change": tuple(changes)})
