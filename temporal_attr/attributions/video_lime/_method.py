"""A local linear model of the prediction: options and checks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from temporal_attr._activation import Activation
from temporal_attr._errors import OptionError
from temporal_attr._require import require_seed, require_within
from temporal_attr._run import RunContext
from temporal_attr.attributions._estimate import Work
from temporal_attr.attributions._feature_coalitions import (
    Coalitions,
    FeatureRequest,
    FeatureValues,
    FoundFeatures,
    MaskedFeatures,
    feature_work,
    found_features,
    require_samples,
)
from temporal_attr.attributions._objective_values import PerturbationRequest
from temporal_attr.attributions._perturbing import PerturbingMethod
from temporal_attr.attributions._traits import CLIP_AXES, Traits
from temporal_attr.attributions.video_lime._compute import random_coalitions, ridge
from temporal_attr.attributions.video_lime._result import VideoLIMEResult
from temporal_attr.clips import Normalization
from temporal_attr.gradients import Objective, ObjectiveName
from temporal_attr.models import VideoModel
from temporal_attr.perturbations import Baselines, FeatureMask


class VideoLIME(PerturbingMethod[FeatureRequest, FoundFeatures, VideoLIMEResult]):
    r"""The linear model of tubes or regions that comes closest to the prediction around the clip.

    Features are masked at random, and the objective of such clips is fitted by a ridge regression
    on which features were present, weighted by :math:`\exp(-d^2 / (2 \sigma^2))` with d the cosine
    distance to the clip as it is :cite:p:`ribeiro2016` (their equation 1; weights and ridge are
    those of their code for images, and of Captum, while the paper's text has no 2). How well the
    linear model does is in the result's `fit`.

    Args:
        model: A `VideoModel`, or a function of clips that returns logits `(batch, classes)`.
        feature_mask: What is masked together: `Tubes(time, height, width)` (the default, 4 along
            each axis), `Supervoxels(n_segments)`, or a tensor of whole numbers as in Captum. A
            feature with pixels in several frames is masked in all of them.
        n_samples: How many coalitions of each clip are evaluated; the first has all features.
        baselines: What replaces what is masked: a number in input values, `"mean"` (of each
            channel), `"blur"`, or a tensor that fits the clip.
        kernel_width: Sigma, over 0: how far from the clip coalitions still count.
        alpha: The penalty of the ridge, 0 or more.
        objective: `"logit"` of the target, `"probability"`, `"log_probability"`, `"loss"`, or a
            function `(logits, target) -> (batch,)`.
        normalization: For features that are found in pixels; by default the model's.
        perturbations_per_eval: Clips that go through the model at a time; by default as many as
            have 16 frames, and fewer where memory is short.
        seed: Of the coalitions, which are the same for every clip with as many features.
        activation: What turns the model's outputs into probabilities; see `TemporalGradient`.

    Costs (F = forward pass): a pass for each coalition.

    Example:
        >>> import torch
        >>> from temporal_attr import Tubes
        >>> halves = lambda clip: clip[..., :2].mean((1, 3, 4)) + 3 * clip[..., 2:].mean((1, 3, 4))
        >>> method = VideoLIME(halves, Tubes(1, 1, 2), n_samples=50, baselines=0.0, alpha=0.0)
        >>> found = method.attribute(torch.ones(1, 2, 3, 1, 4), target=0)[0, 0, 0]
        >>> torch.allclose(found, torch.tensor([[1.0, 1.0, 3.0, 3.0]]), atol=1e-5)
        True
    """

    name = "Video LIME"
    traits = Traits(
        slug="video-lime",
        question="Which tubes or regions does a simple model of the prediction rely on, near this "
        "clip?",
        gives="coefficient of each pixel's feature",
        axes=CLIP_AXES,
        sign="signed",
        unit="objective",
        needs=("forward passes",),
        cost="(S + 1) F, where S is the number of coalitions; fewer for framewise models",
        source="ribeiro2016",
        random=True,
    )

    def __init__(
        self,
        model: VideoModel | Callable[..., Any],
        feature_mask: FeatureMask | Tensor | None = None,
        n_samples: int = 500,
        baselines: Baselines = "blur",
        kernel_width: float = 0.25,
        alpha: float = 1.0,
        objective: ObjectiveName | Objective = "logit",
        normalization: Normalization | None = None,
        perturbations_per_eval: int | None = None,
        seed: int = 0,
        activation: Activation | None = None,
    ) -> None:
        super().__init__(model, objective, perturbations_per_eval, activation)
        require_seed(seed)
        require_within("kernel_width", kernel_width, 0)
        if not kernel_width:
            raise OptionError("kernel_width over 0", str(kernel_width), "Try 0.25.")
        require_within("alpha", alpha, 0)
        self.features = MaskedFeatures(self.model, feature_mask, baselines, normalization)
        self.n_samples, self.seed = require_samples(n_samples), seed
        self.kernel_width, self.alpha = float(kernel_width), float(alpha)

    def _prepared(self, asked: PerturbationRequest) -> FeatureRequest:
        return self.features.of(asked, 1, self.n_samples)

    def _found(self, request: FeatureRequest, run: RunContext) -> FoundFeatures:
        drawn = partial(random_coalitions, samples=request.samples, seed=self.seed)
        return found_features(request, run, drawn, self._regression)

    def _regression(self, coalitions: Coalitions, objective: Tensor, full: float) -> FeatureValues:
        return ridge(coalitions, objective, self.kernel_width, self.alpha)

    def _result(
        self, request: FeatureRequest, found: FoundFeatures, said: dict[str, Any]
    ) -> VideoLIMEResult:
        like = found.full
        return VideoLIMEResult(
            **said,
            attribution=found.attributed,
            frame_scores=found.frame_scores,
            full_value=found.full,
            fit=torch.tensor([one.fit for one in found.of_clips]).to(like),
            features=request.features,
            samples=tuple(one.samples for one in found.of_clips),
            complete=found.complete,
            objective=self.objective_name,
            intercept=torch.tensor([one.offset for one in found.of_clips]).to(like),
        )

    def _cost(self, request: FeatureRequest) -> Work:
        return feature_work(request)
