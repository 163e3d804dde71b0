"""What the curve of frames is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from temporal_attr._activation import objective_text
from temporal_attr._typing import PerExample
from temporal_attr.attributions._results import ScoreResult

_DONE = {"delete": "deleted", "insert": "inserted"}


@dataclass(frozen=True, eq=False)
class DeletionCurveResult(ScoreResult):
    """What `DeletionCurve.explain` found.

    Attributes:
        frame_scores: `(batch, time)`, by how much the objective dropped when the frame was deleted,
            or rose when it was inserted; their sum is the objective of the clip less that without
            frames. 0 for frames that a stopped run did not reach.
        rank: `(batch, time)`, when each frame was taken: 0 for the first, -1 where a run was
            stopped before.
        curve: `(batch, time + 1)`, the objective at the start, and after each; NaN likewise.
        direction: `"delete"` or `"insert"`.
        complete: False if the run was stopped.
        objective: The name of what was explained.

    Example:
        >>> import torch
        >>> from temporal_attr import DeletionCurve
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("gru", classes=4, widths=(4, 8)).eval()
        >>> result = DeletionCurve(model).explain(torch.rand(1, 5, 3, 16, 16), target=1)
        >>> tuple(result.curve.shape), sorted(result.order[0].tolist())
        ((1, 6), [0, 1, 2, 3, 4])
    """

    rank: Int[Tensor, "batch time"]
    curve: Float[Tensor, "batch time_and_start"]
    direction: str
    complete: bool
    objective: str

    @property
    def order(self) -> Int[Tensor, "batch time"]:
        """The frames in the order in which they were taken, `(batch, time)`; -1 likewise."""
        last = torch.where(self.rank < 0, self.rank.shape[1], self.rank)
        found = last.argsort(stable=True, dim=1)
        return torch.where(self.rank.gather(1, found) < 0, -1, found)

    @property
    def area(self) -> PerExample:
        """The area under each curve, `(batch,)`: its mean by the trapezoid rule."""
        return (self.curve[:, 1:] + self.curve[:, :-1]).mean(1) / 2

    @property
    def frame_meaning(self) -> str:
        """By how much the objective changed with the frame."""
        explained = objective_text(self.objective, self.activation)
        return f"drop of the {explained}" if self.direction == "delete" else f"rise, {explained}"

    def _details(self, example: int) -> list[str]:
        explained = objective_text(self.objective, self.activation)
        taken = [frame for frame in self.order[example].tolist() if frame >= 0]
        shown = ", ".join(map(str, taken[:8])) + (", ..." if len(taken) > 8 else "")
        curve = self.curve[example]
        lines = [
            f"frames {_DONE[self.direction]} in this order: {shown}",
            f"{explained} from {curve[0]:.3f} to {curve[len(taken)]:.3f}",
        ]
        return lines if self.complete else [*lines, "stopped before all frames were taken"]
