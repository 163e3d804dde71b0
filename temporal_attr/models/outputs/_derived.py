"""A model whose outputs are made of another's, so that every method explains them as they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

from torch import Tensor, nn

from temporal_attr._errors import ModelError
from temporal_attr._typing import ClipTensor, Features, Frames, Logits
from temporal_attr.clips import Normalization
from temporal_attr.models._base import (
    Exactness,
    FrameLogits,
    FramewiseModel,
    RunStage,
    VideoModel,
    check_logits,
)
from temporal_attr.models._recognise import require_wrapped


@dataclass(frozen=True)
class Outcome:
    """What a model says of clips, of which only what is asked for is computed.

    Attributes:
        whole: Gives the logits of the clips.
        steps: Gives those of their timesteps.
        merged: How many timesteps make one prediction together.
    """

    whole: Callable[[], Logits]
    steps: Callable[[], FrameLogits]
    merged: int


class Outputs(nn.Module, ABC):
    """What becomes of a model's outputs, for clips and for timesteps."""

    @abstractmethod
    def of_clip(self, outcome: Outcome) -> Logits:
        """The new outputs of clips, from their logits or those of their timesteps."""

    @abstractmethod
    def of_steps(self, steps: FrameLogits, merged: int) -> FrameLogits:
        """The new outputs of timesteps, which add up as the model's `exactness` says."""

    @abstractmethod
    def names(self, class_names: tuple[str, ...]) -> tuple[str, ...]:
        """What the new outputs are called; empty as long as their number is not known."""

    def exactness(self, base: Exactness) -> Exactness:
        """How the new outputs relate to those of timesteps."""
        return base


class LogitMap(Outputs):
    """Outputs that are a function of the logits, the same for clips and for timesteps."""

    @abstractmethod
    def mapped(self, logits: Tensor) -> Tensor:
        """The new outputs `(..., outputs)` of logits `(..., classes)`."""

    def of_clip(self, outcome: Outcome) -> Logits:
        """The map of the logits."""
        return self.mapped(outcome.whole())

    def of_steps(self, steps: FrameLogits, merged: int) -> FrameLogits:
        """The map of every timestep's logits, and of the rest; it is linear."""
        rest = None if steps.rest is None else self.mapped(steps.rest)
        return FrameLogits(self.mapped(steps.logits), steps.weights, rest)


def attribute_of(path: str) -> Any:  # noqa: ANN401 - a property that stands in for an attribute
    """What an attribute inside a model is at the time; a base may learn it from its first clip."""
    return property(attrgetter(path))


class Derived(VideoModel):
    """A `VideoModel` whose outputs are made of another's; all else is the other's.

    Attributes:
        base: The model that it is made of.
        outputs: What becomes of that model's outputs.
    """

    layout = attribute_of("base.layout")
    frames_per_step = attribute_of("base.frames_per_step")
    merged_steps = attribute_of("base.merged_steps")
    clip_frames = attribute_of("base.clip_frames")

    def __init__(self, base: VideoModel, outputs: Outputs) -> None:
        super().__init__(base.preprocessing)
        self.base = base
        self.outputs = outputs
        self.activation = base.activation
        self._own_names: tuple[str, ...] = ()
        self._adopt_mode(base)

    @property
    def exactness(self) -> Exactness:  # type: ignore[override]
        """How the outputs relate to those of timesteps; see `VideoModel`."""
        return self.outputs.exactness(self.base.exactness)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the outputs are called; empty before the first clip, where it tells how many."""
        return self._own_names or self.outputs.names(tuple(self.base.class_names))

    @class_names.setter
    def class_names(self, names: tuple[str, ...]) -> None:
        self._own_names = tuple(names)

    @property
    def stages(self) -> tuple[Callable[[Tensor], Tensor], ...]:
        """Those of the base."""
        return self.base.stages

    @property
    def normalization(self) -> Normalization | None:
        """That of the base."""
        return self.base.normalization

    @property
    def channels(self) -> int:
        """Those of the base."""
        return self.base.channels

    def to_layout(self, clip: ClipTensor) -> Tensor:
        """The clip in the layout of the base."""
        return self.base.to_layout(clip)

    def features(self, clip: ClipTensor, run: RunStage = lambda stage, x: stage(x)) -> Features:
        """What the heads of the base read."""
        return self.base.features(clip, run)

    def head(self, features: Features) -> Logits:
        """The outputs of clips from their features."""
        whole, steps = self.base.head, self.base.frame_head
        return self.outputs.of_clip(self._outcome(whole, steps, features))

    def frame_head(self, features: Features) -> FrameLogits:
        """The outputs of timesteps from the features of clips."""
        return self.outputs.of_steps(self.base.frame_head(features), self.base.merged_steps)

    def forward(self, clip: ClipTensor) -> Logits:
        """The outputs made of what the base itself computes."""
        return self.outputs.of_clip(self._outcome(self.base, self.base.frame_logits, clip))

    def frame_logits(self, clip: ClipTensor) -> FrameLogits:
        """The outputs of timesteps."""
        return self.outputs.of_steps(self.base.frame_logits(clip), self.base.merged_steps)

    def _outcome(
        self,
        whole: Callable[[Tensor], Logits],
        steps: Callable[[Tensor], FrameLogits],
        given: Tensor,
    ) -> Outcome:
        return Outcome(partial(whole, given), partial(steps, given), self.base.merged_steps)


class FramewiseDerived(Derived, FramewiseModel):
    """The same of a `FramewiseModel`, whose frames are encoded as before."""

    def encode(self, frames: Frames) -> Features:
        """Features of single frames, by the base."""
        assert isinstance(self.base, FramewiseModel)
        return self.base.encode(frames)


class DerivedFunction(nn.Module):
    """A function of clips whose outputs are made of another function's.

    Attributes:
        model: The function, or module, that it is made of.
        outputs: What becomes of its logits.
        activation: What turns the outputs into probabilities.
    """

    def __init__(self, model: Callable[..., Any], outputs: LogitMap) -> None:
        super().__init__()
        self.model = model
        self.outputs = outputs
        self.activation = getattr(model, "activation", None)
        self._own_names: tuple[str, ...] = ()
        self.training = isinstance(model, nn.Module) and model.training

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the outputs are called; empty before the first clip, where it tells how many."""
        known = self.model.class_names if isinstance(self.model, DerivedFunction) else ()
        return self._own_names or self.outputs.names(known)

    @class_names.setter
    def class_names(self, names: tuple[str, ...]) -> None:
        self._own_names = tuple(names)

    def forward(self, *given: Any) -> Logits:  # noqa: ANN401 - whatever the function takes
        """The outputs made of the function's logits."""
        return self.outputs.mapped(check_logits(self.model(*given), len(given[0])))


def derived(model: VideoModel | Callable[..., Any], outputs: Outputs) -> Derived | DerivedFunction:
    """A model with new outputs, of the kind that the model is.

    Raises:
        ModelError: If it is none, or a bare network of a known library.
    """
    if isinstance(model, VideoModel):
        kind = FramewiseDerived if isinstance(model, FramewiseModel) else Derived
        return kind(model, outputs)
    if not callable(model) or isinstance(model, type):
        raise ModelError(
            "a model, or a function from clips to logits",
            repr(model) if isinstance(model, type) else type(model).__name__,
            "Pass the model itself, such as wrap(network).",
        )
    require_wrapped(model)
    assert isinstance(outputs, LogitMap)  # timesteps are asked of a VideoModel only
    return DerivedFunction(model, outputs)
