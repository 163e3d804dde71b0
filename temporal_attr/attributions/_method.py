"""What all methods share: Captum's conventions, and the checks of a call."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

from captum.attr import Attribution, GradientAttribution, PerturbationAttribution
from torch import Tensor

from temporal_attr._activation import Activation, require_activation
from temporal_attr._errors import ClipError, FrameLogitsError, ModelError, OptionError
from temporal_attr._typing import TargetLike
from temporal_attr.attributions._estimate import Call, Estimate, Work
from temporal_attr.attributions._results import Result
from temporal_attr.attributions._traits import Traits
from temporal_attr.clips import check_finite, check_layout
from temporal_attr.models import (
    DerivedFunction,
    Trial,
    VideoModel,
    check_fits,
    check_weights_of_gradients,
    require_as_assumed,
    require_evaluation_mode,
    require_wrapped,
)


class VideoMethod(ABC, Attribution):  # type: ignore[misc]  # Captum has no types
    """Base of the methods: `attribute` gives tensors, `explain` a result.

    A subclass checks its options in its constructor, and a call's arguments in `attribute` and
    `explain`; what it computes is a function of a record, in its own folder.

    Attributes:
        name: As Captum shows it.
        traits: What the method is.
        model: A `VideoModel`, or a function of clips.
        activation: What turns the model's outputs into probabilities, as stated to the method or,
            if not, by the model; None if it is found out from the outputs.

    Example:
        >>> from temporal_attr import TemporalGradient
        >>> issubclass(TemporalGradient, VideoMethod), TemporalGradient.traits.unit
        (True, 'objective per input value')
    """

    name: ClassVar[str]
    traits: ClassVar[Traits]
    _together: ClassVar[bool] = False
    """Whether several clips made of one go through the model together, as perturbed ones do."""

    def __init__(
        self, model: VideoModel | Callable[..., Any], activation: Activation | None = None
    ) -> None:
        if isinstance(model, Attribution):
            raise ModelError(
                f"a model for {type(self).__name__}, which explains one itself",
                f"the method {model.get_name()}",
                "Pass the model that this method explains.",
            )
        require_model(
            model,
            "a model, or a function from clips to logits",
            "Pass the model itself, such as wrap(network).",
        )
        require_wrapped(model)
        super().__init__(model)
        self.model = model
        if activation is None and isinstance(model, (VideoModel, DerivedFunction)):
            activation = model.activation
        require_activation(activation)
        self.activation = activation

    @classmethod
    def get_name(cls) -> str:
        """The method's name, as Captum shows it."""
        return cls.name

    @abstractmethod
    def explain(self, inputs: Any, target: Any = None) -> Result:  # noqa: ANN401
        """The attribution, and what can be read from it."""

    def estimate(
        self,
        inputs: Any,  # noqa: ANN401
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        *,
        of: Call = "explain",
        **options: Any,  # noqa: ANN401
    ) -> Estimate:
        """What a call with these arguments will cost, told from a few passes.

        Of a framewise model, passes can depend on which frames its head reads: it is then run, and
        differentiated as often as the call would do it.

        Args:
            inputs: As for that call.
            target: As for that call.
            additional_forward_args: As for that call.
            of: The call: `"explain"` or `"attribute"`.
            options: Of `explain`, those on which the cost depends: `influence` of
                `TemporalGradient`, and `segments` of `ShuffleProbe`.

        Raises:
            OptionError: If the cost does not depend on an option, or the method tells none.
            ClipError: And the others, as for that call.
        """
        known = self.cost_options()
        for name in options.keys() - set(known):
            raise OptionError(
                f"options on which the cost of {type(self).__name__} depends: "
                + (", ".join(known) or "none"),
                name,
                "Leave it out.",
            )
        work = self._work(inputs, target, additional_forward_args, of, **options)
        clip = inputs[0] if isinstance(inputs, tuple) else inputs
        return work.estimate(type(self).__name__, of, clip.shape[0] * clip.shape[1])

    @classmethod
    def cost_options(cls) -> tuple[str, ...]:
        """The options of `explain` on which its cost depends, which `estimate` takes, too.

        Example:
            >>> from temporal_attr import LRP, TemporalGradient
            >>> TemporalGradient.cost_options(), LRP.cost_options()
            (('influence',), ())
        """
        parameters = inspect.signature(cls._work).parameters.values()
        return tuple(one.name for one in parameters if one.default is not one.empty)

    def _work(self, inputs: object, target: TargetLike, arguments: object, of: Call) -> Work:
        """What a call will do, for `estimate`; its options by name, with a default."""
        raise OptionError(
            "a method that tells its cost",
            f"{type(self).__name__}, which does not",
            "Time attribute() on a shorter clip.",
        )

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the model's classes are called, as far as it knows."""
        if isinstance(self.model, (VideoModel, DerivedFunction)):
            return tuple(self.model.class_names)
        return ()

    def _checked_call(
        self,
        inputs: Any,  # noqa: ANN401
        additional_forward_args: Any = None,  # noqa: ANN401
    ) -> tuple[tuple[Tensor, ...], tuple[Any, ...]]:
        """The clips and what the model takes after them; the model is tried on them once."""
        clips = self._checked_clips(inputs)
        arguments = self._checked_arguments(additional_forward_args)
        together = self._together or isinstance(self, PerturbationAttribution)
        require_as_assumed(Trial(self.model, clips, arguments, self._draws, together))
        return clips, arguments

    def _draws(self) -> AbstractContextManager[Any]:
        """Where the model runs in a trial; a method that seeds random numbers seeds these too."""
        return nullcontext()

    def _checked_clips(self, inputs: Any) -> tuple[Tensor, ...]:  # noqa: ANN401
        """The clips, of which there may be several; the model must be ready for them."""
        clips = inputs if isinstance(inputs, tuple) else (inputs,)
        channels = self.model.channels if isinstance(self.model, VideoModel) else None
        if not clips:
            raise ClipError("at least one clip", "an empty tuple", "Pass the clip itself.")
        if isinstance(self.model, VideoModel) and len(clips) > 1:
            raise ClipError(
                f"one clip for a {type(self.model).__name__}",
                f"{len(clips)}",
                "Pass a function of several clips to explain a model with several pathways.",
            )
        for clip in clips:
            self._check_layout(clip, channels)
            check_finite(clip)
            check_fits(self.model, clip)
        require_evaluation_mode(self.model)
        inner = getattr(self, "method", self)
        needs = getattr(inner, "traits", self.traits).needs
        if isinstance(inner, GradientAttribution) and "gradients" in needs:
            check_weights_of_gradients(self.model)
        return clips

    def _check_layout(self, clip: Any, channels: int | None) -> None:  # noqa: ANN401
        """Raise unless a clip is canonical; the model at hand may be what takes another layout."""
        try:
            check_layout(clip, channels)
        except ClipError as error:
            if isinstance(self.model, VideoModel) or "looks like" not in error.got:
                raise
            remedy = (
                f"{error.remedy} If it is the model that takes (batch, channel, time, ...), wrap "
                "it too: wrap(model), or Conv3D(model)."
            )
            raise ClipError(error.expected, error.got, remedy) from None

    def _checked_single(
        self,
        inputs: Any,  # noqa: ANN401
        additional_forward_args: Any = None,  # noqa: ANN401
    ) -> tuple[Tensor, tuple[Any, ...]]:
        """The same, for a method that takes a single clip."""
        if isinstance(inputs, tuple) and len(inputs) > 1:
            raise ClipError(
                "one clip",
                f"{len(inputs)}",
                "Let a function make the other pathways of a model from one canonical clip.",
            )
        (clip,), arguments = self._checked_call(inputs, additional_forward_args)
        return clip, arguments

    def _checked_arguments(self, additional_forward_args: Any) -> tuple[Any, ...]:  # noqa: ANN401
        """What the model takes after the clips."""
        nothing = isinstance(additional_forward_args, tuple) and not additional_forward_args
        if additional_forward_args is None or nothing:
            return ()
        if isinstance(self.model, VideoModel):
            raise ModelError(
                f"no additional arguments for a {type(self.model).__name__}, which takes a clip",
                type(additional_forward_args).__name__,
                "Bind them in the wrapped model, or pass a function of clip and arguments.",
            )
        if isinstance(additional_forward_args, tuple):
            return additional_forward_args
        return (additional_forward_args,)

    def _model_with_timesteps(self) -> VideoModel:
        """The model, if it says what each of its timesteps predicts."""
        if not isinstance(self.model, VideoModel):
            name = getattr(self.model, "__name__", type(self.model).__name__)
            raise FrameLogitsError(
                "a VideoModel, whose timesteps each have logits",
                f"{name}, known by its output only",
                "Wrap the model: wrap(model), LateFusion, FrameRecurrent, EarlyFusion or Conv3D; "
                "TemporalGradient can also do without (influence=False).",
            )
        return self.model


def require_model(model: object, expected: str, remedy: str) -> None:
    """Raise unless something can be called as a model: a class cannot, its instance can.

    Args:
        model: Whatever came.
        expected: What the error says was expected.
        remedy: What it says to do.

    Raises:
        ModelError: If it is something else.
    """
    if not callable(model) or isinstance(model, type):
        came = repr(model) if isinstance(model, type) else type(model).__name__
        raise ModelError(expected, came, remedy)


def as_given(attribution: Tensor, inputs: Any) -> Any:  # noqa: ANN401 - a tensor or a tuple of one
    """A tensor for a tensor, and a tuple for a tuple, as Captum gives attributions back."""
    return (attribution,) if isinstance(inputs, tuple) else attribution
