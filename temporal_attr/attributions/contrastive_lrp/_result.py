"""What the relevance of timesteps found: the matrix, and the actual temporal range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from temporal_attr._activation import output_name
from temporal_attr._require import require_within
from temporal_attr._typing import PerExample, StepMatrix, StepScores, StepWeights
from temporal_attr.attributions._relevance import ratio_lines, rules_line
from temporal_attr.attributions._results import Result, contribution_lines


@dataclass(frozen=True, eq=False)
class ContrastiveLRPTemporalResult(Result):
    """What `ContrastiveLRPTemporal.explain` found.

    Attributes:
        matrix: `(batch, steps, steps)`, a_ij: relevance of the frames of column j for the target's
            logit at timestep i, summed over pixels.
        frame_matrix: `(batch, steps, time)`, the same with a column for each frame.
        step_logits: `(batch, steps)`, the target's logit at each timestep, l_i.
        step_weights: `(steps,)`, how much each timestep counts in the clip's logits.
        ranges: `(batch, steps)`, r_i: length, in timesteps, of the shortest run of columns that
            contains i and holds at least sigma of row i; NaN for a row of zeros.
        avg_atr: `(batch,)`, the mean of r_i weighted by the positive part of l_i, times the
            timestep's own weight; NaN where no timestep with a range has a positive logit.
        max_atr: `(batch,)`, the largest r_i of the timesteps that have weight; NaN where their rows
            are all zero.
        row_error: `(batch, steps)`, what was lost or gained in a timestep's backward pass, over its
            logit, both as magnitudes: the sum of a row and its sinks less the logit, or, if
            contrastive, the sum of R - R' over all pixels and sinks, which start alike and should
            cancel. Of merged timesteps the largest.
        relevance_ratio: `(batch,)`, the magnitudes of all relevance over those of what was
            propagated (the timesteps' logits, and if contrastive twice that: R and R'). At most
            about 1 where nothing cancels; see `LRPResult`. NaN where all logits are 0.
        sink_relevance: `(batch, steps)`, what of each timestep's logit went to anything but the
            clip, such as a class token (see `LRPResult.sinks`); no part of the matrix.
        rules: Which composite it was; "as given" if one was.
        rows: The timesteps whose relevance of pixels was asked for.
        row_relevance: `(batch, rows, time, channel, height, width)`; None if it was not asked for.
        contrastive: Whether what opposes the target was subtracted.
        sigma: The share of a row that a range holds.
        frames_per_step: Frames from one timestep to the next.

    Example:
        >>> import torch
        >>> from temporal_attr import ContrastiveLRPTemporal
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("late-fusion", classes=4, pooling="mean", widths=(4, 8))
        >>> result = ContrastiveLRPTemporal(model).explain(torch.rand(1, 5, 3, 16, 16), target=1)
        >>> result.ranges.nan_to_num(1).unique()  # a timestep of late fusion reads its own frame
        tensor([1.])
    """

    large: ClassVar[tuple[str, ...]] = ("row_relevance",)
    main_table: ClassVar[str] = "matrix"

    matrix: StepMatrix
    frame_matrix: Float[Tensor, "batch steps time"]
    step_logits: StepScores
    step_weights: StepWeights
    ranges: StepScores
    avg_atr: PerExample
    max_atr: PerExample
    row_error: StepScores
    relevance_ratio: PerExample
    rows: tuple[int, ...]
    row_relevance: Float[Tensor, "batch rows time channel height width"] | None
    contrastive: bool
    sigma: float
    frames_per_step: int
    sink_relevance: StepScores | None = None
    rules: str = "as given"
    exactness: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_within("sigma", self.sigma, 0, 1)

    def _details(self, example: int) -> list[str]:
        known = ~self.ranges[example].isnan()
        if not known.any():
            return ["no timestep has any relevance for this class, so there is no range"]
        average, largest = self.avg_atr[example].item(), self.max_atr[example].item()
        steps = self.ranges.shape[1]
        said = f"ATR: {average:.2f} on average, {largest:.0f} at most, of {steps} timesteps"
        if self.frames_per_step > 1:
            f = self.frames_per_step
            said += f" ({average * f:.1f} and {largest * f:.0f} frames)"
        if self.avg_atr[example].isnan():
            said = (
                f"ATR: at most {largest:.0f} of {steps} timesteps; no timestep supports this "
                f"class (all {output_name(self.activation)}s are 0 or less), so there is no average"
            )
        lost = self.row_error[example].abs().max().item()
        held = f"a range holds {self.sigma:.1%} of a row; relevance lost: {lost:.1g}"
        if self.sink_relevance is not None and self.sink_relevance[example].any():
            sunk = self.sink_relevance[example].sum().item()
            held += f"; {sunk:.3g} went to constants and losses (see LRP.explain(...).sinks)"
        ratio = self.relevance_ratio[example].item()
        ratios = ratio_lines(ratio, output_name(self.activation))
        contributions = contribution_lines(self.exactness)
        return [said, held, *ratios, *rules_line(self.rules), *contributions]
