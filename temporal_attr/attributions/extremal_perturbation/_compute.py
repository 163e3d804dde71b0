"""Masks that keep or delete what decides a prediction, learned for each clip by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from temporal_attr._errors import ClipError
from temporal_attr._run import RunContext
from temporal_attr._typing import ClipTensor, Logits, PerExample, Target, TargetLike
from temporal_attr.attributions._estimate import TIMED, Work, timed_passes
from temporal_attr.attributions._objective_values import pixel_baseline
from temporal_attr.attributions.extremal_perturbation._learning import (
    LearnedMasks,
    MaskLearner,
    Rules,
    require_finite_objective,
)
from temporal_attr.attributions.extremal_perturbation._masks import Masks, MaskShape
from temporal_attr.gradients import (
    GradientQuery,
    Memory,
    Objective,
    gradients_of,
    isolated_autograd,
    resolve_target,
)
from temporal_attr.gradients._memory_ladder import count_gradients
from temporal_attr.models import VideoModel, model_logits
from temporal_attr.perturbations import Baselines, at_least_single

Curve = Float[Tensor, "batch iterations"]


@dataclass(frozen=True)
class MaskRequest:
    """What is asked: of which model, for which class, and how the mask is learned.

    Attributes:
        model: A wrapper, or any function of clips.
        clip: `(batch, time, channel, height, width)`.
        target: In any of Captum's forms.
        arguments: Handed to the model after the clips.
        objective: What the mask raises or lowers.
        baselines: What is seen where the clip is not.
        cells: `(time, height, width)` of the grid; None for a number for each frame.
        rules: What is learned.
        memory: How gradients are computed.
    """

    model: VideoModel | Callable[..., Any]
    clip: ClipTensor
    target: TargetLike
    arguments: tuple[Any, ...]
    objective: Objective
    baselines: Baselines
    cells: tuple[int, int, int] | None
    rules: Rules
    memory: Memory

    @property
    def groups(self) -> list[slice]:
        """The clips that go through the model together.

        Each by itself, as learning takes hundreds of passes and the memory of one; all at once
        where further arguments belong to the whole batch.
        """
        batch = len(self.clip)
        if self.arguments:
            return [slice(0, batch)]
        return [slice(place, place + 1) for place in range(batch)]

    def query(self, target: Target) -> GradientQuery:
        """The objective of clips, whose gradient is asked for."""

        def scalars(logits: Tensor) -> Tensor:
            return self.objective(logits, target).unsqueeze(1)

        return GradientQuery(self.model, scalars, arguments=self.arguments)


@dataclass(frozen=True)
class FoundMasks:
    """What was found.

    Attributes:
        logits: `(batch, classes)`, of the clips as they are.
        target: `(batch,)`.
        masks: `(batch, time, height, width)`, in [0, 1].
        score: `(batch,)`, the objective of what is seen through the mask.
        full: `(batch,)`, the objective of the clips.
        empty: `(batch,)`, that of the baseline.
        loss: What was lowered, in each iteration; NaN after the last.
        values: The objective in each iteration; NaN after the last.
        iterations: How many there were for each clip.
        converged: Whether the mask had settled by then.
        complete: Whether no run was stopped.
    """

    logits: Logits
    target: Target
    masks: Masks
    score: PerExample
    full: PerExample
    empty: PerExample
    loss: Curve
    values: Curve
    iterations: Int[Tensor, "batch"]
    converged: Bool[Tensor, "batch"]
    complete: bool


class MaskedObjective:
    """The objective of clips that are seen through masks, and of their baseline.

    Args:
        request: What is asked.
        rows: Which clips.
        baseline: Of these clips.
        target: Of these clips.
        run: Counts the passes.
    """

    def __init__(
        self,
        request: MaskRequest,
        rows: slice,
        baseline: ClipTensor,
        target: Target,
        run: RunContext,
    ) -> None:
        self._request, self._run, self._target = request, run, target
        precise = at_least_single(request.clip.dtype)
        self._clip = request.clip[rows].to(precise)
        self._baseline = baseline.to(precise)
        self._query = request.query(target)

    def __call__(self, shown: Masks) -> tuple[PerExample, Masks]:
        """The objective in float64, and its gradient with respect to what is shown."""
        share = shown[:, :, None]
        seen = share * self._clip + (1 - share) * self._baseline
        found = gradients_of(
            self._query, (seen.to(self._request.clip),), self._run, self._request.memory
        )
        assert isinstance(found.output, Tensor)
        value = self._request.objective(found.output.double(), self._target).detach()
        difference = self._clip - self._baseline
        gradient = (found.of_clips[0][0].to(difference) * difference).sum(2)
        require_finite_objective(value, gradient)
        return value, gradient


def learned_masks(request: MaskRequest, run: RunContext) -> FoundMasks:
    """The masks of all clips, one clip after another."""
    with isolated_autograd((request.clip,)) as (clip,):
        baseline = usable_baseline(clip, request.baselines)
        logits = _logits(request, clip, run)
        target = resolve_target(request.target, logits)
        full = request.objective(logits.double(), target).detach()
        empty = request.objective(_logits(request, baseline, run).double(), target).detach()
        run.took("masks", chunk_size=1 if not request.arguments else len(clip))
        shape = shape_of(request.cells, clip, request.rules.area)
        found = []
        for rows in request.groups:
            seen = MaskedObjective(request, rows, baseline[rows], target[rows], run)
            learner = MaskLearner(seen, shape, request.rules, empty[rows], full[rows])
            like = clip[rows].new_empty(len(full[rows]), dtype=at_least_single(clip.dtype))
            with run.progress(request.rules.max_iterations, f"clip {rows.start}, masks") as bar:
                found.append(learner.run(like, bar))
    return _together(found, logits, target, full, empty)


def shape_of(cells: tuple[int, int, int] | None, clip: ClipTensor, area: float) -> MaskShape:
    """How the masks of clips are made.

    Raises:
        ClipError: If the spot of a single cell is larger than the area.
    """
    size = (clip.shape[1], clip.shape[3], clip.shape[4])
    if cells is None:
        return MaskShape.of_frames(size)
    like = clip.new_empty(0, dtype=at_least_single(clip.dtype))
    shape = MaskShape.of_grid(size, cells, like)
    if area < shape.smallest:
        raise ClipError(
            f"an area that a mask can have on this clip, at least {shape.smallest:.2g} with a grid "
            f"of {cells}",
            f"{area:g}",
            "Give a larger area, or a finer grid.",
        )
    return shape


def usable_baseline(clip: ClipTensor, baselines: Baselines) -> ClipTensor:
    """The baseline of clips, which must differ from them, or a mask shows nothing.

    Raises:
        ClipError: If it does not fit the clips, or one is its own baseline.
    """
    baseline = pixel_baseline(clip, baselines)
    same = (baseline == clip).flatten(1).all(1).nonzero().flatten().tolist()
    if same:
        given = "a tensor" if isinstance(baselines, Tensor) else f"baselines={baselines!r}"
        raise ClipError(
            "a clip that differs from its baseline",
            f"clip {same[0]}, which {given} leaves as it is",
            "Take other baselines, such as a number.",
        )
    return baseline


def _logits(request: MaskRequest, clips: ClipTensor, run: RunContext) -> Logits:
    """Of clips as they are, as many at a time as masked ones."""
    found = []
    with torch.no_grad():
        for rows in request.groups:
            found.append(model_logits(request.model, (clips[rows].clone(),), request.arguments))
            run.ran(forward=clips[rows].shape[0] * clips.shape[1])
    return torch.cat(found).detach()


def _together(
    found: list[LearnedMasks], logits: Logits, target: Target, full: PerExample, empty: PerExample
) -> FoundMasks:
    """What was found for all clips."""
    length = max(len(one.losses) for one in found)
    return FoundMasks(
        logits=logits,
        target=target,
        masks=torch.cat([one.masks for one in found]),
        score=torch.cat([one.score for one in found]),
        full=full,
        empty=empty,
        loss=torch.cat([one.curve(one.losses, length) for one in found]),
        values=torch.cat([one.curve(one.values, length) for one in found]),
        iterations=torch.cat([one.iterations for one in found]),
        converged=torch.cat([one.converged for one in found]),
        complete=all(one.complete for one in found),
    )


def mask_work(request: MaskRequest) -> Work:
    """What it takes if no mask settles before the last iteration."""
    usable_baseline(request.clip, request.baselines)
    shape_of(request.cells, request.clip, request.rules.area)
    timed = timed_passes(request.model, (request.clip,), request.arguments)
    target = resolve_target(request.target, timed.logits)
    one, plan = RunContext(), RunContext()
    count_gradients(request.query(target), (request.clip,), one, 1, request.memory)
    frames = request.clip.shape[0] * request.clip.shape[1]
    plan.ran(forward=2 * frames)
    plan.repeat(one, request.rules.max_iterations)
    return Work(plan, timed.seconds(plan, frames), TIMED, "at most", timed.graph_bytes)
