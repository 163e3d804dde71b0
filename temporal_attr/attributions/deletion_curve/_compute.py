"""Frames deleted, or inserted, in the order in which each changes the prediction most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from temporal_attr._run import RunContext
from temporal_attr._typing import FrameScores, Logits, Target
from temporal_attr.attributions._estimate import Work
from temporal_attr.attributions._frame_game import FrameGame
from temporal_attr.attributions._objective_values import (
    ObjectiveValues,
    PerturbationRequest,
    clip_by_clip,
    perturbation_work,
)
from temporal_attr.perturbations import AbsentFrames, FrameBaselines, at_least_single, stopping

Direction: TypeAlias = Literal["delete", "insert"]


@dataclass(frozen=True)
class CurveRequest:
    """What is asked.

    Attributes:
        asked: Of which model, for which class.
        baselines: What replaces absent frames.
        direction: Whether frames are deleted or inserted.
    """

    asked: PerturbationRequest
    baselines: FrameBaselines
    direction: Direction


@dataclass(frozen=True)
class FoundCurves:
    """What was found.

    Attributes:
        logits: `(batch, classes)`, of the clips as they are.
        target: `(batch,)`.
        attributed: `(batch, time)`, by how much the objective drops, or rises, with each frame.
        rank: `(batch, time)`, when each frame was taken, from 0; -1 where a run was stopped before.
        curve: `(batch, time + 1)`, the objective before, and after each.
        complete: Whether no run was stopped.
    """

    logits: Logits
    target: Target
    attributed: FrameScores
    rank: Int[Tensor, "batch time"]
    curve: Float[Tensor, "batch time_and_start"]
    complete: bool


@dataclass(frozen=True)
class _Curve:
    """That of one clip."""

    order: list[int]
    curve: list[float]


def frame_curves(request: CurveRequest, run: RunContext) -> FoundCurves:
    """The curve of every clip, one clip after another."""
    clip = request.asked.clip
    batch, time = clip.shape[:2]
    values = ObjectiveValues(request.asked, run)
    absent = AbsentFrames(clip, request.baselines)
    if request.baselines == "removal":
        values.require_length(1, 'baselines="removal"')
    rank = torch.full((batch, time), -1)
    curve = torch.full((batch, time + 1), torch.nan, dtype=torch.float64)
    scores = torch.zeros(batch, time, dtype=torch.float64)
    sign = 1.0 if request.direction == "delete" else -1.0

    def of_clip(example: int) -> _Curve:
        game = FrameGame(values, absent, example)
        with run.progress(time, f"clip {example}, frames") as bar:
            return _greedy(game, request, bar)

    curves = clip_by_clip(
        batch,
        of_clip,
        lambda _: _Curve([], []),
        lambda one: len(one.order) == time,
        request.asked.on_stop,
    )
    for example, found in enumerate(curves):
        done = len(found.order)
        rank[example, found.order] = torch.arange(done)
        curve[example, : len(found.curve)] = torch.tensor(found.curve, dtype=torch.float64)
        # By how much the objective falls as a frame goes, or rises as it comes.
        scores[example, found.order] = -sign * curve[example, : done + 1].diff()
    precise = at_least_single(clip.dtype)
    return FoundCurves(
        logits=values.logits,
        target=values.target,
        attributed=scores.to(clip.device, precise),
        rank=rank.to(clip.device),
        curve=curve.to(clip.device, precise),
        complete=bool((rank >= 0).all()),
    )


def _greedy(game: FrameGame, request: CurveRequest, bar: tqdm) -> _Curve:
    """Take the frame that changes the objective most, then the next; of equal ones the first."""
    delete = request.direction == "delete"
    present = torch.full((game.players,), delete)
    order: list[int] = []
    curve: list[float] = []
    with stopping(request.asked.on_stop):
        curve.append(float(game.of(present[None])))
        while len(order) < game.players:
            left = (present == delete).nonzero().flatten()
            trials = present.repeat(len(left), 1)
            trials[torch.arange(len(left)), left] = not delete
            found = game.of(trials)
            best = int(found.argmin() if delete else found.argmax())
            present = trials[best]
            order.append(int(left[best]))
            curve.append(float(found[best]))
            bar.update()
    if not order:
        raise KeyboardInterrupt
    return _Curve(order, curve)


def curve_work(request: CurveRequest) -> Work:
    """What it takes: every frame that is left is tried at every step."""
    clip = request.asked.clip
    batch, time = clip.shape[:2]
    # Inserting begins with no frame, and ends with the clip as it is, which is known.
    trials = time * (time + 1) // 2

    def others() -> int:
        absent = AbsentFrames(clip, request.baselines)
        return sum(absent.others(example) for example in range(batch))

    if request.baselines != "removal":
        return perturbation_work(request.asked, batch * trials, others)
    # At step k there are T - k + 1 clips, of T - k frames or of k. Without any frame a clip shows
    # one, and on one frame the model is tried.
    delete = request.direction == "delete"
    steps = range(1, time + delete)
    shown = sum((time - k + 1) * (time - k if delete else k) for k in steps) + 2
    return perturbation_work(request.asked, batch * trials, others, frames=batch * shown)
