"""Temporal saliency rescaling: what hiding a frame, then a part of it, does to an attribution."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from captum.attr import Attribution, PerturbationAttribution
from captum.log import log_usage
from jaxtyping import Bool
from torch import Tensor

from temporal_attr._errors import ClipError, ModelError, OptionError
from temporal_attr._require import require_count, require_within
from temporal_attr._typing import ClipTensor, FrameScores, TargetLike
from temporal_attr.attributions._base import VideoMethod
from temporal_attr.attributions._features import Features, feature_labels
from temporal_attr.attributions._hiding import Hide, check_hide
from temporal_attr.attributions._masked_changes import Masked
from temporal_attr.attributions._objectives import resolve_target
from temporal_attr.attributions._rescaling import (
    falls,
    hide_features,
    hide_frames,
    kept_frames,
    scaled,
)
from temporal_attr.attributions._results import PixelResult, Run
from temporal_attr.clips import Normalization
from temporal_attr.models import VideoModel

Steps: TypeAlias = Literal["one", "two"]


@dataclass(frozen=True, eq=False)
class FrameMaskingTSRResult(PixelResult):
    """What `FrameMaskingTSR.explain` found.

    Attributes:
        attribution: `(batch, time, channel, height, width)`, the rescaled attribution.
        frame_scores: `(batch, time)`, the time relevance Delta_t.
        base: `(batch, time, channel, height, width)`, R(X), the attribution that was rescaled.
        time_contribution: `(batch, time)`, how far the target's probability falls when the frame is
            hidden, in [-1, 1].
        accuracy_contribution: `(batch, time)`, 1 where the target was the top class and is not
            without the frame, -1 the other way round, 0 otherwise; of windows a mean.
        kept: `(batch, time)`, frames whose Delta_t is above the threshold.
        masks: How many masked clips were attributed.
        notes: What a reader should know.
        method_name: The method that was rescaled.
    """

    large = ("attribution", "base")

    base: ClipTensor
    time_contribution: FrameScores
    accuracy_contribution: FrameScores
    kept: Bool[Tensor, "batch time"]
    masks: int
    notes: tuple[str, ...]
    method_name: str

    @property
    def time_relevance(self) -> FrameScores:
        """Delta_t, `(batch, time)`, 0 or more."""
        return self.frame_scores

    @property
    def meaning(self) -> str:
        """The rescaled attribution."""
        return f"{self.method_name}, rescaled in time"

    @property
    def frame_meaning(self) -> str:
        """Delta_t."""
        return r"$\Delta_t$: how far the attribution" + "\nmoves without the frame"

    def _details(self, example: int) -> list[str]:
        kept = int(self.kept[example].sum())
        lines = [f"{self.masks} masked clips; {kept} of {self.kept.shape[1]} frames kept"]
        if self.frame_scores[example].sum():
            lines.append(f"frames that move the attribution most: {self._top_frames(example)}")
        worst = int(self.time_contribution[example].argmax())
        fall = self.time_contribution[example, worst].item()
        lines.append(f"the probability falls most, by {fall:.1%}, without frame {worst}")
        return [*lines, *(f"note: {note}" for note in self.notes)]


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

    Costs (A = one attribution and one forward pass): T + 2 A for one step (one of them to see that
    the method repeats itself), and one more A for every feature of a kept frame for two.

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
    ) -> FrameMaskingTSRResult:
        """The rescaled attribution, and what hiding each frame does.

        Args:
            inputs: As for `attribute`.
            target: As for `attribute`.
            additional_forward_args: As for `attribute`.
            show_progress: As for `attribute`.

        Raises:
            ClipError: And the others, as for `attribute`.
        """
        start = time.perf_counter()
        clip = self._one_clip(inputs).detach()
        if self.window >= clip.shape[1] + (self.hide != "neighbour"):
            raise ClipError(
                f"a clip longer than the window of {self.window}",
                f"{clip.shape[1]} frames",
                "Hide fewer frames at once.",
            )
        masked = self._masked(clip, target, additional_forward_args)
        base, logits = masked.of_batch(clip)
        self._require_repeatable(masked, clip, base)
        frames = hide_frames(masked, clip, base, self.window, show_progress)
        kept = kept_frames(frames.moved, self.threshold, self.quantile)
        attribution, masks = self._rescaled(masked, clip, base, frames.moved, kept, show_progress)
        classes = resolve_target(target, logits)
        fall, accuracy = falls(logits, frames.logits, classes)
        return FrameMaskingTSRResult(
            logits=logits,
            target=classes,
            run=Run(
                memory="masked clips",
                tried=(),
                precision="full",
                evaluations=2 + frames.masks + masks,
                chunk_size=masked.chunk_size,
                seconds=time.perf_counter() - start,
                seed=self.seed,
            ),
            attribution=attribution,
            frame_scores=frames.moved,
            base=base,
            time_contribution=fall,
            accuracy_contribution=accuracy,
            kept=kept,
            masks=frames.masks + masks,
            notes=tuple(self._notes(clip, kept)),
            method_name=self.method.get_name(),
        )

    def _masked(self, clip: Tensor, target: TargetLike, additional_forward_args: Any) -> Masked:  # noqa: ANN401
        return Masked(
            self.method,
            self.hide,
            lambda logits: resolve_target(target, logits.new_empty(len(clip), logits.shape[1])),
            self._checked_arguments(additional_forward_args),
            self.method_arguments,
            self.chunk_size,
            self.seed,
        )

    def _require_repeatable(self, masked: Masked, clip: Tensor, base: Tensor) -> None:
        """Raise if the same clip gets another attribution the second time."""
        again, _ = masked.of_batch(clip)
        moved = (again - base).abs().sum().item()
        if moved > torch.finfo(base.dtype).eps ** 0.5 * base.abs().sum().item():
            raise ModelError(
                "a method that gives the same clip the same attribution",
                f"{self.method.get_name()}, which draws random numbers",
                "Give FrameMaskingTSR(..., seed=0), so that all masked clips see the same ones.",
            )

    def _rescaled(
        self,
        masked: Masked,
        clip: Tensor,
        base: Tensor,
        moved: Tensor,
        kept: Tensor,
        show_progress: bool,
    ) -> tuple[Tensor, int]:
        """The attribution, and how many clips were masked for its second step."""
        by_frame = scaled(moved, (1,)) if self.normalize else moved
        weight = torch.where(kept, by_frame, 0)[:, :, None, None, None]
        if self.steps == "one":
            return base * weight, 0
        labels = feature_labels(self.features, clip, self.block, self.segments, self.normalization)
        changed, masks = hide_features(masked, clip, base, labels, kept, show_progress)
        if self.normalize:
            changed = scaled(changed, (2, 3))
        return (changed.unsqueeze(2) * weight).expand_as(clip).contiguous(), masks

    def _notes(self, clip: Tensor, kept: Tensor) -> Iterator[str]:
        empty = (~kept.any(1)).nonzero().flatten().tolist()
        if empty:
            yield f"the threshold keeps no frame of clip(s) {', '.join(map(str, empty))}"
        if self.steps == "two" and self.block is not None:
            sides = zip(self.block, clip.shape[3:], strict=True)
            if any(side % size for size, side in sides):
                height, width = self.block
                yield f"blocks of {height} x {width} do not divide the frame; the last are smaller"


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
