"""Clips of which some features are masked: what the model makes of each such coalition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from temporal_attr._errors import ClipError, OptionError
from temporal_attr._require import require_count
from temporal_attr._run import RunContext
from temporal_attr._typing import ClipTensor, FrameScores, Logits, Target
from temporal_attr.attributions._estimate import Work
from temporal_attr.attributions._nested import known_normalization
from temporal_attr.attributions._objective_values import (
    ObjectiveValues,
    PerturbationRequest,
    check_pixel_baselines,
    clip_by_clip,
    perturbation_work,
    pixel_baseline,
    values_so_far,
)
from temporal_attr.clips import Normalization
from temporal_attr.models import VideoModel
from temporal_attr.perturbations import (
    Baselines,
    FeatureMask,
    Labels,
    Tubes,
    as_feature_mask,
    at_least_single,
    masked_compositions,
)

Coalitions = Bool[Tensor, "coalitions features"]

AT_A_TIME = 256
"""Coalitions whose frames are listed at a time."""


@dataclass(frozen=True)
class MaskedFeatures:
    """What a method masks: the features, and the baseline that replaces them; checked.

    Args:
        model: Whose normalization is known, or not.
        feature_mask: As a method takes it; None for 4 x 4 x 4 tubes.
        baselines: With a value for every pixel.
        normalization: How pixel values became input values; by default as the model knows it.

    Raises:
        OptionError: If these are no features or baselines.
        ModelError: If features are found in pixels, and nothing says what these were.
    """

    model: VideoModel | Callable[..., Any]
    feature_mask: FeatureMask | Tensor | None
    baselines: Baselines
    normalization: Normalization | None

    def __post_init__(self) -> None:
        mask = as_feature_mask(self.feature_mask, otherwise=Tubes())
        known = known_normalization(self.model, self.normalization)
        mask.require_pixels(known)
        check_pixel_baselines(self.baselines)
        object.__setattr__(self, "feature_mask", mask)
        object.__setattr__(self, "normalization", known)

    def of(self, asked: PerturbationRequest, least: int, samples: int) -> FeatureRequest:
        """The features of the clips at hand.

        Args:
            asked: Of which model, for which class.
            least: How many features a clip must have.
            samples: How many coalitions there will be.

        Raises:
            ClipError: If features or baselines do not fit the clips, or there are too few features.
        """
        assert isinstance(self.feature_mask, FeatureMask)
        labels = self.feature_mask.labels(asked.clip, self.normalization)
        # Numbers can have gaps, and each clip its own features.
        own = [torch.unique(one, return_inverse=True)[1] for one in labels]
        request = FeatureRequest(
            asked, pixel_baseline(asked.clip, self.baselines), torch.stack(own), samples
        )
        fewest = min(request.features)
        if fewest < least:
            raise ClipError(
                f"at least {least} features of every clip",
                f"{fewest}",
                "Give a feature_mask with more, such as Tubes(4, 4, 4).",
            )
        return request


@dataclass(frozen=True)
class FeatureRequest:
    """What is asked.

    Attributes:
        asked: Of which model, for which class.
        baseline: What each value becomes where it is masked.
        labels: `(batch, time, height, width)`, the feature of each pixel, numbered without gaps in
            every clip.
        samples: How many coalitions of each clip are asked for.
    """

    asked: PerturbationRequest
    baseline: ClipTensor
    labels: Labels
    samples: int

    @property
    def features(self) -> tuple[int, ...]:
        """How many each clip has."""
        return tuple(int(own.max()) + 1 for own in self.labels)


@dataclass(frozen=True)
class FeatureValues:
    """What was found for the features of one clip.

    Attributes:
        values: `(features,)`, float64.
        error: `(features,)`, their standard errors; 0 where they are exact, None where a method
            tells none.
        offset: What there is without features: the intercept, or the objective with all masked.
        samples: How many coalitions were used.
        fit: The share of the variance of the coalitions' objective that the values explain.
        complete: False if the run was stopped.
    """

    values: Float[Tensor, "features"]
    error: Float[Tensor, "features"] | None
    offset: float
    samples: int
    fit: float
    complete: bool = True


@dataclass(frozen=True)
class FoundFeatures:
    """What was found.

    Attributes:
        logits: `(batch, classes)`, of the clips as they are.
        target: `(batch,)`.
        attributed: `(batch, time, channel, height, width)`, the value of each pixel's feature.
        frame_scores: `(batch, time)`, the values of features, each by the share of its pixels that
            lies in the frame.
        full: `(batch,)`, the objective of the clips.
        of_clips: What was found for each clip.
        complete: Whether no run was stopped.
    """

    logits: Logits
    target: Target
    attributed: ClipTensor
    frame_scores: FrameScores
    full: Tensor
    of_clips: tuple[FeatureValues, ...]
    complete: bool


def found_features(
    request: FeatureRequest,
    run: RunContext,
    coalitions: Callable[[int], Coalitions],
    regression: Callable[[Coalitions, Tensor, float], FeatureValues],
) -> FoundFeatures:
    """The values of the features of every clip, one clip after another.

    Args:
        request: What is asked.
        run: Counts the passes.
        coalitions: From the number of features to the coalitions that are asked for.
        regression: From coalitions, their objective and that of the clip to values of features.
    """
    asked, clip = request.asked, request.asked.clip
    values = ObjectiveValues(asked, run)

    def of_clip(example: int) -> FeatureValues:
        present = coalitions(request.features[example])
        objective = _objective_so_far(request, values, example, present, run)
        whole = len(objective) == len(present)
        full = float(values.of_clips[example])
        try:
            one = regression(present[: len(objective)], objective, full)
        except OptionError:
            if whole:
                raise
            # Stopped before there was enough to tell the features apart.
            raise KeyboardInterrupt from None
        return one if whole else replace(one, complete=False)

    def unknown(example: int) -> FeatureValues:
        nothing = torch.full((request.features[example],), torch.nan, dtype=torch.float64)
        return FeatureValues(nothing, nothing, torch.nan, 0, torch.nan, complete=False)

    found = clip_by_clip(len(clip), of_clip, unknown, lambda one: one.complete, asked.on_stop)
    pixels = [one.values[own.cpu()] for one, own in zip(found, request.labels, strict=True)]
    shares = [
        _frame_shares(own, features) @ one.values
        for one, own, features in zip(found, request.labels, request.features, strict=True)
    ]
    precise = at_least_single(clip.dtype)
    attributed = torch.stack(pixels)[:, :, None].to(clip.device, precise)
    return FoundFeatures(
        logits=values.logits,
        target=values.target,
        attributed=attributed.expand_as(clip).contiguous(),
        frame_scores=torch.stack(shares).to(clip.device, precise),
        full=values.of_clips.to(clip.device, precise),
        of_clips=tuple(found),
        complete=all(one.complete for one in found),
    )


def _objective_so_far(
    request: FeatureRequest,
    values: ObjectiveValues,
    example: int,
    present: Coalitions,
    run: RunContext,
) -> Float[Tensor, "done"]:
    """The objective of one clip's coalitions, as far as a run comes; some are made at a time."""
    clip, found = request.asked.clip, []
    whole = _padded(present, request).to(clip.device)
    with run.progress(len(present), f"clip {example}, coalitions") as bar:
        for part in whole.split(AT_A_TIME):
            rows = torch.full((len(part),), example, device=clip.device)
            composed = masked_compositions(clip, request.baseline, request.labels, part, rows)
            try:
                found.append(values_so_far(values, composed, bar, request.asked.on_stop))
            except KeyboardInterrupt:
                if request.asked.on_stop == "raise" or not found:
                    raise
                break
            if len(found[-1]) < len(part):
                break
    return torch.cat(found)


def _padded(present: Coalitions, request: FeatureRequest) -> Coalitions:
    """With a column for the features of the clip that has most."""
    missing = max(request.features) - present.shape[1]
    return torch.cat([present, present.new_ones(len(present), missing)], 1)


def _frame_shares(labels: Tensor, features: int) -> Float[Tensor, "time features"]:
    """Which share of each feature's pixels lies in each frame."""
    counts = torch.stack([torch.bincount(own.flatten(), minlength=features) for own in labels])
    shares: Tensor = counts.double() / counts.sum(0)
    return shares.cpu()


def feature_work(request: FeatureRequest) -> Work:
    """What it takes: a clip for each coalition; fewer distinct frames where they come again."""
    batch, time = request.asked.clip.shape[:2]
    clips = batch * request.samples
    return perturbation_work(request.asked, clips, lambda: clips * time, exact=False)


def require_samples(n_samples: object) -> int:
    """The number of coalitions, checked."""
    require_count("n_samples", n_samples, 2)
    assert isinstance(n_samples, int)
    return n_samples


def explained_share(
    found: Float[np.ndarray, "coalitions"],
    told: Float[np.ndarray, "coalitions"],
    weights: Float[np.ndarray, "coalitions"],
) -> float:
    """The share of a weighted variance that is explained; 1 where nothing varies.

    Example:
        >>> explained_share(np.array([1.0, 3.0]), np.array([1.5, 2.5]), np.ones(2))
        0.75
    """
    middle = np.average(found, weights=weights)
    spread = float((weights * (found - middle) ** 2).sum())
    left = float((weights * (found - told) ** 2).sum())
    # Rounding of what does not vary is no variance.
    if spread <= len(found) * (np.finfo(float).eps * np.abs(found).max()) ** 2 * 16:
        return 1.0
    return 1 - left / spread


def too_few(features: int) -> OptionError:
    """The error of coalitions that do not tell features apart."""
    return OptionError(
        f"coalitions that tell {features} features apart",
        "fewer, or alike ones",
        f"Give n_samples of {4 * features} or more, or a feature_mask with fewer features.",
    )
