"""What random masks of space and time show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from temporal_attr._activation import objective_text
from temporal_attr._typing import PerExample
from temporal_attr.attributions._results import PixelResult


@dataclass(frozen=True, eq=False)
class RISEResult(PixelResult):
    """What `RISE.explain` found.

    Attributes:
        attribution: `(batch, time, channel, height, width)`, by how much the mean objective of
            masked clips rises when the place is kept; the same for all channels.
        frame_scores: `(batch, time)`, its mean over the frame.
        error_map: `(batch, time, height, width)`, the standard error of the attribution; NaN of a
            single mask.
        mean_value: `(batch,)`, the mean objective of masked clips. The map of
            :cite:t:`petsiuk2018`, their equation 6, is an estimate of `attribution + mean_value`.
        samples: How many masks there were.
        complete: False if the run was stopped.
        objective: The name of what was explained.

    Example:
        >>> import torch
        >>> from temporal_attr import RISE
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("gru", classes=4, widths=(4, 8)).eval()
        >>> result = RISE(model, n_samples=8).explain(torch.rand(1, 4, 3, 16, 16), target=1)
        >>> result.error_map.shape, result.samples
        (torch.Size([1, 4, 16, 16]), 8)
    """

    large: ClassVar[tuple[str, ...]] = ("attribution", "error_map")
    same_in_channels: ClassVar[bool] = True

    error_map: Float[Tensor, "batch time height width"]
    mean_value: PerExample
    samples: int
    complete: bool
    objective: str

    @property
    def meaning(self) -> str:
        """The rise of the objective where a place is kept."""
        return f"rise of the {objective_text(self.objective, self.activation)} when kept"

    @property
    def frame_meaning(self) -> str:
        """Its mean over a frame."""
        return f"{self.meaning},\nmean of the frame"

    def _details(self, example: int) -> list[str]:
        explained = objective_text(self.objective, self.activation)
        found, error = self.attribution[example, :, 0], self.error_map[example]
        sure = (found.abs() > 2 * error).double().mean()
        lines = [
            f"mean {explained} of masked clips {self.mean_value[example]:.3f}, over "
            f"{self.samples} masks; {sure:.0%} of places differ from 0 by two standard errors",
            f"frames with the largest scores: {self._top_frames(example)}",
        ]
        return lines if self.complete else [*lines, "stopped before all masks were tried"]
