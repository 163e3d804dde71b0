"""Learning a mask: the objective of what is shown through it, its area, and when to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm import tqdm

from temporal_attr._errors import ModelError
from temporal_attr._typing import PerExample
from temporal_attr.attributions.extremal_perturbation._masks import (
    Grid,
    Masks,
    MaskShape,
    area_penalty,
    jump_penalty,
)
from temporal_attr.perturbations import OnStop, stopping

WINDOW = 10
"""Iterations over which the loss is averaged before it is compared with those before."""

LEAST_WEIGHT, MOST_WEIGHT = 0.3, 300.0
"""Of the area, at the first iteration and from half of them on; the effect of the mask has 1."""

MOMENTUM = (0.9, 0.99)

Seen = Callable[[Masks], tuple[PerExample, Masks]]
"""From what is shown, in [0, 1], to the objective of each clip, and its gradient."""


@dataclass(frozen=True)
class Rules:
    """What a mask is learned by.

    Attributes:
        area: The share of places that are 1.
        keep: Whether the objective is raised by what the mask keeps, or lowered by what it deletes.
        smoothness: The weight of jumps in time.
        learning_rate: The largest change of a cell in one iteration.
        max_iterations: How many at most.
        tolerance: How little the loss changes where the mask has settled.
        on_stop: What becomes of a run that is stopped.
    """

    area: float
    keep: bool
    smoothness: float
    learning_rate: float
    max_iterations: int
    tolerance: float
    on_stop: OnStop = "raise"

    @property
    def rising(self) -> int:
        """Iterations in which the weight of the area rises."""
        return self.max_iterations // 2

    def weight(self, iteration: int) -> float:
        """Of the area."""
        done = min(1.0, iteration / self.rising) if self.rising else 1.0
        return float(LEAST_WEIGHT * (MOST_WEIGHT / LEAST_WEIGHT) ** done)


@dataclass
class LearnedMasks:
    """The best masks so far, and the way to them; see `FoundMasks`."""

    masks: Masks
    score: PerExample
    lowest: PerExample
    iterations: Tensor
    converged: Bool[Tensor, "batch"]
    losses: list[PerExample] = field(default_factory=list)
    values: list[PerExample] = field(default_factory=list)
    complete: bool = True

    def curve(self, of: list[PerExample], length: int) -> Float[Tensor, "batch iterations"]:
        """What was noted in each iteration; NaN after the last of each clip."""
        found = of[0].new_full((len(of[0]), length), torch.nan)
        for place, noted in enumerate(of):
            found[:, place] = torch.where(place < self.iterations, noted, torch.nan)
        return found


class MaskLearner:
    """Learns the masks of clips, each by itself.

    Args:
        seen: The model, asked for the objective of what is shown.
        shape: From grids to masks.
        rules: What is learned.
        empty: `(batch,)`, the objective of the baseline.
        full: `(batch,)`, the objective of the clips.
    """

    def __init__(
        self, seen: Seen, shape: MaskShape, rules: Rules, empty: PerExample, full: PerExample
    ) -> None:
        self._seen, self._shape, self._rules = seen, shape, rules
        self._empty, self._full = empty, full
        self._unit: PerExample | None = None

    def run(self, like: Tensor, bar: tqdm) -> LearnedMasks:
        """Learn until all have settled, or there are no more iterations.

        Args:
            like: `(batch, ...)`, says how many, where and how precise.
            bar: Is moved on by one for each iteration.

        Raises:
            KeyboardInterrupt: If that is to be raised, or comes in the first iteration.
        """
        rules, batch = self._rules, len(like)
        grid = like.new_full((batch, *self._shape.cells), 0.5).requires_grad_()
        optimizer = torch.optim.Adam([grid], lr=rules.learning_rate, betas=MOMENTUM)
        found: LearnedMasks | None = None
        interrupted = True
        with stopping(rules.on_stop):
            for iteration in range(rules.max_iterations):
                found = self._step(grid, optimizer, iteration, found)
                bar.update()
                if bool(found.converged.all()):
                    bar.total = bar.n
                    bar.refresh()
                    break
            interrupted = False
        if found is None:
            raise KeyboardInterrupt
        found.complete = not interrupted
        return found

    def _step(
        self,
        grid: Grid,
        optimizer: torch.optim.Optimizer,
        iteration: int,
        found: LearnedMasks | None,
    ) -> LearnedMasks:
        """One iteration of all; what has settled stays as it was."""
        rules = self._rules
        mask = self._shape.mask(grid)
        kept = mask.detach()
        value, gradient = self._seen(kept if rules.keep else 1 - kept)
        # Towards more of the objective for what is kept, and less for what is left.
        (of_cells,) = torch.autograd.grad(mask, grid, -gradient, retain_graph=True)
        unit = self._unit_of(value, of_cells)
        penalty = rules.weight(iteration) * area_penalty(mask, rules.area)
        if rules.smoothness:
            penalty = penalty + rules.smoothness * jump_penalty(mask)
        (of_penalty,) = torch.autograd.grad(penalty.sum(), grid)
        sign = -1 if rules.keep else 1
        loss = sign * (value - self._empty) / unit + penalty.detach().to(value)
        found = self._noted(found, iteration, kept, value, loss)
        grid.grad = of_cells / unit.to(grid).view(-1, 1, 1, 1) + of_penalty
        optimizer.step()
        with torch.no_grad():
            grid.clamp_(0, 1)
        return found

    def _unit_of(self, value: PerExample, of_cells: Grid) -> PerExample:
        """What the objective is measured in, so that its own unit does not matter.

        The difference of clip and baseline; where that is small, because parts of it cancel, how
        far all cells together could move the objective at first.
        """
        if self._unit is None:
            steepest = of_cells.detach().abs().flatten(1).sum(1).to(value)
            unit = torch.maximum((self._full - self._empty).abs(), steepest)
            # Where nothing moves the objective, any unit is right.
            self._unit = torch.where(unit > 0, unit, torch.ones_like(unit))
        return self._unit

    def _noted(
        self,
        found: LearnedMasks | None,
        iteration: int,
        masks: Masks,
        value: PerExample,
        loss: PerExample,
    ) -> LearnedMasks:
        """Keep what is better, and see which have settled."""
        if found is None:
            none = torch.zeros(len(value), dtype=torch.long, device=value.device)
            found = LearnedMasks(masks.clone(), value, loss, none, none.bool())
        learning = ~found.converged
        found.losses.append(loss)
        found.values.append(value)
        found.iterations = torch.where(learning, iteration + 1, found.iterations)
        # Losses with other weights of the area cannot be compared.
        better = learning & ((loss < found.lowest) | (iteration <= self._rules.rising))
        found.masks[better] = masks[better]
        found.score = torch.where(better, value, found.score)
        found.lowest = torch.where(better, loss, found.lowest)
        found.converged = found.converged | (learning & self._settled(found.losses))
        return found

    def _settled(self, losses: list[PerExample]) -> Bool[Tensor, "batch"]:
        """Whether the mean loss of the last iterations is that of those before."""
        first = self._rules.rising
        if len(losses) < first + 2 * WINDOW:
            return torch.zeros_like(losses[0], dtype=torch.bool)
        before, last = torch.stack(losses[-2 * WINDOW :]).unflatten(0, (2, WINDOW)).mean(1)
        settled: Tensor = (last - before).abs() <= self._rules.tolerance
        return settled


def require_finite_objective(value: PerExample, gradient: Tensor) -> None:
    """Raise unless a masked clip has an objective that can be learned from.

    Raises:
        ModelError: If either is NaN or infinite.
    """
    bad = int((~value.isfinite()).sum()) + int((~gradient.isfinite()).sum())
    if bad:
        raise ModelError(
            "a finite objective of masked clips, with a finite gradient",
            f"{bad} numbers that are NaN or infinite",
            "Take other baselines, or explain the clip in float32.",
        )
