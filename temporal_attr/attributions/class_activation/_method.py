"""What the class activation methods share: options, checks and calls."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, cast

from captum.log import log_usage

from temporal_attr._activation import Activation
from temporal_attr._require import require_flag
from temporal_attr._run import RunContext, started
from temporal_attr._typing import ClipTensor, TargetLike
from temporal_attr.attributions._by_timestep import by_timestep
from temporal_attr.attributions._method import VideoMethod, as_given
from temporal_attr.attributions.class_activation._compute import ActivationRequest, ClassActivation
from temporal_attr.attributions.class_activation._layers import (
    LayerLike,
    mapped_layers,
    require_layer,
)
from temporal_attr.attributions.class_activation._result import ClassActivationResult
from temporal_attr.models import VideoModel


class ClassActivationMethod(VideoMethod):
    """Base of the class activation methods; each says how it weights a layer's values.

    Attributes:
        layer: The layer or layers, as given.
        relu: Whether negative numbers of a map are made 0.
    """

    def __init__(
        self,
        model: VideoModel | Callable[..., Any],
        layer: LayerLike = "last",
        relu: bool = True,
        activation: Activation | None = None,
    ) -> None:
        super().__init__(model, activation)
        require_layer(layer, model)
        require_flag("relu", relu)
        self.layer = layer
        self.relu = relu

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    @by_timestep
    def attribute(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        *,
        show_progress: bool = False,
    ) -> ClipTensor | tuple[ClipTensor]:
        """The map of the layer on the pixels of the clip.

        A map is a number for each place and time. It is enlarged to the frames' height and width by
        bilinear interpolation (corners not aligned); in time each frame gets the map of its own
        step, without interpolation, so that a frame's numbers are those of its step.

        Args:
            inputs: `(batch, time, channel, height, width)`, or a tuple of one such tensor.
            target: The class to explain: an int for all clips, a list or tensor with one for each,
                or one-element tuples; None only where the model has one class. A tuple
                `(timestep, class)`, or a list with one for each, explains the logits of a timestep.
            additional_forward_args: Handed to a function after the clip; a tuple is spread.
            show_progress: Show a bar on anything over two seconds, where there are many passes.

        Returns:
            A tensor (or tuple) shaped like `inputs`. Each channel of a pixel has the number of
            the map there.

        Raises:
            ClipError: If `inputs` is not one clip of finite floats.
            TargetError: If `target` does not name a class for each clip.
            ModelError: If the model is in training mode or does not return finite logits; or if the
                layer does not run.
            OptionError: If the layer gives no map of space and time, or its axes cannot be told.
        """
        request = self._request(inputs, target, additional_forward_args)
        with started(show_progress) as run:
            found = self._computed(request, run)
        return cast("ClipTensor | tuple[ClipTensor]", as_given(found.attribution, inputs))

    @by_timestep
    def explain(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        *,
        show_progress: bool = False,
    ) -> ClassActivationResult:
        """The map on pixels, on frames, and as the layer has it; arguments as for `attribute`.

        Args:
            inputs: As for `attribute`.
            target: As for `attribute`.
            additional_forward_args: As for `attribute`.
            show_progress: As for `attribute`.
        """
        request = self._request(inputs, target, additional_forward_args)
        with started(show_progress) as run:
            found = self._computed(request, run)
        return ClassActivationResult(
            logits=found.logits,
            target=found.target,
            run=run.finished(request.clip.shape[0] * request.clip.shape[1]),
            class_names=self.class_names,
            activation=self.activation,
            attribution=found.attribution,
            frame_scores=found.frame_scores,
            maps=dict(zip(request.layers.names, found.maps, strict=True)),
            method_name=type(self).__name__,
            relu=self.relu,
        )

    @abstractmethod
    def _computed(self, request: ActivationRequest, run: RunContext) -> ClassActivation:
        """The map of a call."""

    def _request(
        self,
        inputs: Any,  # noqa: ANN401
        target: TargetLike,
        additional_forward_args: Any,  # noqa: ANN401
    ) -> ActivationRequest:
        """A call's arguments, checked."""
        clip, arguments = self._checked_single(inputs, additional_forward_args)
        by_gradient = "gradients" in self.traits.needs
        layers = mapped_layers(self.layer, self.model, clip, arguments, by_gradient)
        return ActivationRequest(self.model, clip, target, arguments, layers, self.relu)
