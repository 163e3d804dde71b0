"""Temporal saliency rescaling: what hiding a frame, then a part of it, does to an attribution."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from captum.attr import Attribution, PerturbationAttribution
from captum.log import log_usage
from torch import Tensor

from temporal_attr._errors import ClipError, ModelError, OptionError
from temporal_attr._require import require_count, require_within
from temporal_attr._typing import ClipTensor, TargetLike
from temporal_attr.attributions._method import VideoMethod
from temporal_attr.perturbations._feature_mask import Features, Labels, feature_labels
from temporal_attr.attributions.frame_masking_tsr._frame_gradient import frame_gradient
from temporal_attr.attributions.frame_masking_tsr._result import FrameMaskingTSRResult, Steps
from temporal_attr.perturbations._baselines import Hide, check_hide
from temporal_attr.attributions.frame_masking_tsr._by_clip import MaskedClips, clips_at_a_time, seeded
from temporal_attr.attributions.frame_masking_tsr._by_frame import masked_frames
from temporal_attr.perturbations._effects import Changes, MaskedAttribution, OnStop
from temporal_attr.attributions._memory import DEFAULT_CHUNK
from temporal_attr.gradients import resolve_target
from temporal_attr.attributions.frame_masking_tsr._rescaling import (
    FeatureChanges,
    hide_features,
    hide_frames,
    kept_frames,
    scaled,
)
from temporal_attr.attributions._memory import old_run
from temporal_attr.attributions._memory import predict_clips
from temporal_attr.attributions.temporal_gradient import TemporalGradient
from temporal_attr.clips import Normalization
from temporal_attr.measures import keyframes
from temporal_attr.models import VideoModel

PRECISE = (torch.float32, torch.float64)
"""Where the cheap way is told from rounding."""


class FrameMaskingTSR(VideoMethod, PerturbationAttribution):  # type: ignore[misc]
    r"""Temporal saliency rescaling :cite:p:`ismail2020`, of any attribution of pixels.

    Saliency is blurred in time: it finds the right pixels in the wrong frames. So the attribution
    R is computed again with frame t hidden, and
    :math:`\Delta_t = \sum |R(X) - R(X_{\setminus t})|` says how much it hangs on that frame (the
    paper's algorithm 1, time relevance score). In one step, the attribution is
    :math:`R(X)_{i,t} \cdot \Delta_t`. In two, each feature i of a frame that is kept is hidden by
    itself, :math:`\Delta_{i,t} = \sum |R(X) - R(X_{\setminus (i, t)})|`, and the attribution is
    :math:`\Delta_{i,t} \cdot \Delta_t` at all pixels and channels of the feature, and 0 in other
    frames.

    The paper hides with 0, as is the default here. What hides matters: a grey or black frame is no
    natural frame, and the attribution may move because of that. `"neighbour"` shows the frame
    before instead.

    Args:
        method: Any method of this library or Captum's whose attribution is shaped like the clip.
        steps: `"one"` or `"two"`.
        features: For two steps: `"pixel"`, `"superpixel"`, `"supervoxel"`, or a mask of whole
            numbers `(height, width)` or `(batch, time, height, width)`, such as Captum's
            `feature_mask`.
        block: Height and width of blocks of pixels; those at the edges may be smaller.
        window: Frames that are hidden at once in the first step; overlapping windows share what
            they find: a frame gets the mean over those that hide it.
        hide: What stands where something is hidden: a number, in input values; `"mean"`, of each
            channel over the clip; `"blur"`; `"neighbour"`, the nearest frame before (or after) that
            is not hidden; or a tensor that fits the clip.
        threshold: Frames are kept whose Delta_t is at least this.
        quantile: Frames are kept whose Delta_t is at least this quantile of the clip's own, in
            [0, 1]; 0.55 in the authors' code.
        normalize: Scale Delta_t over time, and Delta_i,t over the features of a frame, to [0, 1],
            as the authors' code does and the paper does not: the least frame gets 0.
        segments: About how many superpixels a frame has.
        normalization: How pixel values became input values, for superpixels; by default the
            model's.
        chunk_size: Frames that go through the model at a time, and at least one clip; by default
            16.
        seed: For methods that draw random numbers: all masked clips see the same ones. Without it
            such a method is refused, as its noise would be taken for relevance.
        method_arguments: Handed to the method's `attribute` by name, such as `baselines`.

    Costs (A = one attribution): T + 2 A for one step (one of them to see that the method repeats
    itself) and T + 1 forward passes, and one more A for every feature of a kept frame for two. For
    a `FramewiseModel` and `TemporalGradient`, `Saliency` or `InputXGradient`, each of these takes a
    pass of one frame through the encoder, forward and back, in place of one of all frames; for the
    other frames at most as many passes back as a frame has features or masks, whichever is less.
    The numbers are the same to rounding: 1e-9 of a Delta in float64, 1e-4 in float32 where the
    masked clips tell that much themselves. `run.memory` says which way ran. A model that does more
    than its encoder and its head (hooks, a `forward` of its own) is noticed, and goes the long way.

    Example:
        >>> from temporal_attr import TemporalGradient
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("lstm", classes=4, widths=(4, 8))
        >>> tsr = FrameMaskingTSR(TemporalGradient(model), steps="two", block=(16, 16))
        >>> clip = torch.rand(1, 5, 3, 32, 32)
        >>> result = tsr.explain(clip, target=1)
        >>> result.masks, tuple(result.attribution.shape)
        (25, (1, 5, 3, 32, 32))
    """

    name = "Frame Masking TSR"

    def __init__(
        self,
        method: Attribution,
        steps: Steps = "one",
        features: Features = "pixel",
        block: tuple[int, int] | None = None,
        window: int = 1,
        hide: Hide = 0.0,
        threshold: float | None = None,
        quantile: float | None = None,
        normalize: bool = False,
        segments: int = 100,
        normalization: Normalization | None = None,
        chunk_size: int | None = None,
        seed: int | None = None,
        method_arguments: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(method, Attribution):
            raise ModelError(
                "an attribution method",
                type(method).__name__,
                "Make one of the model first, such as TemporalGradient(model).",
            )
        super().__init__(method.model if isinstance(method, VideoMethod) else method.forward_func)
        if steps not in ("one", "two"):
            raise OptionError('steps to be "one" or "two"', repr(steps), "Choose one of them.")
        require_count("window", window, 1)
        check_hide(hide)
        _require_one_threshold(threshold, quantile)
        for name, value in (("chunk_size", chunk_size), ("segments", segments)):
            if value is not None:
                require_count(name, value, 1)
        if seed is not None:
            require_count("seed", seed, 0)
        if steps == "one" and not (
            block is None and isinstance(features, str) and features == "pixel"
        ):
            raise OptionError(
                'features and blocks with steps="two"', 'steps="one"', "Leave one of them out."
            )
        self.method, self.steps, self.features, self.block = method, steps, features, block
        self.window, self.hide = window, hide
        self.threshold, self.quantile, self.normalize = threshold, quantile, normalize
        self.segments, self.chunk_size, self.seed = segments, chunk_size, seed
        known = self.model.normalization if isinstance(self.model, VideoModel) else None
        self.normalization = known if normalization is None else normalization
        self.method_arguments = dict(method_arguments or {})

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        show_progress: bool = False,
    ) -> ClipTensor | tuple[ClipTensor]:
        """The rescaled attribution.

        Args:
            inputs: `(batch, time, channel, height, width)`, or a tuple of one such tensor.
            target: The class to explain: an int for all clips, a list or tensor with one for each,
                or one-element tuples; None only where the model has one class.
            additional_forward_args: Handed to the model after the clips.
            show_progress: Show a bar, with the time left, on anything over two seconds.

        Returns:
            A tensor (or tuple) shaped like `inputs`; 0 or more in two steps, with the sign of the
            attribution in one.

        Raises:
            ClipError: If `inputs` is not a clip of finite floats longer than the window.
            TargetError: If `target` does not name a class for each clip.
            ModelError: If the model is in training mode or does not return logits, the method's
                attribution is not shaped like the clip, or it draws random numbers without a seed.
            OptionError: If the features do not fit the frames.
        """
        found = self.explain(inputs, target, additional_forward_args, show_progress).attribution
        return (found,) if isinstance(inputs, tuple) else found

    def explain(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        show_progress: bool = False,
        on_stop: OnStop = "raise",
    ) -> FrameMaskingTSRResult:
        """The rescaled attribution, and what hiding each frame does.

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
        start = time.perf_counter()
        if on_stop not in ("raise", "keep"):
            raise OptionError('on_stop to be "raise" or "keep"', repr(on_stop), "Choose one.")
        clip = self._checked_clip(inputs).detach()
        if self.window >= clip.shape[1] + (self.hide != "neighbour"):
            raise ClipError(
                f"a clip longer than the window of {self.window}",
                f"{clip.shape[1]} frames",
                "Hide fewer frames at once.",
            )
        # Before the work, as they may not fit the frames.
        labels = self._labels(clip)
        arguments = self._checked_arguments(additional_forward_args)
        logits = self._logits(clip, arguments)
        explained = resolve_target(target, logits)
        options = (self.method_arguments, self.chunk_size, self.seed)
        whole = MaskedClips(self.method, self.hide, explained, arguments, *options)
        base = whole.of_batch(clip)
        self._require_repeatable(whole, clip, base)
        masked = self._cheapest(whole, clip, base)
        frames = hide_frames(masked, clip, base, logits, explained, self.window, show_progress)
        kept = kept_frames(frames.moved, self.threshold, self.quantile)
        changes, features = [frames.found], None
        if labels is not None:
            order = _by_relevance(frames.moved, kept)
            features = hide_features(masked, clip, base, labels, order, show_progress, on_stop)
            changes += [] if features.found is None else [features.found]
        found_keyframes, remark = self._keyframes(clip)
        return FrameMaskingTSRResult(
            logits=logits,
            target=explained,
            run=self._run(masked, changes, clip, time.perf_counter() - start),
            attribution=self._rescaled(base, frames.moved, kept, features),
            frame_scores=frames.moved,
            base=base,
            time_contribution=frames.fall,
            accuracy_contribution=frames.lost,
            kept=kept if features is None else kept & features.done,
            keyframes=found_keyframes,
            steps=self.steps,
            masks=sum(int(one.done.sum()) for one in changes),
            complete=all(bool(one.done.all()) for one in changes),
            notes=tuple(remark + self._notes(clip, kept, changes)),
            method_name=self.method.get_name(),
        )

    def _cheapest(self, whole: MaskedClips, clip: Tensor, base: Tensor) -> MaskedAttribution:
        """The cheapest way to the same numbers."""
        gradient = frame_gradient(self.method, self.method_arguments)
        # With a seed, the model itself may draw random numbers.
        if gradient is None or self.seed is not None or clip.dtype not in PRECISE:
            return whole
        cheap = masked_frames(gradient, self.hide, whole.target, clip, base, self.chunk_size)
        return whole if cheap is None else cheap

    def _require_repeatable(self, masked: MaskedClips, clip: Tensor, base: Tensor) -> None:
        """Raise if the same clip gets another attribution the second time."""
        again = masked.of_batch(clip)
        moved = (again - base).abs().sum().item()
        if moved > 100 * torch.finfo(base.dtype).eps * base.abs().sum().item():
            raise ModelError(
                "a method that gives the same clip the same attribution",
                f"{self.method.get_name()}, which draws random numbers",
                "Give FrameMaskingTSR(..., seed=0), so that all masked clips see the same ones.",
            )

    def _logits(self, clip: Tensor, arguments: tuple[Any, ...]) -> Tensor:
        parts = (clip,) if arguments else clip.split(clips_at_a_time(self.chunk_size, clip))
        with seeded(self.seed):
            return torch.cat([predict_clips(self.method, part, arguments) for part in parts])

    def _labels(self, clip: Tensor) -> Labels | None:
        if self.steps == "one":
            return None
        return feature_labels(self.features, clip, self.block, self.segments, self.normalization)

    def _run(
        self,
        masked: MaskedAttribution,
        changes: Sequence[Changes],
        clip: Tensor,
        seconds: float,
    ) -> object:
        batch, frames = clip.shape[:2]
        paths = dict.fromkeys(path for one in changes for path in one.paths)
        seen = masked.prepared + sum(one.frames for one in changes)
        half = isinstance(self.method, TemporalGradient) and self.method.memory == "half"
        return old_run(
            memory=", then ".join(paths),
            tried=(),
            precision="bfloat16" if half else "full",
            # The logits, and the attribution itself twice.
            evaluations=3 * batch - (-seen // frames),
            chunk_size=self.chunk_size or DEFAULT_CHUNK,
            seconds=seconds,
            seed=self.seed,
        )

    def _rescaled(
        self, base: Tensor, moved: Tensor, kept: Tensor, features: FeatureChanges | None
    ) -> Tensor:
        by_frame = scaled(moved, (1,)) if self.normalize else moved
        weight = torch.where(kept, by_frame, 0)[:, :, None, None, None]
        if features is None:
            return base * weight
        changed = scaled(features.moved, (2, 3)) if self.normalize else features.moved
        return (changed.unsqueeze(2) * weight).expand_as(base).contiguous()

    def _keyframes(self, clip: Tensor) -> tuple[Tensor | None, list[str]]:
        """Keyframes, or None and the reason."""
        if self.normalization is None:
            return None, ["no keyframes, as nothing says how pixels became input values"]
        try:
            return keyframes(self.normalization.invert(clip)).to(clip.device), []
        except ClipError as error:
            return None, [f"no keyframes: expected {error.expected}, got {error.got}"]

    def _notes(self, clip: Tensor, kept: Tensor, changes: Sequence[Changes]) -> list[str]:
        notes = []
        masks = sum(len(one.done) for one in changes)
        done = sum(int(one.done.sum()) for one in changes)
        if done < masks:
            notes.append(f"stopped after {done} of {masks} masked clips; frames not done are 0")
        empty = (~kept.any(1)).nonzero().flatten().tolist()
        if empty:
            clips = ", ".join(map(str, empty))
            notes.append(f"the threshold keeps no frame of clip(s) {clips}")
        if self.steps == "two" and self.block is not None:
            sides = zip(self.block, clip.shape[3:], strict=True)
            if any(side % size for size, side in sides):
                height, width = self.block
                notes.append(
                    f"blocks of {height} x {width} do not divide the frame; the last are smaller"
                )
        return notes


def _by_relevance(moved: Tensor, kept: Tensor) -> list[tuple[int, int]]:
    """Kept frames as example and place; those that matter most first, as a run may be stopped."""
    order = moved.flatten().argsort(descending=True, stable=True).tolist()
    places = [divmod(place, moved.shape[1]) for place in order]
    return [place for place in places if kept[place]]


def _require_one_threshold(threshold: float | None, quantile: float | None) -> None:
    if threshold is not None and quantile is not None:
        raise OptionError(
            "a threshold or a quantile",
            f"threshold={threshold} and quantile={quantile}",
            "Leave one of them out.",
        )
    if threshold is not None:
        require_within("threshold", threshold, 0)
    if quantile is not None:
        require_within("quantile", quantile, 0, 1)
