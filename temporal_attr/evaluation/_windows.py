"""Partial uniform sampling: what a model still gets right if each timestep sees a window only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from temporal_attr._errors import FrameLogitsError, OptionError, TargetError
from temporal_attr._require import LONGEST, require_count, require_within
from temporal_attr._typing import ClipTensor, Logits, StepWeights
from temporal_attr.clips import check_layout
from temporal_attr.measures._window_bounds import Windows, seen, window_bounds
from temporal_attr.models import (
    FrameLogits,
    FramewiseModel,
    VideoModel,
    check_fits,
    require_evaluation_mode,
)

# No axis has a name: batches and clips may differ in size.
Labelled: TypeAlias = tuple[Float[Tensor, "_ _ _ _ _"], Int[Tensor, "_"]]


@dataclass(frozen=True)
class WindowAccuracy:
    """How often a model is right when each of its timesteps sees a window only.

    Attributes:
        sizes: The windows, in timesteps.
        accuracy: The share of videos that are right, one for each size.
        full: The same with whole clips.
        videos: How many there were.

    Example:
        >>> curve = WindowAccuracy((1, 2, 4), (0.5, 0.7, 0.8), full=0.8, videos=100)
        >>> dict(zip(curve.sizes, curve.accuracy))
        {1: 0.5, 2: 0.7, 4: 0.8}
    """

    sizes: tuple[int, ...]
    accuracy: tuple[float, ...]
    full: float
    videos: int

    def __post_init__(self) -> None:
        for share in (self.full, *self.accuracy):
            require_within("an accuracy", share, 0, 1)
        require_count("videos", self.videos, 1)


def windowed_logits(
    model: VideoModel, clip: ClipTensor, windows: Windows, perturbations_per_eval: int | None = None
) -> Logits:
    """What a model predicts if each of its timesteps sees its own window only.

    Partial uniform sampling (:cite:t:`fan2022`). For each timestep i the clip is changed as in
    `windowed_clip`, and only timestep i's prediction is kept. The clip's is their sum, weighted as
    the model itself weighs its timesteps: the mean of the paper where the weights are uniform; of
    other models, such as those that read out the last timestep, the mean would be another
    prediction even with whole windows. Timesteps without weight are left out.

    Args:
        model: A `VideoModel` whose logits are the sum of its timesteps'.
        clip: `(batch, time, channel, height, width)`.
        windows: See `window_bounds`; in the model's own timesteps, or, where it has
            `merged_steps`, in groups of so many, as its relevance matrix is.
        perturbations_per_eval: Changed clips (times the batch) per forward pass; by default 1. More
            is faster, and takes more memory.

    Returns:
        `(batch, classes)`, without gradient.

    Costs: one forward pass for each different window, and one of the first clip. A `FramewiseModel`
    encodes each frame once, and repeats only its head.

    Raises:
        FrameLogitsError: If the model has no logits of timesteps, or they do not add up.
        ModelError: If the model is in training mode.
        ClipError: If the clip is none.
        OptionError: If the windows do not fit the clip, or `perturbations_per_eval` is none.

    Example:
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("tam2d", classes=4, widths=(4, 8))
        >>> clip = torch.rand(2, 6, 3, 16, 16)
        >>> whole = windowed_logits(model, clip, windows=6)
        >>> torch.allclose(whole, model(clip), atol=1e-5)
        True
    """
    _require_ready(model, perturbations_per_eval)
    check_layout(clip, model.channels)
    check_fits(model, clip)
    with torch.no_grad():
        return _predict(_reading(model, clip), windows, perturbations_per_eval or 1)


def accuracy_by_window(
    model: VideoModel,
    batches: Iterable[Labelled],
    sizes: Sequence[int],
    perturbations_per_eval: int | None = None,
    show_progress: bool = False,
) -> WindowAccuracy:
    """How accurate a model is when its timesteps see ever more of the clip.

    If the actual temporal range is right, the accuracy is near that of whole clips once the
    windows are as long (the check of :cite:t:`fan2022`).

    Args:
        model: See `windowed_logits`.
        batches: Pairs of clips `(batch, time, channel, height, width)` and their classes
            `(batch,)`; gone through once.
        sizes: Windows, in timesteps. Those longer than a clip are the whole of it.
        perturbations_per_eval: See `windowed_logits`.
        show_progress: Whether to show a bar, a step for each batch.

    Returns:
        The share of videos that are right, for each size and for whole clips.

    Raises:
        OptionError: If there are no sizes or no videos, or labels and clips differ in number;
            and what `windowed_logits` raises.
        TargetError: If labels are no classes of the model.

    Example:
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("tam2d", classes=4, widths=(4, 8))
        >>> batches = [(torch.rand(2, 6, 3, 16, 16), torch.tensor([0, 3]))]
        >>> curve = accuracy_by_window(model, batches, sizes=[1, 3, 6])
        >>> curve.accuracy[-1] == curve.full, curve.videos
        (True, 2)
    """
    _require_ready(model, perturbations_per_eval)
    if not sizes:
        raise OptionError("at least one size", "none", "Try [1, 2, 4, 8].")
    for size in sizes:
        require_count("each of sizes", size, 1)
    right, full, videos = [0] * len(sizes), 0, 0
    for clip, labels in tqdm(batches, "batches", disable=not show_progress, delay=2):
        check_layout(clip, model.channels)
        check_fits(model, clip)
        if labels.shape != clip.shape[:1]:
            got = f"shape {tuple(labels.shape)}"
            raise OptionError(f"labels (batch,) for {len(clip)} clips", got, "Give one for each.")
        with torch.no_grad():
            reading = _reading(model, clip)
            logits = [_predict(reading, size, perturbations_per_eval or 1) for size in sizes]
            every = torch.stack([*logits, model(clip.clone())])
            _require_classes(labels, every.shape[-1])
            hits = every.argmax(-1) == labels.to(clip.device)
        *windowed, whole = hits.sum(1).tolist()
        right = [before + now for before, now in zip(right, windowed, strict=True)]
        full, videos = full + whole, videos + len(clip)
    if not videos:
        raise OptionError("at least one batch", "none", "An iterator can be gone through once.")
    accuracy = tuple(count / videos for count in right)
    return WindowAccuracy(tuple(map(int, sizes)), accuracy, full / videos, videos)


def _require_classes(labels: Tensor, classes: int) -> None:
    """Raise unless labels are classes: of no other could a model be right."""
    outside = [label for label in labels.tolist() if not 0 <= label < classes]
    if outside:
        raise TargetError(
            f"labels from 0 to {classes - 1}, the model's {classes} classes",
            ", ".join(map(str, outside[:3])),
            "Count classes from 0.",
        )


@dataclass(frozen=True, eq=False)
class _Reading:
    """What changes with the window, and the part of the model that reads it.

    Attributes:
        source: `(batch, time, ...)`: frames; or their features, where no frame sees another.
        read: Frames or features to the logits of timesteps.
        weights: Of the timesteps.
        frames_per_step: Of the model.
        merged_steps: Of the model; so many timesteps have one window.
    """

    source: Tensor
    read: Callable[[Tensor], FrameLogits]
    weights: StepWeights
    frames_per_step: int
    merged_steps: int


def _reading(model: VideoModel, clip: Tensor) -> _Reading:
    # Copies, because the model may work in place.
    framewise = isinstance(model, FramewiseModel)
    source = model.features(clip.clone()) if framewise else clip
    read: Callable[[Tensor], FrameLogits] = model.frame_head if framewise else model.frame_logits
    weights = read(source[:1].clone()).weights
    return _Reading(source, read, weights, model.frames_per_step, model.merged_steps)


def _predict(reading: _Reading, windows: Windows, perturbations_per_eval: int) -> Tensor:
    weights, (batch, frames) = reading.weights, reading.source.shape[:2]
    merged, each = reading.merged_steps, reading.frames_per_step * reading.merged_steps
    bounds = window_bounds(windows, len(weights) // merged, frames, each)
    if bounds.ndim == 3 and len(bounds) != batch:
        raise OptionError(f"windows for {batch} clips", f"{len(bounds)}", "Give one row for each.")
    steps = weights.nonzero().flatten()
    every = bounds.to(weights.device).expand(batch, -1, -1).repeat_interleave(merged, 1)
    # Timesteps with the same window, such as those near an end of the clip, share a pass.
    distinct, place = every[:, steps].unique(dim=1, return_inverse=True)
    total: Tensor | None = None
    for start, part in enumerate(distinct.split(perturbations_per_eval, 1)):
        logits = reading.read(seen(reading.source, part)).logits.unflatten(0, part.shape[:2])
        own = place // perturbations_per_eval == start
        chosen = logits[:, place[own] - start * perturbations_per_eval, steps[own]]
        term = torch.einsum("bnk,n->bk", chosen, weights[steps[own]])
        total = term if total is None else total + term
    assert total is not None  # weights sum to 1, so that there is a timestep to read
    return total


def _require_ready(model: object, perturbations_per_eval: int | None) -> None:
    """Raise unless a model's clip logits are the sum of its timesteps', and it is in use."""
    if perturbations_per_eval is not None:
        require_count("perturbations_per_eval", perturbations_per_eval, 1, LONGEST)
    if not isinstance(model, VideoModel):
        raise FrameLogitsError(
            "a VideoModel, whose timesteps each have logits",
            f"{getattr(model, '__name__', type(model).__name__)}, known by its output only",
            "Wrap the model: wrap(model), LateFusion, FrameRecurrent, EarlyFusion or Conv3D.",
        )
    if model.exactness == "none":
        raise FrameLogitsError(
            "a model whose logits are the sum of its timesteps'",
            f"a {type(model).__name__} whose timesteps each predict by themselves "
            '(exactness="none")',
            "Use a model with an affine classifier and a mean, or the last step, over time.",
        )
    require_evaluation_mode(model)
