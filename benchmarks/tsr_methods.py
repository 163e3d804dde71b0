"""What is compared: Captum's methods, alone and rescaled in time, on clips whose cue is planted."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from captum.attr import (
    Attribution,
    FeatureAblation,
    GradientAttribution,
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    Occlusion,
    Saliency,
    ShapleyValueSampling,
)
from temporal_range import SIZE, folder_of
from torch import Tensor, nn
from train_zoo import TEST_SEED, Recipe, values
from tsr_scores import frame_areas, pixel_areas

from temporal_attr import Blocks, FrameMaskingTSR, FrameMaskingTSRResult, Superpixels
from temporal_attr.evaluation import Areas
from temporal_attr.models import FramewiseModel, VideoModel
from temporal_attr.synthetic import PlantedVideo
from temporal_attr.zoo import load_pretrained

BLOCK, QUANTILE = (8, 8), 0.55
"""Of the second step; the quantile is the one in the authors' code."""

SEEN = 128
"""Frames that go through a model at a time."""

KEY = {"frames": 16, "moment": (2, 3), "cue_size": (0.4, 0.6), "classes": 4}
EARLY = {"frames": 24, "span": (0.0, 0.25), "moment": (3, 4), "cue_size": (0.4, 0.6), "classes": 2}
LOOKS = {"classes": 4}
SMALL = {"widths": (8, 16, 32), "grid": 1, "hidden": 64}

RESNET = Recipe("keyframe", "inflated-resnet", {}, KEY, "tsr", 400, 3e-3, SIZE)
LSTM = Recipe("keyframe", "lstm", {"ensemble": "all"}, KEY, "tsr", 400, 3e-3, SIZE)
LONGER = Recipe("keyframe", "lstm", {"ensemble": "all"}, KEY, "tsr-longer", 1000, 3e-3, SIZE)
"""As the one before, whose training often ends before it has learned the task."""
FORGETS = Recipe("keyframe", "lstm", SMALL, EARLY, "early", 400, 2e-3, SIZE, 1.0)
"""The cue is early, and the gradient lies on late frames."""
RECIPES = [
    RESNET,
    Recipe("keyframe", "late-fusion", {}, KEY, "tsr", 400, 3e-3, SIZE),
    LSTM,
    LONGER,
    FORGETS,
    Recipe("appearance", "inflated-resnet", {}, LOOKS, "tsr", 250, 3e-3, SIZE),
    Recipe("appearance", "lstm", {"ensemble": "all"}, LOOKS, "tsr", 250, 3e-3, SIZE),
]

Arguments: TypeAlias = Callable[[Tensor], dict[str, Any]]
"""From clips to what the method's `attribute` is given by name."""


@dataclass(frozen=True)
class Method:
    """One of Captum's methods, and how it is called.

    Attributes:
        two: Whether it is cheap enough for the second step.
        others: Other first steps, by name.
        chunk: Frames that go through the model at a time, before the method multiplies them.
    """

    name: str
    make: type[Attribution]
    arguments: Arguments = lambda _: {}
    seed: int | None = None
    two: bool = False
    others: dict[str, dict[str, Any]] = field(default_factory=dict)
    chunk: int = 1


def by_frame(clips: Tensor) -> Tensor:
    """A feature mask: a frame is a feature."""
    return torch.arange(clips.shape[1])[None, :, None, None, None]


OTHERS: dict[str, dict[str, Any]] = {
    "one step, neighbour": {"baselines": "neighbour"},
    "one step, mean": {"baselines": "mean"},
    "one step, 4 frames": {"window": 4},
}

_METHODS = [
    Method("Saliency", Saliency, two=True, others=OTHERS, chunk=SEEN),
    Method("InputXGradient", InputXGradient, two=True, chunk=SEEN),
    Method("IntegratedGradients", IntegratedGradients, lambda _: {"n_steps": 10}),
    Method(
        "GradientShap",
        GradientShap,
        lambda clips: {"baselines": torch.zeros_like(clips[:1]), "stdevs": 0.1},
        seed=0,
    ),
    Method(
        "Occlusion",
        Occlusion,
        lambda _: (
            {"sliding_window_shapes": (2, 3, 16, 16), "strides": (2, 3, 16, 16)}
            | {"perturbations_per_eval": 8}
        ),
    ),
    Method(
        "FeatureAblation",
        FeatureAblation,
        lambda clips: {"feature_mask": by_frame(clips), "perturbations_per_eval": 8},
    ),
    Method(
        "ShapleyValueSampling",
        ShapleyValueSampling,
        lambda clips: (
            {"feature_mask": by_frame(clips), "n_samples": 3} | {"perturbations_per_eval": 8}
        ),
        seed=0,
    ),
]

METHODS = {method.name: method for method in _METHODS}

PARTS: dict[str, dict[str, Any]] = {
    "blocks of 10": {"feature_mask": Blocks(10, 10)},
    "blocks of 7 x 8": {"feature_mask": Blocks(7, 8)},
    "superpixels": {"feature_mask": Superpixels(n_segments=24)},
}
"""Parts of a frame."""


class Remembering(nn.Module):
    """A framewise model that encodes a frame once, however many clips it is in; without gradients.

    Methods that mask frames, or parts of them, show the same few frames again and again.
    """

    def __init__(self, model: FramewiseModel) -> None:
        super().__init__()
        self.model = model
        self.seen: dict[bytes, Tensor] = {}
        self.train(model.training)

    @torch.no_grad()
    def forward(self, clips: Tensor) -> Tensor:
        """The logits of the model."""
        frames = clips.detach().flatten(0, 1)
        names = [frame.numpy().tobytes() for frame in frames]
        new = {name: at for at, name in enumerate(names) if name not in self.seen}
        if new:
            encoded = self.model.encode(frames[list(new.values())])
            self.seen.update(zip(new, encoded, strict=True))
        features = torch.stack([self.seen[name] for name in names]).unflatten(0, clips.shape[:2])
        return self.model.head(features)


Levels: TypeAlias = dict[str, list[list[float]]]
"""Of "frames" and of "pixels": the areas of each clip. Frames are left out where all decide."""


@dataclass(frozen=True)
class Outcome:
    """What was measured of one model with one method.

    Attributes:
        evaluations: Attributions for one clip, on average.
        seconds: For one clip, on average; of all variants together.
        numbers: By variant.
    """

    name: str
    seed: int
    method: str
    evaluations: float
    seconds: float
    numbers: dict[str, Levels] = field(default_factory=dict)


def masks_at_a_time(frames: int, model: nn.Module, clip: Tensor) -> int:
    """Masked frames, or masked clips where a model sees clips only, by the frames they have."""
    return frames if isinstance(model, FramewiseModel) else max(1, frames // clip.shape[1])


def variants(found: FrameMaskingTSRResult, two: bool) -> dict[str, Tensor]:
    """Attributions that follow from one run: alone, in one step, and in two.

    Two steps give a number to a block, so the others are averaged over blocks as well: what is
    better then is not so because of the blocks alone.
    """
    weight = found.time_relevance[:, :, None, None, None]
    every = {"alone": found.base, "one step": found.base * weight}
    if two:
        every["alone, in blocks"] = in_blocks(every["alone"])
        every["one step, in blocks"] = in_blocks(every["one step"])
        every["two steps"] = found.attribution
        # Kept frames have weight, unless no frame has any.
        by_part = found.attribution / torch.where(weight > 0, weight, 1)
        kept = found.kept[:, :, None, None, None]
        every["two steps, scaled"] = torch.where(
            kept, scaled(by_part, (2, 3, 4)) * scaled(weight, (1,)), 0
        )
    return every


def in_blocks(attribution: Tensor) -> Tensor:
    """The norm over channels, averaged over the blocks of the second step."""
    norm = attribution.norm(dim=2)
    pooled = F.avg_pool2d(norm, BLOCK)
    return F.interpolate(pooled, size=norm.shape[2:]).unsqueeze(2)


def scaled(numbers: Tensor, axes: tuple[int, ...]) -> Tensor:
    """From 0 to 1 over some axes; 0 where all are equal."""
    low, high = numbers.amin(axes, keepdim=True), numbers.amax(axes, keepdim=True)
    return torch.where(high > low, (numbers - low) / (high - low), 0)


def measured(video: PlantedVideo, attribution: Tensor) -> Levels:
    """Areas of one clip's pixels, and of its frames unless all of them decide."""
    own = attribution[0].double().numpy()
    found = {"pixels": [numbers_of(pixel_areas(own, video.region))], "frames": []}
    if not video.deciding_frames.all():
        scores = np.abs(own).sum((1, 2, 3))
        found["frames"] = [numbers_of(frame_areas(scores, video.deciding_frames))]
    return found


def numbers_of(found: Areas) -> list[float]:
    """In the order of the class."""
    return list(asdict(found).values())


@dataclass
class Tally:
    """What has been measured so far, by variant, and how many evaluations it took."""

    numbers: dict[str, Levels] = field(default_factory=dict)
    evaluations: int = 0

    def add(self, variant: str, levels: Levels) -> None:
        """One more clip."""
        whole = self.numbers.setdefault(variant, {level: [] for level in levels})
        for level, areas in levels.items():
            whole[level] += areas

    def add_chance(self, video: PlantedVideo, random: np.random.Generator) -> None:
        """Random numbers for frames, and for pixels."""
        pixels = pixel_areas(random.random((len(video.frames), 1, SIZE, SIZE)), video.region)
        frames: list[list[float]] = []
        if not video.deciding_frames.all():
            drawn = frame_areas(random.random(len(video.frames)), video.deciding_frames)
            frames = [numbers_of(drawn)]
        self.add("alone", {"pixels": [numbers_of(pixels)], "frames": frames})

    def add_method(
        self, method: Method, model: nn.Module, video: PlantedVideo, clip: Tensor
    ) -> None:
        """A method alone and rescaled."""
        settings: dict[str, Any] = {
            "perturbations_per_eval": masks_at_a_time(method.chunk, model, clip),
            "seed": method.seed,
            "method_arguments": method.arguments(clip),
        }
        step: dict[str, Any] = {}
        if method.two:
            step = {"steps": "two", "feature_mask": Blocks(*BLOCK), "quantile": QUANTILE}
        if isinstance(model, FramewiseModel) and not issubclass(method.make, GradientAttribution):
            model = Remembering(model)
        tsr = FrameMaskingTSR(method.make(model), **settings, **step)
        found = tsr.explain(clip, target=video.label)
        # R(X) itself is made twice.
        self.evaluations += found.masks + 2
        for variant, attribution in variants(found, method.two).items():
            self.add(variant, measured(video, attribution))
        if not video.deciding_frames.all():
            relevance = found.time_relevance[0].double().numpy()
            alone = numbers_of(frame_areas(relevance, video.deciding_frames))
            self.add("time relevance", {"pixels": [], "frames": [alone]})
        for name, options in method.others.items():
            other = FrameMaskingTSR(method.make(model), **settings, **options)
            attribution = other.explain(clip, target=video.label).attribution
            self.add(name, measured(video, attribution))

    def add_parts(self, parts: str, model: VideoModel, video: PlantedVideo, clip: Tensor) -> None:
        """Saliency in two steps, with other parts of frames."""
        at_a_time = masks_at_a_time(SEEN, model, clip)
        tsr = FrameMaskingTSR(
            Saliency(model),
            "two",
            quantile=QUANTILE,
            perturbations_per_eval=at_a_time,
            **PARTS[parts],
        )
        found = tsr.explain(clip, target=video.label)
        # R(X) itself is made twice.
        self.evaluations += found.masks + 2
        self.add("two steps", measured(video, found.attribution))


def outcome(entry: Recipe, seed: int, called: str, count: int) -> Outcome:
    """Measure one model, or read what was measured before.

    Args:
        entry: Which model.
        seed: Of the model; it also draws the clips.
        called: The name of a method or of parts, or "chance".
        count: How many clips.
    """
    kept = path_of(entry, seed, called, count)
    if kept.is_file():
        return Outcome(**json.loads(kept.read_text()))
    torch.set_num_threads(1)
    model = load_pretrained(entry.name, folder_of(seed))
    random = np.random.default_rng(seed)
    tally = Tally()
    begin = time.perf_counter()
    for video, clip in planted(entry, model, seed, count):
        if called == "chance":
            tally.add_chance(video, random)
        elif called in PARTS:
            tally.add_parts(called, model, video, clip)
        else:
            tally.add_method(METHODS[called], model, video, clip)
    seconds = (time.perf_counter() - begin) / count
    found = Outcome(entry.name, seed, called, tally.evaluations / count, seconds, tally.numbers)
    kept.write_text(json.dumps(asdict(found)) + "\n")
    return found


def path_of(entry: Recipe, seed: int, called: str, count: int) -> Path:
    """Where an outcome is kept."""
    short = "".join(letter for letter in called.lower() if letter.isalnum())
    return folder_of(seed) / f"{entry.name}-tsr-{count}-{short}.json"


def planted(
    entry: Recipe, model: VideoModel, seed: int, count: int
) -> Iterator[tuple[PlantedVideo, Tensor]]:
    """Fresh videos that the model gets right, and their clips."""
    task = entry.make_task()
    found = 0
    for index in itertools.count():
        video = task.sample(index, TEST_SEED + 177 + seed)
        clip = values(model, torch.from_numpy(video.frames).permute(0, 3, 1, 2)[None])
        with torch.no_grad():
            right = int(model(clip).argmax()) == video.label
        if right:
            yield video, clip
            found += 1
        if found == count:
            return
