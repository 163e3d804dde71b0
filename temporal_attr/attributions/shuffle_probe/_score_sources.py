"""What scores frames: the gradient of a model, or any method that is made already."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from captum.attr import Attribution
from torch import Tensor

from temporal_attr._errors import ModelError
from temporal_attr._typing import ClipTensor, Logits, ShuffledLogits, ShuffledScores, Target
from temporal_attr.gradients import isolated_autograd
from temporal_attr.attributions._memory import Answer, Memory, Question, ask
from temporal_attr.gradients import Objective
from temporal_attr.measures import Norm, frame_scores
from temporal_attr.models import check_logits

Reduce: TypeAlias = Norm | Callable[[Tensor], Tensor]
"""From an attribution to `(batch, time)`: the name of a norm, or a function."""

Choose: TypeAlias = Callable[[Logits], Target]
"""From logits of the clips at hand to the class of each that is explained."""


@dataclass(frozen=True)
class OrderScores:
    """Scores of frames in several orders.

    Attributes:
        scores: `(batch, orders, time)`; a column is a frame, wherever it stood.
        logits: `(batch, orders, classes)`, the model's prediction for each order.
        path: How they were computed.
        precision: See `Run`.
        evaluations: How many times the whole clip went forward through the model.
        chunk_size: Frames that went through it at a time.
        tried: What ran out of memory before.
    """

    scores: ShuffledScores
    logits: ShuffledLogits
    path: str
    evaluations: int
    chunk_size: int
    precision: str = "full"
    tried: tuple[str, ...] = ()


class ScoreSource(ABC):
    """Something that scores the frames of clips, and predicts."""

    @abstractmethod
    def of_clips(self, clips: ClipTensor, choose: Choose, arguments: tuple[Any, ...]) -> Answer:
        """Scores `(1, batch, time)` as the answer's one gradient, and logits as its output."""


@dataclass(frozen=True)
class GradientSource(ScoreSource):
    """G_t: the norm of the gradient of an objective with respect to each frame."""

    model: Callable[..., Any]
    objective: Objective
    memory: Memory
    norm: Norm

    def of_clips(self, clips: ClipTensor, choose: Choose, arguments: tuple[Any, ...]) -> Answer:
        """One forward and one backward pass."""
        question = Question(self.model, self.rows(choose), keep=self.of_frames, arguments=arguments)
        return ask(question, (clips,), self.memory)

    def of_frames(self, gradient: Tensor) -> Tensor:
        """Scores of frames, whatever axes stand before channel, height and width."""
        frames = gradient.flatten(0, -4).unsqueeze(0)
        return frame_scores(frames, self.norm).reshape(gradient.shape[:-3])

    def rows(self, choose: Choose) -> Callable[[Tensor], Tensor]:
        """The objective of each clip as its one row."""
        return lambda logits: self.objective(logits, choose(logits)).unsqueeze(1)


def predict_clips(
    method: Attribution, clips: ClipTensor, arguments: tuple[Any, ...] = ()
) -> Logits:
    """The logits of the model that a method explains."""
    with isolated_autograd((clips,)) as (own,), torch.no_grad():
        return check_logits(method.forward_func(own.clone(), *arguments), len(clips)).detach()


def attribute_clips(
    method: Attribution,
    clips: ClipTensor,
    target: Target,
    arguments: tuple[Any, ...] = (),
    options: Mapping[str, Any] | None = None,
) -> Any:  # noqa: ANN401 - the method's
    """What a method that is made already attributes to clips.

    Args:
        method: Of this library or another.
        clips: `(batch, time, channel, height, width)`; left as they are.
        target: The class of each that is explained.
        arguments: Handed to the model after the clips.
        options: Handed to `attribute` by name.
    """
    given = dict(options or {})
    if arguments:
        given["additional_forward_args"] = arguments
    with isolated_autograd((clips,)) as (own,):
        # A copy that asks for gradients: some of Captum's methods switch them on, and warn.
        leaf = own.clone().requires_grad_()
        return method.attribute(leaf, target=target, **given)


@dataclass(frozen=True)
class MethodSource(ScoreSource):
    """The attribution of any method, reduced to frames."""

    method: Attribution
    reduce: Reduce
    options: dict[str, Any]

    def of_clips(self, clips: ClipTensor, choose: Choose, arguments: tuple[Any, ...]) -> Answer:
        """One forward pass, and those of the method, which are not counted."""
        logits = predict_clips(self.method, clips, arguments)
        found = attribute_clips(self.method, clips, choose(logits), arguments, self.options)
        scores = self._reduced(found, clips)
        return Answer((scores.unsqueeze(0),), logits, type(self.method).__name__, evaluations=1)

    def _reduced(self, found: Any, clips: Tensor) -> Tensor:  # noqa: ANN401 - the method's
        if callable(self.reduce):
            found = self.reduce(found)
        elif isinstance(found, Tensor) and found.shape == clips.shape:
            found = frame_scores(found, self.reduce)
        elif isinstance(found, Tensor) and found.shape == clips.shape[:2]:
            found = found.abs()
        return require_scores(found, clips.shape[:2]).detach()


def require_scores(scores: Any, shape: torch.Size) -> Tensor:  # noqa: ANN401
    """The scores themselves, if they are one finite number from 0 for each frame."""
    if not isinstance(scores, Tensor) or scores.shape != shape:
        came = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise ModelError(
            f"scores (clips, time) of shape {tuple(shape)} from the attribution",
            f"{came}",
            "Use a method whose attribution has a time axis, or give reduce=, a function from "
            "its attribution to (batch, time).",
        )
    bad = int((~scores.isfinite()).sum())
    if bad:
        raise ModelError(
            "finite scores of frames",
            f"{bad} of {scores.numel()} that are NaN or infinite",
            "Look at the method's attribution of this clip.",
        )
    if (scores < 0).any():
        raise ModelError(
            "scores of 0 or more, as a ratio of strengths needs",
            f"{scores.min():g}",
            'Reduce the attribution by its size: "l2", "l1" or "max".',
        )
    return scores
