"""Whether groups with larger scores have larger effects, by how much their scores differ."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float

from temporal_attr._errors import DataError
from temporal_attr._require import require_count
from temporal_attr.evaluation._case import Case
from temporal_attr.evaluation._metric import MetricTraits, Score
from temporal_attr.evaluation.faithfulness._features import (
    FeatureMetric,
    falling_by_chance,
)


def salience_coefficient(
    saliences: Float[np.ndarray, "groups"], drops: Float[np.ndarray, "groups"]
) -> float:
    """The salience-guided faithfulness coefficient (SaCo, :cite:t:`wu2024`, algorithm 1).

    Over all pairs of groups, the first of which has the larger salience: the difference of their
    saliences counts for the explanation if the first has at least as large a drop, and against it
    if not.

    Args:
        saliences: `(groups,)`, the sum of the scores of each, by falling scores.
        drops: `(groups,)`, by how much the objective drops without each.

    Returns:
        In [-1, 1]: the sum over pairs, over that of their magnitudes; NaN if all saliences are
        equal.

    Raises:
        DataError: If there are not as many of both, or fewer than two.

    Example:
        >>> salience_coefficient(np.array([3.0, 2.0, 0.0]), np.array([0.5, 0.1, 0.2]))
        0.3333333333333333
    """
    if len(saliences) != len(drops) or len(drops) < 2:
        got = f"{len(saliences)} and {len(drops)}"
        raise DataError("as many saliences as drops, at least two", got, "Give more groups.")
    first, second = np.triu_indices(len(drops), 1)
    differences = saliences[first] - saliences[second]
    total = float(np.abs(differences).sum())
    kept = np.where(drops[first] >= drops[second], differences, -differences)
    return float(kept.sum()) / total if total else math.nan


@dataclass(frozen=True)
class SaCo(FeatureMetric):
    """Do groups with larger scores have larger effects, by how much their scores differ?

    Features are sorted by score into groups of one size (or of two that differ by one feature), and
    each group alone is replaced; see `salience_coefficient`. The order of equal scores is drawn
    from the case's seed. In :cite:t:`wu2024` features are single pixels, which a `Tubes` with as
    many parts as the clip has pixels gives, and the mean colour replaces them (`baselines="mean"`).

    Args:
        features: As for `Deletion`.
        baselines: As for `Deletion`.
        objective: As for `Deletion`.
        groups: How many; of fewer features each is one.

    Example:
        >>> from temporal_attr.evaluation._case import Case, Explanation
        >>> clip = torch.tensor([4.0, 2.0, 1.0, 0.0]).reshape(1, 4, 1, 1, 1)
        >>> total = lambda clip: clip.sum((1, 2, 3, 4))[:, None]
        >>> case = Case(total, clip, 0, Explanation(torch.tensor([4.0, 2.0, 1.0, 0.0])))
        >>> SaCo(baselines=0.0, objective="logit", groups=2).score(case).value
        1.0
    """

    groups: int = 10

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="saco",
        question="Do groups with larger scores have larger effects, by how much they differ?",
        family="faithfulness",
        needs=("model",),
        higher_is_better=True,
        lowest=-1.0,
        highest=1.0,
        cost="(K + 1) F for K groups; frames of a framewise model: at most 2 F",
        source="wu2024",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("groups", self.groups, 2)

    def score(self, case: Case) -> Score:
        """The coefficient; NaN if all groups have one salience or one drop, or there is one."""
        clips = self.clips(case)
        order = falling_by_chance(clips.means, case.seed)
        parts = np.array_split(order, min(self.groups, clips.count))
        present = torch.ones(len(parts), clips.count, dtype=torch.bool)
        for row, part in enumerate(parts):
            present[row, torch.from_numpy(part)] = False
        values = clips.values(present, self.objective)
        saliences = np.array([clips.sums[part].sum() for part in parts])
        drops = clips.whole(self.objective) - values
        spent = clips.predictions.spent()
        curves = {"salience": tuple(map(float, saliences)), "drop": tuple(map(float, drops))}
        note = ""
        if len(parts) < 2:
            note = "there is one group only"
        elif np.ptp(clips.means) == 0:
            note = "all scores are equal, which sorts no groups"
        elif np.ptp(values) <= clips.predictions.rounding(values):
            note = "all groups have the same drop, which ranks none of them"
        elif np.ptp(saliences) == 0:
            note = "all groups have the same salience"
        value = math.nan if note else salience_coefficient(saliences, drops)
        return Score(value, forward_passes=spent, note=note, curves=curves)
