"""What expected gradients found."""

from __future__ import annotations

from dataclasses import dataclass

from temporal_attr._activation import objective_text
from temporal_attr._require import require_count
from temporal_attr._typing import FrameScores, PerExample
from temporal_attr.attributions._results import PixelResult


@dataclass(frozen=True, eq=False)
class ExpectedGradientsResult(PixelResult):
    """What `ExpectedGradients.explain` found.

    Attributes:
        attribution: `(batch, time, channel, height, width)`, in units of the objective.
        frame_scores: `(batch, time)`, its sum over channel, height and width, with its sign.
        frame_error: `(batch, time)`, the standard error of these: how far chance may have moved
            them, for the points and references that were drawn.
        total_error: `(batch,)`, the standard error of their sum over frames.
        clip_values: `(batch,)`, the objective of the clip.
        reference_values: `(batch,)`, the mean of the objective over the references drawn.
        convergence_delta: `(batch,)`, the sum of the attribution less the difference between these
            two. The references cancel in it: it is what drawing points along paths is off by.
        n_samples: How many points were drawn for each clip.
        references: "still", "shuffled" or "tensor".
        objective: The name of what was explained.

    Example:
        >>> import torch
        >>> from temporal_attr import ExpectedGradients
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("gru", classes=4, widths=(4, 8)).double()
        >>> clip = torch.rand(1, 5, 3, 16, 16).double()
        >>> result = ExpectedGradients(model, n_samples=20).explain(clip, target=1)
        >>> bool((result.convergence_delta.abs() < 5 * result.total_error).all())
        True
    """

    frame_error: FrameScores
    total_error: PerExample
    clip_values: PerExample
    reference_values: PerExample
    convergence_delta: PerExample
    n_samples: int
    references: str
    objective: str

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("n_samples", self.n_samples, 2, 2**20)

    @property
    def meaning(self) -> str:
        """A share of the objective's difference."""
        return f"expected gradient of the {self._explained}"

    @property
    def frame_meaning(self) -> str:
        """The share of a frame."""
        return f"share of the frame in the\n{self._explained} above references"

    @property
    def _explained(self) -> str:
        return objective_text(self.objective, self.activation)

    def _details(self, example: int) -> list[str]:
        total, error = self.frame_scores[example].sum().item(), self.total_error[example].item()
        lines = [
            f"{self._explained} {self.clip_values[example].item():.4g}, of the references drawn "
            f"({self.references}) {self.reference_values[example].item():.4g}; the attribution "
            f"sums to {total:.4g} with a standard error of {error:.2g} ({self.n_samples} samples)"
        ]
        scores, errors = self.frame_scores[example], self.frame_error[example]
        clear = int((scores.abs() > 2 * errors).sum())
        if scores.any():
            lines.append(f"frames with most of it: {self._top_frames(example)}")
            lines.append(
                f"{clear} of {len(scores)} frames' scores are larger than twice their standard "
                "error; more samples make it smaller"
            )
        return lines
