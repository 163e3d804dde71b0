"""How far each timestep's prediction reaches into the other frames."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from captum.attr import GradientAttribution
from captum.log import log_usage
from jaxtyping import Float
from torch import Tensor

from temporal_attr._errors import FrameLogitsError
from temporal_attr._require import require_count, require_within
from temporal_attr._typing import (
    ClipTensor,
    PerExample,
    StepMatrix,
    StepScores,
    StepWeights,
    TargetLike,
)
from temporal_attr.attributions._base import VideoMethod
from temporal_attr.attributions._graph import own_graph
from temporal_attr.attributions._lrp import relevance_run
from temporal_attr.attributions._results import Result
from temporal_attr.attributions._rows import Settings, StepRelevance, relevance_of_steps
from temporal_attr.measures import average_range, maximum_range, ranges
from temporal_attr.models import VideoModel
from temporal_attr.relevance import Composite


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
        row_error: `(batch, steps)`, what was lost or made on the way back from a timestep, over its
            logit, both as magnitudes: the sum of a row less the logit, or, if contrastive, the sum
            of R - R' over all pixels, which start alike and should cancel. Of merged timesteps the
            largest.
        rows: The timesteps whose relevance of pixels was asked for.
        row_relevance: `(batch, rows, time, channel, height, width)`; None if it was not asked for.
        contrastive: Whether what speaks against the target was subtracted.
        sigma: The share of a row that a range holds.
        frames_per_step: Frames from one timestep to the next.
    """

    large: ClassVar[tuple[str, ...]] = ("row_relevance",)

    matrix: StepMatrix
    frame_matrix: Float[Tensor, "batch steps time"]
    step_logits: StepScores
    step_weights: StepWeights
    ranges: StepScores
    avg_atr: PerExample
    max_atr: PerExample
    row_error: StepScores
    rows: tuple[int, ...]
    row_relevance: Float[Tensor, "batch rows time channel height width"] | None
    contrastive: bool
    sigma: float
    frames_per_step: int

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
                f"ATR: at most {largest:.0f} of {steps} timesteps; no timestep speaks for this "
                "class (all logits are 0 or less), so there is no average"
            )
        lost = self.row_error[example].abs().max().item()
        return [said, f"a range holds {self.sigma:.1%} of a row; relevance lost: {lost:.1g}"]


class ContrastiveLRPTemporal(VideoMethod, GradientAttribution):  # type: ignore[misc]
    r"""How far each timestep's prediction reaches: the actual temporal range :cite:p:`fan2022`.

    A timestep of a 3D or recurrent model reads many frames in theory; which ones does it use?
    The target's logit :math:`l_i` at timestep i is sent back to the pixels by layer-wise relevance
    propagation, and :math:`a_{ij}` is what reaches the frames of timestep j. The range
    :math:`r_i` is the length of the shortest run of timesteps that contains i and holds at least
    sigma of row i; avg-ATR is :math:`\sum_i w_i r_i` with
    :math:`w_i = l_i^+ / \sum_j l_j^+`, and max-ATR is :math:`\max_i r_i`. Timesteps count in both
    as they count in the prediction: where a model averages some of its timesteps, or reads the last
    one only, the others have no part in it (the paper's models average all that they have).

    Contrastive: relevance R goes back from :math:`l_i`, and R' from the same logit with the weights
    of the last layer negated; the result is :math:`\max(0, R - R')` for every pixel, so that what
    serves all classes alike cancels :cite:p:`gu2018`. With `contrastive=False` it is R itself, and
    a row sums to its logit.

    Args:
        model: A `VideoModel` whose timesteps add up to its prediction (`exactness` other than
            `"none"`).
        contrastive: Whether to subtract what speaks against the target.
        sigma: The share of a row that a range holds, from 1e-6 to 1; at 1 a range is all
            from the first to the last timestep with any relevance.
        composite: The rules; see `LRP`.
        chunk_size: Rows sent back together; by default as many as have a million values of the
            clip between them, and at least one. More is faster for small clips, and takes that many
            times the memory of a row; a single row skips what its timestep cannot reach.

    A row whose logit is 0, or where R' outweighs R at every pixel, is all zeros, and has no range
    (NaN). A negative logit is shared like a
    positive one (for `contrastive=False` the row is negative; contrastive, it holds what speaks
    against the class), but it has no weight in avg-ATR. Where all logits of a clip are 0 or less,
    avg-ATR is NaN. A model with one timestep has range 1.

    A model with `merged_steps` (SlowFast: its slow pathway predicts once for so many fast frames)
    gets its matrix summed in blocks of that size, as in the paper, so that a plain row sums to the
    sum of the block's logits; its step logits are the means over the blocks, weighted as the model
    weighs its timesteps.

    Costs (N timesteps): about two forward passes, and N backward passes at most.

    Example:
        >>> import torch
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("inflated-resnet", classes=4, widths=(4, 8))
        >>> method = ContrastiveLRPTemporal(model)
        >>> clip = torch.rand(1, 8, 3, 32, 32)
        >>> tuple(method.attribute(clip, target=1).shape)
        (1, 8, 8)
        >>> plain = ContrastiveLRPTemporal(model, contrastive=False).explain(clip, target=1)
        >>> torch.allclose(plain.matrix.sum(2), plain.step_logits, atol=1e-5)
        True
    """

    name = "Contrastive LRP (temporal)"

    def __init__(
        self,
        model: VideoModel,
        contrastive: bool = True,
        sigma: float = 0.975,
        composite: Composite | None = None,
        chunk_size: int | None = None,
    ) -> None:
        super().__init__(model)
        require_within("sigma", sigma, 1e-6, 1)
        if chunk_size is not None:
            require_count("chunk_size", chunk_size, 1)
        self.contrastive = contrastive
        self.sigma = sigma
        self.composite = Composite() if composite is None else composite
        self.chunk_size = chunk_size

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        show_progress: bool = False,
    ) -> StepMatrix | tuple[StepMatrix]:
        """The relevance matrix: row = predicting timestep, column = the frames read.

        Not shaped like the input: `NoiseTunnel` and `sensitivity_max` take it, `infidelity` does
        not.

        Args:
            inputs: `(batch, time, channel, height, width)`, or a tuple of one such tensor.
            target: The class to explain: an int for all clips, a list or tensor with one for each,
                or one-element tuples; None only where the model has one class.
            additional_forward_args: Must be None: a `VideoModel` takes a clip.
            show_progress: Show a bar over the rows on anything over two seconds.

        Returns:
            `(batch, steps, steps)`, in logits; 0 or more if contrastive.

        Raises:
            FrameLogitsError: If the model is no `VideoModel`, or its timesteps do not add up to
                its prediction.
            ClipError: And the others, as for `LRP.attribute`.
        """
        found = self._found(inputs, target, additional_forward_args, (), show_progress)
        return (found.matrix,) if isinstance(inputs, tuple) else found.matrix

    def explain(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        show_progress: bool = False,
        rows: Sequence[int] = (),
    ) -> ContrastiveLRPTemporalResult:
        """The matrix, and what can be read from it.

        Args:
            inputs: As for `attribute`.
            target: As for `attribute`.
            additional_forward_args: As for `attribute`.
            show_progress: As for `attribute`.
            rows: Timesteps whose relevance of every pixel is to be kept.

        Raises:
            OptionError: If there is no such row.
            FrameLogitsError: And the others, as for `attribute`.
        """
        start = time.perf_counter()
        found = self._found(inputs, target, additional_forward_args, rows, show_progress)
        reach = ranges(found.matrix, self.sigma)
        return ContrastiveLRPTemporalResult(
            **{name: value for name, value in vars(found).items() if name != "chunk_size"},
            run=relevance_run(1, found.chunk_size, start),
            ranges=reach,
            avg_atr=average_range(reach, found.step_logits * found.step_weights),
            max_atr=maximum_range(reach.masked_fill(found.step_weights == 0, float("nan"))),
            contrastive=self.contrastive,
            sigma=self.sigma,
        )

    def _found(
        self,
        inputs: Any,  # noqa: ANN401
        target: TargetLike,
        additional_forward_args: Any,  # noqa: ANN401
        rows: Sequence[int],
        show_progress: bool,
    ) -> StepRelevance:
        model = self._require_timesteps()
        _require_sum(model)
        clip = self._one_clip(inputs)
        self._checked_arguments(additional_forward_args)
        settings = Settings(
            self.composite, self.contrastive, self.chunk_size, tuple(rows), show_progress
        )
        with own_graph((clip,)) as (own,):
            return relevance_of_steps(model, own, target, settings)


def _require_sum(model: VideoModel) -> None:
    """Raise unless the timesteps' logits add up to the clip's."""
    if model.exactness == "none":
        raise FrameLogitsError(
            "a model whose timesteps add up to its prediction",
            f"a {type(model).__name__} with exactness 'none'",
            "Its readout is not linear, so a timestep's logit is no part of the prediction; "
            "use LRP for the clip's own logit.",
        )
