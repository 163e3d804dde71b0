"""What learned masks are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from jaxtyping import Bool, Float, Int
from torch import Tensor

from temporal_attr._activation import objective_text
from temporal_attr._typing import PerExample
from temporal_attr.attributions._results import PixelResult

MaskKind: TypeAlias = Literal["space-time", "frames"]
"""What has a number of its own: a cell of a grid in space and time, or a frame."""

Game: TypeAlias = Literal["preserve", "delete"]
"""Whether the mask keeps what raises the objective most, or deletes what lowers it most."""


@dataclass(frozen=True, eq=False)
class ExtremalPerturbationResult(PixelResult):
    """What `ExtremalPerturbation.explain` found.

    Attributes:
        attribution: `(batch, time, channel, height, width)`, the mask, in [0, 1] and the same in
            all channels: how much of a place is kept (or deleted, with `game="delete"`).
        frame_scores: `(batch, time)`, the mean of the mask over the frame, in [0, 1].
        score: `(batch,)`, the objective of the clip that is kept or left by the mask.
        full_value: `(batch,)`, the objective of the clip.
        baseline_value: `(batch,)`, the objective of the baseline.
        area: `(batch,)`, the mean of the mask, which need not be quite what was asked for.
        converged: `(batch,)`, whether the loss had settled before the iterations ended.
        iterations: `(batch,)`, how many there were.
        loss: `(batch, iterations)`, the loss of each; NaN after the last. While the weight of the
            area rises, in the first half of `max_iterations`, its values cannot be compared.
        objective_values: `(batch, iterations)`, the objective in each; NaN after the last.
        complete: False if the run was stopped.
        objective: The name of what was explained.
        kind: What has a number of its own.
        game: What the mask does.

    Example:
        >>> import torch
        >>> from temporal_attr import ExtremalPerturbation
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("gru", classes=4, widths=(4, 8)).eval()
        >>> method = ExtremalPerturbation(model, area=0.2, kind="frames", max_iterations=4)
        >>> result = method.explain(torch.rand(1, 5, 3, 16, 16), target=1)
        >>> tuple(result.loss.shape), result.iterations.tolist(), result.converged.tolist()
        ((1, 4), [4], [False])
    """

    same_in_channels: ClassVar[bool] = True

    score: PerExample
    full_value: PerExample
    baseline_value: PerExample
    area: PerExample
    converged: Bool[Tensor, "batch"]
    iterations: Int[Tensor, "batch"]
    loss: Float[Tensor, "batch iterations"]
    objective_values: Float[Tensor, "batch iterations"]
    complete: bool
    objective: str
    kind: MaskKind
    game: Game

    @property
    def meaning(self) -> str:
        """The mask."""
        return f"share that the mask {'keeps' if self.game == 'preserve' else 'deletes'}"

    @property
    def frame_meaning(self) -> str:
        """Its mean over a frame."""
        return f"{self.meaning},\nmean over the frame"

    def _details(self, example: int) -> list[str]:
        explained = objective_text(self.objective, self.activation)
        with_what = "with" if self.game == "preserve" else "without"
        lines = [
            f"{explained} {self.score[example]:.3f} {with_what} {self.area[example]:.1%} of the "
            f"clip; {self.full_value[example]:.3f} of the whole clip, "
            f"{self.baseline_value[example]:.3f} of the baseline",
            f"frames with most of the mask: {self._top_frames(example)}",
        ]
        count = int(self.iterations[example])
        if self.converged[example]:
            lines.append(f"settled after {count} iterations")
        elif self.complete:
            lines.append(f"note: not settled after {count} iterations; give more max_iterations")
        else:
            lines.append(f"note: stopped after {count} iterations, not settled")
        return lines
