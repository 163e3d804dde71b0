"""Paths of clips from one that shows less to the clip itself, and rules to integrate along them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from temporal_attr._errors import OptionError
from temporal_attr._precision import wide
from temporal_attr._require import require_count
from temporal_attr._typing import ClipTensor
from temporal_attr.perturbations import at_least_single

Rule: TypeAlias = Literal[
    "gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"
]
"""How an integral over a path is approximated, by Captum's names."""

PathName: TypeAlias = Literal["straight", "frames"]
"""Which path a clip is integrated along."""


@dataclass(frozen=True)
class Cell:
    """A part of a path, and the point of it at which the gradient is taken.

    Attributes:
        alpha: The point, from 0 (the start of the path) to 1 (the clip).
        begin: Where the part begins.
        end: Where it ends.
    """

    alpha: float
    begin: float
    end: float

    @property
    def weight(self) -> float:
        """How long it is; the cells of a rule are 1 together."""
        return self.end - self.begin


def require_steps(rule: Rule, n_steps: int, name: str = "n_steps") -> None:
    """Raise unless a rule can have so many points.

    Raises:
        OptionError: If there are too few.
    """
    # Nodes of Gauss and Legendre are eigenvalues of a matrix that has to fit.
    most = 2**12 if rule == "gausslegendre" else 2**16
    require_count(name, n_steps, 2 if rule == "riemann_trapezoid" else 1, most)


def cells_of(rule: Rule, n_steps: int) -> tuple[Cell, ...]:
    """The points of a rule on [0, 1], each with the part of the path that it stands for.

    The length of the part is the weight of the point. Of all rules the point lies within its part:
    of Gauss-Legendre by the separation theorem of Chebyshev, Markov and Stieltjes.

    `"riemann_trapezoid"` is the trapezoidal rule, whose weights sum to 1. Captum's of that name has
    weights that sum to 1 - 1/n.

    Args:
        rule: Its name.
        n_steps: How many points.

    Example:
        >>> cells_of("riemann_middle", 2)
        (Cell(alpha=0.25, begin=0.0, end=0.5), Cell(alpha=0.75, begin=0.5, end=1.0))
    """
    require_steps(rule, n_steps)
    alphas, weights = _points(rule, n_steps)
    ends = np.cumsum(weights)
    # The last point of a path is the clip itself, whatever was rounded on the way.
    ends[-1] = 1.0
    begins = np.concatenate([[0.0], ends[:-1]])
    return tuple(Cell(*map(float, one)) for one in zip(alphas, begins, ends, strict=True))


def _points(rule: Rule, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the points of a rule are, and their weights."""
    if rule == "gausslegendre":
        nodes, weights = np.polynomial.legendre.leggauss(count)
        return (nodes + 1) / 2, weights / 2
    if rule == "riemann_trapezoid":
        weights = np.full(count, 1 / (count - 1))
        weights[[0, -1]] /= 2
        return np.linspace(0, 1, count), weights
    shift = {"riemann_left": 0.0, "riemann_middle": 0.5, "riemann_right": 1.0}[rule]
    return (np.arange(count) + shift) / count, np.full(count, 1 / count)


class ClipPath(ABC):
    """A path from another clip to a clip, for each example of a batch.

    Attributes:
        clip: `(batch, time, channel, height, width)`, where it ends.
        start: Where it begins, shaped alike.
    """

    def __init__(self, start: ClipTensor, clip: ClipTensor) -> None:
        self.start, self.clip = start, clip

    @abstractmethod
    def point(self, example: int, alpha: float) -> Tensor:
        """`(time, channel, height, width)`, the clip at a point of the path."""

    @abstractmethod
    def part(self, example: int, cell: Cell, gradient: Tensor) -> Tensor:
        """What a gradient contributes that is taken at the point of a cell; sums are `finished`."""

    @abstractmethod
    def finished(self, example: int, sums: Tensor) -> Tensor:
        """The attribution, from the sum of all parts."""

    def _wide(self, values: Tensor) -> Tensor:
        """In the precision in which parts are added."""
        return values.to(wide(self.clip))


class StraightPath(ClipPath):
    r"""All values change at once and evenly: :math:`x' + \alpha (x - x')`.

    The points between are blends of two clips, which no camera films.

    Example:
        >>> path = StraightPath(torch.zeros(1, 2, 1, 1, 1), torch.ones(1, 2, 1, 1, 1))
        >>> path.point(0, 0.25).flatten()
        tensor([0.2500, 0.2500])
    """

    def point(self, example: int, alpha: float) -> Tensor:
        """The blend of both clips."""
        return _blend(self.start[example], self.clip[example], alpha)

    def part(self, example: int, cell: Cell, gradient: Tensor) -> Tensor:
        """The gradient by its weight: its mean along the path is wanted."""
        return self._wide(gradient) * cell.weight

    def finished(self, example: int, sums: Tensor) -> Tensor:
        """The mean gradient times the way that each value goes."""
        return sums * self.displacement(example)

    def displacement(self, example: int) -> Tensor:
        """The way that each value goes."""
        return self._wide(self.clip[example]) - self._wide(self.start[example])


class FramesPath(ClipPath):
    r"""The clip at a growing speed: from its first frame, which stands still, to the clip.

    At speed :math:`\alpha` place t of the clip shows time :math:`\alpha t`: the frame there, or
    between two frames k and k + 1 their linear interpolation,
    :math:`\gamma_t(\alpha) = x_k + (\alpha t - k)(x_{k+1} - x_k)` with
    :math:`k = \lfloor \alpha t \rfloor`. Every point of the path is the scene in slow motion.

    The path has corners, where :math:`\alpha t` is whole, so a rule for smooth functions would have
    to know them. Instead the gradient at the point of a cell is multiplied by the way from the
    beginning to the end of the cell (a Riemann-Stieltjes sum of
    :math:`\int \nabla_t F \cdot d\gamma_t`), which is right at corners, too, and for a linear model
    with any number of points.

    Example:
        >>> clip = torch.tensor([0.0, 1.0, 4.0]).reshape(1, 3, 1, 1, 1)
        >>> FramesPath(clip).point(0, 0.75).flatten()  # frames 0, 0.75 and 1.5
        tensor([0.0000, 0.7500, 2.5000])
    """

    def __init__(self, clip: ClipTensor) -> None:
        super().__init__(clip[:, :1].expand_as(clip), clip)

    def point(self, example: int, alpha: float) -> Tensor:
        """The clip at a speed."""
        clip = self.clip[example]
        last = len(clip) - 1
        times = alpha * torch.arange(len(clip), dtype=wide(clip), device=clip.device)
        before = times.floor().long().clamp(max=last)
        share = (times - before)[:, None, None, None]
        return _blend(clip[before], clip[(before + 1).clamp(max=last)], share)

    def part(self, example: int, cell: Cell, gradient: Tensor) -> Tensor:
        """The gradient times the way from the beginning to the end of the cell."""
        end, begin = (self._wide(self.point(example, at)) for at in (cell.end, cell.begin))
        return self._wide(gradient) * (end - begin)

    def finished(self, example: int, sums: Tensor) -> Tensor:
        """The sum as it is."""
        return sums


def path_of(name: PathName, start: ClipTensor, clip: ClipTensor) -> ClipPath:
    """A path by its name.

    Args:
        name: Of the path.
        start: Where it begins; `"frames"` has a beginning of its own.
        clip: Where it ends.
    """
    return FramesPath(clip) if name == "frames" else StraightPath(start, clip)


def require_start(name: PathName, baselines: object) -> None:
    """Raise unless a path can begin at such a clip.

    Raises:
        OptionError: If it has a beginning of its own, and another is named.
    """
    frozen = isinstance(baselines, str) and baselines == "frozen"
    if name == "frames" and not frozen:
        raise OptionError(
            'baselines "frozen" for the path "frames", which begins with the first frame standing '
            "still",
            f"{type(baselines).__name__ if isinstance(baselines, Tensor) else repr(baselines)}",
            'Leave baselines out, or take path="straight".',
        )


def _blend(start: Tensor, end: Tensor, share: float | Tensor) -> Tensor:
    """So far from one to the other; half precision is left only once it is done."""
    precise = at_least_single(start.dtype)
    low, high = start.to(precise), end.to(precise)
    share = share.to(precise) if isinstance(share, Tensor) else share
    return (low + share * (high - low)).to(start.dtype)
