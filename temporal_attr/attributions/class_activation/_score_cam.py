"""Class activation maps whose weights come from forward passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from captum.attr import PerturbationAttribution

from temporal_attr._activation import Activation
from temporal_attr._require import require_count
from temporal_attr._run import RunContext
from temporal_attr._typing import TargetLike
from temporal_attr.attributions._estimate import Call, Work
from temporal_attr.attributions._objective_values import check_pixel_baselines, pixel_baseline
from temporal_attr.attributions._traits import CLIP_AXES, Traits
from temporal_attr.attributions.class_activation._compute import ActivationRequest, ClassActivation
from temporal_attr.attributions.class_activation._layers import LayerLike
from temporal_attr.attributions.class_activation._masked_scores import (
    ScoreRequest,
    score_activation,
    score_work,
)
from temporal_attr.attributions.class_activation._method import ClassActivationMethod
from temporal_attr.models import VideoModel
from temporal_attr.perturbations import Baselines


class ScoreCAM(ClassActivationMethod, PerturbationAttribution):  # type: ignore[misc]
    r"""Score-CAM :cite:p:`wang2020`, in space and time: weights without gradients.

    Each channel of the layer, brought to 0 at its least value in the clip and 1 at its largest, and
    enlarged to the clip, is a mask. A channel's weight is the softmax, over channels, of the
    target's logit of the clip under its mask:

    .. math::
        M_{tij} = \mathrm{ReLU}\Big(\sum_k \alpha_k A^k_{tij}\Big), \qquad
        \alpha = \mathrm{softmax}_k\, S(X \circ H^k + B \circ (1 - H^k)), \qquad
        H^k = \mathrm{up}\Big(\frac{A^k - \min A^k}{\max A^k - \min A^k}\Big)

    The logit of the baseline B, which the source takes off each, is left out: a softmax does not
    see it. A channel that is the same everywhere masks the whole clip. In a
    video the least and the largest value are those of all steps. Channels of several pathways share
    one softmax.

    The softmax is of logits as they are: where they are large, one channel has all the weight.

    Args:
        model: See `GradCAM`.
        layer: See `GradCAM`.
        relu: See `GradCAM`.
        baselines: What replaces what is masked: a number in the model's input values, `"mean"`
            (the mean of each channel over the clip), `"blur"`, or a tensor that fits the clip.
        perturbations_per_eval: Masked clips in one forward pass; by default as many as have 16
            frames, and fewer if those do not fit.
        activation: See `GradCAM`.

    Costs: a forward pass for each channel of the layer, and one more; axes are found as by
    `GradCAM`.

    Example:
        >>> import torch
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("late-fusion", classes=4, widths=(4, 8))
        >>> clip = torch.rand(1, 4, 3, 32, 32)
        >>> run = ScoreCAM(model, perturbations_per_eval=2).explain(clip, target=1).run
        >>> run.forward_passes, run.backward_passes  # of 8 channels
        (9.0, 0.0)
    """

    name = "Score-CAM"
    traits = Traits(
        slug="score-cam",
        question="Under which parts of a layer's map is the logit large, asked without gradients?",
        gives="map of a layer, on the pixels",
        axes=CLIP_AXES,
        sign="non-negative",
        unit="feature values",
        needs=("forward passes", "layers"),
        cost="(K + 1) F (K channels of the layer)",
        source="wang2020",
    )

    def __init__(
        self,
        model: VideoModel | Callable[..., Any],
        layer: LayerLike = "last",
        relu: bool = True,
        baselines: Baselines = 0.0,
        perturbations_per_eval: int | None = None,
        activation: Activation | None = None,
    ) -> None:
        super().__init__(model, layer, relu, activation)
        check_pixel_baselines(baselines)
        if perturbations_per_eval is not None:
            require_count("perturbations_per_eval", perturbations_per_eval, 1)
        self.baselines = baselines
        self.perturbations_per_eval = perturbations_per_eval

    def _computed(self, request: ActivationRequest, run: RunContext) -> ClassActivation:
        return score_activation(self._scored(request), run)

    def _work(self, inputs: object, target: TargetLike, arguments: object, of: Call) -> Work:
        """Of both calls, which compute the same."""
        return score_work(self._scored(self._request(inputs, target, arguments)))

    def _scored(self, request: ActivationRequest) -> ScoreRequest:
        baseline = pixel_baseline(request.clip, self.baselines)
        return ScoreRequest(request, baseline, self.perturbations_per_eval)
