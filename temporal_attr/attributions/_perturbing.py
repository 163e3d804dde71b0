"""What methods share that ask a model for its predictions of perturbed clips, and nothing else."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from captum.attr import PerturbationAttribution
from captum.log import log_usage
from torch import Tensor

from temporal_attr._activation import Activation
from temporal_attr._require import require_count
from temporal_attr._run import RunContext, started
from temporal_attr._typing import ClipTensor, Logits, Target, TargetLike
from temporal_attr.attributions._by_timestep import by_timestep
from temporal_attr.attributions._estimate import Call, Work
from temporal_attr.attributions._method import VideoMethod, as_given
from temporal_attr.attributions._objective_values import PerturbationRequest
from temporal_attr.attributions._results import Result
from temporal_attr.gradients import Objective, ObjectiveName, resolve_objective
from temporal_attr.gradients._objectives import name_of
from temporal_attr.models import VideoModel
from temporal_attr.perturbations import (
    OnStop,
    require_on_stop,
)


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
        self.objective_name = name_of(objective)
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
