"""What a case's model predicts for perturbed versions of its clip."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from temporal_attr._activation import Activation, predicted, resolved_activation
from temporal_attr._errors import DataError
from temporal_attr._run import RunContext
from temporal_attr._typing import ClipTensor, Frames, Logits
from temporal_attr.attributions._method import require_model
from temporal_attr.attributions._objective_values import objective_of, require_length
from temporal_attr.attributions._predictions import Predictions
from temporal_attr.clips import check_finite, check_layout
from temporal_attr.evaluation._case import Case, Model, ScoresOf
from temporal_attr.gradients import resolve_objective, resolve_target
from temporal_attr.models import (
    DerivedFunction,
    Trial,
    VideoModel,
    check_fits,
    require_as_assumed,
    require_evaluation_mode,
    require_wrapped,
)
from temporal_attr.perturbations import ComposedClips, FrameTable

RisingObjective: TypeAlias = Literal["probability", "logit", "log_probability"]
"""What the model is asked for: a number of the target class that is larger the surer it is."""


@dataclass(frozen=True, eq=False)
class UniqueFrames(FrameTable):
    """Frames of perturbed clips that come once only.

    Args:
        of: `(frames, channel, height, width)`.
    """

    of: Frames

    def __len__(self) -> int:
        return len(self.of)

    def frames(self, numbers: Int[Tensor, "frames"]) -> Frames:
        """Copies of them."""
        return self.of[numbers]

    def key(self, number: int) -> Hashable:
        """None: no frame comes again."""
        return None


def composed_once(clips: ClipTensor) -> ComposedClips:
    """Perturbed clips of one clip, which share no frame that is worth keeping."""
    count, time = clips.shape[:2]
    order = torch.arange(count * time, device=clips.device).view(count, time)
    example = torch.zeros(count, dtype=torch.long, device=clips.device)
    return ComposedClips(UniqueFrames(clips.flatten(0, 1)), order, example)


class _Frames(RunContext):
    """Counts the frames that go through a model."""

    frames = 0

    def ran(self, forward: int = 0, backward: int = 0) -> None:
        """Count them."""
        super().ran(forward, backward)
        self.frames += forward


class CasePredictions:
    """What a case's model predicts for its clip as it is, and for perturbed ones.

    Args:
        case: The clip and its model; both are left as they are.

    Attributes:
        clip: `(1, time, channel, height, width)`.
        whole: `(1, classes)`, the logits of the clip as it is, in float64 on the CPU.
        target: `(1,)`, the class that was explained.
        activation: What turns outputs into probabilities, as the model knows it or as the clip's
            outputs tell.

    Raises:
        ClipError: If the clip is none, or does not fit the model.
        TargetError: If the model has no such class.
        ModelError: If the model is in training mode, or does not do what is taken for granted.
    """

    def __init__(self, case: Case) -> None:
        self.clip = case.clip.detach()
        _require_ready(case.model, self.clip)
        self._run = _Frames()
        self._told = 0
        self._predictions = Predictions(case.model, self.clip, self._run)
        self.whole: Logits = self._predictions.whole().double().cpu()
        self.target = resolve_target(case.target, self.whole)
        self.activation: Activation = resolved_activation(activation_of(case.model), self.whole)

    def logits(self, composed: ComposedClips) -> Logits:
        """The logits of perturbed clips, in float64 on the CPU."""
        return self._predictions.of(composed).double().cpu()

    def require_length(self, frames: int, why: str) -> None:
        """Raise unless the model takes clips of so many frames.

        Raises:
            ClipError: With what it raised.
        """
        require_length(self._predictions, frames, why)

    def objective(self, logits: Logits, objective: RisingObjective) -> Float[np.ndarray, "clips"]:
        """The objective of each clip.

        Raises:
            OptionError: If it needs a probability, and the outputs are none.
            ModelError: If it is not finite.
        """
        function = resolve_objective(objective, self.activation)
        found: np.ndarray = objective_of(function, logits, self._targets(logits)).numpy()
        return found

    def predicts(self, logits: Logits) -> Float[np.ndarray, "clips"]:
        """Whether the target is what is predicted of each clip: 1 or 0; NaN of no classes."""
        found: np.ndarray = predicted(logits, self._targets(logits), self.activation).numpy()
        return found

    def rounding(self, values: Float[np.ndarray, "clips"]) -> float:
        """By how much values may differ for no reason but the model's own precision."""
        return 4 * torch.finfo(self.clip.dtype).eps * float(np.abs(values).max())

    def spent(self) -> float:
        """Clips that went through the model since this was last asked."""
        before, self._told = self._told, self._run.frames
        return (self._told - before) / self.clip.shape[1]

    def _targets(self, logits: Logits) -> Int[Tensor, "clips"]:
        return self.target.expand(len(logits))


def activation_of(model: Model) -> Activation | None:
    """What turns a model's outputs into probabilities, as far as it knows."""
    return model.activation if isinstance(model, (VideoModel, DerivedFunction)) else None


def scores_that_fit(case: Case, of: ScoresOf) -> Float[np.ndarray, "..."]:
    """The scores of the clip's own frames `(time,)` or pixels `(time, height, width)`.

    Raises:
        DataError: If there are none, or they are of a clip of other sizes.
    """
    scores = case.scores(of)
    time, _, height, width = case.clip.shape[1:]
    expected = (time,) if of == "frames" else (time, height, width)
    if scores.shape != expected:
        raise DataError(
            f"scores of {of} of shape {expected}, as the clip has",
            f"shape {scores.shape}",
            "Explain the clip that the case has.",
        )
    return scores


def _require_ready(model: Model, clip: ClipTensor) -> None:
    """Raise unless methods could explain this model for this clip."""
    require_model(
        model,
        "a model, or a function from clips to logits",
        "Give the model that was explained, such as wrap(network).",
    )
    require_wrapped(model)
    check_layout(clip, model.channels if isinstance(model, VideoModel) else None)
    check_finite(clip)
    check_fits(model, clip)
    require_evaluation_mode(model)
    require_as_assumed(Trial(model, (clip,), together=True))
