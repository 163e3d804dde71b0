"""The objective of perturbed clips: what is asked of which model, and what that takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from temporal_attr._errors import ClipError, ModelError, OptionError
from temporal_attr._memory import is_out_of_memory
from temporal_attr._require import require_count
from temporal_attr._run import RunContext
from temporal_attr._told import shown
from temporal_attr._typing import ClipTensor, Logits, PerExample, Target, TargetLike
from temporal_attr.attributions._estimate import Stopwatch, Work, stopwatch
from temporal_attr.attributions._predictions import Predictions
from temporal_attr.gradients import Objective, resolve_target
from temporal_attr.models import FramewiseModel, VideoModel, predicts_by_frame
from temporal_attr.perturbations import (
    Baselines,
    ComposedClips,
    OnStop,
    baseline_of,
    check_baselines,
    stopping,
    whole_clips,
)

Found = TypeVar("Found")


@dataclass(frozen=True)
class PerturbationRequest:
    """What is asked: of which model, for which class.

    Attributes:
        model: A wrapper, or any function of clips.
        clip: `(batch, time, channel, height, width)`.
        target: In any of Captum's forms.
        arguments: Handed to the model after the clips.
        objective: What the model is asked for.
        perturbations_per_eval: Perturbed clips that go through at a time; None for what fits.
        on_stop: What becomes of a run that is stopped.
    """

    model: VideoModel | Callable[..., Any]
    clip: ClipTensor
    target: TargetLike
    arguments: tuple[Any, ...]
    objective: Objective
    perturbations_per_eval: int | None
    on_stop: OnStop = "raise"


class ObjectiveValues:
    """The objective of clips as they are, and of perturbed clips, in float64.

    Args:
        request: What is asked.
        run: Counts the passes.

    Attributes:
        logits: `(batch, classes)`, of the clips as they are.
        target: `(batch,)`, the classes that are explained.
        of_clips: `(batch,)`, the objective of the clips as they are.
    """

    def __init__(self, request: PerturbationRequest, run: RunContext) -> None:
        self._objective = request.objective
        self._predictions = Predictions(
            request.model, request.clip, run, request.arguments, request.perturbations_per_eval
        )
        self.logits: Logits = self._predictions.whole()
        self.target: Target = resolve_target(request.target, self.logits)
        self.of_clips: PerExample = objective_of(self._objective, self.logits, self.target)

    def require_length(self, frames: int, why: str) -> None:
        """Raise unless the model takes clips of so many frames.

        Args:
            frames: Fewer than the clip has.
            why: What the user asked for that makes such clips.

        Raises:
            ClipError: With what it raised.
        """
        require_length(self._predictions, frames, why)

    @property
    def by_frame(self) -> bool:
        """Whether frames are encoded one by one, each once."""
        return self._predictions.by_frame

    def of(self, composed: ComposedClips) -> Float[Tensor, "clips"]:
        """The objective of perturbed clips."""
        return torch.cat([values for _, values in self.in_chunks(composed)])

    def in_chunks(self, composed: ComposedClips) -> Iterator[tuple[slice, Float[Tensor, "chunk"]]]:
        """The same, chunk by chunk in their order, each with its rows."""
        for rows, logits in self._predictions.in_chunks(composed):
            target = self.target[composed.example[rows]]
            yield rows, objective_of(self._objective, logits, target)


def objective_of(objective: Objective, logits: Logits, target: Target) -> Float[Tensor, "batch"]:
    """The objective of logits, in float64.

    Raises:
        ModelError: If it is not finite.
    """
    # Differences of values follow, which rounding must not eat.
    found = objective(logits.double(), target).detach()
    bad = int((~found.isfinite()).sum())
    if bad:
        raise ModelError(
            "an objective that is a number, of clips as they are and perturbed",
            f"{bad} of {found.numel()} NaN or infinite",
            "Look at what the model gives for such clips, or take other baselines.",
        )
    return found


def require_length(predictions: Predictions, frames: int, why: str) -> None:
    """Raise unless a model takes clips of so many frames.

    Args:
        predictions: Of the model and its clips.
        frames: Fewer than the clips have.
        why: What the user asked for that makes such clips.

    Raises:
        ClipError: With what it raised.
    """
    whole = whole_clips(predictions.clip)
    shorter = ComposedClips(whole.table, whole.order[:, :frames], whole.example)
    try:
        predictions.of(shorter)
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        if is_out_of_memory(error):
            raise
        raise ClipError(
            f"a model that takes clips of {frames} frame(s), for {why}",
            f"{type(error).__name__}: {error}"[:200],
            "Replace frames instead of leaving them out.",
        ) from error


def timed_values(
    request: PerturbationRequest, run: RunContext
) -> tuple[ObjectiveValues, Stopwatch]:
    """The objective of the clips as they are, and how long that took."""
    if isinstance(request.model, FramewiseModel):
        # What it is tried on once takes time that the call itself will not.
        predicts_by_frame(request.model, request.clip)
    with stopwatch(request.clip) as watch:
        values = ObjectiveValues(request, run)
    return values, watch


def perturbation_work(
    request: PerturbationRequest,
    clips: int,
    others: Callable[[], int],
    exact: bool = True,
    frames: int | None = None,
    in_turn: bool = False,
) -> Work:
    """What so many perturbed clips take.

    Args:
        request: What is asked.
        clips: How many there are, over all clips of the batch, besides those as they are.
        others: Of a framewise model, how many distinct frames they show besides the clip's own.
        exact: Whether there are never fewer.
        frames: How many frames they have together; by default as many as the clip each.
        in_turn: Whether each perturbation comes of all clips before the next. If not, clips that
            come with arguments go one by one, each with the whole batch.
    """
    plan = RunContext()
    values, watch = timed_values(request, plan)
    batch, time = request.clip.shape[:2]
    together = 1 if in_turn or not request.arguments else batch
    shown = time * clips if frames is None else frames
    plan.ran(forward=others() if values.by_frame else shown * together)
    passes = plan.finished(batch * time).forward_passes
    assert passes is not None
    seconds = watch.seconds * passes
    if values.by_frame:
        # Their features are kept, so this is the time of the heads alone.
        with stopwatch(request.clip) as heads:
            values.of(whole_clips(request.clip))
        seconds += heads.seconds * clips / batch
    return Work(plan, seconds, "one forward pass", "exact" if exact else "at most")


def values_so_far(
    values: ObjectiveValues,
    composed: ComposedClips,
    bar: tqdm,
    on_stop: OnStop,
) -> Float[Tensor, "done"]:
    """The objective of perturbed clips, on the CPU, as far as a run came that may be stopped.

    Args:
        values: Asks the model.
        composed: The clips.
        bar: Counts them.
        on_stop: What becomes of a run that is stopped.

    Raises:
        KeyboardInterrupt: If it was stopped, and nothing was done or is to be kept.
    """
    found: list[Tensor] = []
    with stopping(on_stop):
        for rows, part in values.in_chunks(composed):
            found.append(part.cpu())
            bar.update(rows.stop - rows.start)
    if not found:
        raise KeyboardInterrupt
    return torch.cat(found)


def clip_by_clip(
    batch: int,
    of_clip: Callable[[int], Found],
    unknown: Callable[[int], Found],
    is_complete: Callable[[Found], bool],
    on_stop: OnStop,
) -> list[Found]:
    """What is found for every clip, one after another; nothing more after a run is stopped.

    Args:
        batch: How many clips there are.
        of_clip: What is found for one; it may raise KeyboardInterrupt, or end before it is
            complete.
        unknown: What stands for a clip that was not reached.
        is_complete: Whether what was found is all.
        on_stop: What becomes of a run that is stopped.

    Raises:
        KeyboardInterrupt: If it was stopped, and no clip is done or nothing is to be kept.

    Example:
        >>> clip_by_clip(3, [1, 0, 1].__getitem__, lambda _: -1, bool, "keep")
        [1, 0, -1]
    """
    found: list[Found] = []
    for example in range(batch):
        if found and not is_complete(found[-1]):
            found.append(unknown(example))
            continue
        try:
            found.append(of_clip(example))
        except KeyboardInterrupt:
            if on_stop == "raise" or not found:
                raise
            found.append(unknown(example))
    return found


def check_pixel_baselines(baselines: object) -> None:
    """Raise unless this has a value for every pixel.

    Raises:
        OptionError: If it is none, or the neighbouring frame, which depends on what is masked.
        ClipError: If it is a tensor that is not finite.
    """
    check_baselines(baselines)
    if isinstance(baselines, str) and baselines == "neighbour":
        raise OptionError(
            "baselines with a value for every pixel",
            '"neighbour", which stands for whole frames',
            'Give a number, "mean", "blur" or a tensor.',
        )


def pixel_baseline(clip: ClipTensor, baselines: Baselines) -> ClipTensor:
    """What each value of a clip becomes where it is masked."""
    found = baseline_of(clip, baselines)
    assert found is not None
    return found


def three_sizes(name: str, given: object) -> tuple[int, int, int]:
    """Three whole numbers from 1: of frames, height and width.

    Raises:
        OptionError: If they are something else.

    Example:
        >>> three_sizes("window", [4, 28, 28])
        (4, 28, 28)
    """
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != 3:
        raise OptionError(
            f"{name} to be three numbers: along time, height and width",
            shown(given),
            "Give them as (4, 28, 28).",
        )
    for axis, size in zip(("time", "height", "width"), given, strict=True):
        require_count(f"{name} along {axis}", size, 1)
    time, height, width = map(int, given)
    return time, height, width
