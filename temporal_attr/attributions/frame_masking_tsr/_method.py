"""Temporal saliency rescaling: options and checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from captum.attr import Attribution, PerturbationAttribution
from captum.log import log_usage
from torch import Tensor

from temporal_attr._activation import Activation
from temporal_attr._errors import ClipError
from temporal_attr._require import require_count, require_flag, require_seed
from temporal_attr._run import started
from temporal_attr._typing import ClipTensor, TargetLike
from temporal_attr.attributions._by_timestep import by_timestep
from temporal_attr.attributions._estimate import Call, Work
from temporal_attr.attributions._method import VideoMethod, as_given
from temporal_attr.attributions._nested import (
    NestedMethod,
    as_method,
    known_activation,
    known_arguments,
    known_normalization,
    model_of,
)
from temporal_attr.attributions._traits import CLIP_AXES, Traits
from temporal_attr.attributions.frame_masking_tsr._compute import RescalingRequest, rescaled
from temporal_attr.attributions.frame_masking_tsr._cost import rescaling_work
from temporal_attr.attributions.frame_masking_tsr._notes import (
    block_notes,
    found_keyframes,
    notes_of,
)
from temporal_attr.attributions.frame_masking_tsr._options import (
    require_one_threshold,
    require_steps,
)
from temporal_attr.attributions.frame_masking_tsr._result import FrameMaskingTSRResult, Steps
from temporal_attr.attributions.frame_masking_tsr._scores import contributions
from temporal_attr.clips import Normalization
from temporal_attr.models import VideoModel
from temporal_attr.perturbations import (
    Baselines,
    FeatureMask,
    Labels,
    OnStop,
    as_feature_mask,
    check_baselines,
    require_on_stop,
    seeded,
)


class FrameMaskingTSR(VideoMethod, PerturbationAttribution):  # type: ignore[misc]
    r"""Temporal saliency rescaling :cite:p:`ismail2020`, of any attribution of pixels.

    Saliency is blurred in time: it finds the right pixels in the wrong frames. So the attribution
    R is computed again with frame t masked, and
    :math:`\Delta_t = \sum |R(X) - R(X_{\setminus t})|` says how much it depends on that frame (the
    paper's algorithm 1, time relevance score). In one step, the attribution is
    :math:`R(X)_{i,t} \cdot \Delta_t`. In two, each feature i of a frame that is kept is masked by
    itself, :math:`\Delta_{i,t} = \sum |R(X) - R(X_{\setminus (i, t)})|`, and the attribution is
    :math:`\Delta_{i,t} \cdot \Delta_t` at all pixels and channels of the feature, and 0 in other
    frames.

    The paper's baseline is 0, as is the default here. The baseline matters: a grey or black frame
    is no natural frame, and the attribution may change because of that. `"neighbour"` shows the
    frame before instead.

    Args:
        method: Any method of this library or Captum's whose attribution is shaped like the clip;
            or a model, whose `TemporalGradient` is then rescaled.
        steps: `"one"` or `"two"`.
        feature_mask: For two steps, the features of a frame: `Pixels()`, as by default,
            `Blocks(height, width)`, `Superpixels(n_segments)`, `Supervoxels(n_segments)`, or a
            tensor of whole numbers from 0 without gaps, `(height, width)` or with axes before that
            fit `(batch, time, channel, height, width)`, a single channel, as in Captum.
        baselines: What replaces what is masked: a number, in input values; `"mean"`, of
            each channel over the clip; `"blur"`; `"neighbour"`, the nearest frame before (or after)
            that is not masked; or a tensor that fits the clip.
        window: Frames that are masked at once in the first step; overlapping windows share what
            they find: a frame gets the mean over those that mask it.
        threshold: Frames are kept whose Delta_t is at least this.
        quantile: Frames are kept whose Delta_t is at least this quantile of the clip's own, in
            [0, 1]; 0.55 in the authors' code.
        normalize: Scale Delta_t over time, and Delta_i,t over the features of a frame, to [0, 1],
            as the authors' code does and the paper does not: the least frame gets 0.
        normalization: How pixel values became input values, for superpixels and keyframes; by
            default the model's.
        perturbations_per_eval: Masked clips in one forward pass; where masks are applied by frame,
            masked windows of frames, so that `window` times as many frames are encoded at a time.
            By default as many as have 16 frames, at least one, and fewer where memory is short.
        seed: For methods that draw random numbers: all masked clips see the same ones, one at a
            time. Without it such a method is refused, as its noise would be taken for relevance.
        method_arguments: Handed to the method's `attribute` by name, such as `n_steps`.
        activation: What makes probabilities of the model's outputs, as in `TemporalGradient`; by
            default that of the method given.

    Costs (A = one attribution): T + 2 A for one step (one of them to see that the method repeats
    itself) and a forward pass, T more in `explain`; and one more A for every feature of a kept
    frame for two. For a `FramewiseModel` and `TemporalGradient`, `Saliency` or `InputXGradient`,
    each of these takes a forward and a backward pass of one frame through the encoder in place of
    one of all frames; for the other frames at most as many backward passes as a frame has features
    or masks, whichever is less. The numbers are the same to rounding: 1e-9 of a Delta in float64,
    1e-4 in float32 where the masked clips tell that much themselves. `run.path` says whether masks
    were applied by frame or by clip. A model that does more than its encoder and its head (hooks,
    a `forward` of its own) is noticed, and gets them by clip.

    Example:
        >>> import torch
        >>> from temporal_attr import Blocks, TemporalGradient
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("lstm", classes=4, widths=(4, 8))
        >>> tsr = FrameMaskingTSR(TemporalGradient(model), "two", Blocks(16, 16))
        >>> clip = torch.rand(1, 5, 3, 32, 32)
        >>> result = tsr.explain(clip, target=1)
        >>> result.masks, tuple(result.attribution.shape)
        (25, (1, 5, 3, 32, 32))
    """

    name = "Frame Masking TSR"
    traits = Traits(
        slug="frame-masking-tsr",
        question="Which frames, and which parts of them, is another method's attribution really "
        "about?",
        gives="rescaled attribution",
        axes=CLIP_AXES,
        sign="signed",
        unit="of the method, squared",
        needs=("gradients", "forward passes"),
        cost="(T + 2) A + F, where A is one attribution by the method; in two steps one A more for "
        "each feature of a kept frame; less for framewise models",
        source="ismail2020",
        takes_methods=True,
    )

    def __init__(
        self,
        method: Attribution | VideoModel | Callable[..., Any],
        steps: Steps = "one",
        feature_mask: FeatureMask | Tensor | None = None,
        baselines: Baselines = 0.0,
        window: int = 1,
        threshold: float | None = None,
        quantile: float | None = None,
        normalize: bool = False,
        normalization: Normalization | None = None,
        perturbations_per_eval: int | None = None,
        seed: int | None = None,
        method_arguments: Mapping[str, Any] | None = None,
        activation: Activation | None = None,
    ) -> None:
        self.method = as_method(method)
        super().__init__(model_of(self.method), known_activation(self.method, activation))
        require_steps(steps, feature_mask)
        check_baselines(baselines)
        require_count("window", window, 1)
        require_one_threshold(threshold, quantile)
        if perturbations_per_eval is not None:
            require_count("perturbations_per_eval", perturbations_per_eval, 1)
        if seed is not None:
            require_seed(seed)
        self.steps: Steps = steps
        self.feature_mask = as_feature_mask(feature_mask)
        self.normalization = known_normalization(self.model, normalization)
        require_flag("normalize", normalize)
        self.feature_mask.require_pixels(self.normalization)
        self.baselines, self.window = baselines, window
        self.threshold, self.quantile, self.normalize = threshold, quantile, normalize
        self.perturbations_per_eval, self.seed = perturbations_per_eval, seed
        self.method_arguments = known_arguments(self.method, method_arguments)

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    @by_timestep
    def attribute(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        *,
        show_progress: bool = False,
    ) -> ClipTensor | tuple[ClipTensor]:
        """The rescaled attribution.

        Args:
            inputs: `(batch, time, channel, height, width)`, or a tuple of one such tensor.
            target: The class to explain: an int for all clips, a list or tensor with one for each,
                or one-element tuples; None only where the model has one class. A tuple
                `(timestep, class)`, or a list with one for each, explains the logits of a timestep.
            additional_forward_args: Handed to the model after the clips.
            show_progress: Show a bar, with the time left, on anything over two seconds.

        Returns:
            A tensor (or tuple) shaped like `inputs`; 0 or more in two steps, with the sign of the
            attribution in one. Of half precision clips in float32: products would underflow.

        Raises:
            ClipError: If `inputs` is not a clip of finite floats longer than the window, or the
                baselines or the feature mask do not fit it.
            TargetError: If `target` does not name a class for each clip.
            ModelError: If the model is in training mode or does not return logits, the method's
                attribution is not shaped like the clip, or it draws random numbers without a seed.
            OptionError: If blocks are larger than the frames.
        """
        request = self._request(inputs, target, additional_forward_args)
        with started(show_progress, self.seed) as run:
            attribution = rescaled(request, run).attribution
        given: ClipTensor | tuple[ClipTensor] = as_given(attribution, inputs)
        return given

    @by_timestep
    def explain(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        *,
        show_progress: bool = False,
        on_stop: OnStop = "raise",
    ) -> FrameMaskingTSRResult:
        """The rescaled attribution, and what masking each frame does.

        Args:
            inputs: As for `attribute`.
            target: As for `attribute`.
            additional_forward_args: As for `attribute`.
            show_progress: As for `attribute`.
            on_stop: On KeyboardInterrupt in the second step, `"raise"` it, or `"keep"` the frames
                that are done; those that matter most come first. The result is then not `complete`.

        Raises:
            ClipError: And the others, as for `attribute`.
        """
        require_on_stop(on_stop)
        request = self._request(inputs, target, additional_forward_args, True, on_stop)
        with started(show_progress, self.seed) as run:
            found = rescaled(request, run)
        assert found.masked_logits is not None
        dropped = contributions(
            found.logits,
            found.masked_logits,
            found.target,
            found.time_relevance,
            self.window,
            self.activation,
        )
        listed, remark = found_keyframes(request.clip, self.normalization)
        notes = notes_of(found.above, found.done, found.masks)
        return FrameMaskingTSRResult(
            logits=found.logits,
            target=found.target,
            run=run.finished(request.clip.shape[0] * request.clip.shape[1]),
            class_names=self.class_names,
            activation=self.activation,
            attribution=found.attribution,
            frame_scores=found.time_relevance,
            base=found.base,
            time_contribution=dropped.time,
            accuracy_contribution=dropped.accuracy,
            kept=found.kept,
            keyframes=listed,
            steps=self.steps,
            masks=found.done,
            complete=found.done == found.masks,
            notes=(*remark, *notes, *block_notes(self.feature_mask, request.clip)),
            method_name=self.method.get_name(),
        )

    def _work(self, inputs: object, target: TargetLike, arguments: object, of: Call) -> Work:
        """Of both calls; only `explain` predicts masked clips."""
        return rescaling_work(self._request(inputs, target, arguments, of == "explain"))

    def _request(
        self,
        inputs: Any,  # noqa: ANN401
        target: TargetLike,
        additional_forward_args: Any,  # noqa: ANN401
        predict: bool = False,
        on_stop: OnStop = "raise",
    ) -> RescalingRequest:
        """A call's arguments, checked."""
        clip, arguments = self._checked_single(inputs, additional_forward_args)
        if self.window >= clip.shape[1] + (self.baselines != "neighbour"):
            raise ClipError(
                f"a clip of at least the {self.window} frames of the window"
                + (" and a neighbour" if self.baselines == "neighbour" else ""),
                f"{clip.shape[1]} frames",
                "Mask fewer frames at once.",
            )
        return RescalingRequest(
            nested=NestedMethod(self.method, arguments, self.method_arguments),
            clip=clip.detach(),
            target=target,
            labels=self._labels(clip),
            baselines=self.baselines,
            window=self.window,
            threshold=self.threshold,
            quantile=self.quantile,
            normalize=self.normalize,
            perturbations_per_eval=self.perturbations_per_eval,
            seed=self.seed,
            predict=predict,
            on_stop=on_stop,
        )

    def _draws(self) -> AbstractContextManager[Any]:
        """With a seed, a model may draw random numbers: each pass gets the same ones."""
        return seeded(self.seed)

    def _labels(self, clip: Tensor) -> Labels | None:
        """The features of every frame, found before the work, as they may not fit the frames."""
        return self.feature_mask.labels(clip, self.normalization) if self.steps == "two" else None
