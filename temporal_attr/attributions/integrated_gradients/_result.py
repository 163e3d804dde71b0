"""What integrated gradients found."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from temporal_attr._activation import objective_text
from temporal_attr._require import require_within
from temporal_attr._typing import PerExample
from temporal_attr.attributions._results import PixelResult


@dataclass(frozen=True, eq=False)
class IntegratedGradientsResult(PixelResult):
    """What `IntegratedGradients.explain` found.

    Attributes:
        attribution: `(batch, time, channel, height, width)`, in units of the objective.
        frame_scores: `(batch, time)`, its sum over channel, height and width, with its sign. Over
            frames they sum to the objective of the clip less that of the baseline, but for
            `convergence_delta`.
        clip_values: `(batch,)`, the objective of the clip.
        baseline_values: `(batch,)`, the objective of the clip where the path begins.
        convergence_delta: `(batch,)`, the sum of the attribution less the difference between these
            two: what the approximation of the integral is off by.
        n_steps: `(batch,)`, at how many points the path of each clip was differentiated.
        unmet: `(batch,)`, whether the delta was still larger than the tolerance allows when the
            largest number of points was reached.
        frequency_scores: `(batch, frequency)`, how much each temporal frequency of the difference
            between clip and baseline contributed: at place f, f cycles over the clip; place 0 is
            what stands still. They sum to the same as the attribution. None along a path that is
            not straight.
        baselines: Where the path begins: a name, a number, or "tensor".
        path: Its name.
        objective: The name of what was integrated.
        tolerance: The largest delta that was asked for, as a share of the difference; None for any.

    Example:
        >>> import torch
        >>> from temporal_attr import IntegratedGradients
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("gru", classes=4, widths=(4, 8)).double()
        >>> clip = torch.rand(1, 5, 3, 16, 16).double()
        >>> result = IntegratedGradients(model, "mean_frame").explain(clip, target=1)
        >>> gap = result.frame_scores.sum(1) - (result.clip_values - result.baseline_values)
        >>> torch.allclose(gap, result.convergence_delta)
        True
        >>> tuple(result.frequency_scores.shape), result.frequencies
        ((1, 3), (0, 1, 2))
    """

    clip_values: PerExample
    baseline_values: PerExample
    convergence_delta: PerExample
    n_steps: Int[Tensor, "batch"]
    unmet: Bool[Tensor, "batch"]
    frequency_scores: Float[Tensor, "batch frequency"] | None
    baselines: str
    path: str
    objective: str
    tolerance: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tolerance is not None:
            require_within("tolerance", self.tolerance, 0)

    @property
    def frequencies(self) -> tuple[int, ...] | None:
        """The frequency of each place of `frequency_scores`, in cycles over the clip."""
        if self.frequency_scores is None:
            return None
        return tuple(range(self.frequency_scores.shape[1]))

    @property
    def meaning(self) -> str:
        """A share of the objective's difference."""
        return f"integrated gradient of the {self._explained}"

    @property
    def frame_meaning(self) -> str:
        """The share of a frame."""
        return f"share of the frame in the\n{self._explained} above the baseline"

    @property
    def _explained(self) -> str:
        return objective_text(self.objective, self.activation)

    def _details(self, example: int) -> list[str]:
        values, start = self.clip_values[example].item(), self.baseline_values[example].item()
        lines = [
            f"{self._explained} {values:.4g}, of the baseline ({self.baselines}) {start:.4g}; "
            f"the attribution sums to {self.frame_scores[example].sum().item():.4g}, off by "
            f"{self.convergence_delta[example].item():.2g} ({self.n_steps[example].item()} steps)"
        ]
        if self.unmet[example]:
            lines.append(
                f"the tolerance of {self.tolerance:g} was NOT reached with these steps: allow more "
                "(max_steps), or do not rely on the sum"
            )
        if self.frame_scores[example].any():
            lines.append(f"frames with most of it: {self._top_frames(example)}")
        if self.frequency_scores is not None:
            scores = self.frequency_scores[example]
            lines.append(
                f"what stands still brings {scores[0].item():.4g}, what changes over time "
                f"{scores[1:].sum().item():.4g}"
            )
        return lines
