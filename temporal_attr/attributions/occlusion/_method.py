"""Tubes of pixels that are masked: options and checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from temporal_attr._activation import Activation
from temporal_attr._errors import ClipError, OptionError
from temporal_attr._run import RunContext
from temporal_attr.attributions._estimate import Work
from temporal_attr.attributions._objective_values import (
    PerturbationRequest,
    check_pixel_baselines,
    pixel_baseline,
    three_sizes,
)
from temporal_attr.attributions._perturbing import PerturbingMethod
from temporal_attr.attributions._traits import CLIP_AXES, Traits
from temporal_attr.attributions.occlusion._compute import (
    FoundOcclusion,
    OcclusionRequest,
    occluded,
    occlusion_work,
)
from temporal_attr.attributions.occlusion._result import OcclusionResult
from temporal_attr.gradients import Objective, ObjectiveName
from temporal_attr.models import VideoModel
from temporal_attr.perturbations import Baselines


class Occlusion(PerturbingMethod[OcclusionRequest, FoundOcclusion, OcclusionResult]):
    """By how much the prediction drops when a tube of pixels is masked.

    The window moves over the clip along time, height and width :cite:p:`zeiler2014`, and is moved
    inside at the far ends, so that every place is covered. A place gets the mean drop over the
    windows that mask it, as in Captum's `Occlusion`, with which it agrees where strides divide the
    clip. A masked clip is none that a camera took; the blur is the mildest of the baselines.

    Args:
        model: A `VideoModel`, or a function of clips that returns logits `(batch, classes)`.
        sliding_window_shapes: Frames, and pixels of the height and of the width, that are masked
            together; by default a quarter of each, at least 1.
        strides: By how much the window moves along each, at most its size; by default half of it.
        baselines: What replaces what is masked: a number in input values, `"mean"` (of each
            channel), `"blur"`, or a tensor that fits the clip.
        objective: `"logit"` of the target, `"probability"`, `"log_probability"`, `"loss"`, or a
            function `(logits, target) -> (batch,)`.
        perturbations_per_eval: Clips that go through the model at a time; by default as many as
            have 16 frames, and fewer where memory is short.
        activation: What turns the model's outputs into probabilities; see `TemporalGradient`.

    Costs (F = forward pass): a pass for each window. Of a framewise model each frame is encoded
    once for each place of the window in it, however many windows in time mask it there.

    Example:
        >>> import torch
        >>> corner = lambda clip: clip[:, 1, :, 0, 0]
        >>> method = Occlusion(corner, (1, 2, 2), strides=(1, 2, 2), baselines=0.0)
        >>> method.attribute(torch.ones(1, 3, 3, 4, 4), target=0)[0, 1, 0]
        tensor([[1., 1., 0., 0.],
                [1., 1., 0., 0.],
                [0., 0., 0., 0.],
                [0., 0., 0., 0.]])
    """

    name = "Occlusion"
    traits = Traits(
        slug="occlusion",
        question="Which tube of pixels does the prediction lose most by?",
        gives="mean drop over the windows that mask each place",
        axes=CLIP_AXES,
        sign="signed",
        unit="objective",
        needs=("forward passes",),
        cost="(W + 1) F, where W is the number of windows; framewise model: (V + 1) F, where V is "
        "the number of places of the window in a frame",
        source="zeiler2014",
    )

    def __init__(
        self,
        model: VideoModel | Callable[..., Any],
        sliding_window_shapes: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
        baselines: Baselines = "blur",
        objective: ObjectiveName | Objective = "logit",
        perturbations_per_eval: int | None = None,
        activation: Activation | None = None,
    ) -> None:
        super().__init__(model, objective, perturbations_per_eval, activation)
        check_pixel_baselines(baselines)
        shapes = sliding_window_shapes
        self.window = None if shapes is None else three_sizes("sliding_window_shapes", shapes)
        self.strides = None if strides is None else three_sizes("strides", strides)
        self.baselines = baselines

    def _prepared(self, asked: PerturbationRequest) -> OcclusionRequest:
        time, _, height, width = asked.clip.shape[1:]
        lengths = (time, height, width)
        window = self.window or three_sizes("window", [max(1, length // 4) for length in lengths])
        if any(size > length for size, length in zip(window, lengths, strict=True)):
            raise ClipError(
                f"a clip of at least {window[0]} frames of {window[1]} x {window[2]} pixels, as "
                "the window has",
                f"{time} frames of {height} x {width}",
                "Give a smaller window.",
            )
        stride = self.strides or three_sizes("strides", [max(1, size // 2) for size in window])
        if any(step > size for step, size in zip(stride, window, strict=True)):
            raise OptionError(
                f"strides of at most the window, {window}, so that every place is covered",
                str(stride),
                "Give smaller strides.",
            )
        return OcclusionRequest(asked, pixel_baseline(asked.clip, self.baselines), window, stride)

    def _found(self, request: OcclusionRequest, run: RunContext) -> FoundOcclusion:
        return occluded(request, run)

    def _result(
        self, request: OcclusionRequest, found: FoundOcclusion, said: dict[str, Any]
    ) -> OcclusionResult:
        return OcclusionResult(
            **said,
            attribution=found.attributed,
            frame_scores=found.attributed.mean((2, 3, 4)),
            drops=found.drops,
            window=request.window,
            stride=request.stride,
            complete=found.complete,
            objective=self.objective_name,
        )

    def _cost(self, request: OcclusionRequest) -> Work:
        return occlusion_work(request)
