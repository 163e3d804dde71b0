"""What methods_on_planted.py compares, by what it may cost, and the measuring of one clip."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import torch
from planted_models import FOLDER, MODELS, SEED, trained
from torch import Tensor
from transformer_scores import average_precision
from tsr_methods import planted

from temporal_attr import (
    LRP,
    RISE,
    AttentionRollout,
    DeletionCurve,
    ExpectedGradients,
    ExtremalPerturbation,
    FrameMaskingTSR,
    FrameShapley,
    GradCAM,
    GradCAMPlusPlus,
    GradientAttention,
    HiResCAM,
    IntegratedGradients,
    KernelSHAP,
    LayerCAM,
    Occlusion,
    ScoreCAM,
    SelectiveRelevance,
    SlidingFrames,
    TemporalGradient,
    Tubes,
    VideoLIME,
)
from temporal_attr.models import VideoModel
from temporal_attr.synthetic import PlantedVideo

BUDGETS = (1, 50, 500, 2000)
AT_A_TIME = 16
"""Perturbed clips in a forward pass."""
TUBES = {50: Tubes(4, 2, 2), 500: Tubes(8, 4, 4), 2000: Tubes(8, 4, 4)}
"""Of KernelSHAP and VideoLIME: as fine as the budget allows, with 3, 4 and 16 coalitions a tube."""
ATTENDING = ("tubelet transformer",)
DRAWS = 20
"""Random numbers of a clip."""

Build: TypeAlias = Callable[[VideoModel], Any]


@dataclass(frozen=True)
class Asked:
    """A method at a budget.

    Attributes:
        name: In the tables.
        budget: Of `BUDGETS`, the one that it fits best.
        build: From a model to the method; None for what needs no model.
        sensitivity: Whether its sign says nothing for or against the class, so that a pixel's score
            is the norm over channels; else it is the sum.
        explain: What `explain` is told by name.
        frames_only: Whether all pixels of a frame have one number.
        only: The models that it can be asked of, if not all.
    """

    name: str
    budget: int
    build: Build | None
    sensitivity: bool = False
    explain: dict[str, Any] = field(default_factory=dict)
    frames_only: bool = False
    only: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, int]:
        """What names it."""
        return self.name, self.budget


def _sampling(budget: int) -> list[Asked]:
    """Those that take as many samples as they are given."""
    tubes = TUBES[budget]
    return [
        Asked(
            "RISE",
            budget,
            lambda model: RISE(model, budget - 1, perturbations_per_eval=AT_A_TIME),
        ),
        Asked(
            "KernelSHAP",
            budget,
            lambda model: KernelSHAP(model, tubes, budget - 1, perturbations_per_eval=AT_A_TIME),
        ),
        Asked(
            "VideoLIME",
            budget,
            lambda model: VideoLIME(model, tubes, budget - 1, perturbations_per_eval=AT_A_TIME),
        ),
    ]


def _paths(budget: int, steps: int) -> list[Asked]:
    """Means of gradients, each of which counts 3."""
    return [
        Asked(
            "IntegratedGradients",
            budget,
            lambda model: IntegratedGradients(model, n_steps=steps, internal_batch_size=AT_A_TIME),
        ),
        Asked(
            "ExpectedGradients",
            budget,
            lambda model: ExpectedGradients(model, n_samples=steps, internal_batch_size=AT_A_TIME),
        ),
    ]


def _shapley(budget: int, permutations: int | None) -> Asked:
    """By so many permutations, of which one takes 7 clips; by all 256 coalitions of frames."""
    return Asked(
        "FrameShapley",
        budget,
        lambda model: FrameShapley(model, n_samples=permutations, perturbations_per_eval=AT_A_TIME),
    )


def _learned(budget: int, steps: int) -> list[Asked]:
    """Masks by so many gradient steps at most, each of which counts 3."""
    return [
        Asked(
            "ExtremalPerturbation",
            budget,
            lambda model: ExtremalPerturbation(model, max_iterations=steps),
        ),
        Asked(
            "ExtremalPerturbation of frames",
            budget,
            lambda model: ExtremalPerturbation(model, kind="frames", max_iterations=steps),
            frames_only=True,
        ),
    ]


def _occlusion(budget: int, window: tuple[int, int, int] | None) -> Asked:
    """With the default window and strides, or windows that overlap in space by half."""
    strides = window and (window[0], window[1] // 2, window[2] // 2)
    return Asked(
        "Occlusion",
        budget,
        lambda model: Occlusion(model, window, strides, perturbations_per_eval=AT_A_TIME),
    )


_ONCE = [
    Asked("random numbers", 1, None),
    Asked("the clip itself", 1, None, sensitivity=True),
    Asked("TemporalGradient", 1, TemporalGradient, True, {"influence": False}),
    Asked("LRP", 1, LRP),
    *(Asked(kind.__name__, 1, kind) for kind in (GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM)),
    Asked("AttentionRollout", 1, AttentionRollout, only=ATTENDING),
    Asked("GradientAttention", 1, GradientAttention, only=ATTENDING),
]
_FIFTY = [
    Asked(
        "FrameMaskingTSR",
        50,
        lambda model: FrameMaskingTSR(TemporalGradient(model), perturbations_per_eval=AT_A_TIME),
        sensitivity=True,
    ),
    Asked(
        "SelectiveRelevance",
        50,
        lambda model: SelectiveRelevance(LRP(model), perturbations_per_eval=AT_A_TIME),
    ),
    Asked("ScoreCAM", 50, lambda model: ScoreCAM(model, perturbations_per_eval=AT_A_TIME)),
    Asked(
        "SlidingFrames", 50, lambda model: SlidingFrames(model, perturbations_per_eval=AT_A_TIME)
    ),
    Asked(
        "DeletionCurve", 50, lambda model: DeletionCurve(model, perturbations_per_eval=AT_A_TIME)
    ),
    _occlusion(50, (2, 16, 16)),
    *_paths(50, 16),
    _shapley(50, 6),
    *_sampling(50),
]
ASKED = [
    *_ONCE,
    *_FIFTY,
    _occlusion(500, None),
    *_paths(500, 160),
    _shapley(500, None),
    *_sampling(500),
    *_learned(500, 160),
    *_sampling(2000),
]
"""In the order of the tables."""


@dataclass(frozen=True)
class Row:
    """What was measured of one clip.

    Attributes:
        weights: The beginning of the hash of the model's file: of a model that was trained again,
            what was measured before does not count.
        frames: Average precision of frames.
        pixels: That of pixels; None where the method scores frames only.
        evaluations: Forward passes, and two for each backward pass.
        seconds: Of the process.
    """

    weights: str
    method: str
    budget: int
    clip: int
    frames: float
    pixels: float | None
    evaluations: float
    seconds: float

    @property
    def key(self) -> tuple[str, str, int, int]:
        """What names a row."""
        return self.weights, self.method, self.budget, self.clip


def rows_of(path: Path) -> list[Row]:
    """The rows that are there."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Row(**json.loads(line)) for line in lines]


def path_of(family: str) -> Path:
    """Where the rows of a family are kept."""
    return FOLDER / f"{family.replace(' ', '-').lower()}.jsonl"


def without_model(
    asked: Asked, video: PlantedVideo, clip: Tensor, number: int
) -> tuple[float, float | None, float]:
    """As `with_model`, of what needs none."""
    if asked.name == "the clip itself":
        sizes = clip[0].norm(dim=1)
        return (
            average_precision(sizes.sum((1, 2)), video.deciding_frames),
            average_precision(sizes, video.region),
            0.0,
        )
    random = torch.Generator().manual_seed(number)
    time_, _, height, width = clip.shape[1:]
    frames, pixels = 0.0, 0.0
    for _ in range(DRAWS):
        drawn = torch.rand(time_, height, width, generator=random)
        pixels += average_precision(drawn, video.region) / DRAWS
        # Sums over pixels would all be much alike, but their order is as random.
        frames += average_precision(drawn.sum((1, 2)), video.deciding_frames) / DRAWS
    return frames, pixels, 0.0


def with_model(
    asked: Asked,
    method: Any,  # noqa: ANN401 - of any class
    video: PlantedVideo,
    clip: Tensor,
) -> tuple[float, float | None, float]:
    """Average precision of frames and pixels, and the evaluations that it took."""
    found = method.explain(clip, video.label, **asked.explain)
    frames = average_precision(found.frame_scores[0].detach(), video.deciding_frames)
    pixels = None
    attribution = getattr(found, "attribution", None)
    if attribution is not None and not asked.frames_only:
        own = attribution[0].detach()
        scores = own.norm(dim=1) if asked.sensitivity else own.sum(1)
        pixels = average_precision(scores, video.region)
    return frames, pixels, found.run.forward_passes + 2 * found.run.backward_passes


@lru_cache
def prepared(family: str) -> tuple[VideoModel, str, dict[tuple[str, int], Any]]:
    """A model, the beginning of its hash, and the methods; some look at the model first, once."""
    model, card = trained(MODELS[family])
    asked = [one for one in ASKED if not one.only or family in one.only]
    methods = {one.key: one.build and one.build(model) for one in asked}
    return model, card.sha256[:12], methods


def measure(family: str, clips: Sequence[int], budgets: Sequence[int]) -> Iterator[Row]:
    """Measure what is not there yet, and write it down clip by clip."""
    model, weights, methods = prepared(family)
    path = path_of(family)
    known = {row.key for row in rows_of(path)}
    asked = [one for one in ASKED if one.key in methods and one.budget in budgets]
    for number, (video, clip) in enumerate(planted(MODELS[family], model, SEED, max(clips) + 1)):
        for one in asked if number in clips else ():
            if (weights, *one.key, number) in known:
                continue
            begin = time.process_time()
            if one.build is None:
                frames, pixels, cost = without_model(one, video, clip, number)
            else:
                frames, pixels, cost = with_model(one, methods[one.key], video, clip)
            seconds = round(time.process_time() - begin, 4)
            row = Row(weights, *one.key, number, frames, pixels, cost, seconds)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(row)) + "\n")
            yield row
