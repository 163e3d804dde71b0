"""What methods share that ask a model for its predictions of perturbed clips, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from captum.attr import PerturbationAttribution
from jaxtyping import Float
from torch import Tensor

from temporal_attr._activation import Activation
from temporal_attr._errors import ClipError
from temporal_attr._memory import is_out_of_memory
from temporal_attr._require import require_count, require_seed
from temporal_attr._run import RunContext
from temporal_attr._typing import ClipTensor, Logits, PerExample, Target, TargetLike
from temporal_attr.attributions._estimate import Stopwatch, stopwatch
from temporal_attr.attributions._method import VideoMethod
from temporal_attr.gradients import Objective, ObjectiveName, resolve_objective, resolve_target
from temporal_attr.models import VideoModel
from temporal_attr.perturbations import ComposedClips, OnStop, Predictions, whole_clips


@dataclass(frozen=True)
class PerturbationRequest:
    """What is asked: of which model, for which class.

    Attributes:
        model: A wrapper, or any function of clips.
        clip: `(batch, time, channel, height, width)`.
        target: In any of Captum's forms.
        arguments: Handed to the model after the clips.
        objective: What the model is asked for.
        perturbations_per_eval: Perturbed clips that go through at a time; None for what fits.
        seed: Of the method's random numbers.
        on_stop: What becomes of a run that is stopped.
    """

    model: VideoModel | Callable[..., Any]
    clip: ClipTensor
    target: TargetLike
    arguments: tuple[Any, ...]
    objective: Objective
    perturbations_per_eval: int | None
    seed: int = 0
    on_stop: OnStop = "raise"


class ObjectiveValues:
    """The objective of clips as they are, and of perturbed clips, in float64.

    Args:
        request: What is asked.
        run: Counts the passes.

    Attributes:
        logits: `(batch, classes)`, of the clips as they are.
        target: `(batch,)`, the classes that are explained.
        of_clips: `(batch,)`, the objective of the clips as they are.
    """

    def __init__(self, request: PerturbationRequest, run: RunContext) -> None:
        self._objective = request.objective
        self._predictions = Predictions(
            request.model, request.clip, run, request.arguments, request.perturbations_per_eval
        )
        self.logits: Logits = self._predictions.whole()
        self.target: Target = resolve_target(request.target, self.logits)
        self.of_clips: PerExample = self._of_logits(self.logits, self.target)

    def require_length(self, frames: int, why: str) -> None:
        """Raise unless the model takes clips of so many frames.

        Args:
            frames: Fewer than the clip has.
            why: What the user asked for that makes such clips.

        Raises:
            ClipError: With what it raised.
        """
        shorter = whole_clips(self._predictions.clip[:, :frames])
        try:
            self._predictions.of(shorter)
        except (RuntimeError, ValueError, AssertionError, IndexError) as error:
            if is_out_of_memory(error):
                raise
            raise ClipError(
                f"a model that takes clips of {frames} frame(s), for {why}",
                f"{type(error).__name__}: {error}"[:200],
                "Replace frames instead of leaving them out.",
            ) from error

    @property
    def by_frame(self) -> bool:
        """Whether frames are encoded one by one, each once."""
        return self._predictions.by_frame

    def of(self, composed: ComposedClips) -> Float[Tensor, "clips"]:
        """The objective of perturbed clips."""
        return torch.cat([values for _, values in self.in_chunks(composed)])

    def in_chunks(self, composed: ComposedClips) -> Iterator[tuple[slice, Float[Tensor, "chunk"]]]:
        """The same, chunk by chunk in their order, each with its rows."""
        for rows, logits in self._predictions.in_chunks(composed):
            yield rows, self._of_logits(logits, self.target[composed.example[rows]])

    def _of_logits(self, logits: Tensor, target: Target) -> Tensor:
        # Differences of values follow, which rounding must not eat.
        return self._objective(logits.double(), target).detach()


class PerturbingMethod(VideoMethod, PerturbationAttribution):  # type: ignore[misc]
    """Base of methods that ask for predictions of perturbed clips only."""

    def __init__(
        self,
        model: VideoModel | Callable[..., Any],
        objective: ObjectiveName | Objective,
        perturbations_per_eval: int | None,
        seed: int,
        activation: Activation | None,
    ) -> None:
        super().__init__(model, activation)
        self.objective = resolve_objective(objective, self.activation)
        self.objective_name = (
            getattr(objective, "__name__", "objective") if callable(objective) else objective
        )
        if perturbations_per_eval is not None:
            require_count("perturbations_per_eval", perturbations_per_eval, 1)
        require_seed(seed)
        self.perturbations_per_eval, self.seed = perturbations_per_eval, seed

    def _asked(
        self,
        inputs: Any,  # noqa: ANN401
        target: TargetLike,
        additional_forward_args: Any,  # noqa: ANN401
        on_stop: OnStop = "raise",
    ) -> PerturbationRequest:
        """A call's arguments, checked."""
        clip, arguments = self._checked_single(inputs, additional_forward_args)
        return PerturbationRequest(
            model=self.model,
            clip=clip.detach(),
            target=target,
            arguments=arguments,
            objective=self.objective,
            perturbations_per_eval=self.perturbations_per_eval,
            seed=self.seed,
            on_stop=on_stop,
        )


def timed_values(
    request: PerturbationRequest, run: RunContext
) -> tuple[ObjectiveValues, Stopwatch]:
    """The objective of the clips as they are, and how long that took."""
    with stopwatch(request.clip) as watch:
        values = ObjectiveValues(request, run)
    return values, watch
