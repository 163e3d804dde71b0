"""The integral of an objective's gradient along a path of clips."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from temporal_attr._errors import ToleranceWarning
from temporal_attr._run import RunContext
from temporal_attr._typing import ClipTensor, Logits, PerExample, Target, TargetLike
from temporal_attr.attributions._clip_paths import (
    Cell,
    ClipPath,
    PathName,
    Rule,
    StraightPath,
    cells_of,
    path_of,
)
from temporal_attr.attributions._estimate import Certainty, Work
from temporal_attr.attributions._nested import require_finite
from temporal_attr.attributions._path_gradients import (
    Explained,
    Sums,
    gradients_at,
    logits_of,
    path_work,
)
from temporal_attr.clips import Normalization
from temporal_attr.gradients import isolated_autograd, resolve_target
from temporal_attr.perturbations import ClipBaselines, clip_baseline_of


@dataclass(frozen=True)
class IntegralRequest:
    """What is asked: of which model, from where, along what, and how exactly.

    Attributes:
        explained: What is differentiated.
        clip: `(batch, time, channel, height, width)`.
        target: In any of Captum's forms.
        baselines: Where the path begins.
        normalization: What black is.
        seed: Of an order of frames.
        path: The path.
        rule: How its integral is approximated.
        n_steps: At how many points, at first.
        tolerance: The largest gap, as a share of what the sum should be; None for any.
        max_steps: At how many points at most.
    """

    explained: Explained
    clip: ClipTensor
    target: TargetLike
    baselines: ClipBaselines
    normalization: Normalization | None
    seed: int
    path: PathName
    rule: Rule
    n_steps: int
    tolerance: float | None
    max_steps: int

    def steps(self) -> tuple[int, ...]:
        """The numbers of points that are tried, one after another."""
        tried = [self.n_steps]
        while self.tolerance is not None and 2 * tried[-1] <= self.max_steps:
            tried.append(2 * tried[-1])
        return tuple(tried)


@dataclass(frozen=True)
class Ends:
    """What the objective is at both ends of a path.

    Attributes:
        clip: `(batch,)`, of the clip.
        start: `(batch,)`, of the clip where the path begins.
    """

    clip: PerExample
    start: PerExample

    def gap(self, total: PerExample) -> PerExample:
        """A sum less what it should be: the difference between both ends."""
        return total - (self.clip.to(total) - self.start.to(total))


@dataclass(frozen=True)
class Integral:
    """What was found.

    Attributes:
        attribution: Shaped like the clip, in double precision.
        mean_gradient: The mean gradient along a straight path, shaped alike; None along another.
        displacement: The way that each value goes along it; None likewise.
        logits: Of the clips.
        target: The classes explained.
        ends: None if they were not asked for.
        gap: `(batch,)`, the sum of the attribution less what it should be; None likewise.
        n_steps: `(batch,)`, at how many points each path was differentiated.
        unmet: `(batch,)`, whether the gap stayed larger than the tolerance.
    """

    attribution: ClipTensor
    mean_gradient: ClipTensor | None
    displacement: ClipTensor | None
    logits: Logits
    target: Target
    ends: Ends | None
    gap: PerExample | None
    n_steps: Int[Tensor, "batch"]
    unmet: Bool[Tensor, "batch"]

    def frequencies(self) -> Float[Tensor, "batch frequency"] | None:
        """What each temporal frequency of the way contributed; None along another path."""
        if self.mean_gradient is None or self.displacement is None:
            return None
        return frequency_parts(self.mean_gradient, self.displacement)


class PathSums(Sums):
    """Adds up what gradients along paths contribute, example by example."""

    def __init__(self, path: ClipPath, cells: tuple[Cell, ...]) -> None:
        self._path, self._cells = path, cells
        self.sums: dict[int, Tensor] = {}

    def add(self, point: int, example: int, gradient: Tensor) -> None:
        """Add what a gradient contributes."""
        part = self._path.part(example, self._cells[point], gradient)
        if example in self.sums:
            self.sums[example] += part
        else:
            self.sums[example] = part


def integrated(request: IntegralRequest, run: RunContext, ends: bool) -> Integral:
    """Integrate the gradient of the objective along the path of each clip.

    Args:
        request: What is asked.
        run: Counts the passes.
        ends: Whether the objective is wanted at both ends; it is anyway where there is a tolerance.
    """
    explained = request.explained
    with isolated_autograd((request.clip,)) as (clip,):
        start = clip_baseline_of(clip, request.baselines, request.normalization, request.seed)
        path = path_of(request.path, start, clip)
        logits = logits_of(explained, clip, run)
        target = resolve_target(request.target, logits)
        values = None
        if ends or request.tolerance is not None:
            at_start = logits_of(explained, path.start, run)
            values = Ends(explained.value(logits, target), explained.value(at_start, target))
        return _integral(request, path, logits, target, values, run)


def _integral(
    request: IntegralRequest,
    path: ClipPath,
    logits: Logits,
    target: Target,
    ends: Ends | None,
    run: RunContext,
) -> Integral:
    """With as many points as the tolerance takes, for each example by itself."""
    batch = len(path.clip)
    sums: dict[int, Tensor] = {}
    n_steps = torch.zeros(batch, dtype=torch.long)
    open_ = list(range(batch))
    for count in request.steps():
        # What the model takes after the clips belongs to all of them.
        taken = list(range(batch)) if request.explained.arguments else open_
        found = _sums(request, path, target, count, taken, run)
        for example in open_:
            sums[example], n_steps[example] = require_finite(found[example]), count
        open_ = [one for one in open_ if _is_open(request, path, one, sums[one], ends)]
        if not open_:
            break
    attribution = torch.stack([path.finished(one, sums[one]) for one in range(batch)])
    straight = isinstance(path, StraightPath)
    return Integral(
        attribution=attribution,
        mean_gradient=torch.stack([sums[one] for one in range(batch)]) if straight else None,
        displacement=_displacement(path),
        logits=logits,
        target=target,
        ends=ends,
        gap=None if ends is None else ends.gap(attribution.flatten(1).sum(1)),
        n_steps=n_steps.to(path.clip.device),
        unmet=torch.tensor([one in open_ for one in range(batch)], device=path.clip.device),
    )


def _displacement(path: ClipPath) -> Tensor | None:
    if not isinstance(path, StraightPath):
        return None
    return torch.stack([path.displacement(one) for one in range(len(path.clip))])


def _sums(
    request: IntegralRequest,
    path: ClipPath,
    target: Target,
    count: int,
    examples: list[int],
    run: RunContext,
) -> dict[int, Tensor]:
    """The sums along the paths of some examples, with so many points."""
    cells = cells_of(request.rule, count)
    rows = [(place, example) for place in range(count) for example in examples]
    return gradients_at(
        request.explained,
        target,
        path.clip,
        rows,
        lambda place, example: path.point(example, cells[place].alpha),
        lambda: PathSums(path, cells),
        run,
    ).sums


def _is_open(
    request: IntegralRequest, path: ClipPath, example: int, sums: Tensor, ends: Ends | None
) -> bool:
    """Whether an example's sum is not yet what it should be."""
    if request.tolerance is None or ends is None:
        return False
    own = Ends(ends.clip[example : example + 1], ends.start[example : example + 1])
    gap = own.gap(path.finished(example, sums).sum()[None])
    return bool((gap.abs() > request.tolerance * (own.clip - own.start).abs()).any())


def frequency_parts(
    mean_gradient: ClipTensor, displacement: ClipTensor
) -> Float[Tensor, "batch frequency"]:
    """The product of gradient and way, summed over each clip, by temporal frequency.

    By Parseval's theorem the product over time is that of the Fourier transforms; the frequencies
    between 0 and half the frames stand for two of these each.

    Args:
        mean_gradient: `(batch, time, channel, height, width)`.
        displacement: Shaped alike.

    Returns:
        `(batch, frequency)`, at 0, 1, ... cycles per clip; over frequencies it sums to what the
        product sums to.

    Example:
        >>> way = torch.tensor([1.0, -1.0, 1.0, -1.0]).reshape(1, 4, 1, 1, 1)
        >>> frequency_parts(3 * way, way)  # two cycles in four frames
        tensor([[ 0.,  0., 12.]])
    """
    frames = displacement.shape[1]
    gradient, way = (torch.fft.rfft(one, dim=1) for one in (mean_gradient, displacement))
    found = (gradient.conj() * way).real.sum((2, 3, 4)) / frames
    once = torch.zeros_like(found[0], dtype=torch.bool)
    once[0] = True
    if frames % 2 == 0:
        once[-1] = True
    return torch.where(once, found, 2 * found)


def integral_work(request: IntegralRequest, ends: bool) -> Work:
    """What `integrated` takes; with a tolerance, what it takes if it is never met."""
    steps, ends = request.steps(), ends or request.tolerance is not None
    certainty: Certainty = "at most" if len(steps) > 1 else "exact"
    return path_work(
        request.explained, request.clip, request.target, sum(steps), 1 + ends, certainty
    )


def warn_of_gaps(request: IntegralRequest, unmet: Tensor, stacklevel: int) -> None:
    """Warn where a tolerance was not met, at the line of whoever called the method."""
    count = int(unmet.sum())
    if count:
        warnings.warn(
            f"{count} of {len(unmet)} clips did not come within the tolerance of "
            f"{request.tolerance:g} by {request.steps()[-1]} steps; look at the convergence delta, "
            "or allow more with max_steps.",
            ToleranceWarning,
            stacklevel=stacklevel,
        )
