"""What methods share that ask a model for its predictions of perturbed clips, and nothing else."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from captum.attr import PerturbationAttribution
from captum.log import log_usage
from jaxtyping import Float
from torch import Tensor

from temporal_attr._activation import Activation
from temporal_attr._errors import ClipError
from temporal_attr._memory import is_out_of_memory
from temporal_attr._require import require_count
from temporal_attr._run import RunContext, started
from temporal_attr._typing import ClipTensor, Logits, PerExample, Target, TargetLike
from temporal_attr.attributions._by_timestep import by_timestep
from temporal_attr.attributions._estimate import Call, Stopwatch, Work, stopwatch
from temporal_attr.attributions._method import VideoMethod, as_given
from temporal_attr.attributions._results import Result
from temporal_attr.gradients import Objective, ObjectiveName, resolve_objective, resolve_target
from temporal_attr.models import VideoModel
from temporal_attr.perturbations import (
    ComposedClips,
    OnStop,
    Predictions,
    require_on_stop,
    whole_clips,
)


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
        on_stop: What becomes of a run that is stopped.
    """

    model: VideoModel | Callable[..., Any]
    clip: ClipTensor
    target: TargetLike
    arguments: tuple[Any, ...]
    objective: Objective
    perturbations_per_eval: int | None
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


@runtime_checkable
class Asked(Protocol):
    """A method's own request, which holds the common one."""

    @property
    def asked(self) -> PerturbationRequest:
        """Of which model, for which class."""


@runtime_checkable
class Attributed(Protocol):
    """What a method found."""

    @property
    def attributed(self) -> Tensor:
        """What `attribute` gives back."""

    @property
    def logits(self) -> Logits:
        """`(batch, classes)`, of the clips as they are."""

    @property
    def target(self) -> Target:
        """`(batch,)`, the classes that were explained."""


RequestT = TypeVar("RequestT", bound=Asked)
FoundT = TypeVar("FoundT", bound=Attributed)
ResultT = TypeVar("ResultT", bound=Result)


class PerturbingMethod(
    VideoMethod,
    PerturbationAttribution,  # type: ignore[misc]  # Captum has no types
    Generic[RequestT, FoundT, ResultT],
):
    """Base of methods that ask for predictions of perturbed clips only.

    A subclass turns a call's arguments into its own request, and what it found into its result.
    """

    def __init__(
        self,
        model: VideoModel | Callable[..., Any],
        objective: ObjectiveName | Objective,
        perturbations_per_eval: int | None,
        activation: Activation | None,
    ) -> None:
        super().__init__(model, activation)
        self.objective = resolve_objective(objective, self.activation)
        self.objective_name = (
            getattr(objective, "__name__", "objective") if callable(objective) else objective
        )
        if perturbations_per_eval is not None:
            require_count("perturbations_per_eval", perturbations_per_eval, 1)
        self.perturbations_per_eval = perturbations_per_eval

    @abstractmethod
    def _prepared(self, asked: PerturbationRequest) -> RequestT:
        """The method's own request; what does not fit the clip is told here."""

    @abstractmethod
    def _found(self, request: RequestT, run: RunContext) -> FoundT:
        """What it computes."""

    @abstractmethod
    def _result(self, request: RequestT, found: FoundT, said: dict[str, Any]) -> ResultT:
        """Its result; `said` has what all results have."""

    @abstractmethod
    def _cost(self, request: RequestT) -> Work:
        """What it takes."""

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    @by_timestep
    def attribute(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        *,
        show_progress: bool = False,
    ) -> Tensor | tuple[Tensor]:
        """The attribution, and nothing more.

        Args:
            inputs: `(batch, time, channel, height, width)`, or a tuple of one such tensor.
            target: The class to explain: an int for all clips, a list or tensor with one for each,
                or one-element tuples; None only where the model has one class. A tuple
                `(timestep, class)`, or a list with one for each, explains the logits of a timestep.
            additional_forward_args: Handed to the model after the clips.
            show_progress: Show a bar, with the time left, on anything over two seconds.

        Returns:
            A tensor (or tuple), of the shape, unit and sign that the method's `traits` name. Of
            half precision clips in float32.

        Raises:
            ClipError: If `inputs` is not a clip of finite floats, or what the method was given for
                it does not fit.
            TargetError: If `target` does not name a class for each clip.
            ModelError: If the model is in training mode or does not return logits.
            OptionError: If an option does not fit clips of this size.
        """
        request = self._request(inputs, target, additional_forward_args)
        with started(show_progress, getattr(self, "seed", None)) as run:
            found = self._found(request, run)
        given: Tensor | tuple[Tensor] = as_given(found.attributed, inputs)
        return given

    @by_timestep
    def explain(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        *,
        show_progress: bool = False,
        on_stop: OnStop = "raise",
    ) -> ResultT:
        """The attribution, and what can be read from it.

        Args:
            inputs: As for `attribute`.
            target: As for `attribute`.
            additional_forward_args: As for `attribute`.
            show_progress: As for `attribute`.
            on_stop: On KeyboardInterrupt, `"raise"` it, or `"keep"` what was done by then; the
                result is then not `complete`.

        Raises:
            ClipError: And the others, as for `attribute`.
        """
        require_on_stop(on_stop)
        request = self._request(inputs, target, additional_forward_args, on_stop)
        with started(show_progress, getattr(self, "seed", None)) as run:
            found = self._found(request, run)
        frames = request.asked.clip.shape[0] * request.asked.clip.shape[1]
        said = {
            "logits": found.logits,
            "target": found.target,
            "run": run.finished(frames),
            "class_names": self.class_names,
            "activation": self.activation,
        }
        return self._result(request, found, said)

    def _work(self, inputs: object, target: TargetLike, arguments: object, of: Call) -> Work:
        """Of both calls."""
        return self._cost(self._request(inputs, target, arguments))

    def _request(
        self,
        inputs: Any,  # noqa: ANN401
        target: TargetLike,
        additional_forward_args: Any,  # noqa: ANN401
        on_stop: OnStop = "raise",
    ) -> RequestT:
        """A call's arguments, checked."""
        clip, arguments = self._checked_single(inputs, additional_forward_args)
        asked = PerturbationRequest(
            model=self.model,
            clip=clip.detach(),
            target=target,
            arguments=arguments,
            objective=self.objective,
            perturbations_per_eval=self.perturbations_per_eval,
            on_stop=on_stop,
        )
        return self._prepared(asked)


def timed_values(
    request: PerturbationRequest, run: RunContext
) -> tuple[ObjectiveValues, Stopwatch]:
    """The objective of the clips as they are, and how long that took."""
    with stopwatch(request.clip) as watch:
        values = ObjectiveValues(request, run)
    return values, watch


def perturbation_work(
    request: PerturbationRequest, clips: int, others: Callable[[], int], exact: bool = True
) -> Work:
    """What so many perturbed clips take, all of the length of the clip.

    Args:
        request: What is asked.
        clips: How many there are, over all clips of the batch, besides those as they are.
        others: Of a framewise model, how many distinct frames they show besides the clip's own.
        exact: Whether there are never fewer.
    """
    plan = RunContext()
    values, watch = timed_values(request, plan)
    batch, time = request.clip.shape[:2]
    plan.ran(forward=others() if values.by_frame else time * clips)
    passes = plan.finished(batch * time).forward_passes
    assert passes is not None
    seconds = watch.seconds * passes
    if values.by_frame:
        # Their features are kept, so this is the time of the heads alone.
        with stopwatch(request.clip) as heads:
            values.of(whole_clips(request.clip))
        seconds += heads.seconds * clips / batch
    return Work(plan, seconds, "one forward pass", "exact" if exact else "at most")
