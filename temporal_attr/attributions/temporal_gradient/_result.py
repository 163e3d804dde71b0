"""What the temporal gradient found."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from temporal_attr._activation import objective_text
from temporal_attr._errors import ResultError
from temporal_attr._typing import Influence, StepLogits, StepWeights
from temporal_attr.attributions._results import PixelResult, contribution_lines


@dataclass(frozen=True, eq=False)
class TemporalGradientResult(PixelResult):
    """What `TemporalGradient.explain` found.

    Attributes:
        attribution: `(batch, time, channel, height, width)`, the signed gradient of the objective,
            in objective per input value.
        frame_scores: `(batch, time)`, G_t: its L2 norm over channel, height and width; 0 or more.
        influence: `(batch, rows, time)`, the L2 norm of the gradient of timestep n's target logit
            (row) with respect to frame t (column); None if it was not asked for.
        rows: The timesteps of these rows, each by its number from 0, in the order in which they
            were asked for; by default all of the model's. None without `influence`.
        step_logits: `(batch, steps, classes)`, each timestep's logits; None without `influence`.
        step_weights: `(steps,)`, how much each counts in the clip's logits; None without
            `influence`.
        objective: The name of what was differentiated.
        exactness: Of the model's timesteps, see `VideoModel`; None if it is not known.

    Example:
        >>> import torch
        >>> from temporal_attr import TemporalGradient
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("lstm", classes=4, widths=(4, 8))
        >>> result = TemporalGradient(model).explain(torch.rand(2, 5, 3, 16, 16), target=1)
        >>> tuple(result.frame_scores.shape), tuple(result.influence.shape)
        ((2, 5), (2, 5, 5))
        >>> result = TemporalGradient(model).explain(torch.rand(2, 5, 3, 16, 16), 1, influence=[-1])
        >>> tuple(result.influence.shape), result.rows
        ((2, 1, 5), (4,))
    """

    influence: Influence | None
    step_logits: StepLogits | None
    step_weights: StepWeights | None
    objective: str
    rows: tuple[int, ...] | None = None
    exactness: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.influence is None:
            return
        held = self.influence.shape[1]
        # Results of earlier versions do not say it: they hold all timesteps.
        rows = tuple(range(held)) if self.rows is None else tuple(self.rows)
        if len(rows) != held:
            raise ResultError(
                f"a timestep for each of the {held} rows of the influence",
                f"{len(rows)} of them",
                "Choose both alike, or explain again.",
            )
        object.__setattr__(self, "rows", rows)

    @property
    def meaning(self) -> str:
        """The gradient of the objective."""
        return f"gradient of the {self._explained}"

    @property
    def frame_meaning(self) -> str:
        """G_t."""
        return f"$G_t$: {self.meaning},\nL2 norm"

    @property
    def _explained(self) -> str:
        return objective_text(self.objective, self.activation)

    def _details(self, example: int) -> list[str]:
        scores = self.frame_scores[example]
        total = scores.sum().item()
        if not total:
            return [f"the gradient of the {self._explained} is zero for every frame"]
        top = self._top_frames(example)
        lines = [f"frames with most of the {self._explained}'s sensitivity: {top}"]
        if self.influence is not None:
            assert self.step_logits is not None
            lines.append(_reach(self.influence[example], self.step_logits.shape[1]))
            lines += contribution_lines(self.exactness)
        return lines


def _reach(influence: Tensor, steps: int) -> str:
    """How many frames hold nine tenths of a timestep's sensitivity, on average over timesteps."""
    rows, frames = influence.shape
    chosen = f"{rows} of {steps} timesteps" if rows < steps else f"{steps} timestep(s)"
    reading = influence[influence.sum(1) > 0]
    if not len(reading):
        none = "no timestep's logit reacts to any frame"
        return f"{chosen}: {none}" if rows < steps else none
    shares = reading / reading.sum(1, keepdim=True)
    cumulative = shares.sort(1, descending=True).values.cumsum(1)
    needed = (cumulative < 0.9).sum(1).add(1).clamp_max(shares.shape[1]).float().mean().item()
    return (
        f"{chosen}; 90% of a timestep's sensitivity lies on {needed:.1f} of {frames} "
        "frames on average"
    )
