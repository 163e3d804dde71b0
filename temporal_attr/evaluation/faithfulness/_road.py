"""Pixels removed by imputation, in the order of their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from temporal_attr._errors import DataError, OptionError
from temporal_attr._require import require_within
from temporal_attr._told import told
from temporal_attr._typing import ClipTensor
from temporal_attr.evaluation._case import Case
from temporal_attr.evaluation._metric import Metric, MetricTraits, Score
from temporal_attr.evaluation.faithfulness._curves import Order, turned_round
from temporal_attr.evaluation.faithfulness._features import (
    falling_by_chance,
    require_one_of,
    ties_note,
)
from temporal_attr.evaluation.faithfulness._imputation import imputed
from temporal_attr.evaluation.faithfulness._predicted import (
    CasePredictions,
    RisingObjective,
    composed_once,
    scores_that_fit,
)


def removal_area(shares: Sequence[float], values: Float[np.ndarray, "points"]) -> float:
    """The mean height of a curve over the share of pixels that is removed, by the trapezoid rule.

    Args:
        shares: Of pixels, rising from 0.
        values: `(points,)`, what is predicted there.

    Raises:
        DataError: If there are not as many of both, or shares do not rise from 0.

    Example:
        >>> removal_area([0.0, 0.5], np.array([1.0, 0.5]))
        0.75
    """
    rising = all(first < second for first, second in pairwise(shares))
    if len(shares) != len(values) or len(shares) < 2 or shares[0] != 0 or not rising:
        raise DataError(
            "a value for each of at least two shares, which rise from 0",
            f"{len(values)} values and shares {list(shares)[:5]}",
            "Give the shares at which the values were found.",
        )
    return float(np.trapezoid(values, shares)) / float(shares[-1])


@dataclass(frozen=True)
class ROAD(Metric):
    """How soon does the prediction drop as pixels are removed so that none can be told from it?

    Remove and debias (:cite:t:`rong2022`). A pixel that a baseline replaces can still be seen: the
    shape of what was removed tells a model the class. Here removed pixels are imputed from those
    around them in space and time (see `imputed`), and noise is added to them. The value is the mean
    height of the objective's curve from the whole clip to the largest share. There the curve is the
    accuracy over a set of clips; here it is the objective of one.

    Args:
        shares: Of the clip's pixels that are removed, rising, between 0 and 1.
        order: `"most"` to remove the largest scores first, or `"least"`; then higher is better. The
            order of equal scores is drawn from the case's seed.
        objective: As for `Deletion`.
        noise: Standard deviation of the noise, as a share of the clip's range of values; in the
            paper's code 0.01 of the input's own values.

    Raises:
        OptionError: If shares do not rise between 0 and 1, or another option is outside its range.

    Example:
        >>> from temporal_attr.evaluation._case import Case, Explanation
        >>> clip = torch.zeros(1, 4, 1, 3, 3)
        >>> clip[0, 1, 0, 1, 1] = 1
        >>> lit = lambda clip: clip.amax((1, 2, 3, 4))[:, None]
        >>> case = Case(lit, clip, 0, Explanation(attribution=clip[0]))
        >>> ROAD(shares=(0.03,), objective="logit", noise=0.0).score(case).curves["objective"]
        (1.0, 0.0)
    """

    shares: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    order: Order = "most"
    objective: RisingObjective = "probability"
    noise: float = 0.01

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="road",
        question="How soon does the prediction drop as pixels are removed without a trace?",
        family="faithfulness",
        needs=("model",),
        higher_is_better=False,
        lowest=0.0,
        highest=1.0,
        cost="(S + 1) F for S shares",
        source="rong2022",
    )

    def __post_init__(self) -> None:
        require_one_of("order", self.order, get_args(Order))
        require_one_of("objective", self.objective, get_args(RisingObjective))
        require_within("noise", self.noise, 0)
        for share in self.shares:
            require_within("each of shares", share, 0, 1)
        edges = (0.0, *self.shares, 1.0)
        rising = all(first < second for first, second in pairwise(edges))
        if not self.shares or not rising:
            raise OptionError("shares that rise between 0 and 1", told(self.shares), "Try (0.5,).")
        if self.order == "least":
            turned_round(self)

    def score(self, case: Case) -> Score:
        """The area; the curve is in `curves` over the share that is removed."""
        scores = scores_that_fit(case, "pixels").ravel()
        asked = CasePredictions(case)
        order = falling_by_chance(scores if self.order == "most" else -scores, case.seed)
        counts = [min(len(order) - 1, round(share * len(order))) for share in self.shares]
        logits = [asked.whole]
        draw = torch.Generator().manual_seed(case.seed)
        for count in counts:
            removed = torch.zeros(len(order), dtype=torch.bool)
            removed[torch.from_numpy(order[:count])] = True
            clip = self._without(asked.clip, removed, draw)
            logits.append(asked.logits(composed_once(clip)))
        values = asked.objective(torch.cat(logits), self.objective)
        shares = (0.0, *self.shares)
        curves = {"removed": shares, "objective": tuple(map(float, values))}
        value = removal_area(shares, values)
        return Score(value, forward_passes=asked.spent(), note=ties_note(scores), curves=curves)

    def _without(self, clip: ClipTensor, removed: Tensor, draw: torch.Generator) -> ClipTensor:
        time, channel, height, width = clip.shape[1:]
        missing = removed.view(time, height, width)
        found = imputed(clip[0], missing)
        size = self.noise * float(clip.max() - clip.min())
        noise = size * torch.randn(time, channel, height, width, generator=draw)
        return torch.where(missing[:, None].to(clip.device), found + noise.to(clip), found)[None]
