"""How true an attribution is: against what was planted, and against what the model does."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor
from train_zoo import TEST_SEED, values
from transformer_methods import BASELINES, Method, drops, logits_of, tubelets

from temporal_attr import evaluation
from temporal_attr.models import VideoModel
from temporal_attr.synthetic import PlantedVideo, Task

BATCH = 20
"""Clips that are explained at once."""
PER_STEP = 3
"""Tubelets that are taken away, or put back, at once."""

DOES = {
    "left_out": "rank correlation with leaving out",
    "deletion": "deletion",
    "insertion": "insertion",
    "between": "insertion less deletion, logits",
}
"""What is measured against what the model does without tubelets, for each baseline."""

MEASURES = {
    "frames": "AP of frames",
    "pixels": "AP of pixels",
    **{f"{name}, {other}": title for other in BASELINES for name, title in DOES.items()},
    "frames_by_size": "AP of frames, by size",
    "pixels_by_size": "AP of pixels, by size",
    "kept": "sum over logit",
    "ratio": "sizes over logit",
}
"""What is measured, and its heading."""
LOWER = tuple(f"deletion, {other}" for other in BASELINES)
"""Those of which less is better."""


@dataclass(frozen=True)
class Question:
    """A planted clip that the model gets right, and what leaving out each tubelet does to it.

    The drops are by the baseline.
    """

    video: PlantedVideo
    clip: Tensor
    logit: float
    drops: dict[str, Tensor]


def questions(model: VideoModel, task: Task, seed: int, count: int) -> Iterator[Question]:
    """Fresh videos that the model gets right, for their class."""
    found = 0
    for index in itertools.count():
        video = task.sample(index, TEST_SEED + 277 + seed)
        clip = values(model, torch.from_numpy(video.frames).permute(0, 3, 1, 2)[None])
        with torch.no_grad():
            logits = model(clip)[0]
        if int(logits.argmax()) == video.label:
            yield question_of(model, video, clip)
            found += 1
        if found == count:
            return


def question_of(model: VideoModel, video: PlantedVideo, clip: Tensor) -> Question:
    """What is asked of one clip."""
    with torch.no_grad():
        logit = float(model(clip)[0, video.label])
    own = {other: drops(model, clip, video.label, other) for other in BASELINES}
    return Question(video, clip, logit, own)


def average_precision(scores: Tensor, truth: np.ndarray) -> float:
    """Of scores of any sign, of which only the order counts."""
    return evaluation.average_precision(scores.double().numpy(), truth)


def by_tubelet(scores: Tensor, clip: Tensor) -> Tensor:
    """`(tubelets,)`: sums of `(T, H, W)` over tubelets."""
    numbers = tubelets(clip).flatten()
    sums = torch.zeros(int(numbers.max()) + 1, dtype=torch.float64)
    return sums.index_add(0, numbers, scores.double().flatten())


def curves(
    model: VideoModel, question: Question, scores: Tensor, baseline: str
) -> dict[str, float]:
    """Areas under the target's probability as tubelets go, or come, in the order of scores.

    The last is the area between the two curves of the logit: what is put back first minus what is
    taken away first.
    """
    order = torch.argsort(-scores, stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    counts = torch.tensor([*range(0, len(order), PER_STEP), len(order)])[:, None]
    kept = torch.cat([place >= counts, place < counts])
    logits = logits_of(model, question.clip, kept, baseline)
    target = question.video.label
    shares = (counts[:, 0] / len(order)).double()

    def area(heights: Tensor) -> list[float]:
        return [float(torch.trapezoid(part.double(), shares)) for part in heights.chunk(2)]

    gone, come = area(logits.softmax(1)[:, target])
    gone_logit, come_logit = area(logits[:, target])
    found = {"deletion": gone, "insertion": come, "between": come_logit - gone_logit}
    return {f"{name}, {baseline}": number for name, number in found.items()}


def measured(
    model: VideoModel, method: Method, asked: list[Question]
) -> dict[str, list[float | None]]:
    """All measures, a number for each clip; None where there is none."""
    rows: list[dict[str, float | None]] = []
    for start in range(0, len(asked), BATCH):
        some = asked[start : start + BATCH]
        clips = torch.cat([question.clip for question in some])
        targets = torch.tensor([question.video.label for question in some])
        attributions = method.explain(model, clips, targets).detach()
        pairs = zip(some, attributions, strict=True)
        rows += [scored(model, question, own, method.signed) for question, own in pairs]
    return {name: [row[name] for row in rows] for name in MEASURES}


def scored(
    model: VideoModel, question: Question, attribution: Tensor, has_sign: bool
) -> dict[str, float | None]:
    """All measures of one clip's attribution."""
    video = question.video
    sizes = attribution.norm(dim=1)
    signed = attribution.sum(1) if has_sign else sizes
    sums = by_tubelet(signed, question.clip)
    found: dict[str, float | None] = dict.fromkeys(MEASURES)
    if not video.deciding_frames.all():
        found["frames"] = average_precision(signed.sum((1, 2)), video.deciding_frames)
        magnitudes = attribution.abs().sum((1, 2, 3))
        found["frames_by_size"] = average_precision(magnitudes, video.deciding_frames)
    found["pixels"] = average_precision(signed, video.region)
    found["pixels_by_size"] = average_precision(sizes, video.region)
    for other, left_out in question.drops.items():
        if sums.std() > 0 and left_out.std() > 0:
            found[f"left_out, {other}"] = float(spearmanr(sums, left_out).statistic)
        found |= curves(model, question, sums, other)
    if has_sign:
        found["kept"] = float(attribution.double().sum()) / question.logit
        found["ratio"] = float(attribution.double().abs().sum()) / abs(question.logit)
    return found
