"""What the Shapley values of frames are."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from temporal_attr._activation import objective_text
from temporal_attr._typing import FrameScores, PerExample
from temporal_attr.attributions._results import ScoreResult

RegionScores = Float[Tensor, "batch time height width"]


@dataclass(frozen=True, eq=False)
class FrameShapleyResult(ScoreResult):
    """What `FrameShapley.explain` found.

    Attributes:
        frame_scores: `(batch, time)`, the Shapley value of each frame, in the units of the
            objective; their sum is `full_value - empty_value` up to rounding.
        standard_error: `(batch, time)`, of each; 0 where they are exact, NaN of a single pair of
            permutations.
        full_value: `(batch,)`, the objective of the clip.
        empty_value: `(batch,)`, the objective where no frame is present.
        evaluations: Coalitions that the model was asked for, for each clip, with that of all.
        permutations: How many were drawn for each clip; 0 where the values are exact.
        complete: False if the run was stopped.
        objective: The name of what was explained.
        region_scores: `(batch, time, height, width)`, the Owen value of the region that each pixel
            belongs to, which is that of the whole region; None for whole frames.
        region_error: `(batch, time, height, width)`, its standard error; likewise.

    Example:
        >>> import torch
        >>> from temporal_attr import FrameShapley
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("gru", classes=4, widths=(4, 8)).eval()
        >>> result = FrameShapley(model).explain(torch.rand(1, 5, 3, 16, 16), target=1)
        >>> gap = result.full_value - result.empty_value - result.frame_scores.sum(1)
        >>> bool(gap.abs() < 1e-5), result.evaluations
        (True, (32,))
    """

    standard_error: FrameScores
    full_value: PerExample
    empty_value: PerExample
    evaluations: tuple[int, ...]
    permutations: tuple[int, ...]
    complete: bool
    objective: str
    region_scores: RegionScores | None = None
    region_error: RegionScores | None = None

    @property
    def frame_meaning(self) -> str:
        """The Shapley value."""
        return f"Shapley value,\n{objective_text(self.objective, self.activation)}"

    @property
    def frame_error(self) -> FrameScores | None:
        """The standard error of each score; None where all are exact."""
        return self.standard_error if any(self.permutations) else None

    def _details(self, example: int) -> list[str]:
        explained = objective_text(self.objective, self.activation)
        gained = self.full_value[example] - self.empty_value[example]
        lines = [
            f"{explained} {self.full_value[example]:.3f} with all frames and "
            f"{self.empty_value[example]:.3f} with none: {gained:+.3f} shared among frames",
            f"frames with the largest Shapley values: {self._top_frames(example)}",
        ]
        if self.permutations[example]:
            lines.append(
                f"from {self.permutations[example]} permutations; standard error at most "
                f"{self.standard_error[example].max():.2g}"
            )
        else:
            lines.append(f"exact, from {self.evaluations[example]} coalitions")
        if not self.complete:
            lines.append("stopped before all permutations were drawn")
        return lines
