"""The gradient of a prediction with respect to every frame of a clip: options and checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from captum.attr import GradientAttribution
from captum.log import log_usage

from temporal_attr._activation import Activation
from temporal_attr._errors import ClipError, OptionError
from temporal_attr._require import LONGEST, require_count
from temporal_attr._run import started
from temporal_attr._told import shown
from temporal_attr._typing import ClipOrPathways, ClipTensor, TargetLike
from temporal_attr.attributions._by_timestep import by_timestep
from temporal_attr.attributions._estimate import Call, Work
from temporal_attr.attributions._method import VideoMethod
from temporal_attr.attributions._traits import CLIP_AXES, Traits
from temporal_attr.attributions.temporal_gradient._compute import (
    GradientRequest,
    chosen_rows,
    clip_gradient,
    gradient_work,
    step_influence,
)
from temporal_attr.attributions.temporal_gradient._result import TemporalGradientResult
from temporal_attr.gradients import (
    Memory,
    Objective,
    ObjectiveName,
    require_memory,
    resolve_objective,
)
from temporal_attr.gradients._objectives import name_of
from temporal_attr.measures import frame_scores
from temporal_attr.models import VideoModel


class TemporalGradient(VideoMethod, GradientAttribution):  # type: ignore[misc]
    r"""The gradient of a prediction with respect to every frame of a clip.

    :math:`S` is the objective, :math:`x_t` frame t. `attribute` gives
    :math:`\partial S / \partial x_t`, the saliency of :cite:t:`simonyan2014` (their equation 3)
    with its sign kept; `explain` adds

    - :math:`G_t = \lVert \partial S / \partial x_t \rVert_2` over channel, height and width: how
      strongly the prediction reacts to frame t;
    - the influence matrix, :math:`I_{nt} = \lVert \partial l_n / \partial x_t \rVert_2` for the
      target's logit :math:`l_n` at timestep n: how far a timestep's prediction reaches into its
      neighbours. Where a model reads forward only, it is exactly 0 for t > n. It is an effective
      receptive field in time, as :cite:t:`luo2016` measure it in space.

    A gradient says what a small change of a frame would do, not how much of the logit the frame
    brought about; it does not add up to the logit.

    Args:
        model: A `VideoModel` (see `temporal_attr.wrap`), or a function of clips
            `(batch, time, channel, height, width)` that returns logits `(batch, classes)`; then
            without `influence`.
        objective: `"logit"` of the target (its output as it is), `"probability"`,
            `"log_probability"`, `"loss"` (cross-entropy against the target), or a function
            `(logits, target) -> (batch,)`.
        memory: How the gradient is computed. All but the last give the same numbers:
            `"whole"` keeps the whole graph (for `influence` of a `FramewiseModel`, that of a
            quarter of the frames at a time); `"framewise"` (a `FramewiseModel`) keeps the features
            and the graph of one chunk of frames, whatever the length; `"checkpoint"` (a model
            with stages) runs each stage again in the backward pass; `"offload"` keeps the graph in
            the CPU's memory; `"half"` is the leanest of these in bfloat16, to about 2 digits.
            `"auto"` tries them in this order and moves on only when memory runs out; where that
            ends at `"half"`, a `HalfPrecisionWarning` says so.
        chunk_size: Frames encoded at a time on the framewise path; by default 16, and fewer if
            those do not fit.
        activation: What turns the model's outputs into probabilities: `"softmax"`, `"sigmoid"`
            (each class by itself), `"identity"` (they are probabilities already) or `"none"` (there
            are none, as in regression). By default the model's, or else found out: one output has a
            sigmoid, rows that are probabilities are taken as they are, all others have a softmax.

    Costs (P = forward and backward pass): `attribute` 1 P; `explain` adds a forward pass and one
    backward pass for each timestep. A frame of a framewise model takes one for each timestep that
    reads it, or for each of its features where those are clearly fewer. The framewise path adds a
    forward pass, `"checkpoint"` one for each backward. `estimate` says it of a clip at hand.

    Example:
        >>> import torch
        >>> from temporal_attr.models import LateFusion
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 5)).eval()
        >>> method = TemporalGradient(LateFusion(network))
        >>> clip = torch.rand(1, 4, 3, 8, 8)
        >>> attribution = method.attribute(clip, target=2)
        >>> tuple(attribution.shape)
        (1, 4, 3, 8, 8)
        >>> expected = network[1].weight[2].detach().reshape(3, 8, 8) / 4
        >>> torch.allclose(attribution[0, 0], expected)
        True
        >>> result = method.explain(clip, target=2)
        >>> bool((result.influence[0] * (1 - torch.eye(4)) == 0).all())
        True
    """

    name = "Temporal Gradient"
    traits = Traits(
        slug="temporal-gradient",
        question="Which frames, and which pixels of them, does the prediction react to? How far "
        "does each timestep reach?",
        gives="signed gradient",
        axes=CLIP_AXES,
        sign="signed",
        unit="objective per input value",
        needs=("gradients",),
        cost="P",
        source="simonyan2014",
        sensitivity=True,
    )

    def __init__(
        self,
        model: VideoModel | Callable[..., Any],
        objective: ObjectiveName | Objective = "logit",
        memory: Memory = "auto",
        chunk_size: int | None = None,
        activation: Activation | None = None,
    ) -> None:
        super().__init__(model, activation)
        if chunk_size is not None:
            require_count("chunk_size", chunk_size, 1)
        require_memory(memory)
        self.objective = resolve_objective(objective, self.activation)
        self.objective_name = name_of(objective)
        self.memory: Memory = memory
        self.chunk_size = chunk_size

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    @by_timestep
    def attribute(
        self,
        inputs: ClipOrPathways,
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        *,
        show_progress: bool = False,
    ) -> ClipOrPathways:
        """The signed gradient of the objective with respect to the clip.

        Args:
            inputs: `(batch, time, channel, height, width)`, or a tuple of such tensors for a
                function of several.
            target: The class to explain: an int for all clips, a list or tensor with one for each,
                or one-element tuples; None only where the model has one class. A tuple
                `(timestep, class)`, or a list with one for each, explains the logits of a timestep.
            additional_forward_args: Handed to the model after the clip; a tuple is spread.
            show_progress: Show a bar on anything over two seconds.

        Returns:
            A tensor (or tuple) shaped like `inputs`, in objective per input value. Positive where
            a larger value would raise the objective.

        Raises:
            ClipError: If `inputs` is not a clip of finite floats.
            TargetError: If `target` does not name a class for each clip.
            ModelError: If the model is in training mode or does not return logits.
            OptionError: If the model has no such memory path.
        """
        with started(show_progress) as run:
            found = clip_gradient(self._request(inputs, target, additional_forward_args), run)
        return found.of_clips if isinstance(inputs, tuple) else found.of_clips[0]

    @by_timestep
    def explain(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        *,
        show_progress: bool = False,
        influence: bool | Sequence[int] = True,
    ) -> TemporalGradientResult:
        """The gradient, and what can be read from it.

        Args:
            inputs: `(batch, time, channel, height, width)`.
            target: As for `attribute`.
            additional_forward_args: As for `attribute`; only with `influence=False`.
            show_progress: Show a bar on anything over two seconds.
            influence: Also compute the influence matrix, which takes up to one backward pass for
                each of the model's timesteps; or only the rows of some timesteps, given by their
                numbers from 0, of which negative ones count from the end.

        Raises:
            FrameLogitsError: If `influence` is asked of a model without timesteps.
            OptionError: If it names no timestep, one that the model does not have, or one twice.
            ClipError: And the others, as for `attribute`.
        """
        asked, rows = _asked_rows(influence)
        request = self._request(inputs, target, additional_forward_args)
        _require_single(request)
        if asked:
            self._model_with_timesteps()
        with started(show_progress) as run:
            found = clip_gradient(request, run)
            reach = step_influence(request, found.target, rows, run) if asked else None
        (attribution,) = found.of_clips
        return TemporalGradientResult(
            logits=found.logits,
            target=found.target,
            run=run.finished(attribution.shape[0] * attribution.shape[1]),
            class_names=self.class_names,
            activation=self.activation,
            attribution=attribution,
            frame_scores=frame_scores(attribution),
            influence=reach.influence if reach else None,
            step_logits=reach.steps.logits if reach else None,
            step_weights=reach.steps.weights if reach else None,
            objective=self.objective_name,
            rows=reach.rows if reach else None,
            exactness=self.model.exactness if isinstance(self.model, VideoModel) else None,
        )

    def _work(
        self,
        inputs: object,
        target: TargetLike,
        arguments: object,
        of: Call,
        influence: object = True,
    ) -> Work:
        """Of `attribute`, or of `explain` with such an influence."""
        asked, rows = _asked_rows(influence)
        request = self._request(inputs, target, arguments)
        if of == "attribute":
            return gradient_work(request, False, None)
        _require_single(request)
        if asked:
            self._model_with_timesteps()
        return gradient_work(request, asked, rows)

    def _request(
        self,
        inputs: Any,  # noqa: ANN401
        target: TargetLike,
        additional_forward_args: Any,  # noqa: ANN401
    ) -> GradientRequest:
        """A call's arguments, checked."""
        clips, arguments = self._checked_call(inputs, additional_forward_args)
        return GradientRequest(
            model=self.model,
            clips=clips,
            target=target,
            arguments=arguments,
            objective=self.objective,
            memory=self.memory,
            chunk_size=self.chunk_size,
        )


def _require_single(request: GradientRequest) -> None:
    if len(request.clips) != 1:
        raise ClipError(
            "one clip to explain", f"{len(request.clips)}", "Use attribute() for several."
        )


def _asked_rows(influence: object) -> tuple[bool, Sequence[int] | None]:
    """Whether any influence is asked for, and of which timesteps; None for all."""
    if isinstance(influence, bool):
        return influence, None
    if isinstance(influence, str) or not isinstance(influence, Sequence) or not influence:
        raise OptionError(
            "influence to be True, False or timesteps",
            shown(influence),
            "Give their numbers, or go without: influence=False.",
        )
    # Twice the same number can be told before anything is computed.
    chosen_rows(influence, LONGEST)
    return True, tuple(influence)
