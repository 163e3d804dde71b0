"""Running a method that is made already, of this library or another, inside another method."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from captum.attr import Attribution
from torch import Tensor

from temporal_attr._activation import Activation
from temporal_attr._errors import ModelError, OptionError
from temporal_attr._run import RunContext
from temporal_attr._typing import ClipTensor, Logits, Target
from temporal_attr.attributions._method import require_model
from temporal_attr.attributions.temporal_gradient import TemporalGradient
from temporal_attr.clips import Normalization
from temporal_attr.gradients import OBJECTIVES, isolated_autograd, reliable_backward
from temporal_attr.models import FramewiseModel, VideoModel, model_logits


def as_method(
    model: Any,  # noqa: ANN401 - a model or a method
    default: Callable[[Any], Attribution] = TemporalGradient,
) -> Attribution:
    """A method as it is, and for a model its default method, by default `TemporalGradient`.

    Raises:
        ModelError: If it is neither.
    """
    if isinstance(model, Attribution):
        return model
    require_model(
        model,
        "a model or an attribution method",
        "Pass a model, or make a method of it first, such as TemporalGradient(model).",
    )
    return default(model)


def model_of(method: Attribution) -> VideoModel | Callable[..., Any]:
    """The model that a method explains."""
    model: VideoModel | Callable[..., Any] = method.forward_func
    return model


def known_arguments(method: Attribution, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """What is handed to a method's `attribute` by name, which it takes.

    Raises:
        OptionError: If it takes none of that name, or gets it from the method outside.
    """
    arguments = dict(given or {})
    names = _taken_by_name(method)
    unknown = [] if names is None else [str(name) for name in arguments if name not in names]
    if names is not None and unknown:
        raise OptionError(
            f"method_arguments among those of {method.get_name()}: {', '.join(names) or 'none'}",
            ", ".join(unknown),
            "Leave out what it does not take.",
        )
    return arguments


def _taken_by_name(method: Attribution) -> list[str] | None:
    """The names of what a method's `attribute` takes; None if nobody can say."""
    parameters = inspect.signature(method.attribute).parameters.values()
    names = [
        parameter.name
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        and parameter.name not in _HANDED
    ]
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return names
    # Captum's NoiseTunnel hands on the rest to the method that it was made of.
    inside = getattr(method, "attribution_method", None)
    others = _taken_by_name(inside) if isinstance(inside, Attribution) else None
    return None if others is None else [*names, *others]


_HANDED = ("inputs", "target", "additional_forward_args")
"""What a method outside hands over itself."""


@dataclass(frozen=True)
class NestedMethod:
    """A method that is made already, and what is handed to it.

    Attributes:
        method: Of this library or another.
        arguments: Handed to the model after the clips.
        options: Handed to the method's `attribute` by name.
    """

    method: Attribution
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def logits(self, clips: ClipTensor, run: RunContext) -> Logits:
        """The logits of the model that the method explains."""
        with isolated_autograd((clips,)) as (own,), torch.no_grad():
            logits = model_logits(self.method.forward_func, (own.clone(),), self.arguments)
        run.ran(forward=clips.shape[0] * clips.shape[1])
        return logits.detach()

    def attribute(
        self, clips: ClipTensor, target: Target, run: RunContext, spare: bool = False
    ) -> Any:  # noqa: ANN401
        """What the method attributes to clips, which are left as they are.

        Args:
            clips: `(batch, time, channel, height, width)`.
            target: The class of each that is explained.
            run: Counts what the method does with the model, and takes over what it says of its run.
            spare: Whether fewer clips can be tried where memory runs out; then that is an error
                where it would otherwise cost precision.
        """
        given = dict(self.options)
        if self.arguments:
            given["additional_forward_args"] = self.arguments
        with (
            isolated_autograd((clips,)) as (own,),
            run.counting(),
            reliable_backward(clips.is_cuda),
        ):
            # A copy that asks for gradients: some of Captum's methods switch them on, and warn.
            leaf = own.clone().requires_grad_()
            return self._method(spare).attribute(leaf, target=target, **given)

    def _method(self, spare: bool) -> Attribution:
        """The method; a gradient that goes to half precision by itself only if it must."""
        method = self.method
        if not spare or type(method) is not TemporalGradient or method.memory != "auto":
            return method
        if isinstance(method.model, FramewiseModel):
            return method  # goes down to fewer frames by itself
        whole = copy.copy(method)
        whole.memory = "whole"
        return whole


def known_activation(method: Attribution, given: Activation | None) -> Activation | None:
    """What turns the outputs of a method's model into probabilities: as given, or as it knows it.

    Raises:
        OptionError: If the method was made with another, or explains a probability made by another.
    """
    own: Activation | None = getattr(method, "activation", None)
    objective = getattr(getattr(method, "objective", None), "func", None)
    bound = own is not None or objective in OBJECTIVES.values()
    if given is not None and bound and given != own:
        remedy = "Give it to that method."
        raise OptionError(f"the activation of {method.get_name()}, {own!r}", repr(given), remedy)
    return own if given is None else given


def known_normalization(
    model: VideoModel | Callable[..., Any], given: Normalization | None
) -> Normalization | None:
    """How pixel values became input values: as given, or as the model knows it.

    Raises:
        OptionError: If what is given is no normalization.
    """
    if given is None:
        return model.normalization if isinstance(model, VideoModel) else None
    if not isinstance(given, Normalization):
        raise OptionError(
            "normalization to be a Normalization",
            repr(given),
            "Give temporal_attr.Normalization(mean, std).",
        )
    return given


def require_shaped(found: Any, clips: ClipTensor) -> ClipTensor:  # noqa: ANN401 - the method's
    """The attribution itself, if it is one finite number for each value of the clips."""
    if not isinstance(found, Tensor) or found.shape != clips.shape:
        came = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ModelError(
            f"an attribution shaped like the clips, {tuple(clips.shape)}",
            f"{came}",
            "Use a method that attributes to pixels, such as TemporalGradient, LRP or Saliency.",
        )
    return require_finite(found).detach()


def require_finite(attribution: Tensor) -> Tensor:
    """The attribution itself.

    Raises:
        ModelError: If it is not finite.
    """
    bad = int((~attribution.isfinite()).sum())
    if bad:
        raise ModelError(
            "a finite attribution",
            f"{bad} of {attribution.numel()} that are NaN or infinite",
            "Look at the method's attribution of this clip, or take other baselines.",
        )
    return attribution
