"""What a method may ask of any video model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from einops import rearrange
from torch import Tensor, nn

from temporal_attr._activation import Activation
from temporal_attr._errors import FrameLogitsError, ModelError
from temporal_attr._run import counted
from temporal_attr._typing import ClipTensor, Features, Frames, Logits, StepLogits, StepWeights
from temporal_attr.clips import Normalization, Preprocessing, check_layout
from temporal_attr.models._outputs import require_rows

Exactness: TypeAlias = Literal["linear", "frozen", "none"]
RunStage: TypeAlias = Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]
"""How a stage is run: from the stage and its input to its output."""


@dataclass(frozen=True, eq=False)
class FrameLogits:
    """One prediction for each of a model's timesteps, and how much each counts.

    Attributes:
        logits: `(batch, steps, classes)`.
        weights: `(steps,)`, summing to 1. Where the model's `exactness` is `"linear"` or
            `"frozen"`, the weighted sum over steps is the clip's logits.
        rest: `(batch, classes)`, of a split that is `"frozen"`: the part of the clip's logits that
            belongs to no timestep, such as what a class token had gathered before the last block,
            and biases. Every timestep's logits contain it. None where no such part is told apart.

    Example:
        >>> import torch
        >>> steps = FrameLogits(torch.tensor([[[1.0, 0.0], [3.0, 4.0]]]), torch.tensor([0.5, 0.5]))
        >>> steps.clip_logits()
        tensor([[2., 2.]])
    """

    logits: StepLogits
    weights: StepWeights
    rest: Logits | None = None

    def rest_share(self) -> Logits | None:
        """How much of the clip's logits belongs to no timestep, from 0 to 1; None without `rest`.

        The rest over the rest and what the timesteps add to it, in absolute values.
        """
        if self.rest is None:
            return None
        rest, timed = self.rest.abs(), (self.clip_logits() - self.rest).abs()
        return rest / (rest + timed)

    def clip_logits(self) -> Logits:
        """The weighted sum over timesteps."""
        # A product and a sum, which is a pooling; a matrix product would be a layer to relevance.
        return (self.logits * self.weights[:, None]).sum(1)


class VideoModel(nn.Module, ABC):
    """A video classifier in the library's own terms; the base of all wrappers.

    A wrapper never changes the model that it holds. It maps a canonical clip
    `(batch, time, channel, height, width)` to logits `(batch, classes)`, and says what each of the
    model's own timesteps predicts.

    Attributes:
        layout: The wrapped model's own input layout, as an einops pattern over the axes
            `batch time channel height width`.
        exactness: How the logits relate to `frame_logits`. `"linear"`: their weighted sum, each a
            prediction. `"frozen"`: their weighted sum with a data-dependent factor held at its
            value on this clip; each is a contribution, not a prediction. `"none"`: each is a
            prediction of its own kind, and no sum holds; the wrapper says which.
        frames_per_step: Input frames from one timestep to the next.
        merged_steps: Timesteps that make one prediction together, where pathways of a model tick
            at different rates; 1 for all others.
        clip_frames: How many frames clips have that the model was made for, if known.
        preprocessing: What turns decoded frames into the model's input values, if known.
        class_names: What its classes are called, in their order; empty if not known. Results carry
            them into summaries, pictures and tables.
        activation: What turns its outputs into probabilities: `"softmax"`, `"sigmoid"`,
            `"identity"` (they are probabilities already) or `"none"` (there are none). None is
            found out from the outputs; see `Activation`.
        has_timesteps: Whether it says what each timestep predicts; without, `frame_logits` is an
            error that says why.
        notes: What there is to say about how it came about, such as that `wrap` took the network
            out of `DataParallel`, one sentence each; part of its repr.

    Example:
        >>> import torch
        >>> class Brightness(VideoModel):
        ...     layout = "batch time (channel height width)"
        ...     @property
        ...     def stages(self):
        ...         return (lambda pixels: pixels.mean(2),)
        ...     def frame_head(self, features):
        ...         logits = torch.stack([-features, features], 2)
        ...         steps = features.shape[1]
        ...         return FrameLogits(logits, torch.full((steps,), 1 / steps))
        ...     def head(self, features):
        ...         return self.frame_head(features).clip_logits()
        >>> Brightness()(torch.ones(1, 4, 3, 8, 8))
        tensor([[-1.,  1.]])
    """

    layout: str
    class_names: tuple[str, ...] = ()
    activation: Activation | None = None
    exactness: Exactness = "linear"
    frames_per_step: int = 1
    merged_steps: int = 1
    clip_frames: int | None = None
    has_timesteps: bool = True
    notes: tuple[str, ...] = ()

    def __init__(self, preprocessing: Preprocessing | None = None) -> None:
        super().__init__()
        self.preprocessing = preprocessing

    @property
    def stages(self) -> tuple[Callable[[Tensor], Tensor], ...]:
        """The functions that, in turn, make the features that `head` reads from the clip.

        The first takes the clip in the model's own layout. Gradients can be recomputed stage by
        stage.
        """
        return ()

    @property
    def normalization(self) -> Normalization | None:
        """How pixel values become input values, if known."""
        return None if self.preprocessing is None else self.preprocessing.normalization

    @property
    def channels(self) -> int:
        """Number of channels of a clip: those of the normalization, else 3."""
        return 3 if self.normalization is None else self.normalization.channels

    def features(self, clip: ClipTensor, run: RunStage = lambda stage, x: stage(x)) -> Features:
        """What `head` reads: the stages applied in turn, each through `run(stage, x)`."""
        return self._through_stages(clip, run)

    def _through_stages(self, clip: Tensor, run: RunStage) -> Tensor:
        x = self.to_layout(clip)
        for stage in self.stages:
            x = run(stage, x)
        return x

    @abstractmethod
    def head(self, features: Features) -> Logits:
        """Logits of the clip from its features."""

    @abstractmethod
    def frame_head(self, features: Features) -> FrameLogits:
        """Logits of each timestep from the clip's features."""

    def require_timesteps(self) -> None:
        """Raise unless it says what each timestep predicts.

        Raises:
            FrameLogitsError: With why it does not.
        """
        if not self.has_timesteps:
            raise FrameLogitsError(
                "a model whose timesteps each have outputs",
                f"a {type(self).__name__}, which has one row of outputs for a clip",
                "Use a method that needs no timesteps; TemporalGradient can do without "
                "(influence=False).",
            )

    def extra_repr(self) -> str:
        """The notes, as a line of the module's repr."""
        return "; ".join(self.notes)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as nn.Module has it
        """The module's call; a run that asks for it counts the frames that go through."""
        return counted(super().__call__, *args, **kwargs)

    def forward(self, clip: ClipTensor) -> Logits:
        """Logits of the clip: exactly what the wrapped model computes."""
        return self.head(self.features(clip))

    def frame_logits(self, clip: ClipTensor) -> FrameLogits:
        """Logits of each timestep, and their weights in the clip's logits."""
        return self.frame_head(self.features(clip))

    def to_layout(self, clip: ClipTensor) -> Tensor:
        """The clip in the wrapped model's own layout."""
        check_layout(clip, self.channels)
        return rearrange(clip, f"batch time channel height width -> {self.layout}")

    def _adopt_mode(self, *parts: object) -> None:
        """Take over training mode from the wrapped parts, so that wrapping does not change it."""
        self.training = any(part.training for part in parts if isinstance(part, nn.Module))


class FramewiseModel(VideoModel):
    """A model that is an encoder for each frame and a head over time.

    No frame sees another before the head, so frames can be encoded in any order and in chunks of
    any size; methods use that where it saves time or memory.

    Example:
        >>> import torch
        >>> class MeanOfFrames(FramewiseModel):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.classifier = nn.Linear(3, 5)
        ...     def encode(self, frames):
        ...         return frames.mean((2, 3))
        ...     def frame_head(self, features):
        ...         logits = self.classifier(features)
        ...         steps = logits.shape[1]
        ...         return FrameLogits(logits, torch.full((steps,), 1 / steps))
        ...     def head(self, features):
        ...         return self.frame_head(features).clip_logits()
        >>> MeanOfFrames()(torch.rand(2, 4, 3, 8, 8)).shape
        torch.Size([2, 5])
    """

    layout = "(batch time) channel height width"

    @property
    def stages(self) -> tuple[Callable[[Tensor], Tensor], ...]:
        """The encoder."""
        return (self.encode,)

    @abstractmethod
    def encode(self, frames: Frames) -> Features:
        """Features of single frames `(frames, ...)`; row m depends on frame m only."""

    def features(self, clip: ClipTensor, run: RunStage = lambda stage, x: stage(x)) -> Features:
        """Features `(batch, time, ...)` of every frame."""
        rows = self._through_stages(clip, run)
        if not isinstance(rows, Tensor) or len(rows) != clip.shape[0] * clip.shape[1]:
            raise ModelError(
                "a tensor of features (frames, ...) from the encoder, a row for each frame",
                f"shape {tuple(rows.shape)}" if isinstance(rows, Tensor) else type(rows).__name__,
                "Return the features or logits themselves, and keep the first axis.",
            )
        features: Tensor = rows.unflatten(0, clip.shape[:2])
        return features


def check_logits(logits: Any, batch: int) -> Logits:  # noqa: ANN401 - it may be anything
    """The output itself, if it is logits `(batch, classes)`.

    Raises:
        ModelError: With what the model returned instead.

    Example:
        >>> import torch
        >>> check_logits(torch.zeros(2, 5, 1), batch=2)
        Traceback (most recent call last):
        ...
        temporal_attr._errors.ModelError: expected logits (batch, classes) with a batch of 2, ...
    """
    rows = require_rows(logits, batch)
    # A class may be ruled out by minus infinity; written so that NaN is refused too.
    bad = int((~(rows.detach() < float("inf"))).sum())
    if bad:
        remedy = "Look for weights or inputs that are not finite, or for half precision."
        raise ModelError("logits that are numbers", f"{bad} NaN or infinite", remedy)
    return rows


_AFFINE = {
    nn.Identity,
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.Flatten,
}


def is_affine(module: nn.Module) -> bool:
    """Whether a module in evaluation mode is affine, so that it can change places with a mean."""
    # By exact type: a subclass may do anything in its forward.
    if type(module) is nn.Sequential:
        return all(is_affine(part) for part in module)
    if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
        return module.running_mean is not None
    return type(module) in _AFFINE
