"""Metrics of areas under precision and recall: of frames, of pixels, and of pairs of frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float

from temporal_attr._errors import DataError
from temporal_attr.evaluation._case import Case, ScoresOf
from temporal_attr.evaluation._metric import Metric, MetricTraits, Score
from temporal_attr.evaluation.truth._areas import Areas, areas, average_precision


@dataclass(frozen=True)
class AUPRC(Metric):
    """Do scores rank what decides above all else? See `average_precision`.

    Of scores as they are, with their sign: only their order counts. Equal scores get the share of
    what decides. Random ones get more where little decides among few: 0.25 on average of one frame
    in 8, 0.36 of two. So compare with random scores, not with the share.

    Attributes:
        of: "frames" or "pixels".

    Raises:
        DataError: From `score`, if the case has no such scores or truth.

    Example:
        >>> AUPRC("pixels").name
        'auprc-pixels'
    """

    of: ScoresOf = "frames"

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="auprc",
        question="Do scores rank what decides above all else?",
        family="truth",
        needs=("truth",),
        higher_is_better=True,
        lowest=0,
        highest=1,
        cost="0",
        source="davis2006",
    )

    def score(self, case: Case) -> Score:
        """The area, in [0, 1]."""
        return Score(average_precision(case.scores(self.of), case.true(self.of)))


@dataclass(frozen=True)
class AUP(Metric):
    """How much of what has high scores decides, whichever threshold is set? See `areas`.

    Scores below 0 count as 0. By chance, and for equal scores, it is the share of what decides. One
    frame that decides and has all of the scores is perfect, unless `ranked`.

    Attributes:
        of: "frames" or "pixels".
        ranked: Whether all that is scored counts the same, and not by its score.

    Raises:
        DataError: From `score`, if the case has no such scores or truth.

    Example:
        >>> AUP(ranked=True).name
        'aup-frames(ranked=True)'
    """

    of: ScoresOf = "frames"
    ranked: bool = False

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="aup",
        question="How much of what has high scores decides, whichever threshold is set?",
        family="truth",
        needs=("truth",),
        higher_is_better=True,
        lowest=0,
        highest=1,
        cost="0",
        source="ismail2020",
    )

    def score(self, case: Case) -> Score:
        """The area, in [0, 1]."""
        found = _areas_of(case, self.of)
        return Score(found.ranked_aup if self.ranked else found.aup)


@dataclass(frozen=True)
class AUR(Metric):
    """How much of what decides has high scores, whichever threshold is set? See `areas`.

    Scores below 0 count as 0. By chance, and for equal scores, it is 0.5; and so it is, unless
    `ranked`, where all of the scores lie on what decides: it is never to be read alone.

    Attributes:
        of: "frames" or "pixels".
        ranked: Whether all that is scored counts the same, and not by its score.

    Raises:
        DataError: From `score`, if the case has no such scores or truth.

    Example:
        >>> AUR("pixels").name
        'aur-pixels'
    """

    of: ScoresOf = "frames"
    ranked: bool = False

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="aur",
        question="How much of what decides has high scores, whichever threshold is set?",
        family="truth",
        needs=("truth",),
        higher_is_better=True,
        lowest=0,
        highest=1,
        cost="0",
        source="ismail2020",
    )

    def score(self, case: Case) -> Score:
        """The area, in [0, 1]."""
        found = _areas_of(case, self.of)
        return Score(found.ranked_aur if self.ranked else found.aur)


def _areas_of(case: Case, of: ScoresOf) -> Areas:
    return areas(np.maximum(case.scores(of), 0), case.true(of))


def pair_average_precision(
    matrix: Float[np.ndarray, "time time"], pairs: Bool[np.ndarray, "time time"]
) -> float:
    """The average precision of the pairs of frames i < j, by what both get from each other.

    The score of a pair is `matrix[i, j] + matrix[j, i]`; see `average_precision`.

    Args:
        matrix: `(time, time)`, what the prediction at one frame (row) gets from another (column).
        pairs: `(time, time)`, those that decide together; either order of a pair will do. A frame
            with itself is no pair.

    Returns:
        A number in [0, 1]: 1 if all true pairs come before all others.

    Raises:
        DataError: If the shapes are not one, an entry is no number, or no pair is true.

    Example:
        >>> matrix = np.array([[9.0, 2.0, 0.0], [2.0, 9.0, 0.0], [0.0, 3.0, 9.0]])
        >>> pairs = np.array([[False, True, False], [True, False, False], [False] * 3])
        >>> pair_average_precision(matrix, pairs)
        1.0
    """
    if matrix.shape != pairs.shape:
        raise DataError(
            f"pairs of shape {matrix.shape}, as the matrix",
            f"shape {pairs.shape}",
            "Give both for the same frames.",
        )
    above = np.triu_indices(len(matrix), 1)
    both = matrix.astype(np.float64)
    together = (pairs | pairs.T)[above]
    if not together.any():
        raise DataError(
            "at least one pair of two frames that decides",
            f"none of {len(together)}",
            "Leave clips out in which no pair is known to decide.",
        )
    return average_precision((both + both.T)[above], together)


@dataclass(frozen=True)
class PairAP(Metric):
    """Does the matrix rank pairs of frames that decide together above all others?

    See `pair_average_precision`. By chance, and for equal entries, it is the share of such pairs.

    Raises:
        DataError: From `score`, if the explanation has no matrix, or no pairs are known to decide.

    Example:
        >>> PairAP().name
        'pair-ap'
    """

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="pair-ap",
        question="Are pairs of frames that decide together ranked above all others?",
        family="truth",
        needs=("truth",),
        higher_is_better=True,
        lowest=0,
        highest=1,
        cost="0",
        source="",
    )

    def score(self, case: Case) -> Score:
        """The area, in [0, 1]."""
        matrix, pairs = case.explanation.matrix, None if case.truth is None else case.truth.pairs
        if matrix is None:
            raise DataError(
                "a matrix of frames and frames",
                "an explanation without",
                "Explain by a method that gives one, or leave this metric out.",
            )
        if pairs is None:
            raise DataError(
                "pairs of frames that are known to decide the class",
                "none",
                "Give the example's truth, or leave this metric out.",
            )
        return Score(
            pair_average_precision(matrix.detach().cpu().double().numpy(), pairs.cpu().numpy())
        )
