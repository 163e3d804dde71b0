"""Does the prediction depend on the order of the frames: options and checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from captum.attr import Attribution, PerturbationAttribution
from captum.log import log_usage
from torch import Tensor

from temporal_attr._activation import Activation
from temporal_attr._require import require_count, require_flag, require_seed
from temporal_attr._run import started
from temporal_attr._typing import ClipTensor, FrameScores, TargetLike
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
from temporal_attr.attributions._traits import Traits
from temporal_attr.attributions.shuffle_probe._checks import (
    require_frames,
    require_segments,
    require_shuffling,
)
from temporal_attr.attributions.shuffle_probe._compute import (
    ProbeRequest,
    clip_flow,
    median_ratios,
    probe,
    probe_curve,
)
from temporal_attr.attributions.shuffle_probe._cost import probe_work
from temporal_attr.attributions.shuffle_probe._curve import ShuffleCurve, curve_of, curve_shufflings
from temporal_attr.attributions.shuffle_probe._labels import labels_of
from temporal_attr.attributions.shuffle_probe._result import (
    ShuffleProbeResult,
    result_of,
    segment_sets,
)
from temporal_attr.attributions.shuffle_probe._scores import scorer_of
from temporal_attr.attributions.temporal_gradient import TemporalGradient
from temporal_attr.clips import FullShuffle, Normalization, Shuffling, window_starts
from temporal_attr.measures import FlowAlgorithm, require_reduction
from temporal_attr.models import VideoModel


class ShuffleProbe(VideoMethod, PerturbationAttribution):  # type: ignore[misc]
    r"""Does the prediction depend on the order of the frames, how strongly, and at which range?

    A clip is shown in random orders :math:`s`, and the score of each frame is compared with its
    score in order: :math:`R_t^s = G_t^s / G_t`, where :math:`G_t` is the norm of the gradient at
    frame t (see `TemporalGradient`), or of another method's attribution, and :math:`G_t^s` that of
    the same frame wherever it stood in the shuffled clip. A model that is blind to order has
    :math:`R_t^s = 1` for every frame. `explain` adds

    - MRR, the median of all :math:`R_t^s`, and the relative drop RD = 1 - MRR;
    - FCD, how much better the scores follow the motion while the clip is in order:
      :math:`\mathrm{corr}(OF_{1..T-1}, G_{2..T})` less the mean over s of
      :math:`\mathrm{corr}(OF_{1..T-1}, G^s_{2..T})`, with :math:`OF_t` the mean magnitude of the
      optical flow from frame t to t + 1;
    - the static ratio: the mean score of a clip of one frame repeated, over that of the clip;
    - what a median of ratios hides: the median of :math:`|\log R|`, the share of scores that rise,
      the drop of the target's logit and probability, and whether the frames keep their ranks.

    That shuffled frames show what a model gets from time is an idea of :cite:t:`huang2018` and
    :cite:t:`sevillalara2021`, who measure accuracy. The ratio is defined with a small epsilon added
    to :math:`G_t`; here a frame whose score is zero or rounding only has no ratio (NaN), and is
    counted in `left_out`.

    Among planted models MRR did not tell which use motion; the drop of the target's probability did
    (`benchmarks/results/shuffle_probe.md`), so a summary gives it first.

    Args:
        model: A model, whose gradient is then taken, or a method that is made already: a
            `TemporalGradient` with another objective, or any attribution of this library or
            Captum's that scores frames. A method must treat the clips of a batch independently, and
            one that draws random numbers adds its own noise to every ratio.
        shuffles: How many orders; all differ, and none is the natural one.
        seed: Of the orders and of the statistics.
        shuffling: The family of orders: `FullShuffle`, `Reversal`, `BlockShuffle`, `LocalShuffle`.
        reduction: From an attribution to scores of frames: `"l2"`, `"l1"` or `"max"` over channel,
            height and width, or a function from it to `(batch, time)`, 0 or more. An attribution
            that is `(batch, time)` already is taken as its magnitude.
        normalization: How pixel values became input values, for the flow; by default the model's.
        segment: Frames in a segment, for `explain(segments=True)`.
        segment_overlap: The share of a segment that the next one repeats, in [0, 1).
        chunk_size: Frames that go through the model at a time: of a `FramewiseModel` any number,
            of others whole clips, at least one. By default that of a `TemporalGradient` given, or
            16, and fewer if those do not fit. Memory does not grow with the number of shuffles
            beyond the features of 64 clips.
        method_arguments: Handed to the method's `attribute` by name, such as `baselines` or
            `sliding_window_shapes`.
        activation: What makes probabilities of the model's outputs, as in `TemporalGradient`; by
            default that of a method given. With `"none"` there is no drop of the probability.

    Costs (S shuffles; P = forward and backward pass): S + 1 P, one more for the static ratio. A
    `FramewiseModel` encodes each frame once; where orders give a frame the same gradient bit for
    bit (pooling by the mean or the maximum), that also takes one backward pass, not S + 1.

    Pooling by the maximum over frames that are equal is not blind to their order: the gradient goes
    to one of them.

    Example:
        >>> import torch
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
    traits = Traits(
        slug="shuffle-probe",
        question="Does the prediction depend on the order of the frames, how strongly, and at "
        "which range?",
        gives="median ratio of each frame's score, shuffled over in order",
        axes="batch time",
        sign="non-negative",
        unit="none: a ratio",
        needs=("gradients",),
        cost="(S + 1) P; framewise model: F and at most S + 1 backward passes (S shuffles)",
        source="",
        random=True,
        takes_methods=True,
    )

    def __init__(
        self,
        model: VideoModel | Attribution | Callable[..., Any],
        shuffles: int = 20,
        seed: int = 0,
        shuffling: Shuffling | None = None,
        reduction: Literal["l2", "l1", "max"] | Callable[[Tensor], Tensor] = "l2",
        normalization: Normalization | None = None,
        segment: int = 12,
        segment_overlap: float = 0.5,
        chunk_size: int | None = None,
        method_arguments: Mapping[str, Any] | None = None,
        activation: Activation | None = None,
    ) -> None:
        method = as_method(model)
        super().__init__(model_of(method), known_activation(method, activation))
        require_count("shuffles", shuffles, 1)
        require_seed(seed)
        require_segments(segment, segment_overlap)
        require_shuffling(shuffling)
        require_reduction(reduction, ("l2", "l1", "max"))
        if chunk_size is not None:
            require_count("chunk_size", chunk_size, 1)
        elif isinstance(method, TemporalGradient):
            chunk_size = method.chunk_size
        self.method = method
        self.method_arguments = known_arguments(method, method_arguments)
        self.shuffles = shuffles
        self.seed = seed
        self.shuffling = FullShuffle() if shuffling is None else shuffling
        self.reduction = reduction
        self.normalization = known_normalization(self.model, normalization)
        self.segment = segment
        self.segment_overlap = segment_overlap
        self.chunk_size = chunk_size

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    @by_timestep
    def attribute(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        *,
        show_progress: bool = False,
    ) -> FrameScores | tuple[FrameScores]:
        """The median ratio of each frame's score, shuffled over in order.

        Not shaped like the input: `NoiseTunnel` and `sensitivity_max` take it, `infidelity` not.

        Args:
            inputs: `(batch, time, channel, height, width)`, or a tuple of one such tensor.
            target: The class to explain, or timestep and class; see `TemporalGradient.attribute`.
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
        request = self._request(inputs, target, additional_forward_args)
        with started(show_progress, self.seed) as run:
            ratios = median_ratios(request, run)
        found: FrameScores | tuple[FrameScores] = as_given(ratios, inputs)
        return found

    @by_timestep
    def explain(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        *,
        show_progress: bool = False,
        flow: FlowAlgorithm | None = "farneback",
        segments: bool = False,
    ) -> ShuffleProbeResult:
        """The ratios, the measures that follow from them, and their intervals.

        Args:
            inputs: As for `attribute`.
            target: As for `attribute`.
            additional_forward_args: As for `attribute`.
            show_progress: As for `attribute`.
            flow: `"farneback"` or `"dis"`, computed once on the pixels; None goes without, and
                without the flow correlation drop.
            segments: Also analyse the clip in segments of `segment` frames, each as a clip of its
                own; the model must take clips of that length. A clip no longer than a segment is
                analysed as a whole, and a note says so.

        Raises:
            OptionError: If flow is asked for and nothing says how pixels became input values.
            ClipError: And the others, as for `attribute`.
        """
        request = self._request(inputs, target, additional_forward_args, flow)
        (batch, frames), size = request.clip.shape[:2], self.segment
        labels = labels_of(self.method, self.shuffling, self.class_names)
        parts = None
        remarks: tuple[str, ...] = ()
        with started(show_progress, self.seed) as run:
            # First, as this is what a model of one fixed length refuses.
            if segments and frames > size:
                starts = window_starts(frames, size, self.segment_overlap)
                parts = segment_sets(request, starts, size, labels, run)
            elif segments:
                remarks = (f"{frames} frames are no more than a segment of {size}: analysed whole",)
            found = probe(request, run)
        return result_of(found, labels, run.finished(batch * frames), parts, remarks)

    @by_timestep
    def curve(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        *,
        show_progress: bool = False,
        shufflings: Sequence[Shuffling] | None = None,
    ) -> ShuffleCurve:
        """At which range order matters: the same measures over block lengths or radii.

        Shuffled blocks keep what a model reads within a block. Where the curve over block lengths
        returns to its value without shuffling, blocks are long enough for the model. Shuffling
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
        request = self._request(inputs, target, additional_forward_args)
        batch, frames = request.clip.shape[:2]
        asked = curve_shufflings(shufflings, frames, self.shuffles)
        with started(show_progress, self.seed) as run:
            found = probe_curve(request, asked.shufflings, asked.orders, run)
        return curve_of(asked, found, run.finished(batch * frames), self.class_names)

    def _work(
        self,
        inputs: object,
        target: TargetLike,
        arguments: object,
        of: Call,
        segments: object = False,
    ) -> Work:
        """Of `attribute`, or of `explain` with or without segments."""
        require_flag("segments", segments)
        request = self._request(inputs, target, arguments)
        size = self.segment if segments else request.clip.shape[1]
        return probe_work(request, of, size, self.segment_overlap)

    def _request(
        self,
        inputs: Any,  # noqa: ANN401
        target: TargetLike,
        additional_forward_args: Any,  # noqa: ANN401
        flow: FlowAlgorithm | None = None,
    ) -> ProbeRequest:
        """A call's arguments, checked."""
        clip, arguments = self._checked_single(inputs, additional_forward_args)
        require_frames(clip)
        nested = NestedMethod(self.method, arguments, self.method_arguments)
        return ProbeRequest(
            scorer=scorer_of(nested, self.reduction),
            clip=clip,
            target=target,
            shuffling=self.shuffling,
            shuffles=self.shuffles,
            seed=self.seed,
            chunk_size=self.chunk_size,
            activation=self.activation,
            flow=None if flow is None else clip_flow(clip, self.normalization, flow),
            repeat=not isinstance(self.method, TemporalGradient),
        )
