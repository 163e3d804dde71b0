"""What all methods share: Captum's conventions, and the checks of a call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from captum.attr import Attribution
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from temporal_attr._errors import ClipError, FrameLogitsError, ModelError
from temporal_attr.attributions._results import Result
from temporal_attr.clips import check_finite, check_layout
from temporal_attr.models import VideoModel


class VideoMethod(ABC, Attribution):  # type: ignore[misc]  # Captum has no types
    """Base of the methods: `attribute` gives tensors, `explain` a result.

    Attributes:
        name: As Captum shows it.
        model: A `VideoModel`, or a function of clips.
    """

    name: ClassVar[str]

    def __init__(self, model: VideoModel | Callable[..., Any]) -> None:
        super().__init__(model)
        self.model = model

    @classmethod
    def get_name(cls) -> str:
        """The method's name, as Captum shows it."""
        return cls.name

    @abstractmethod
    def explain(self, inputs: Any, target: Any = None) -> Result:  # noqa: ANN401
        """The attribution, and what can be read from it."""

    def _checked_clips(self, inputs: Any) -> tuple[tuple[Tensor, ...], bool]:  # noqa: ANN401
        """The clips as a tuple, and whether they came as one; the model must be ready for them."""
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
            check_layout(clip, channels)
            check_finite(clip)
        _require_evaluation_mode(self.model)
        return clips, isinstance(inputs, tuple)

    def _checked_arguments(self, additional_forward_args: Any) -> tuple[Any, ...]:  # noqa: ANN401
        """What the model takes after the clips."""
        if additional_forward_args is None or additional_forward_args == ():
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

    def _require_timesteps(self) -> None:
        """Raise unless the model says what each of its timesteps predicts."""
        if not isinstance(self.model, VideoModel):
            name = getattr(self.model, "__name__", type(self.model).__name__)
            raise FrameLogitsError(
                "a VideoModel, whose timesteps each have logits",
                f"{name}, known by its output only",
                "Wrap the model: wrap(model), LateFusion, FrameRecurrent, EarlyFusion or Conv3D; "
                "or pass influence=False.",
            )


def _require_evaluation_mode(model: object) -> None:
    """Raise if part of a model is in training mode, where examples mix and buffers change.

    Recurrent layers without dropout may be: it is a known way around cuDNN's limit.
    """
    if not isinstance(model, nn.Module):
        return
    for name, part in model.named_modules():
        harmless = isinstance(part, nn.RNNBase) and not part.dropout
        if isinstance(part, _BatchNorm) and part.running_mean is None:
            raise ModelError(
                "batch norm with statistics of its own",
                f"{name}, which has track_running_stats=False and mixes the examples",
                "Give it running statistics; there is no gradient of one example alone.",
            )
        if part.training and not harmless and not isinstance(part, VideoModel):
            raise ModelError(
                "a model in evaluation mode",
                f"{name or type(model).__name__} in training mode",
                "Call model.eval(); batch norm would mix the examples and change its statistics.",
            )
