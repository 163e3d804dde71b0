"""Models that are another model, seen through a change of its clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from temporal_attr._errors import ClipError
from temporal_attr._typing import ClipTensor, Features, Frames, Logits
from temporal_attr.attributions._method import require_model
from temporal_attr.clips import Normalization, Preprocessing
from temporal_attr.evaluation._case import Model
from temporal_attr.models import Derived, DerivedFunction, FrameLogits, FramewiseModel, VideoModel
from temporal_attr.models._base import RunStage
from temporal_attr.models.outputs._derived import LogitMap


class Same(LogitMap):
    """Outputs as they are."""

    def mapped(self, logits: Tensor) -> Tensor:
        """The logits themselves."""
        return logits

    def names(self, class_names: tuple[str, ...]) -> tuple[str, ...]:
        """As they are called."""
        return class_names


def function_of(model: Callable[..., Any], changed: nn.Module) -> DerivedFunction:
    """A function of clips as methods take one, with the activation and the mode of another."""
    found = DerivedFunction(changed, Same())
    found.activation = getattr(model, "activation", None)
    found.training = isinstance(model, nn.Module) and model.training
    changed.training = found.training
    return found


def shifted(
    model: Model, constant: Float[Tensor, " channel"]
) -> Shifted | FramewiseShifted | DerivedFunction:
    """A model of clips to which a constant was added, with the predictions of another for those.

    Args:
        model: A `VideoModel`, or a function of clips; f.
        constant: A number for each channel; c.

    Returns:
        f(clip - c). It shares the parameters of the model; its normalization is that of the shifted
        clips, so that black is black.

    Example:
        >>> import torch
        >>> other = shifted(lambda clip: clip.sum((1, 3, 4)), torch.tensor([1.0, 0.0, 0.0]))
        >>> other(torch.ones(1, 2, 3, 1, 1))
        tensor([[0., 2., 2.]])
    """
    require_model(model, "a model, or a function of clips", "Pass the model itself.")
    channels = model.channels if isinstance(model, VideoModel) else None
    if channels is not None and len(constant) != channels:
        raise ClipError(
            f"a constant for each of the model's {channels} channels",
            f"{len(constant)}",
            "Give one number for each.",
        )
    if isinstance(model, FramewiseModel):
        return FramewiseShifted(model, constant)
    if isinstance(model, VideoModel):
        return Shifted(model, constant)
    return function_of(model, _ShiftedFunction(model, constant))


class Shifted(Derived):
    """A `VideoModel` of clips to which a constant was added; see `shifted`.

    Args:
        base: The model of clips as they were.
        constant: `(channel,)`, what was added.
    """

    def __init__(self, base: VideoModel, constant: Float[Tensor, " channel"]) -> None:
        super().__init__(base, Same())
        self.constant: Tensor
        self.register_buffer("constant", constant.detach().clone()[:, None, None])
        if base.preprocessing is not None:
            known = base.preprocessing.normalization
            self.preprocessing: Preprocessing | None = replace(
                base.preprocessing, normalization=_moved(known, constant)
            )

    @property
    def normalization(self) -> Normalization | None:
        """That of the shifted clips."""
        known = self.base.normalization
        return None if known is None else _moved(known, self.constant.flatten())

    def _before(self, clip: Tensor) -> Tensor:
        """The clip as it was."""
        return clip - self.constant.to(clip)

    def to_layout(self, clip: ClipTensor) -> Tensor:
        """The clip as it was, in the layout of the base."""
        return self.base.to_layout(self._before(clip))

    def features(self, clip: ClipTensor, run: RunStage = lambda stage, x: stage(x)) -> Features:
        """What the heads of the base read."""
        return self.base.features(self._before(clip), run)

    def forward(self, clip: ClipTensor) -> Logits:
        """What the base itself computes of the clip as it was."""
        found: Tensor = self.base(self._before(clip))
        return found

    def frame_logits(self, clip: ClipTensor) -> FrameLogits:
        """Those of the base."""
        return self.base.frame_logits(self._before(clip))


class FramewiseShifted(Shifted, FramewiseModel):
    """The same of a `FramewiseModel`.

    Args:
        base: The model of clips as they were.
        constant: `(channel,)`, what was added.
    """

    def encode(self, frames: Frames) -> Features:
        """Features of single frames, as `to_layout` gives them, by the base."""
        assert isinstance(self.base, FramewiseModel)
        return self.base.encode(frames)


class _ShiftedFunction(nn.Module):
    """The same of a function of clips."""

    def __init__(self, model: Callable[..., Any], constant: Tensor) -> None:
        super().__init__()
        self.model = model
        self.constant: Tensor
        self.register_buffer("constant", constant.detach().clone()[:, None, None])

    def forward(self, clip: ClipTensor, *rest: Any) -> Any:  # noqa: ANN401 - as the function gives
        """What the function gives for the clip as it was."""
        return self.model(clip - self.constant.to(clip), *rest)


def _moved(known: Normalization, constant: Tensor) -> Normalization:
    """A normalization after which the constant is added: (pixel - mean) / std + c."""
    moved = [
        mean - std * move
        for mean, std, move in zip(known.mean, known.std, constant.tolist(), strict=True)
    ]
    return Normalization(tuple(moved), known.std)
