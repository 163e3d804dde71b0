"""Shapley values of the frames of clips, and Owen values of their regions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from temporal_attr._run import RunContext
from temporal_attr._typing import FrameScores, Logits, PerExample, Target
from temporal_attr.attributions._estimate import Certainty, Work, stopwatch
from temporal_attr.attributions._frame_game import FrameGame, RegionGame
from temporal_attr.attributions._objective_values import (
    ObjectiveValues,
    PerturbationRequest,
    clip_by_clip,
    pixel_baseline,
    timed_values,
)
from temporal_attr.attributions.frame_shapley._estimators import (
    PermutationSampling,
    ShapleyValues,
    by_all_coalitions,
    in_closed_form,
    nested_order,
    uniform_order,
)
from temporal_attr.gradients import OBJECTIVES
from temporal_attr.models import LateFusion
from temporal_attr.perturbations import (
    AbsentFrames,
    FrameBaselines,
    Labels,
    at_least_single,
    is_relational,
    whole_clips,
)

MOST_EXACT = 12
"""Frames of a clip whose coalitions are all evaluated by default."""

DEFAULT_PERMUTATIONS = 64

EVERY = "all coalitions"
SUM = "closed form"
DRAWN = "permutations"


@dataclass(frozen=True)
class ShapleyRequest:
    """What is asked.

    Attributes:
        asked: Of which model, for which class.
        baselines: What replaces absent frames.
        labels: `(batch, time, height, width)`, the regions of every frame; None for whole frames.
        n_samples: How many permutations; None for all coalitions of short clips.
        until: See `PermutationSampling`.
        seed: Of the permutations.
    """

    asked: PerturbationRequest
    baselines: FrameBaselines
    labels: Labels | None
    n_samples: int | None
    until: float | None
    seed: int

    @property
    def every_coalition(self) -> bool:
        """Whether all are evaluated."""
        short = self.asked.clip.shape[1] <= MOST_EXACT
        return self.labels is None and self.n_samples is None and self.until is None and short

    @property
    def claims_a_sum(self) -> bool:
        """Whether the model's structure says that the objective is a sum over frames."""
        model = self.asked.model
        return (
            isinstance(model, LateFusion)
            and model.exactness == "linear"
            and self.asked.objective is OBJECTIVES["logit"]
            and self.labels is None
            and not is_relational(self.baselines)
        )

    @property
    def pairs(self) -> int:
        """Pairs of permutations that are drawn at most."""
        return (self.n_samples or DEFAULT_PERMUTATIONS) // 2


@dataclass(frozen=True)
class FoundShapley:
    """What was found.

    Attributes:
        logits: `(batch, classes)`, of the clips as they are.
        target: `(batch,)`.
        attributed: `(batch, time)`, of the frames.
        error: `(batch, time)`, their standard errors; 0 where they are exact.
        full: `(batch,)`, the objective of the clips.
        empty: `(batch,)`, that of no frame.
        evaluations: Coalitions that the model was asked for, of each clip.
        permutations: How many were drawn, for each clip; 0 where none was needed.
        complete: Whether no run was stopped.
        region_values: `(batch, time, height, width)`, the value of the region of each pixel; None
            for whole frames.
        region_error: `(batch, time, height, width)`, likewise.
    """

    logits: Logits
    target: Target
    attributed: FrameScores
    error: FrameScores
    full: PerExample
    empty: PerExample
    evaluations: tuple[int, ...]
    permutations: tuple[int, ...]
    complete: bool
    region_values: Tensor | None = None
    region_error: Tensor | None = None


def shapley_values(request: ShapleyRequest, run: RunContext) -> FoundShapley:
    """The values of every clip, one clip after another."""
    clip = request.asked.clip
    values = ObjectiveValues(request.asked, run)
    absent = AbsentFrames(clip, request.baselines)
    if request.baselines == "removal":
        values.require_length(1, 'baselines="removal"')
    games = [_game(request, values, absent, example) for example in range(len(clip))]

    def unknown(place: int) -> ShapleyValues:
        nothing = torch.full((games[place].players,), torch.nan, dtype=torch.float64)
        return ShapleyValues(nothing, nothing, torch.nan, complete=False)

    found = clip_by_clip(
        len(clip),
        lambda place: _of_clip(request, games[place], place, run),
        unknown,
        lambda one: one.complete,
        request.asked.on_stop,
    )
    frames = [
        one.summed(game.frame_of, clip.shape[1]) for game, one in zip(games, found, strict=True)
    ]
    precise = at_least_single(clip.dtype)
    parts: dict[str, Tensor] = {
        "attributed": torch.stack([one.values for one in frames]),
        "error": torch.stack([one.error for one in frames]),
        "empty": torch.tensor([one.empty for one in found], dtype=torch.float64),
        "full": values.of_clips,
    }
    if request.labels is not None:
        for name in ("values", "error"):
            pairs = zip(games, found, strict=True)
            parts[f"region_{name}"] = torch.stack(
                [game.of_pixels(getattr(one, name)) for game, one in pairs]
            )
    return FoundShapley(
        logits=values.logits,
        target=values.target,
        evaluations=tuple(game.evaluations for game in games),
        permutations=tuple(0 if one.drawn is None else 2 * len(one.drawn) for one in found),
        complete=all(one.complete for one in found),
        **{name: part.to(clip.device, precise) for name, part in parts.items()},
    )


def _game(
    request: ShapleyRequest, values: ObjectiveValues, absent: AbsentFrames, example: int
) -> FrameGame:
    """The game of one clip."""
    if request.labels is None:
        return FrameGame(values, absent, example)
    assert request.baselines != "removal"
    baseline = pixel_baseline(request.asked.clip, request.baselines)
    return RegionGame(values, absent, example, request.labels, baseline)


def _of_clip(
    request: ShapleyRequest, game: FrameGame, example: int, run: RunContext
) -> ShapleyValues:
    """The values of one clip, by the cheapest way that is open."""
    asked = request.asked
    if request.claims_a_sum:
        found = in_closed_form(game, 64 * torch.finfo(asked.clip.dtype).eps)
        if found is not None:
            run.took(SUM)
            return found
    if request.every_coalition:
        run.took(EVERY)
        with run.progress(2**game.players, f"clip {example}, coalitions") as bar:
            return by_all_coalitions(game, bar)
    run.took(DRAWN)
    sampling = PermutationSampling(
        game,
        uniform_order(game.players) if request.labels is None else nested_order(game.frame_of),
        request.pairs,
        request.until,
        request.seed,
        asked.on_stop,
    )
    with run.progress(2 * request.pairs, f"clip {example}, permutations") as bar:
        return sampling.run(bar)


def shapley_work(request: ShapleyRequest) -> Work:
    """What it takes, at most where permutations are drawn, which can share coalitions."""
    asked, plan = request.asked, RunContext()
    batch, time = asked.clip.shape[:2]
    values, watch = timed_values(asked, plan)
    games = [
        _game(request, values, AbsentFrames(asked.clip, request.baselines), example)
        for example in range(batch)
    ]
    coalitions = [_coalitions(request, game.players) for game in games]
    if values.by_frame:
        for game, count in zip(games, coalitions, strict=True):
            # Besides the frames as they are: their baselines, and what regions leave of them.
            plan.ran(forward=game.others(count))
    elif request.baselines == "removal" and request.every_coalition:
        # Of all lengths, but for the whole clip; and one frame, on which it is tried.
        plan.ran(forward=batch * (time * 2 ** (time - 1) - time + 2))
    else:
        # What goes with the clips belongs to the whole batch, which then goes along.
        together = batch if asked.arguments else 1
        plan.ran(forward=time * sum(coalitions) * together)
    passes = plan.finished(batch * time).forward_passes
    assert passes is not None
    seconds = watch.seconds * passes
    if values.by_frame:
        # Their features are kept, so this is the time of the heads alone.
        with stopwatch(asked.clip) as heads:
            values.of(whole_clips(asked.clip))
        seconds += heads.seconds * sum(coalitions) / batch
    certainty: Certainty = "exact" if request.every_coalition else "at most"
    return Work(plan, seconds, "one forward pass", certainty)


def _coalitions(request: ShapleyRequest, players: int) -> int:
    """How many coalitions of a clip are asked for, besides that of all, at most."""
    if request.every_coalition:
        return int(2**players) - 1
    return 1 + 2 * request.pairs * (players - 1)
