"""What changing windows of frames does."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from temporal_attr._activation import objective_text
from temporal_attr.attributions._results import ScoreResult

_DONE = {"freeze": "frozen", "reverse": "reversed", "drop": "dropped"}


@dataclass(frozen=True, eq=False)
class SlidingFramesResult(ScoreResult):
    """What `SlidingFrames.explain` found.

    Attributes:
        frame_scores: `(batch, time)`, the mean drop of the objective over the windows that have the
            frame.
        drops: `(batch, windows)`, by how much the objective drops when the window that begins with
            each frame is changed; NaN where a stopped run did not come.
        window: Frames that are changed together.
        change: `"freeze"`, `"reverse"` or `"drop"`.
        complete: False if the run was stopped; windows that were not reached count as 0.
        objective: The name of what was explained.

    Example:
        >>> import torch
        >>> from temporal_attr import SlidingFrames
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("gru", classes=4, widths=(4, 8)).eval()
        >>> result = SlidingFrames(model, window=2).explain(torch.rand(1, 5, 3, 16, 16), target=1)
        >>> tuple(result.drops.shape), tuple(result.frame_scores.shape)
        ((1, 4), (1, 5))
    """

    drops: Float[Tensor, "batch windows"]
    window: int
    change: str
    complete: bool
    objective: str

    @property
    def frame_meaning(self) -> str:
        """The drop of the objective."""
        explained = objective_text(self.objective, self.activation)
        return f"drop of the {explained},\n{self.window} frames {_DONE[self.change]}"

    def _details(self, example: int) -> list[str]:
        explained = objective_text(self.objective, self.activation)
        drops = self.drops[example].nan_to_num()
        # Sums in another order are rounded otherwise.
        rounding = 32 * torch.finfo(drops.dtype).eps * self.logits[example].abs().max()
        if self.complete and bool(drops.abs().max() <= rounding):
            return [f"{explained} is the same with any {self.window} frames {_DONE[self.change]}"]
        first = int(drops.argmax())
        last = first + self.window - 1
        lines = [
            f"{explained} drops most, by {drops[first]:.3f}, with frames {first} to {last} "
            f"{_DONE[self.change]}",
            f"frames with the largest mean drops: {self._top_frames(example)}",
        ]
        return lines if self.complete else [*lines, "stopped before all windows were changed"]
