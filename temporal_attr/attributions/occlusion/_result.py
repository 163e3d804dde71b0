"""What masking tubes of pixels does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from temporal_attr._activation import objective_text
from temporal_attr.attributions._results import PixelResult


@dataclass(frozen=True, eq=False)
class OcclusionResult(PixelResult):
    """What `Occlusion.explain` found.

    Attributes:
        attribution: `(batch, time, channel, height, width)`, the mean drop of the objective over
            the windows that mask each place; the same for all channels.
        frame_scores: `(batch, time)`, its mean over the frame.
        drops: `(batch, times, rows, columns)`, by how much the objective drops with each window
            masked; NaN where a stopped run did not come.
        window: Frames, and pixels of the height and width, that are masked together.
        stride: By how much the window moves along each.
        complete: False if the run was stopped; windows that were not reached count as 0.
        objective: The name of what was explained.

    Example:
        >>> import torch
        >>> from temporal_attr import Occlusion
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("gru", classes=4, widths=(4, 8)).eval()
        >>> clip = torch.rand(1, 4, 3, 16, 16)
        >>> Occlusion(model, (2, 8, 8)).explain(clip, target=1).drops.shape
        torch.Size([1, 3, 3, 3])
    """

    same_in_channels: ClassVar[bool] = True

    drops: Float[Tensor, "batch times rows columns"]
    window: tuple[int, int, int]
    stride: tuple[int, int, int]
    complete: bool
    objective: str

    @property
    def meaning(self) -> str:
        """The drop of the objective."""
        return f"drop of the {objective_text(self.objective, self.activation)} when masked"

    @property
    def frame_meaning(self) -> str:
        """Its mean over a frame."""
        return f"{self.meaning},\nmean of the frame"

    def _details(self, example: int) -> list[str]:
        drops = self.drops[example].nan_to_num()
        explained = objective_text(self.objective, self.activation)
        lines = [
            f"{explained} drops by {drops.max():.3f} at most, of {drops.numel()} windows of "
            f"{self.window[0]} frames and {self.window[1]} x {self.window[2]} pixels",
            f"frames with the largest scores: {self._top_frames(example)}",
        ]
        return lines if self.complete else [*lines, "stopped before all windows were masked"]
