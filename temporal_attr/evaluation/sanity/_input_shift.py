"""Does an explanation change where nothing that the model predicts does?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from temporal_attr._require import require_finite
from temporal_attr.evaluation._again import FLAT, ZERO, Again, range_of, values_of
from temporal_attr.evaluation._case import Case, ScoresOf
from temporal_attr.evaluation._metric import Metric, MetricTraits, Score
from temporal_attr.evaluation._similarity import relative_change
from temporal_attr.evaluation.sanity._changed import shifted


@dataclass(frozen=True)
class InputShift(Metric):
    r"""By how much an explanation changes when a constant is added to the clip and taken off again.

    :math:`\lVert \phi'(x + c) - \phi(x) \rVert_2 / \lVert \phi(x) \rVert_2`, where
    :math:`\phi'` explains the model f'(x) = f(x - c): the same prediction of each clip, computed in
    the same way. An explanation should be invariant (:cite:t:`kindermans2019`). c is the same for
    every value of a channel, here for all channels too. What a model knows of its normalization is
    shifted with it, so that methods that compare with a black clip are asked about the same
    comparison. The value is 0 or more, and 0 is best; NaN where the explanation is zero or the clip
    has one value only.

    Args:
        of: `"frames"` for their scores, `"pixels"` for the attribution with its channels.
        shift: c, as a share of the clip's range of values; in the source's example images with
            values in [0, 1] are shifted by -1.

    Example:
        >>> InputShift("pixels", shift=0.5).name
        'input-shift-pixels(shift=0.5)'
    """

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="input-shift",
        question="By how much does it change when a constant is added to the clip and the model "
        "takes it off?",
        family="sanity",
        needs=("method", "model"),
        higher_is_better=False,
        lowest=0.0,
        highest=math.inf,
        cost="1 A",
        source="kindermans2019",
    )

    of: ScoresOf = "frames"
    shift: float = 1.0

    def __post_init__(self) -> None:
        require_finite("shift", self.shift)

    def score(self, case: Case) -> Score:
        """Judge one explanation."""
        again = Again(case, self.require_explain(case), self.of)
        before = values_of(case.explanation, self.of)
        reach = self.shift * range_of(case.clip)
        if not range_of(case.clip):
            return Score(math.nan, note=FLAT)
        constant = case.clip.new_full((case.clip.shape[2],), reach)
        moved = case.clip + constant[:, None, None]
        found = relative_change(before, again.values(moved, model=shifted(case.model, constant)))
        return Score(found, note=ZERO if math.isnan(found) else "")
