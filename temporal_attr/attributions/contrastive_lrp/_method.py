"""How far each timestep's prediction reaches into the other frames: options and checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from captum.attr import GradientAttribution
from captum.log import log_usage

from temporal_attr._activation import Activation
from temporal_attr._errors import FrameLogitsError
from temporal_attr._require import require_count, require_flag, require_within
from temporal_attr._run import started
from temporal_attr._typing import ClipTensor, StepMatrix, TargetLike
from temporal_attr.attributions._by_timestep import by_timestep
from temporal_attr.attributions._estimate import Call, Work
from temporal_attr.attributions._method import VideoMethod, as_given
from temporal_attr.attributions._relevance import require_composite
from temporal_attr.attributions._traits import Traits
from temporal_attr.attributions.contrastive_lrp._compute import (
    TimestepRequest,
    timestep_relevance,
)
from temporal_attr.attributions.contrastive_lrp._cost import timestep_work
from temporal_attr.attributions.contrastive_lrp._result import ContrastiveLRPTemporalResult
from temporal_attr.measures import average_range, maximum_range, ranges
from temporal_attr.models import VideoModel, require_visible_attention
from temporal_attr.relevance import Composite


class ContrastiveLRPTemporal(VideoMethod, GradientAttribution):  # type: ignore[misc]
    r"""How far each timestep's prediction reaches: the actual temporal range :cite:p:`fan2022`.

    A timestep of a 3D or recurrent model reads many frames in theory; which ones does it use?
    The target's logit :math:`l_i` at timestep i is propagated back to the pixels by layer-wise
    relevance propagation, and :math:`a_{ij}` is what reaches the frames of timestep j. The range
    :math:`r_i` is the length of the shortest run of timesteps that contains i and holds at least
    sigma of row i; avg-ATR is :math:`\sum_i w_i r_i` with
    :math:`w_i = l_i^+ / \sum_j l_j^+`, and max-ATR is :math:`\max_i r_i`. Timesteps count in both
    as they count in the prediction: where a model averages some of its timesteps, or reads the last
    one only, the others have no part in it (the paper's models average all that they have).

    Contrastive: relevance R is propagated from :math:`l_i`, and R' from it with the weights
    of the last layer negated; the result is :math:`\max(0, R - R')` for every pixel, so that what
    serves all classes alike cancels :cite:p:`gu2018`. With `contrastive=False` it is R itself, and
    a row sums to its logit.

    Args:
        model: A `VideoModel` whose timesteps add up to its prediction (`exactness` other than
            `"none"`).
        composite: The rules; see `LRP`.
        contrastive: Whether to subtract what opposes the target.
        sigma: The share of a row that a range holds, from 1e-6 to 1; at 1 a range is all
            from the first to the last timestep with any relevance.
        rows_per_backward: Timesteps (rows of the matrix) in one backward pass; by default as many
            as have a million values of the clip between them, and at least one. More is faster for
            small clips, and takes that many times the memory of a row; a single row skips what its
            timestep cannot reach.
        activation: What turns the model's outputs into the probabilities that a result shows; see
            `TemporalGradient`.

    A row whose logit is 0, or where R' outweighs R at every pixel, is all zeros, and has no range
    (NaN). A negative logit is distributed like a
    positive one (for `contrastive=False` the row is negative; contrastive, it holds what opposes
    the class), but it has no weight in avg-ATR. Where all logits of a clip are 0 or less,
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
    traits = Traits(
        slug="contrastive-lrp-temporal",
        question="From which frames does each timestep's prediction come, and how far is that?",
        gives="relevance matrix: row = predicting timestep, column = the frames read",
        axes="batch steps steps",
        sign="non-negative",
        unit="logits",
        needs=("relevance rules", "frame logits"),
        cost="about 2 F and N backward passes; less where a timestep cannot reach all frames",
        source="fan2022",
    )

    def __init__(
        self,
        model: VideoModel,
        composite: Composite | None = None,
        contrastive: bool = True,
        sigma: float = 0.975,
        rows_per_backward: int | None = None,
        activation: Activation | None = None,
    ) -> None:
        super().__init__(model, activation)
        self._model_with_timesteps()
        require_within("sigma", sigma, 1e-6, 1)
        if rows_per_backward is not None:
            require_count("rows_per_backward", rows_per_backward, 1)
        require_flag("contrastive", contrastive)
        self.contrastive = contrastive
        self.sigma = sigma
        self.composite = require_composite(composite)
        self.rows_per_backward = rows_per_backward

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    @by_timestep
    def attribute(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        *,
        show_progress: bool = False,
    ) -> StepMatrix | tuple[StepMatrix]:
        """The relevance matrix: row = predicting timestep, column = the frames read.

        Not shaped like the input: `NoiseTunnel` and `sensitivity_max` take it, `infidelity` does
        not.

        Args:
            inputs: `(batch, time, channel, height, width)`, or a tuple of one such tensor.
            target: The class to explain: an int for all clips, a list or tensor with one for each,
                or one-element tuples; None only where the model has one class. A tuple
                `(timestep, class)`, or a list with one for each, explains the logits of a timestep.
            additional_forward_args: Must be None: a `VideoModel` takes a clip.
            show_progress: Show a bar over the rows on anything over two seconds.

        Returns:
            `(batch, steps, steps)`, in logits; 0 or more if contrastive.

        Raises:
            FrameLogitsError: If the model is no `VideoModel`, or its timesteps do not add up to
                its prediction.
            ClipError: And the others, as for `LRP.attribute`.
        """
        request = self._request(inputs, target, additional_forward_args)
        with started(show_progress) as run:
            matrix = timestep_relevance(request, run).matrix
        found: StepMatrix | tuple[StepMatrix] = as_given(matrix, inputs)
        return found

    @by_timestep
    def explain(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        *,
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
        request = self._request(inputs, target, additional_forward_args, tuple(rows))
        with started(show_progress) as run:
            found = timestep_relevance(request, run)
        reach = ranges(found.matrix, self.sigma)
        frames = found.frame_matrix.shape[0] * found.frame_matrix.shape[2]
        return ContrastiveLRPTemporalResult(
            logits=found.logits,
            target=found.target,
            run=run.finished(frames),
            class_names=self.class_names,
            activation=self.activation,
            matrix=found.matrix,
            frame_matrix=found.frame_matrix,
            step_logits=found.step_logits,
            step_weights=found.step_weights,
            ranges=reach,
            avg_atr=average_range(reach, found.step_logits * found.step_weights),
            max_atr=maximum_range(reach.masked_fill(found.step_weights == 0, float("nan"))),
            row_error=found.row_error,
            relevance_ratio=found.relevance_ratio,
            sink_relevance=found.sink_relevance,
            rules=found.rules,
            rows=request.rows,
            row_relevance=found.row_relevance,
            contrastive=self.contrastive,
            sigma=self.sigma,
            frames_per_step=found.frames_per_step,
            exactness=request.model.exactness,
        )

    def _work(self, inputs: object, target: TargetLike, arguments: object, of: Call) -> Work:
        """Of both calls, which take the same."""
        return timestep_work(self._request(inputs, target, arguments))

    def _request(
        self,
        inputs: Any,  # noqa: ANN401
        target: TargetLike,
        additional_forward_args: Any,  # noqa: ANN401
        rows: tuple[int, ...] = (),
    ) -> TimestepRequest:
        """A call's arguments, checked."""
        model = self._model_with_timesteps()
        _require_sum(model)
        require_visible_attention(model)
        clip, _ = self._checked_single(inputs, additional_forward_args)
        return TimestepRequest(
            model=model,
            clip=clip,
            target=target,
            composite=self.composite,
            contrastive=self.contrastive,
            rows=rows,
            rows_per_backward=self.rows_per_backward,
        )


def _require_sum(model: VideoModel) -> None:
    """Raise unless the timesteps' logits add up to the clip's."""
    model.require_timesteps()
    if model.exactness == "none":
        raise FrameLogitsError(
            "a model whose timesteps add up to its prediction",
            f"a {type(model).__name__} with exactness 'none'",
            "Its readout is not linear, so a timestep's logit is no part of the prediction; "
            "use LRP for the clip's own logit.",
        )
