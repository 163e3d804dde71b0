"""Methods whose attribution is the gradient of a framewise model, or made of it frame by frame."""

from __future__ import annotations

from dataclasses import dataclass

from captum._utils.gradient import compute_gradients
from captum.attr import InputXGradient, Saliency
from torch import Tensor

from temporal_attr.attributions._nested import NestedMethod, model_of
from temporal_attr.attributions.temporal_gradient import TemporalGradient
from temporal_attr.gradients import Objective, logit
from temporal_attr.models import FramewiseModel

_SAME_NUMBERS = ("auto", "whole", "framewise", "offload")
"""Memory paths of `TemporalGradient` that are computed in full precision, by encoder and head."""


@dataclass(frozen=True)
class FrameGradient:
    """An attribution of pixels that is made of the gradient of a framewise model.

    Attributes:
        model: Encodes each frame by itself.
        objective: What is differentiated.
        absolute: Whether the attribution is the absolute value of the gradient.
        times_input: Whether it is the gradient times the pixels.
    """

    model: FramewiseModel
    objective: Objective
    absolute: bool = False
    times_input: bool = False

    def attributed(self, gradient: Tensor, frames: Tensor) -> Tensor:
        """The attribution of frames from the gradient at them."""
        signed = self.linear(gradient, frames)
        return signed.abs() if self.absolute else signed

    def linear(self, gradient: Tensor, frames: Tensor) -> Tensor:
        """The part of `attributed` that is linear in the gradient."""
        return gradient * frames if self.times_input else gradient


def frame_gradient(nested: NestedMethod) -> FrameGradient | None:
    """A method as a gradient of frames, or None if it is no such method, or of no such model."""
    method, options = nested.method, nested.options
    model = model_of(method)
    if not isinstance(model, FramewiseModel):
        return None
    # By exact type: a subclass may do anything. Lower precision and options of a method that are
    # not known here are its own affair.
    if type(method) is TemporalGradient and not options and method.memory in _SAME_NUMBERS:
        return FrameGradient(model, method.objective)
    if getattr(method, "gradient_func", None) is not compute_gradients:
        return None
    if type(method) is Saliency and set(options) <= {"abs"}:
        return FrameGradient(model, logit, absolute=bool(options.get("abs", True)))
    if type(method) is InputXGradient and not options:
        return FrameGradient(model, logit, times_input=True)
    return None
