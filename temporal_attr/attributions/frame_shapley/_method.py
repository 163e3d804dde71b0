"""Shapley values of frames: options and checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from temporal_attr._activation import Activation
from temporal_attr._errors import OptionError
from temporal_attr._require import require_count, require_seed, require_within
from temporal_attr._run import RunContext
from temporal_attr.attributions._estimate import Work
from temporal_attr.attributions._nested import known_normalization
from temporal_attr.attributions._objective_values import PerturbationRequest
from temporal_attr.attributions._perturbing import PerturbingMethod
from temporal_attr.attributions._traits import Traits
from temporal_attr.attributions.frame_shapley._compute import (
    FoundShapley,
    ShapleyRequest,
    shapley_values,
    shapley_work,
)
from temporal_attr.attributions.frame_shapley._result import FrameShapleyResult
from temporal_attr.clips import Normalization
from temporal_attr.gradients import Objective, ObjectiveName
from temporal_attr.models import VideoModel
from temporal_attr.perturbations import (
    AbsentFrames,
    FeatureMask,
    FrameBaselines,
    as_feature_mask,
    check_frame_baselines,
    is_relational,
)


class FrameShapley(PerturbingMethod[ShapleyRequest, FoundShapley, FrameShapleyResult]):
    r"""The Shapley value of every frame: how much of the prediction it contributes.

    v(S) is the objective of the clip with only the frames S present. The value of frame t is its
    mean contribution over all orders in which frames can come in :cite:p:`shapley1953`,

    .. math:: \phi_t = \sum_{S \not\ni t} \frac{|S|!\,(T-|S|-1)!}{T!}\,
              \bigl(v(S \cup t) - v(S)\bigr),

    so :math:`\sum_t \phi_t = v(\text{all}) - v(\text{none})`. With `baselines="removal"` it is the
    element Shapley value of :cite:t:`price2020` (their equation 2), but for v(none), which they
    take from the training data, and which is here the objective of the clip's mean frame.

    It is computed exactly, from all :math:`2^T` coalitions, for up to 12 frames; in closed form
    where a model is the mean over frames of a linear classifier's logits, and absent frames are
    replaced by a baseline; otherwise estimated from random permutations, each drawn with its
    reverse, with a standard error over such pairs. Each pair adds up exactly.

    With `feature_mask` the regions of every frame share what the frame has (Owen values
    :cite:p:`owen1977`): frames come in random order, and the regions of a frame one after another
    in random order. They are always estimated.

    Args:
        model: A `VideoModel`, or a function of clips that returns logits `(batch, classes)`.
        baselines: What replaces an absent frame. `"neighbour"`, the last present frame
            before it, or the first after it: a video that freezes, whose frames are all natural.
            `"removal"`: nothing, the clip is shorter (for models that take any number of frames).
            A number in input values, `"mean"` (of each channel), `"blur"`, or a tensor that fits
            the clip, such as another clip. For regions one of the last four.
        n_samples: Permutations that are drawn, an even number; by default all coalitions of clips
            of up to 12 frames, and 64 permutations of longer ones.
        until: Stop before `n_samples` when the largest standard error is at most this share of the
            range of the values :cite:p:`covert2021`; seen after every 8 pairs.
        feature_mask: Regions of frames, as `Blocks(32, 32)`; None for whole frames.
        objective: `"logit"` of the target, `"probability"`, `"log_probability"`, `"loss"`, or a
            function `(logits, target) -> (batch,)`.
        normalization: For regions that are found in pixels; by default the model's.
        perturbations_per_eval: Coalitions that go through the model at a time; by default as many
            as have 16 frames, and fewer where memory is short.
        seed: Of the permutations, which are the same for every clip.
        activation: What turns the model's outputs into probabilities; see `TemporalGradient`.

    Costs (F = forward pass): of a framewise model 1 F, and the frames that stand for absent ones;
    a head for each coalition. Of others a pass for each coalition: 2^T, or (T - 1) for each
    permutation. `estimate` says it of a clip at hand.

    Example:
        >>> import torch
        >>> from temporal_attr.models import LateFusion
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 5)).eval()
        >>> model, clip = LateFusion(network), torch.rand(1, 4, 3, 8, 8)
        >>> found = FrameShapley(model, baselines=0.0).attribute(clip, target=2)
        >>> own = network(clip[0])[:, 2] - network(torch.zeros(1, 3, 8, 8))[:, 2]
        >>> torch.allclose(found[0], own / 4, atol=1e-6)
        True
    """

    name = "Frame Shapley"
    traits = Traits(
        slug="frame-shapley",
        question="How much of the prediction does each frame contribute, whatever others are seen?",
        gives="Shapley value of each frame",
        axes="batch time",
        sign="signed",
        unit="objective",
        needs=("forward passes",),
        cost="2^T F, or (T - 1) F for each permutation; framewise model: at most 2 F",
        source="shapley1953",
        random=True,
    )

    def __init__(
        self,
        model: VideoModel | Callable[..., Any],
        baselines: FrameBaselines = "neighbour",
        n_samples: int | None = None,
        until: float | None = None,
        feature_mask: FeatureMask | Tensor | None = None,
        objective: ObjectiveName | Objective = "logit",
        normalization: Normalization | None = None,
        perturbations_per_eval: int | None = None,
        seed: int = 0,
        activation: Activation | None = None,
    ) -> None:
        super().__init__(model, objective, perturbations_per_eval, activation)
        require_seed(seed)
        check_frame_baselines(baselines)
        if n_samples is not None:
            require_count("n_samples", n_samples, 2)
            if n_samples % 2:
                raise OptionError(
                    "an even n_samples, as permutations are drawn in pairs",
                    str(n_samples),
                    "Take one more.",
                )
        if until is not None:
            require_within("until", until, 0)
        self.normalization = known_normalization(self.model, normalization)
        self.feature_mask = None if feature_mask is None else as_feature_mask(feature_mask)
        if self.feature_mask is not None:
            self.feature_mask.require_pixels(self.normalization)
            if is_relational(baselines):
                raise OptionError(
                    "baselines with a value for every pixel, for regions of frames",
                    repr(baselines),
                    'Give a number, "mean", "blur" or a tensor.',
                )
        self.baselines, self.n_samples, self.until, self.seed = baselines, n_samples, until, seed

    def _prepared(self, asked: PerturbationRequest) -> ShapleyRequest:
        # Before the work, as a tensor may not fit the clip.
        AbsentFrames(asked.clip, self.baselines)
        labels = None
        if self.feature_mask is not None:
            labels = self.feature_mask.labels(asked.clip, self.normalization)
        return ShapleyRequest(asked, self.baselines, labels, self.n_samples, self.until, self.seed)

    def _found(self, request: ShapleyRequest, run: RunContext) -> FoundShapley:
        return shapley_values(request, run)

    def _result(
        self, request: ShapleyRequest, found: FoundShapley, said: dict[str, Any]
    ) -> FrameShapleyResult:
        return FrameShapleyResult(
            **said,
            frame_scores=found.attributed,
            standard_error=found.error,
            full_value=found.full,
            empty_value=found.empty,
            evaluations=found.evaluations,
            permutations=found.permutations,
            complete=found.complete,
            objective=self.objective_name,
            region_scores=found.region_values,
            region_error=found.region_error,
        )

    def _cost(self, request: ShapleyRequest) -> Work:
        return shapley_work(request)
