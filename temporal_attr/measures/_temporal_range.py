"""The actual temporal range: how far a timestep's prediction reaches into the other frames."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from temporal_attr._errors import OptionError
from temporal_attr._require import require_within
from temporal_attr._typing import PerExample, StepMatrix, StepScores, Target

StepRuns = Int[Tensor, "batch steps 2"]


@dataclass(frozen=True, eq=False)
class MatrixAverage:
    """Relevance matrices of several clips in one.

    Attributes:
        mean: `(steps, steps)`, over clips.
        deviation: `(steps, steps)`, sample standard deviation over clips; NaN for one clip.
        clips: How many there were.

    Example:
        >>> average = average_matrices(torch.ones(3, 2, 2), torch.tensor([0.9, 0.8, 0.3]))
        >>> average.mean.shape
        torch.Size([2, 2])
    """

    mean: Float[Tensor, "steps steps"]
    deviation: Float[Tensor, "steps steps"]
    clips: int


def shortest_runs(matrix: StepMatrix, sigma: float = 0.975) -> StepRuns:
    r"""The shortest run of columns that contains i and holds enough of row i, for each row.

    With :math:`m_{ij} = |a_{ij}|`, it is the shortest run [first, last] with first <= i <= last
    and :math:`\sum_{j=first}^{last} m_{ij} \ge \sigma \sum_j m_{ij}`. Of runs of one length, it is
    the one that holds more, and of those the first.

    The range of :cite:t:`fan2022` is its length. We add what they leave open: magnitudes, so that
    relevance of either sign has a range (theirs is never negative, and there the two agree); the
    order of runs of one length; and a row of zeros, whose run is (i, i).

    Args:
        matrix: `(batch, steps, steps)`: row i is the timestep that predicts, column j the one
            whose frames are read. Of any unit and sign; finite.
        sigma: The share of a row to hold, in (0, 1]. The sums are of float64, and a share counts
            as held up to their rounding. With 1, the run holds every column that is not zero.

    Returns:
        `(batch, steps, 2)`: the first and the last column of each run, both part of it.

    Raises:
        OptionError: If sigma is out of range, or the matrix is not one, or not finite.

    Example:
        >>> matrix = torch.tensor([[[9.0, 1.0, 0.0], [1.0, 1.0, 1.0], [6.0, 0.0, 4.0]]])
        >>> shortest_runs(matrix, sigma=0.6)
        tensor([[[0, 0],
                 [0, 1],
                 [0, 2]]])
    """
    _require_matrix(matrix)
    require_within("sigma", sigma, 0, 1)
    if not sigma:
        raise OptionError("sigma above 0", "0", "Try 0.975.")
    steps = matrix.shape[-1]
    held, slack = _held_up_to(matrix, sigma)
    columns = torch.arange(steps)
    # The first end for which a run from this start holds enough; and it must reach i.
    ends = torch.searchsorted(held, held[..., :-1] + sigma * held[..., -1:] - slack)
    ends = ends.maximum(columns[:, None] + 1)
    lengths = ends - columns
    lengths[(columns > columns[:, None]) | (ends > steps)] = steps + 1
    shortest = lengths == lengths.amin(-1, keepdim=True)
    mass = held.gather(-1, ends.clamp(max=steps)) - held[..., :-1]
    mass[~shortest] = -1
    # argmax takes the first of equals, and what differs by rounding is equal.
    first = (mass >= mass.amax(-1, keepdim=True) - slack).int().argmax(-1, keepdim=True)
    runs = torch.cat([first, ends.gather(-1, first) - 1], -1)
    return runs.to(matrix.device)


def ranges(matrix: StepMatrix, sigma: float = 0.975) -> StepScores:
    """r_i, the temporal range of each timestep: the length of its shortest run.

    Args:
        matrix: See `shortest_runs`.
        sigma: See `shortest_runs`.

    Returns:
        `(batch, steps)`, whole numbers from 1 to `steps`, in timesteps, in the matrix's dtype;
        NaN where the row is all zeros, since nothing is known of what is read there.

    Raises:
        OptionError: See `shortest_runs`.

    Example:
        >>> ranges(torch.tensor([[[0.0, 0.0, 0.0], [1.0, 8.0, 1.0], [6.0, 0.0, 4.0]]]), sigma=0.9)
        tensor([[nan, 2., 3.]])
    """
    first, last = shortest_runs(matrix, sigma).unbind(-1)
    lengths = (last - first + 1).to(matrix.dtype)
    return lengths.masked_fill((matrix == 0).all(-1), torch.nan)


def average_range(ranges: StepScores, step_logits: StepScores) -> PerExample:
    r"""avg-ATR: the mean temporal range, of timesteps as they support the class.

    :math:`\sum_i w_i r_i` with :math:`w_i = l_i^+ / \sum_j l_j^+`, as in :cite:t:`fan2022`. Where
    a range is not known (NaN), its timestep is left out of both sums, which they do not say.

    Args:
        ranges: `(batch, steps)`, r_i, in timesteps; see `ranges`.
        step_logits: `(batch, steps)`, l_i, the explained class's logit at each timestep.

    Returns:
        `(batch,)`, from 1 to `steps`, in timesteps; NaN where no timestep with a range has a
        positive logit.

    Raises:
        OptionError: If the numbers of ranges and logits differ.

    Example:
        >>> average_range(torch.tensor([[2.0, 4.0, 7.0]]), torch.tensor([[1.0, 3.0, -2.0]]))
        tensor([3.5000])
    """
    if ranges.shape != step_logits.shape:
        raise OptionError(
            f"a logit for each of the ranges {tuple(ranges.shape)}",
            f"shape {tuple(step_logits.shape)}",
            "Use the step_logits of the same result.",
        )
    known = ~ranges.isnan()
    weights = (step_logits.clamp(min=0) * known).to(ranges.dtype)
    # Without any weight this is 0 / 0, which is NaN.
    return (weights * ranges.where(known, 0)).sum(-1) / weights.sum(-1)


def maximum_range(ranges: StepScores) -> PerExample:
    """max-ATR: the largest temporal range of any timestep (:cite:t:`fan2022`).

    Args:
        ranges: `(batch, steps)`, r_i, in timesteps; see `ranges`.

    Returns:
        `(batch,)`, from 1 to `steps`, in timesteps; NaN where no range is known.

    Example:
        >>> maximum_range(torch.tensor([[2.0, torch.nan, 5.0]]))
        tensor([5.])
    """
    unknown = ranges.isnan()
    largest = ranges.masked_fill(unknown, -torch.inf).amax(-1)
    return largest.masked_fill(unknown.all(-1), torch.nan)


def average_matrices(
    matrices: StepMatrix, scores: PerExample, threshold: float = 0.5, normalize: bool = False
) -> MatrixAverage:
    """The mean relevance matrix of the clips that the model is sure of, and how much they vary.

    :cite:t:`fan2022` average over the clips whose score is above 0.5; that is the default.
    `normalize` is ours.

    Args:
        matrices: `(batch, steps, steps)`, a matrix for each clip.
        scores: `(batch,)`, the predicted probability of the explained class, in [0, 1].
        threshold: A clip counts if its score is above it.
        normalize: First divide each row by the sum of its magnitudes, so that clips and timesteps
            with large logits do not dominate. Rows of zeros stay zero.

    Returns:
        Mean, standard deviation and number of clips; in the unit of the matrices, or in shares
        of a row if normalized.

    Raises:
        OptionError: If no clip counts, a score is no probability, the numbers of matrices and
            scores differ, or a matrix is not finite.

    Example:
        >>> matrices = torch.tensor([[[2.0]], [[4.0]], [[9.0]]])
        >>> average = average_matrices(matrices, torch.tensor([0.9, 0.8, 0.3]))
        >>> average.mean.item(), average.clips
        (3.0, 2)
    """
    chosen = matrices[_sure(matrices, scores, threshold)]
    if not len(chosen):
        highest = f"{scores.max():.3g} at most" if len(scores) else "no clips"
        raise OptionError(
            f"a clip with a score above {threshold:g}", highest, "Lower the threshold."
        )
    if normalize:
        sums = chosen.abs().sum(-1, keepdim=True)
        chosen = chosen / sums.where(sums > 0, 1)
    unknown = torch.full_like(chosen[0], torch.nan)
    deviation = chosen.std(0) if len(chosen) > 1 else unknown
    return MatrixAverage(chosen.mean(0), deviation, len(chosen))


def average_by_class(
    matrices: StepMatrix,
    targets: Target,
    scores: PerExample,
    threshold: float = 0.5,
    normalize: bool = False,
) -> dict[int, MatrixAverage]:
    """The same as `average_matrices`, for each class by itself.

    Args:
        matrices: `(batch, steps, steps)`, a matrix for each clip.
        targets: `(batch,)`, the class that each matrix explains.
        scores: `(batch,)`, the predicted probability of that class, in [0, 1].
        threshold: See `average_matrices`.
        normalize: See `average_matrices`.

    Returns:
        An average for each class, in the order of their numbers. Classes without a clip above the
        threshold are absent.

    Raises:
        OptionError: If a score is no probability, the numbers of matrices, targets and scores
            differ, or a matrix is not finite.

    Example:
        >>> scores = torch.tensor([0.9, 0.2, 0.7])
        >>> list(average_by_class(torch.ones(3, 4, 4), torch.tensor([5, 2, 3]), scores))
        [3, 5]
    """
    _require_matrix(matrices)
    _require_pairs(matrices, targets, "targets")
    sure = _sure(matrices, scores, threshold)
    averages = {}
    for number in targets[sure].unique().tolist():
        own = targets == number
        averages[number] = average_matrices(matrices[own], scores[own], threshold, normalize)
    return averages


def _held_up_to(matrix: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """What each row holds before each column (so one more), and the rounding of such sums."""
    # On the CPU: not every device has float64, nor sums in turn, which keeps them in order.
    mass = matrix.detach().cpu().double().abs()
    # Every nonzero column must be held: counting them is exact, however small they are.
    mass = mass.sign() if sigma == 1 else mass / mass.amax(-1, keepdim=True).clamp(min=_TINY)
    held = F.pad(mass.cumsum(-1), (1, 0))
    slack = 2 * matrix.shape[-1] * torch.finfo(torch.float64).eps * held[..., -1:]
    return held, slack


_TINY = torch.finfo(torch.float64).tiny


def _sure(matrices: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Which clips count, once the input is known to be right."""
    _require_matrix(matrices)
    _require_pairs(matrices, scores, "scores")
    require_within("threshold", threshold, 0, 1)
    # A softmax may exceed 1 by its rounding, which is coarse in half precision.
    if not ((scores >= 0) & (scores <= 1.01)).all():
        raise OptionError(
            "scores that are probabilities, in [0, 1]",
            f"{scores.min():.3g} to {scores.max():.3g}",
            "Use result.probabilities at the explained class.",
        )
    return scores > threshold


def _require_matrix(matrix: Tensor) -> None:
    if matrix.ndim != 3 or matrix.shape[1] != matrix.shape[2] or not matrix.shape[2]:
        raise OptionError(
            "matrices (batch, steps, steps)",
            f"shape {tuple(matrix.shape)}",
            "Use the matrix of a ContrastiveLRPTemporalResult; add the batch axis with [None].",
        )
    bad = int((~matrix.isfinite()).sum())
    if bad:
        raise OptionError(
            "finite relevance", f"{bad} of {matrix.numel()} NaN or infinite", "Leave them out."
        )


def _require_pairs(matrices: Tensor, values: Tensor, name: str) -> None:
    if values.shape != matrices.shape[:1]:
        raise OptionError(
            f"{name} (batch,) for {len(matrices)} matrices",
            f"shape {tuple(values.shape)}",
            "Give one for each clip.",
        )
