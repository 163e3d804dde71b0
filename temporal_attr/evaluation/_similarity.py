"""How alike are two explanations, and how far is one from another?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import scipy
from jaxtyping import Float

from temporal_attr._errors import DataError, OptionError
from temporal_attr.evaluation._case import ScoresOf
from temporal_attr.evaluation._metric import Score

Similarity: TypeAlias = Literal["rank", "cosine", "ssim"]
"""How two explanations are compared."""

_WINDOW = 7
"""Pixels of a side of the window of SSIM; the usual one of scikit-image."""


def similarity(
    first: Float[np.ndarray, "*scores"], second: Float[np.ndarray, "*scores"], kind: Similarity
) -> float:
    """How alike two explanations of one shape are.

    - `"rank"`: Spearman's rank correlation, with the mean rank for equal scores.
    - `"cosine"`: the cosine of the angle between the scores as vectors.
    - `"ssim"`: structural similarity :cite:p:`wang2004` of the maps of each frame, averaged over
      frames. Each explanation is first divided by its largest magnitude, so that its values lie in
      [-1, 1], as in :cite:t:`adebayo2018`. The window is 7 x 7 pixels, or the largest odd one that
      fits. Needs scikit-image.

    Args:
        first: `(time,)` or `(time, height, width)`; maps for `"ssim"`.
        second: Of the same shape.
        kind: See above.

    Returns:
        In [-1, 1], and 1 for equal explanations. NaN if it does not exist: the ranks of scores that
        are all equal or too few, the angle of a vector of zeros.

    Raises:
        DataError: If the shapes differ, or maps for `"ssim"` have sides below 3 pixels.

    Example:
        >>> scores = np.array([0.1, 0.7, 0.2])
        >>> similarity(scores, scores**3, "rank"), similarity(scores, -2 * scores, "cosine")
        (1.0, -1.0)
    """
    if first.shape != second.shape:
        raise DataError(
            f"two explanations of one shape, {first.shape}",
            f"another of {second.shape}",
            "Compare explanations of clips of one size by one method.",
        )
    if kind == "ssim":
        return _structural(_maps(first), _maps(second))
    pair = [first.ravel().astype(np.float64), second.ravel().astype(np.float64)]
    if kind == "rank":
        # Ranks less their mean: their cosine is Pearson's correlation of the ranks.
        pair = [scipy.stats.rankdata(one) - (one.size + 1) / 2 for one in pair]
    return _cosine(*pair)


def _cosine(first: np.ndarray, second: np.ndarray) -> float:
    # Scaled, so that squares of tiny scores do not vanish.
    largest = [float(np.abs(one).max(initial=0.0)) for one in (first, second)]
    if not all(largest):
        return math.nan
    a, b = first / largest[0], second / largest[1]
    # The root of the product, and not the product of roots, is exact for equal vectors.
    found = float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))
    return max(-1.0, min(1.0, found))


def _maps(scores: np.ndarray) -> np.ndarray:
    if scores.ndim != 3 or min(scores.shape[1:]) < 3:
        raise DataError(
            "maps (time, height, width) of at least 3 x 3 pixels for SSIM",
            f"shape {scores.shape}",
            "Compare them by rank.",
        )
    largest = np.abs(scores).max()
    scaled: np.ndarray = scores / (largest if largest > 0 else 1.0)
    return scaled


def _structural(first: np.ndarray, second: np.ndarray) -> float:
    from skimage import metrics  # noqa: PLC0415 - an extra

    structural_similarity: Any = metrics.structural_similarity

    side = min(_WINDOW, *first.shape[1:])
    side -= 1 - side % 2
    found = [
        structural_similarity(a, b, win_size=side, data_range=2.0)
        for a, b in zip(first, second, strict=True)
    ]
    return float(np.mean(found))


def require_similarity(of: ScoresOf, kind: Similarity) -> None:
    """Raise if scores of frames are to be compared as maps.

    Raises:
        OptionError: With what there is.
    """
    if of == "frames" and kind == "ssim":
        raise OptionError(
            'similarity to be "rank" or "cosine" for scores of frames',
            '"ssim"',
            'Frames are no maps; ask for of="pixels".',
        )


NOT_ALIKE = "all scores of an explanation are equal or zero, so that nothing is like them"
"""Why there is no similarity."""


def mean_similarity(
    values: Sequence[float], forward_passes: float = 0.0, note: str = "", curve: str = "similarity"
) -> Score:
    """The score that is a mean of similarities, of those that exist.

    Args:
        values: NaN where there is none.
        forward_passes: See `Score`.
        note: What else the reader should know.
        curve: What the values are called.

    Example:
        >>> mean_similarity([0.5, math.nan]).note
        '1 of 2 left out: all scores of an explanation are equal or zero, so that nothing is ...'
    """
    known = [value for value in values if not math.isnan(value)]
    missing = len(values) - len(known)
    notes = [f"{missing} of {len(values)} left out: {NOT_ALIKE}"] if missing else []
    return Score(
        math.fsum(known) / len(known) if known else math.nan,
        forward_passes=forward_passes,
        note="; ".join([*notes, *([note] if note else [])]),
        curves={curve: tuple(values)},
    )


def relative_change(
    before: Float[np.ndarray, "*values"], after: Float[np.ndarray, "*values"]
) -> float:
    r"""By how much an explanation changed: :math:`\lVert b - a \rVert_2 / \lVert a \rVert_2`.

    Args:
        before: Scores of frames, or an attribution; a.
        after: The same of another clip, model or run; b.

    Returns:
        0 or more; 0 where nothing changed. NaN if a is zero.

    Raises:
        DataError: If the shapes differ.

    Example:
        >>> relative_change(np.array([3.0, 4.0]), np.array([3.0, 3.0]))
        0.2
    """
    if before.shape != after.shape:
        raise DataError(
            f"two explanations of one shape, {before.shape}",
            f"another of {after.shape}",
            "Compare explanations of clips of one size by one method.",
        )
    length = float(np.linalg.norm(before))
    return float(np.linalg.norm(after - before)) / length if length else math.nan
