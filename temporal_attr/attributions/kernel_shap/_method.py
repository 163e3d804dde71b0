"""Shapley values of features by regression: options and checks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from temporal_attr._activation import Activation
from temporal_attr._require import require_seed
from temporal_attr._run import RunContext
from temporal_attr.attributions._estimate import Work
from temporal_attr.attributions._feature_coalitions import (
    FeatureRequest,
    FoundFeatures,
    MaskedFeatures,
    feature_work,
    found_features,
    require_samples,
    too_few,
)
from temporal_attr.attributions._objective_values import PerturbationRequest
from temporal_attr.attributions._perturbing import PerturbingMethod
from temporal_attr.attributions._traits import CLIP_AXES, Traits
from temporal_attr.attributions.kernel_shap._compute import (
    every_coalition,
    shapley_coalitions,
    shapley_regression,
)
from temporal_attr.attributions.kernel_shap._result import KernelSHAPResult
from temporal_attr.clips import Normalization
from temporal_attr.gradients import Objective, ObjectiveName
from temporal_attr.models import VideoModel
from temporal_attr.perturbations import Baselines, FeatureMask


class KernelSHAP(PerturbingMethod[FeatureRequest, FoundFeatures, KernelSHAPResult]):
    r"""The Shapley value of tubes or regions of the clip, by weighted regression.

    Of all linear functions of which features are present, the one that comes closest to the
    objective of the clips with only these features, under the weights
    :math:`\frac{M - 1}{\binom{M}{s} s (M - s)}` for s of M features present, has the Shapley values
    for coefficients :cite:p:`lundberg2017` (their theorem 2). It is solved with the sum of the
    values fixed to the objective of the clip less that with all features masked, so that they add
    up exactly. Up to `n_samples` all coalitions are evaluated, and the values are exact; beyond
    that, coalitions are drawn with the sizes that the kernel prefers, each with its complement, and
    the standard errors come from the same draws :cite:p:`covert2021`.

    Args:
        model: A `VideoModel`, or a function of clips that returns logits `(batch, classes)`.
        feature_mask: What is masked together: `Tubes(time, height, width)` (the default, 4 along
            each axis), `Supervoxels(n_segments)`, or a tensor of whole numbers as in Captum. A
            feature with pixels in several frames is masked in all of them.
        n_samples: How many coalitions of each clip are evaluated at most.
        baselines: What replaces what is masked: a number in input values, `"mean"` (of each
            channel), `"blur"`, or a tensor that fits the clip.
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
        >>> method = KernelSHAP(halves, Tubes(1, 1, 2), baselines=0.0)
        >>> method.attribute(torch.ones(1, 2, 3, 1, 4), target=0)[0, 0, 0]
        tensor([[1., 1., 3., 3.]])
    """

    name = "Kernel SHAP"
    traits = Traits(
        slug="kernel-shap",
        question="How much of the prediction does each tube or region contribute, whatever others "
        "are seen?",
        gives="Shapley value of each pixel's feature",
        axes=CLIP_AXES,
        sign="signed",
        unit="objective",
        needs=("forward passes",),
        cost="(S + 1) F, where S is the number of coalitions; fewer for framewise models",
        source="lundberg2017",
        random=True,
    )

    def __init__(
        self,
        model: VideoModel | Callable[..., Any],
        feature_mask: FeatureMask | Tensor | None = None,
        n_samples: int = 500,
        baselines: Baselines = "blur",
        objective: ObjectiveName | Objective = "logit",
        normalization: Normalization | None = None,
        perturbations_per_eval: int | None = None,
        seed: int = 0,
        activation: Activation | None = None,
    ) -> None:
        super().__init__(model, objective, perturbations_per_eval, activation)
        require_seed(seed)
        self.features = MaskedFeatures(self.model, feature_mask, baselines, normalization)
        self.n_samples, self.seed = require_samples(n_samples), seed

    def _prepared(self, asked: PerturbationRequest) -> FeatureRequest:
        request = self.features.of(asked, 1, self.n_samples)
        for features in request.features:
            # Told before the work. A coalition and its complement say one thing of the features.
            pairs = (self.n_samples - 1) // 2
            if pairs < features - 1 and not every_coalition(features, self.n_samples):
                raise too_few(features)
        return request

    def _found(self, request: FeatureRequest, run: RunContext) -> FoundFeatures:
        drawn = partial(shapley_coalitions, samples=request.samples, seed=self.seed)
        return found_features(
            request, run, drawn, partial(shapley_regression, samples=request.samples)
        )

    def _result(
        self, request: FeatureRequest, found: FoundFeatures, said: dict[str, Any]
    ) -> KernelSHAPResult:
        like = found.full
        errors = [
            one.error[own.cpu()]
            for one, own in zip(found.of_clips, request.labels, strict=True)
            if one.error is not None
        ]
        return KernelSHAPResult(
            **said,
            attribution=found.attributed,
            frame_scores=found.frame_scores,
            full_value=found.full,
            fit=torch.tensor([one.fit for one in found.of_clips]).to(like),
            features=request.features,
            samples=tuple(one.samples for one in found.of_clips),
            complete=found.complete,
            objective=self.objective_name,
            empty_value=torch.tensor([one.offset for one in found.of_clips]).to(like),
            error_map=torch.stack(errors).to(like),
        )

    def _cost(self, request: FeatureRequest) -> Work:
        return feature_work(request)
