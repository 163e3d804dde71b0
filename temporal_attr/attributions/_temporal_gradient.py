"""The gradient of a prediction with respect to every frame."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from captum.attr import GradientAttribution
from captum.log import log_usage
from torch import Tensor

from temporal_attr._errors import ClipError
from temporal_attr._typing import (
    ClipOrPathways,
    ClipTensor,
    Influence,
    StepLogits,
    StepWeights,
    TargetLike,
)
from temporal_attr.attributions._base import VideoMethod
from temporal_attr.attributions._memory import (
    Answer,
    Memory,
    Question,
    ask,
)
from temporal_attr.attributions._objectives import (
    Objective,
    ObjectiveName,
    resolve_objective,
    resolve_target,
)
from temporal_attr.attributions._results import PixelResult, Run
from temporal_attr.clips import require_positive
from temporal_attr.measures import frame_scores
from temporal_attr.models import FrameLogits, VideoModel


@dataclass(frozen=True, eq=False)
class TemporalGradientResult(PixelResult):
    """What `TemporalGradient.explain` found.

    Attributes:
        attribution: `(batch, time, channel, height, width)`, the signed gradient of the objective,
            in objective per input value.
        frame_scores: `(batch, time)`, G_t: its L2 norm over channel, height and width; 0 or more.
        influence: `(batch, steps, time)`, the L2 norm of the gradient of timestep n's target logit
            (row) with respect to frame t (column); None if it was not asked for.
        step_logits: `(batch, steps, classes)`, each timestep's logits; None without `influence`.
        step_weights: `(steps,)`, how much each counts in the clip's logits; None without
            `influence`.
        objective: The name of what was differentiated.
    """

    influence: Influence | None
    step_logits: StepLogits | None
    step_weights: StepWeights | None
    objective: str

    @property
    def meaning(self) -> str:
        """The gradient of the objective."""
        return f"gradient of the {self.objective}"

    @property
    def frame_meaning(self) -> str:
        """G_t."""
        return f"$G_t$: {self.meaning},\nL2 norm"

    def _details(self, example: int) -> list[str]:
        scores = self.frame_scores[example]
        total = scores.sum().item()
        if not total:
            return [f"the gradient of the {self.objective} is zero for every frame"]
        top = self._top_frames(example)
        lines = [f"frames with most of the {self.objective}'s sensitivity: {top}"]
        if self.influence is not None:
            lines.append(_reach(self.influence[example]))
        return lines


def _reach(influence: Tensor) -> str:
    """How many frames hold nine tenths of a timestep's sensitivity, on average over timesteps."""
    reading = influence[influence.sum(1) > 0]
    if not len(reading):
        return "no timestep's logit reacts to any frame"
    shares = reading / reading.sum(1, keepdim=True)
    cumulative = shares.sort(1, descending=True).values.cumsum(1)
    needed = (cumulative < 0.9).sum(1).add(1).clamp_max(shares.shape[1]).float().mean().item()
    steps, frames = influence.shape
    return (
        f"{steps} timestep(s); 90% of a timestep's sensitivity lies on {needed:.1f} of {frames} "
        "frames on average"
    )


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
        objective: `"logit"` of the target, `"probability"`, `"log_probability"`, `"loss"`
            (cross-entropy against the target), or a function `(logits, target) -> (batch,)`.
        memory: How the gradient is computed. All but the last give the same numbers:
            `"whole"` keeps the whole graph; `"framewise"` (a `FramewiseModel`) keeps the features
            and the graph of one chunk of frames, whatever the length; `"checkpoint"` (a model
            with stages) runs each stage again on the way back; `"offload"` keeps the graph in the
            CPU's memory; `"half"` is the leanest of these in bfloat16, to about 2 digits.
            `"auto"` tries them in this order and moves on only when memory runs out.
        chunk_size: Frames encoded at a time on the framewise path; by default 16, and fewer if
            those do not fit.

    Costs (P = forward and backward pass): `attribute` 1 P; `explain` adds a forward pass and one
    backward pass for each timestep, where timesteps of a framewise model that read different frames
    share one. The framewise path adds a forward pass, `"checkpoint"` one for each backward.

    Example:
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

    def __init__(
        self,
        model: VideoModel | Callable[..., Any],
        objective: ObjectiveName | Objective = "logit",
        memory: Memory = "auto",
        chunk_size: int | None = None,
    ) -> None:
        super().__init__(model)
        if chunk_size is not None:
            require_positive("chunk_size", chunk_size)
        self.objective = resolve_objective(objective)
        self.objective_name = (
            getattr(objective, "__name__", "objective") if callable(objective) else objective
        )
        self.memory: Memory = memory
        self.chunk_size = chunk_size

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: ClipOrPathways,
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        show_progress: bool = False,
    ) -> ClipOrPathways:
        """The signed gradient of the objective with respect to the clip.

        Args:
            inputs: `(batch, time, channel, height, width)`, or a tuple of such tensors for a
                function of several.
            target: The class to explain: an int for all clips, a list or tensor with one for each,
                or one-element tuples; None only where the model has one class.
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
        clips, as_tuple = self._checked_clips(inputs)
        answer, _ = self._gradient(clips, target, additional_forward_args, show_progress)
        attributions = tuple(gradient[0] for gradient in answer.gradients)
        return attributions if as_tuple else attributions[0]

    def explain(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        show_progress: bool = False,
        influence: bool = True,
    ) -> TemporalGradientResult:
        """The gradient, and what can be read from it.

        Args:
            inputs: `(batch, time, channel, height, width)`.
            target: As for `attribute`.
            additional_forward_args: As for `attribute`; only with `influence=False`.
            show_progress: Show a bar on anything over two seconds.
            influence: Also compute the influence matrix, which takes one backward pass for each
                of the model's timesteps.

        Raises:
            FrameLogitsError: If `influence` is asked of a model without timesteps.
            ClipError: And the others, as for `attribute`.
        """
        start = time.perf_counter()
        clips, _ = self._checked_clips(inputs)
        if len(clips) != 1:
            raise ClipError(
                "one clip to explain", f"{len(clips)}", "Use attribute() for several pathways."
            )
        if influence:
            self._require_timesteps()
        answer, classes = self._gradient(clips, target, additional_forward_args, show_progress)
        assert isinstance(answer.output, Tensor)
        attribution = answer.gradients[0][0]
        reach = self._influence(clips, classes, show_progress) if influence else None
        steps = reach.output if reach else None
        assert not isinstance(steps, Tensor)
        return TemporalGradientResult(
            logits=answer.output,
            target=classes,
            run=_run([answer] + ([reach] if reach else []), time.perf_counter() - start),
            attribution=attribution,
            frame_scores=frame_scores(attribution),
            influence=reach.gradients[0].movedim(0, 1).contiguous() if reach else None,
            step_logits=steps.logits if steps else None,
            step_weights=steps.weights if steps else None,
            objective=self.objective_name,
        )

    def _gradient(
        self,
        clips: tuple[Tensor, ...],
        target: TargetLike,
        additional_forward_args: Any,  # noqa: ANN401
        show_progress: bool,
    ) -> tuple[Answer, Tensor]:
        """The gradient of the objective as the one row of an answer, and the classes explained."""

        def rows(logits: Tensor) -> Tensor:
            return self.objective(logits, resolve_target(target, logits)).unsqueeze(1)

        arguments = self._checked_arguments(additional_forward_args)
        question = Question(self.model, rows, arguments=arguments, show_progress=show_progress)
        answer = ask(question, clips, self.memory, self.chunk_size)
        assert isinstance(answer.output, Tensor)
        return answer, resolve_target(target, answer.output)

    def _influence(self, clips: tuple[Tensor, ...], target: Tensor, show_progress: bool) -> Answer:
        def rows(steps: FrameLogits) -> Tensor:
            index = target[:, None, None].expand(-1, steps.logits.shape[1], 1)
            return steps.logits.gather(2, index).squeeze(2)

        question = Question(
            self.model, rows, by_step=True, keep=_frame_norm, show_progress=show_progress
        )
        return ask(question, clips, self.memory, self.chunk_size)


def _frame_norm(gradient: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(gradient, dim=(-3, -2, -1))
    return norm


def _run(answers: list[Answer], seconds: float) -> Run:
    """One record of several runs: the path of each, and all that was tried."""
    paths = list(dict.fromkeys(answer.path for answer in answers))
    sizes = [answer.chunk_size for answer in answers if answer.chunk_size is not None]
    return Run(
        memory=", then ".join(paths),
        tried=tuple(dict.fromkeys(name for answer in answers for name in answer.tried)),
        precision="bfloat16" if any(a.precision != "full" for a in answers) else "full",
        evaluations=sum(a.evaluations for a in answers),
        chunk_size=min(sizes, default=None),
        seconds=seconds,
    )
