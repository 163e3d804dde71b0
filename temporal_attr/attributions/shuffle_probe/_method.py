"""Does the order of the frames matter to a model?"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from captum.attr import Attribution, PerturbationAttribution
from captum.log import log_usage
from torch import Tensor
from tqdm import tqdm

from temporal_attr._errors import ClipError, OptionError
from temporal_attr._require import require_count
from temporal_attr._typing import ClipTensor, FrameScores, Orders, TargetLike
from temporal_attr.attributions._method import VideoMethod
from temporal_attr.gradients import resolve_target
from temporal_attr.attributions._memory import old_run
from temporal_attr.attributions.shuffle_probe._score_sources import (
    GradientSource,
    MethodSource,
    OrderScores,
    Reduce,
    ScoreSource,
)
from temporal_attr.attributions.shuffle_probe._statistics import (
    curve_of,
    frame_ratios,
    numbers_of,
)
from temporal_attr.attributions.shuffle_probe._result import (
    ShuffleCurve,
    ShuffleProbeResult,
    ShuffleSet,
)
from temporal_attr.attributions.shuffle_probe._by_clip import scores_of_orders
from temporal_attr.attributions.temporal_gradient import TemporalGradient
from temporal_attr.clips import (
    BlockShuffle,
    FullShuffle,
    LocalShuffle,
    Normalization,
    Shuffling,
    count_orders,
    draw_orders,
    window_starts,
    window_step,
)
from temporal_attr.measures import (
    FlowAlgorithm,
    flow_magnitude,
    median_log_ratio,
    score_ratios,
)
from temporal_attr.models import VideoModel

SHORTEST = 3
SIZES = ("l2", "l1", "max")


class ShuffleProbe(VideoMethod, PerturbationAttribution):  # type: ignore[misc]
    r"""Does the order of the frames matter to this model?

    A clip is shown in random orders :math:`s`, and what each of its frames is worth is compared
    with what it is worth in order: :math:`R_t^s = G_t^s / G_t`, where :math:`G_t` is the norm of
    the gradient at frame t (see `TemporalGradient`), or of another method's attribution, and
    :math:`G_t^s` that of the same frame wherever it stood in the shuffled clip. A model that is
    blind to order has :math:`R_t^s = 1` for every frame. `explain` adds

    - MRR, the median of all :math:`R_t^s`, and the relative drop RD = 1 - MRR;
    - FCD, how much better the scores follow the motion while the clip is in order:
      :math:`\mathrm{corr}(OF_{1..T-1}, G_{2..T})` less the mean over s of
      :math:`\mathrm{corr}(OF_{1..T-1}, G^s_{2..T})`, with :math:`OF_t` the mean magnitude of the
      optical flow from frame t to t + 1;
    - the static ratio: the mean score of a clip of one frame repeated, over that of the clip;
    - what a median of ratios hides: the median of :math:`|\log R|`, the share of scores that rise,
      how far the target's logit and probability fall, and whether the frames keep their ranks.

    Shuffling frames to see what a model gets from time goes back to :cite:t:`huang2018` and
    :cite:t:`sevillalara2021`, who look at accuracy. The ratio is defined with a small epsilon added
    to :math:`G_t`; here a frame whose score is zero or rounding only has no ratio (NaN), and is
    counted in `left_out`.

    Of planted models MRR did not say which use motion, as sensitivity may rise or fall when frames
    are shuffled; the fall of the target's probability did
    (`benchmarks/results/shuffle_probe.md`), so a summary leads with it.

    Args:
        model_or_method: A model, whose gradient is then taken, or a method that is made already: a
            `TemporalGradient` with another objective, or any attribution of this library or
            Captum's that scores frames. A method must treat the clips of a batch independently, and
            one that draws random numbers adds its own noise to every ratio.
        shuffles: How many orders; all differ, and none is the natural one.
        seed: Of the orders and of the statistics.
        shuffling: The family of orders: `FullShuffle`, `Reversal`, `BlockShuffle`, `LocalShuffle`.
        reduce: From an attribution to scores of frames: `"l2"`, `"l1"` or `"max"` over channel,
            height and width, or a function from it to `(batch, time)`, 0 or more. An attribution
            that is `(batch, time)` already is taken as its magnitude.
        normalization: How pixel values became input values, for the flow; by default the model's.
        window: Frames in a window, for `explain(windows=True)`.
        overlap: The share of a window that the next one repeats, in [0, 1).
        chunk_size: Frames that go through the model at a time: of a `FramewiseModel` any number,
            of others whole clips, at least one. By default that of a `TemporalGradient` given, or
            16. Memory does not grow with the number of shuffles beyond the features of 64 clips.
        method_arguments: Handed to the method's `attribute` by name, such as `baselines` or
            `sliding_window_shapes`.

    Costs (S shuffles; P = forward and backward pass): S + 1 P, one more for the static ratio. A
    `FramewiseModel` encodes each frame once; where orders give a frame the same gradient bit for
    bit (pooling by the mean or the maximum), it also goes back once, and not S + 1 times.

    Pooling by the maximum over frames that are equal is not blind to their order: the gradient goes
    to one of them.

    Example:
        >>> from temporal_attr.zoo import build_model
        >>> clip = torch.rand(1, 8, 3, 32, 32)
        >>> blind = build_model("late-fusion", classes=4, pooling="attention", widths=(4, 8))
        >>> ShuffleProbe(blind).attribute(clip, target=1).round(decimals=4)
        tensor([[1., 1., 1., 1., 1., 1., 1., 1.]])
        >>> sees = build_model("inflated-resnet", classes=4, widths=(4, 8))
        >>> result = ShuffleProbe(sees, shuffles=10).explain(clip, target=1)
        >>> tuple(result.ratios.shape), bool(result.median_log_ratio > 0.01)
        ((1, 10, 8), True)
    """

    name = "Shuffle Probe"

    def __init__(
        self,
        model_or_method: VideoModel | Attribution | Callable[..., Any],
        shuffles: int = 20,
        seed: int = 0,
        shuffling: Shuffling | None = None,
        reduce: Reduce = "l2",
        normalization: Normalization | None = None,
        window: int = 12,
        overlap: float = 0.5,
        chunk_size: int | None = None,
        method_arguments: Mapping[str, Any] | None = None,
    ) -> None:
        method = (
            model_or_method
            if isinstance(model_or_method, Attribution)
            else TemporalGradient(model_or_method)
        )
        super().__init__(method.model if isinstance(method, VideoMethod) else method.forward_func)
        require_count("shuffles", shuffles, 1)
        require_count("seed", seed, 0)
        require_count("window", window, SHORTEST)
        window_step(window, overlap)
        if not isinstance(shuffling, Shuffling | None):
            raise OptionError(
                "shuffling to be FullShuffle(), Reversal(), BlockShuffle(n) or LocalShuffle(n)",
                repr(shuffling),
                "They are in temporal_attr.clips.",
            )
        if chunk_size is not None:
            require_count("chunk_size", chunk_size, 1)
        if not callable(reduce) and reduce not in SIZES:
            names = ", ".join(f'"{size}"' for size in SIZES)
            raise OptionError(f"reduce to be {names} or a function", repr(reduce), "Choose one.")
        if chunk_size is None and isinstance(method, TemporalGradient):
            chunk_size = method.chunk_size
        self.method = method
        self.method_arguments = dict(method_arguments or {})
        self.shuffles = shuffles
        self.seed = seed
        self.shuffling = FullShuffle() if shuffling is None else shuffling
        self.reduce = reduce
        known = self.model.normalization if isinstance(self.model, VideoModel) else None
        self.normalization = known if normalization is None else normalization
        self.window = window
        self.overlap = overlap
        self.chunk_size = chunk_size

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        show_progress: bool = False,
    ) -> FrameScores | tuple[FrameScores]:
        """The median ratio of each frame's score, shuffled over in order.

        Not shaped like the input: `NoiseTunnel` and `sensitivity_max` take it, `infidelity` does
        not.

        Args:
            inputs: `(batch, time, channel, height, width)`, or a tuple of one such tensor.
            target: The class to explain: an int for all clips, a list or tensor with one for each,
                or one-element tuples; None only where the model has one class.
            additional_forward_args: Handed to the model after the clip; a tuple is spread, and a
                tensor as long as the batch is one for each clip.
            show_progress: Show a bar on anything over two seconds.

        Returns:
            `(batch, time)`, without a unit, 0 or more; 1 where order changes nothing, and NaN for a
            frame whose score in order is zero or rounding only.

        Raises:
            ClipError: If `inputs` is not a clip of at least 3 finite frames.
            OptionError: If the family has fewer orders than `shuffles`.
            ModelError: If the model is in training mode or does not return logits, or the scores
                are not one finite number of 0 or more a frame.
            TargetError: If `target` does not name a class for each clip.
        """
        clip = self._long_enough(inputs)
        orders = self._orders(clip)
        scored = self._scored(clip, target, additional_forward_args, orders, show_progress)
        found = frame_ratios(scored).to(clip)
        return (found,) if isinstance(inputs, tuple) else found

    def explain(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        show_progress: bool = False,
        flow: FlowAlgorithm | None = "farneback",
        windows: bool = False,
    ) -> ShuffleProbeResult:
        """The ratios, what can be read from them, and how sure that is.

        Args:
            inputs: As for `attribute`.
            target: As for `attribute`.
            additional_forward_args: As for `attribute`.
            show_progress: As for `attribute`.
            flow: `"farneback"` or `"dis"`, computed once on the pixels; None goes without, and
                without the flow correlation drop.
            windows: Also analyse the clip in windows of `window` frames, each as a clip of its
                own; the model must take clips of that length. A clip no longer than a window is
                analysed as a whole, and a note says so.

        Raises:
            OptionError: If flow is asked for and nothing says how pixels became input values.
            ClipError: And the others, as for `attribute`.
        """
        clip = self._long_enough(inputs)
        magnitude = self._flow(clip, flow)
        given = (target, additional_forward_args)
        # First, as this is what a model of one fixed length refuses.
        parts = self._windows(clip, given, magnitude, show_progress) if windows else None
        found = self._explained(clip, given, magnitude, show_progress)
        if windows and parts is None:
            note = f"{clip.shape[1]} frames are no more than a window of {self.window}: "
            notes = tuple((*own, f"{note}analysed whole") for own in found.notes)
            return replace(found, notes=notes)
        return replace(found, windows=parts)

    def curve(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        show_progress: bool = False,
        shufflings: Sequence[Shuffling] | None = None,
    ) -> ShuffleCurve:
        """At which range order matters: the same numbers over block lengths or radii.

        Shuffled blocks keep what a model reads within a block. Where the curve over block lengths
        comes back to what it is without shuffling, blocks are long enough for the model. Shuffling
        within a radius keeps what it reads over more frames than that.

        Args:
            inputs: As for `attribute`.
            target: As for `attribute`.
            additional_forward_args: As for `attribute`.
            show_progress: As for `attribute`.
            shufflings: `BlockShuffle`s or `LocalShuffle`s; by default blocks of 1, 2, 4, ... frames
                up to a third of the clip (two blocks have one other order, which is no sample).
                Each gets `shuffles` orders, or all that it has if those are fewer.

        Raises:
            OptionError: If the shufflings are not all of one of these kinds.
            ClipError: And the others, as for `attribute`.
        """
        clip = self._long_enough(inputs)
        frames = clip.shape[1]
        if shufflings is None:
            shufflings = [BlockShuffle(2**n) for n in range(1 + int(math.log2(frames / 3)))]
        kind, lengths = _range_of(shufflings)
        counts = [count_orders(one, frames, self.shuffles) for one in shufflings]
        for one, count in zip(shufflings, counts, strict=True):
            if not count:
                raise OptionError(
                    f"shufflings that have another order of {frames} frames",
                    repr(one),
                    "Leave it out, or take shorter blocks.",
                )
        orders = _with_natural(frames, shufflings, counts, self.seed)
        scored = self._scored(clip, target, additional_forward_args, orders, show_progress)
        return ShuffleCurve(
            shufflings=tuple(map(repr, shufflings)),
            lengths=lengths,
            kind=kind,
            orders=tuple(counts),
            target=self._classes(target, scored).cpu(),
            **curve_of(scored, self._classes(target, scored), counts, self.seed),
        )

    def _long_enough(self, inputs: Any) -> Tensor:  # noqa: ANN401
        clip = self._checked_clip(inputs)
        if clip.shape[1] < SHORTEST:
            raise ClipError(
                f"at least {SHORTEST} frames to shuffle",
                f"{clip.shape[1]}",
                "Two frames have one other order, which says nothing of chance.",
            )
        return clip

    def _orders(self, clip: Tensor) -> Orders:
        """The natural order, and those that were asked for."""
        return _with_natural(clip.shape[1], [self.shuffling], [self.shuffles], self.seed)

    def _scored(
        self,
        clip: Tensor,
        target: TargetLike,
        additional_forward_args: Any,  # noqa: ANN401
        orders: Orders,
        show_progress: bool = False,
    ) -> OrderScores:
        return scores_of_orders(
            self._source(),
            clip,
            lambda logits: resolve_target(target, logits),
            orders,
            self._checked_arguments(additional_forward_args),
            self.chunk_size,
            show_progress,
        )

    def _source(self) -> ScoreSource:
        """What scores frames: the plain gradient has cheaper ways than its `attribute`."""
        plain = type(self.method) is TemporalGradient and not self.method_arguments
        if plain and not callable(self.reduce):
            return GradientSource(
                self.method.model, self.method.objective, self.method.memory, self.reduce
            )
        return MethodSource(self.method, self.reduce, self.method_arguments)

    def _scored_by(self) -> str:
        if isinstance(self.method, TemporalGradient):
            return f"scored by the gradient of the {self.method.objective_name}"
        return f"scored by {self.method.get_name()}"

    def _classes(self, target: TargetLike, scored: OrderScores) -> Tensor:
        return resolve_target(target, scored.logits[:, 0])

    def _flow(self, clip: Tensor, algorithm: FlowAlgorithm | None) -> Tensor | None:
        """The mean magnitude of the flow between neighbours, `(batch, time - 1)`."""
        if algorithm is None:
            return None
        if self.normalization is None:
            raise OptionError(
                "a way back from input values to pixels, for the flow",
                "a model that does not know its normalization",
                "Give ShuffleProbe(..., normalization=), or go without: explain(..., flow=None).",
            )
        try:
            return flow_magnitude(self.normalization.invert(clip.detach()), algorithm).cpu()
        except ClipError as error:
            remedy = f"{error.remedy} Or go without flow: explain(..., flow=None)."
            raise ClipError(error.expected, error.got, remedy) from None

    def _explained(
        self,
        clip: Tensor,
        given: tuple[TargetLike, Any],
        flow: Tensor | None,
        show_progress: bool = False,
    ) -> ShuffleProbeResult:
        start = time.perf_counter()
        orders = self._orders(clip)
        scored = self._scored(clip, *given, orders, show_progress)
        natural, middle = orders[:1], clip.shape[1] // 2
        static = self._scored(clip[:, middle : middle + 1].expand_as(clip), *given, natural)
        numbers = numbers_of(scored, static, self._classes(given[0], scored), flow, self.seed)
        runs = [scored, static]
        if not isinstance(self.method, TemporalGradient):
            runs.append(self._scored(clip, *given, natural))
            noise = self._noise(scored, runs[-1])
            numbers["notes"] = tuple((*own, *noise) for own in numbers["notes"])
        return ShuffleProbeResult(
            **numbers,
            permutations=orders[1:],
            windows=None,
            shuffling=repr(self.shuffling),
            scored_by=self._scored_by(),
            run=_run(runs, self.seed, start),
        )

    def _windows(
        self,
        clip: Tensor,
        given: tuple[TargetLike, Any],
        flow: Tensor | None,
        show_progress: bool,
    ) -> tuple[ShuffleSet, ...] | None:
        """The same for each window, gathered for each clip; None if the clip is one window."""
        frames, size = clip.shape[1], self.window
        if frames <= size:
            return None
        starts = window_starts(frames, size, self.overlap)
        found = [
            self._explained(
                clip[:, start : start + size],
                given,
                None if flow is None else flow[:, start : start + size - 1],
            )
            for start in tqdm(starts, "windows", disable=not show_progress, delay=2)
        ]
        names = [f"frames {start} to {start + size - 1}" for start in starts]
        return tuple(
            ShuffleSet.of([(one, example) for one in found], names, starts, size, self.seed)
            for example in range(len(clip))
        )

    def _noise(self, scored: OrderScores, again: OrderScores) -> tuple[str, ...]:
        """A note, if the same clip has other scores the second time."""
        ratios = score_ratios(scored.scores[:, 0], again.scores)
        change = median_log_ratio(ratios).nan_to_num().max().item()
        if change <= torch.finfo(ratios.dtype).eps ** 0.5:
            return ()
        return (
            f"{self.method.get_name()} draws random numbers: the same clip twice has |log R| of "
            f"{change:.2g}, which is in every ratio",
        )


def _with_natural(
    frames: int, shufflings: Sequence[Shuffling], counts: Sequence[int], seed: int
) -> Orders:
    """The natural order, and so many of each family."""
    drawn = [
        draw_orders(shuffling, frames, count, seed)
        for shuffling, count in zip(shufflings, counts, strict=True)
    ]
    return torch.cat([torch.arange(frames)[None], *drawn])


def _range_of(shufflings: Sequence[Shuffling]) -> tuple[str, tuple[int, ...]]:
    """What the lengths of a curve are, and the lengths."""
    blocks = tuple(one.length for one in shufflings if isinstance(one, BlockShuffle))
    radii = tuple(one.radius for one in shufflings if isinstance(one, LocalShuffle))
    if shufflings and len(blocks) == len(shufflings):
        return "block length", blocks
    if shufflings and len(radii) == len(shufflings):
        return "radius", radii
    raise OptionError(
        "shufflings that are all BlockShuffle, or all LocalShuffle",
        ", ".join(map(repr, shufflings)) or "none",
        "Give one kind, such as [BlockShuffle(1), BlockShuffle(4)].",
    )


def _run(scored: list[OrderScores], seed: int, start: float) -> object:
    first = scored[0]
    half = any(one.precision != "full" for one in scored)
    return old_run(
        memory=first.path,
        tried=tuple(dict.fromkeys(name for one in scored for name in one.tried)),
        precision="bfloat16" if half else "full",
        evaluations=sum(one.evaluations for one in scored),
        chunk_size=first.chunk_size,
        seconds=time.perf_counter() - start,
        seed=seed,
    )
