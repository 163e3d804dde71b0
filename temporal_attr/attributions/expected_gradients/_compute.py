"""The mean of integrated gradients over clips that a path could begin at, from random points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from temporal_attr._errors import ClipError
from temporal_attr._precision import wide
from temporal_attr._run import RunContext
from temporal_attr._typing import ClipTensor, FrameScores, Logits, PerExample, Target, TargetLike
from temporal_attr.attributions._clip_paths import StraightPath
from temporal_attr.attributions._estimate import Work
from temporal_attr.attributions._nested import require_finite
from temporal_attr.attributions._path_gradients import (
    Explained,
    Sums,
    gradients_at,
    logits_at,
    logits_of,
    path_work,
)
from temporal_attr.attributions.expected_gradients._draws import drawn, standard_error
from temporal_attr.gradients import isolated_autograd, resolve_target

ReferenceName: TypeAlias = Literal["still", "shuffled"]
References: TypeAlias = ReferenceName | Tensor
"""Clips `(references, time, channel, height, width)`, or how they are made of the clip itself."""


@dataclass(frozen=True)
class ExpectedRequest:
    """What is asked: of which model, over which references, from how many points.

    Attributes:
        explained: What is differentiated.
        clip: `(batch, time, channel, height, width)`.
        target: In any of Captum's forms.
        references: Where paths begin.
        n_samples: How many points are drawn.
        seed: Of what is drawn.
    """

    explained: Explained
    clip: ClipTensor
    target: TargetLike
    references: References
    n_samples: int
    seed: int


@dataclass(frozen=True)
class Expected:
    """What was found.

    Attributes:
        attribution: Shaped like the clip, in double precision.
        frame_error: `(batch, time)`, the standard error of its sums over frames.
        total_error: `(batch,)`, that of its sum over all.
        logits: Of the clips.
        target: The classes explained.
        clip_values: `(batch,)`, the objective of the clips.
        reference_values: `(batch,)`, its mean over the references that were drawn; None if it was
            not asked for.
    """

    attribution: ClipTensor
    frame_error: FrameScores
    total_error: PerExample
    logits: Logits
    target: Target
    clip_values: PerExample
    reference_values: PerExample | None


class Paths:
    """The straight paths from references to the clips of a batch, and the points drawn on them."""

    def __init__(self, request: ExpectedRequest, clip: ClipTensor) -> None:
        random = np.random.default_rng(request.seed)
        frames = clip.shape[1]
        self.clip, self._given, self._orders = clip, None, None
        if isinstance(request.references, Tensor):
            self._given = require_fit(request.references, clip).detach().to(clip)
            self.draws = drawn(request.n_samples, len(self._given), random)
        elif request.references == "still":
            self.draws = drawn(request.n_samples, frames, random)
        else:
            require_order(clip)
            self.draws = drawn(request.n_samples, None, random)
            orders = [random.permutation(frames) for _ in range(request.n_samples)]
            self._orders = torch.from_numpy(np.stack(orders)).to(clip.device)

    def reference(self, number: int, example: int) -> Tensor:
        """`(time, channel, height, width)`, a clip where paths to an example begin."""
        if self._given is not None:
            return self._given[number]
        clip = self.clip[example]
        if self._orders is not None:
            return clip[self._orders[number]]
        return clip[number : number + 1].expand_as(clip)

    def point(self, sample: int, example: int) -> Tensor:
        """The clip at a point that was drawn."""
        return self._path(sample, example).point(0, self.draws.alphas[sample])

    def displacement(self, sample: int, example: int) -> Tensor:
        """How far each value goes along the path of a point, in double precision."""
        return self._path(sample, example).displacement(0)

    def _path(self, sample: int, example: int) -> StraightPath:
        start = self.reference(self.draws.references[sample], example)
        return StraightPath(start[None], self.clip[example][None])


class SampleSums(Sums):
    """Adds up gradients by the way, and keeps what each sample says of each frame."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        clip, count = paths.clip, paths.draws.count
        self.attribution = clip.new_zeros(clip.shape, dtype=wide(clip))
        self.samples = self.attribution.new_zeros(len(clip), count, clip.shape[1])

    def add(self, point: int, example: int, gradient: Tensor) -> None:
        """Add what a gradient contributes."""
        part = gradient.to(self.attribution) * self._paths.displacement(point, example)
        self.attribution[example] += part / self._paths.draws.count
        self.samples[example, point] = part.sum((1, 2, 3))


def expected(request: ExpectedRequest, run: RunContext, ends: bool) -> Expected:
    """Average gradients by the way over random points of paths from random references.

    Args:
        request: What is asked.
        run: Counts the passes.
        ends: Whether the objective of the references is wanted.
    """
    explained = request.explained
    with isolated_autograd((request.clip,)) as (clip,):
        paths = Paths(request, clip)
        logits = logits_of(explained, clip, run)
        target = resolve_target(request.target, logits)
        batch, draws = range(len(clip)), paths.draws
        rows = [(sample, example) for sample in range(draws.count) for example in batch]
        sums = gradients_at(
            explained, target, clip, rows, paths.point, lambda: SampleSums(paths), run
        )
        return Expected(
            attribution=require_finite(sums.attribution),
            frame_error=standard_error(sums.samples, draws.groups),
            total_error=standard_error(sums.samples.sum(2, keepdim=True), draws.groups)[:, 0],
            logits=logits,
            target=target,
            clip_values=explained.value(logits, target),
            reference_values=_reference_values(explained, paths, target, run) if ends else None,
        )


def _reference_values(
    explained: Explained, paths: Paths, target: Target, run: RunContext
) -> PerExample:
    """The mean of the objective over the references that were drawn, as often as they were."""
    batch, chosen = len(paths.clip), paths.draws.references
    distinct = sorted(set(chosen))
    rows = [(number, example) for number in distinct for example in range(batch)]
    logits = logits_at(explained, paths.clip, rows, paths.reference, run)
    values = explained.value(logits, target.repeat(len(distinct)))
    by_number = values.reshape(len(distinct), batch)
    places = [distinct.index(number) for number in chosen]
    return by_number[places].mean(0, dtype=wide(by_number))


def expected_work(request: ExpectedRequest, ends: bool) -> Work:
    """What `expected` takes."""
    references = len(set(Paths(request, request.clip).draws.references)) if ends else 0
    return path_work(
        request.explained, request.clip, request.target, request.n_samples, 1 + references
    )


def require_fit(references: Tensor, clip: ClipTensor) -> Tensor:
    """The references, if each of them fits a clip.

    Raises:
        ClipError: If they are of another shape.
    """
    if references.ndim != clip.ndim or references.shape[1:] != clip.shape[1:]:
        raise ClipError(
            f"references (references, time, ...) like the clip, {('any', *clip.shape[1:])}",
            f"shape {tuple(references.shape)}",
            "Sample and preprocess them as the clip.",
        )
    return references


def require_order(clip: ClipTensor) -> None:
    """Raise unless the frames of a clip have an order.

    Raises:
        ClipError: If there is a single frame.
    """
    if clip.shape[1] < 2:
        raise ClipError("at least 2 frames to shuffle", "1", "A single frame has no order.")
