"""Does an explanation change when the model's parameters are drawn anew?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from temporal_attr._require import require_count, require_within
from temporal_attr.evaluation._again import FLAT, Again, normalization_of, range_of
from temporal_attr.evaluation._case import Case, Model, ScoresOf
from temporal_attr.evaluation._metric import Metric, MetricTraits, Score
from temporal_attr.evaluation._noise import gaussian_noise
from temporal_attr.evaluation._similarity import (
    Similarity,
    mean_similarity,
    require_similarity,
    similarity,
)
from temporal_attr.evaluation.sanity._parameters import parameter_modules, randomized

Asked = Callable[[Model | None], Float[np.ndarray, "..."]]
"""From a model, or None for the case's own, to the scores of its explanation."""


@dataclass(frozen=True)
class CascadingRandomization(Metric):
    """How much of an explanation outlives the model's parameters, lost from the output on.

    The model parameter randomisation test of :cite:t:`adebayo2018` (section 3.1): the modules with
    parameters are initialised anew one after another, from the output towards the input (see
    `parameter_modules` and `randomized`), each in a copy of the model. An explanation that stays
    the same does not explain what was learned. The value is the mean similarity to the original
    explanation over the stages; in [-1, 1]. The paper shows the curve, which is
    `curves["similarity"]`, from the first stage to the last, at which all is anew. Stages at which
    all scores are equal have no similarity, and are left out of the mean.

    Args:
        of: What is scored.
        similarity: How explanations are compared; see `similarity`.
        steps: At most so many stages; modules are put together in groups that are as even as can
            be, the larger first.

    Raises:
        ModelError: Of `score`, as `parameter_modules`.

    Example:
        >>> CascadingRandomization(steps=4).name
        'cascading-randomization-frames(steps=4)'
    """

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="cascading-randomization",
        question="How much of it is left as the model's parameters are drawn anew, "
        "from the output on?",
        family="sanity",
        needs=("method", "parameters"),
        higher_is_better=False,
        lowest=-1.0,
        highest=1.0,
        cost="steps A + 1 F",
        source="adebayo2018",
    )

    of: ScoresOf = "frames"
    similarity: Similarity = "rank"
    steps: int = 8

    def __post_init__(self) -> None:
        require_similarity(self.of, self.similarity)
        require_count("steps", self.steps, 1)

    def score(self, case: Case) -> Score:
        """Judge one explanation."""
        again = Again(case, self.require_explain(case), self.of)
        groups = module_groups(parameter_modules(case.model, case.clip), self.steps)
        return _over_stages(
            case,
            case.scores(self.of),
            lambda model: again.scores(model=model),
            [sum(groups[: place + 1], ()) for place in range(len(groups))],
            self.similarity,
        )


@dataclass(frozen=True)
class IndependentRandomization(Metric):
    """How much of an explanation outlives the parameters of a part of the model.

    As `CascadingRandomization`, but at each stage all other modules keep their parameters: the
    independent randomisation of :cite:t:`adebayo2018` (section 3.2).

    Args:
        of: What is scored.
        similarity: How explanations are compared; see `similarity`.
        steps: At most so many stages.

    Raises:
        ModelError: Of `score`, as `parameter_modules`.

    Example:
        >>> IndependentRandomization("pixels", "ssim").name
        'independent-randomization-pixels(similarity=ssim)'
    """

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="independent-randomization",
        question="How much of it is left when one part of the model's parameters is drawn anew?",
        family="sanity",
        needs=("method", "parameters"),
        higher_is_better=False,
        lowest=-1.0,
        highest=1.0,
        cost="steps A + 1 F",
        source="adebayo2018",
    )

    of: ScoresOf = "frames"
    similarity: Similarity = "rank"
    steps: int = 8

    def __post_init__(self) -> None:
        require_similarity(self.of, self.similarity)
        require_count("steps", self.steps, 1)

    def score(self, case: Case) -> Score:
        """Judge one explanation."""
        again = Again(case, self.require_explain(case), self.of)
        groups = module_groups(parameter_modules(case.model, case.clip), self.steps)
        original = case.scores(self.of)
        return _over_stages(
            case, original, lambda model: again.scores(model=model), groups, self.similarity
        )


@dataclass(frozen=True)
class SmoothRandomization(Metric):
    """`CascadingRandomization` of explanations that are averaged over noisy clips.

    Noise in explanations lowers every similarity, whether or not a method depends on the model;
    :cite:t:`hedstrom2024` average it out before they compare (sMPRT). The original explanation is
    averaged over the same noisy clips. The value is in [-1, 1].

    Args:
        of: What is scored.
        similarity: How explanations are compared; see `similarity`.
        steps: At most so many stages.
        samples: Noisy clips.
        noise: The standard deviation of the noise, as a share of the clip's range of values.

    Raises:
        ModelError: Of `score`, as `parameter_modules`.

    Example:
        >>> SmoothRandomization(samples=4).name
        'smooth-randomization-frames(samples=4)'
    """

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="smooth-randomization",
        question="How much of it, averaged over noisy clips, is left as the model's parameters "
        "are drawn anew?",
        family="sanity",
        needs=("method", "parameters"),
        higher_is_better=False,
        lowest=-1.0,
        highest=1.0,
        cost="samples * (steps + 1) A + 1 F",
        source="hedstrom2024",
    )

    of: ScoresOf = "frames"
    similarity: Similarity = "rank"
    steps: int = 8
    samples: int = 10
    noise: float = 0.1

    def __post_init__(self) -> None:
        require_similarity(self.of, self.similarity)
        require_count("steps", self.steps, 1)
        require_count("samples", self.samples, 1)
        require_within("noise", self.noise, 0)

    def score(self, case: Case) -> Score:
        """Judge one explanation."""
        again = Again(case, self.require_explain(case), self.of)
        if not range_of(case.clip):
            return Score(math.nan, note=FLAT)

        def smoothed(model: Model | None) -> np.ndarray:
            # Drawn again each time, from the same seed, so that one noisy clip is held at a time.
            known = normalization_of(case.model)
            noisy = gaussian_noise(case.clip, self.noise, self.samples, case.seed, known)
            found: np.ndarray = np.mean([again.scores(clip, model=model) for clip in noisy], axis=0)
            return found

        groups = module_groups(parameter_modules(case.model, case.clip), self.steps)
        stages = [sum(groups[: place + 1], ()) for place in range(len(groups))]
        return _over_stages(case, smoothed(None), smoothed, stages, self.similarity)


def module_groups(names: Sequence[str], steps: int) -> list[tuple[str, ...]]:
    """Modules in at most so many groups of neighbours, as even as can be, the larger first.

    Example:
        >>> module_groups(["head", "last", "first"], steps=2)
        [('head', 'last'), ('first',)]
    """
    count = min(steps, len(names))
    size, larger = divmod(len(names), count)
    ends = [0, *(size * place + min(place, larger) for place in range(1, count + 1))]
    return [tuple(names[start:end]) for start, end in pairwise(ends)]


def _over_stages(
    case: Case,
    original: np.ndarray,
    asked: Asked,
    stages: Sequence[tuple[str, ...]],
    kind: Similarity,
) -> Score:
    """Compare the explanations of copies in which the modules of each stage are drawn anew."""
    # A copy for each stage, since a method may keep what it found out about a model.
    values = [
        similarity(original, asked(randomized(case.model, modules, case.seed)), kind)
        for modules in stages
    ]
    return mean_similarity(values, forward_passes=1)
