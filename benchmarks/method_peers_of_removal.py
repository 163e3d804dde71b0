"""Video LIME and RISE of REVEX (https://github.com/Xavi3398/revex_framework) beside ours.

It is a repository without a package on the index: it is imported from a checkout, and itself needs
shap, decord, scikit-image and scikit-learn. Videos are `(time, height, width, channel)`.
"""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from unittest.mock import patch

import numpy as np
import torch
from method_peer_pairs import AT_A_TIME, COALITIONS, SEED, TARGET, WIDTH, Pair, Setting
from scipy import ndimage
from torch import Tensor

from temporal_attr import RISE, Tubes, VideoLIME
from temporal_attr.attributions.rise import _compute as rise_compute
from temporal_attr.attributions.video_lime._compute import random_coalitions
from temporal_attr.clips import Normalization
from temporal_attr.models import VideoModel

GRID = (2, 2, 2)
"""Cells of RISE's masks: as its masks are enlarged, corners of the clip belong to a single cell."""
MIDDLE, SPREAD = 128, 40
"""From values of the clip to those of pixels, which are whole numbers there."""
FEW = 2
"""Planted clips in a forward pass: as many as ours takes."""

Classify: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""From videos to scores `(batch, classes)`."""


class Revex(NamedTuple):
    """Its modules, and which commit of it."""

    commit: str
    segmenters: Any
    perturbers: Any
    explainers: Any
    pipelines: Any
    xai: Any


def revex_in(folder: Path) -> Revex:
    """From a checkout."""
    asked = ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    sys.path.insert(0, str(folder))
    modules = ("segmenters", "perturbers", "explainers", "pipelines", "xai")
    return Revex(commit, *(import_module(f"revex_framework.{name}") for name in modules))


def videos_of(clips: Tensor) -> np.ndarray:
    """From `(batch, time, channel, height, width)`."""
    return clips.permute(0, 1, 3, 4, 2).numpy()


def clips_of(videos: np.ndarray) -> Tensor:
    """Back again."""
    return torch.from_numpy(videos).permute(0, 1, 4, 2, 3).contiguous()


def removals(revex: Revex, setting: Setting) -> Iterator[Pair]:
    """The same coalitions and masks, by both."""
    yield from regressions(revex, setting)
    yield from means(revex, setting)


def regressions(revex: Revex, setting: Setting) -> Iterator[Pair]:
    """LIME: kernel, its width, distance and ridge are by default the same on both sides."""
    model, clip, tubes = setting.model, setting.clip, Tubes(4, 2, 2)
    labels = tubes.labels(clip)
    coalitions = random_coalitions(int(labels.max()) + 1, COALITIONS, SEED).numpy().astype(int)
    ours = VideoLIME(
        model, tubes, COALITIONS, 0.0, WIDTH, seed=SEED, perturbations_per_eval=AT_A_TIME
    )

    @torch.no_grad()
    def classify(videos: np.ndarray) -> np.ndarray:
        found: np.ndarray = model(clips_of(videos)).numpy()
        return found

    def peer(left_out: list[int] | None) -> Tensor:
        (video,) = videos_of(clip)
        segments = revex.segmenters.GridSegmenter(video).segment([4, 2, 2])
        perturber = revex.perturbers.MultiplePerturber(video, segments, classify, hide_color=0)
        found = perturber.perturb_and_predict(coalitions, AT_A_TIME, progress_bar=False)
        explainer = revex.explainers.LimeExplainer(coalitions, found)
        scores = dict(explainer.explain(TARGET, WIDTH, non_perturbed_samples=left_out))
        values = np.array([scores[segment] for segment in range(len(scores))])
        return torch.from_numpy(values[segments])[None, :, None].expand_as(clip)

    told = "REVEX Video LIME, told of our coalitions, tubes and baseline"
    run = partial(ours.attribute, clip, TARGET)
    yield Pair("VideoLIME", f"{told}, and to keep the clip itself", run, partial(peer, None))
    yield Pair(
        "VideoLIME",
        told,
        run,
        partial(peer, [0]),
        why="it leaves the clip itself, which has the largest weight, out of the regression",
    )


def means(revex: Revex, setting: Setting) -> Iterator[Pair]:
    """RISE under its masks: its numbers are shares of their sum, compared by how unequal they are.

    It divides the sum of the objective where a cell is kept by how often it was kept; ours takes
    the mean objective off first and divides by how often it is kept on average.
    """
    pixels = (setting.clip.double() * SPREAD + MIDDLE).clamp(0, 255).round()
    (video,) = videos_of(pixels.to(torch.uint8))
    segments = revex.segmenters.RiseSegmenter(video).segment(GRID)

    def logits(own: Tensor, cut: bool) -> Tensor:
        own = own.trunc() if cut else own
        found: Tensor = setting.model(((own - MIDDLE) / SPREAD).float())
        return found

    @torch.no_grad()
    def classify(videos: np.ndarray) -> np.ndarray:
        found: np.ndarray = logits(clips_of(videos).float(), False).softmax(1).numpy()
        return found

    def perturber() -> Any:  # noqa: ANN401 - of a library that need not be there
        return revex.perturbers.MultiplePerturber(video, segments, classify, hide_color=0)

    np.random.seed(SEED)  # It has an option for this, which this perturber does not read.
    coalitions = perturber().get_data(COALITIONS)

    def peer() -> Tensor:
        found = perturber().perturb_and_predict(coalitions, AT_A_TIME, progress_bar=False)
        scores = revex.explainers.MeanExplainer(coalitions, found).explain(TARGET)
        return torch.tensor([score for _, score in scores]) * len(scores) - 1

    cut, plain = (
        partial(cell_shares, rise_of(partial(logits, cut=whether)), pixels, coalitions)
        for whether in (True, False)
    )
    shares, theirs = "RISE under its masks, as shares", "REVEX Video RISE"
    yield Pair(f"{shares}, pixels cut to whole numbers", theirs, cut, peer)
    why = "it cuts the pixels of masked clips to whole numbers"
    yield Pair(shares, theirs, plain, peer, why=why)


def rise_of(logits: Callable[[Tensor], Tensor]) -> RISE:
    """Ours, as it is asked; the masks come later."""
    return RISE(
        logits,
        COALITIONS + 1,
        GRID,
        baselines=0.0,
        objective="probability",
        perturbations_per_eval=AT_A_TIME,
    )


def cell_shares(method: RISE, clip: Tensor, coalitions: np.ndarray) -> Tensor:
    """`(cells,)`: by how much each cell's share of their sum is over an equal one, by our RISE."""
    size = (clip.shape[1], *clip.shape[-2:])
    scale = [length / count for length, count in zip(size, GRID, strict=True)]
    hidden = [ndimage.zoom(1.0 - row.reshape(GRID), scale, order=1) for row in coalitions]
    masks = 1 - torch.from_numpy(np.stack(hidden))
    with patch.object(rise_compute, "drawn_masks", lambda *_: iter(masks.split(AT_A_TIME))):
        found = method.explain(clip, TARGET)
    ends = torch.tensor([0, -1])
    corners = found.attribution[0][ends][..., ends, :][..., ends][:, 0].flatten()
    often = torch.from_numpy(coalitions.sum(0)) / (method.keep * (len(masks) - 1))
    kept = found.mean_value + corners / often
    return kept / kept.mean() - 1


def planted_scores(revex: Revex, samples: int) -> dict[str, Callable[..., Tensor]]:
    """From a model, a clip and a class to scores `(time, height, width)`.

    Its pipelines as they are, but that grey replaces what is masked, as in the others here, and not
    the blurred clip.
    """

    def by(pipeline: Any, model: VideoModel, clip: Tensor, target: int) -> Tensor:  # noqa: ANN401
        assert model.preprocessing is not None
        normalization = model.preprocessing.normalization
        video, grey = bytes_of(clip, normalization), bytes_of(clip * 0, normalization)
        own = copy.deepcopy(pipeline)
        own.per.update(hide_color=grey, num_samples=samples, batch_size=FEW, progress_bar=False)
        own.exp["label_to_explain"] = target
        np.random.seed(SEED)
        return scores_of(revex, own, video, partial(probabilities, model, normalization))

    known = revex.pipelines.ProposedMethods
    hard = copy.deepcopy(known.VideoLIME)
    hard.per["blur_mode"] = None
    return {
        f"REVEX Video RISE, {samples} masks": partial(by, known.VideoRISE),
        f"REVEX Video LIME, {samples} masks": partial(by, known.VideoLIME),
        f"REVEX Video LIME, {samples} masks with sharp edges": partial(by, hard),
    }


def bytes_of(clip: Tensor, normalization: Normalization) -> np.ndarray:
    """The video that a clip was, whose pixels are whole numbers from 0 to 255."""
    found: np.ndarray = videos_of((normalization.invert(clip) * 255).round().to(torch.uint8))[0]
    return found


@torch.no_grad()
def probabilities(
    model: VideoModel, normalization: Normalization, videos: np.ndarray
) -> np.ndarray:
    """Of the classes, for videos of bytes."""
    logits = model(normalization.apply(clips_of(videos).float() / 255))
    found: np.ndarray = logits.softmax(1).numpy()
    return found


def scores_of(
    revex: Revex,
    pipeline: Any,  # noqa: ANN401 - of a library that need not be there
    video: np.ndarray,
    classify: Classify,
) -> Tensor:
    """A score for each place, enlarged as its pictures are where there are fewer."""
    run = revex.xai.Xai(video, classify, pipeline)
    run.segment()
    run.perturb()
    run.explain()
    scores = np.zeros(run.segments.shape)
    for segment, score in run.scores:
        scores[run.segments == segment] = score
    if scores.shape != video.shape[:3]:
        both = zip(video.shape[:3], scores.shape, strict=True)
        scale = [length / count for length, count in both]
        scores = ndimage.zoom(scores, scale, order=1)
    return torch.from_numpy(scores)
