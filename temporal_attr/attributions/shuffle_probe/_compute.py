"""From a request to the scores of frames in many orders, and the measures that follow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from temporal_attr._activation import Activation, resolved_activation
from temporal_attr._errors import ClipError, OptionError
from temporal_attr._run import Run, RunContext
from temporal_attr._typing import ClipTensor, FrameScores, Orders, Target, TargetLike
from temporal_attr.attributions.shuffle_probe._by_clip import scores_by_clip
from temporal_attr.attributions.shuffle_probe._by_frame import scores_by_frame
from temporal_attr.attributions.shuffle_probe._scores import (
    GradientScorer,
    OrderScores,
    Scorer,
    ScoreRequest,
)
from temporal_attr.attributions.shuffle_probe._statistics import (
    Asked,
    ShuffleNumbers,
    explained_target,
    frame_ratios,
    measured_by_group,
    repeat_change,
    shuffle_numbers,
)
from temporal_attr.clips import Normalization, Shuffling, draw_orders
from temporal_attr.measures import FlowAlgorithm, flow_magnitude
from temporal_attr.models import FramewiseModel

SINGLE = 32


@dataclass(frozen=True)
class ProbeRequest:
    """What is asked of a clip: how the scores of its frames change when it is shuffled.

    Attributes:
        scorer: What scores frames.
        clip: `(batch, time, channel, height, width)`.
        target: The class that is explained, in any of Captum's forms.
        shuffling: The family of orders.
        shuffles: How many of them.
        seed: Of the orders and of the statistics.
        chunk_size: Frames that go through the model at a time.
        activation: What turns logits into probabilities; None if that is to be found out.
        flow: Mean magnitudes between neighbouring frames, if known.
        repeat: Whether the clip in order is scored twice, to find out whether the scorer draws
            random numbers.
    """

    scorer: Scorer
    clip: ClipTensor
    target: TargetLike
    shuffling: Shuffling
    shuffles: int
    seed: int
    chunk_size: int | None
    activation: Activation | None = None
    flow: Float[Tensor, "batch pairs"] | None = None
    repeat: bool = False

    def scores_of(self, clip: ClipTensor, orders: Orders) -> ScoreRequest:
        """What that asks of one clip in some orders."""
        return ScoreRequest(
            scorer=self.scorer,
            clip=clip,
            target=self.target,
            orders=orders.to(clip.device),
            chunk_size=self.chunk_size,
            activation=self.activation,
        )


@dataclass(frozen=True)
class ProbeOutcome:
    """What was found for a clip.

    Attributes:
        numbers: The measures, and what they were computed from.
        permutations: `(shuffles, time)`, the orders.
        repeat_change: How far the scores of the same clip are from each other, as a median |log R|;
            0 where they are the same, or were computed once only.
    """

    numbers: ShuffleNumbers
    permutations: Orders
    repeat_change: float


@dataclass(frozen=True)
class CurveOutcome:
    """What was found for each of several shufflings; see `ShuffleCurve` for the fields."""

    values: dict[str, Float[Tensor, "batch shufflings"]]
    intervals: dict[str, Float[Tensor, "batch shufflings 2"]]
    target: Target
    activation: Activation | None


def median_ratios(request: ProbeRequest, run: RunContext) -> FrameScores:
    """The median over shuffles of each frame's score, shuffled over in order."""
    scored = scores_of_orders(request.scores_of(request.clip, drawn_orders(request)), run)
    return frame_ratios(scored).to(request.clip)


def probe(request: ProbeRequest, run: RunContext) -> ProbeOutcome:
    """The scores of a clip in order, shuffled, and of its middle frame repeated; the measures."""
    clip, orders = request.clip, drawn_orders(request)
    natural, still = orders[:1], still_clip(clip)
    scored = scores_of_orders(request.scores_of(clip, orders), run)
    static = scores_of_orders(request.scores_of(still, natural), run)
    asked = Asked(request.target, scored.activation, request.seed)
    numbers = shuffle_numbers(scored, static, asked, request.flow)
    change = 0.0
    if request.repeat:
        again = scores_of_orders(request.scores_of(clip, natural), run)
        change = repeat_change(scored, again)
    return ProbeOutcome(numbers, orders[1:], change)


def probe_segments(
    request: ProbeRequest, starts: Sequence[int], size: int, run: RunContext
) -> Iterator[tuple[ProbeOutcome, Run]]:
    """The same for each segment of a clip, as a clip of its own, and how that went.

    Args:
        request: Of the whole clip.
        starts: Where each segment begins.
        size: Frames in a segment.
        run: Of the whole clip.
    """
    flow = request.flow
    with run.progress(len(starts), "segments") as bar:
        for start in starts:
            clip = request.clip[:, start : start + size]
            pairs = None if flow is None else flow[:, start : start + size - 1]
            part = RunContext(seed=request.seed)
            found = probe(replace(request, clip=clip, flow=pairs), part)
            run.merge(part)
            yield found, part.finished(clip.shape[0] * size)
            bar.update()


def probe_curve(
    request: ProbeRequest,
    shufflings: Sequence[Shuffling],
    counts: Sequence[int],
    run: RunContext,
) -> CurveOutcome:
    """The measures of each of several shufflings; the request's own shuffling is not used.

    Args:
        request: What is asked.
        shufflings: The families of orders.
        counts: How many orders of each.
        run: Counts the passes.
    """
    orders = _with_natural(request.clip.shape[1], shufflings, counts, request.seed)
    scored = scores_of_orders(request.scores_of(request.clip, orders), run)
    target = explained_target(request.target, scored)
    asked = Asked(request.target, scored.activation, request.seed)
    parts = measured_by_group(scored, asked, tuple(counts))
    return CurveOutcome(
        {name: torch.stack([one.values[name] for one in parts], 1) for name in parts[0].values},
        {name: torch.stack([one.intervals[name] for one in parts], 1) for name in parts[0].values},
        target,
        asked.activation,
    )


def clip_flow(
    clip: ClipTensor, normalization: Normalization | None, algorithm: FlowAlgorithm
) -> Float[Tensor, "batch pairs"]:
    """The mean magnitude of the flow between neighbouring frames, on the CPU.

    Args:
        clip: `(batch, time, channel, height, width)`.
        normalization: How its pixels became input values, if known.
        algorithm: Of the flow.

    Raises:
        OptionError: If the normalization is not known.
        ClipError: If there is no flow of such frames.
    """
    if normalization is None:
        raise OptionError(
            "a normalization, which turns input values into pixels for the flow",
            "a model that does not know its own",
            "Give ShuffleProbe(..., normalization=), or go without: explain(..., flow=None).",
        )
    try:
        # A clip that was changed may lie beyond black and white.
        pixels = normalization.invert(clip.detach()).clamp(0, 1)
        return flow_magnitude(pixels, algorithm).cpu()
    except ClipError as error:
        remedy = f"{error.remedy} Or go without flow: explain(..., flow=None)."
        raise ClipError(error.expected, error.got, remedy) from None


def scores_of_orders(request: ScoreRequest, run: RunContext) -> OrderScores:
    """Scores of every frame in every order, by the fastest exact path."""
    by_frame = goes_by_frame(request.scorer)
    found = scores_by_frame(request, run) if by_frame else scores_by_clip(request, run)
    # In the model's own precision, whose rounding says whether rows sum to 1.
    activation = resolved_activation(request.activation, found.logits[:, 0])
    found = replace(found, activation=activation)
    if torch.finfo(found.scores.dtype).bits < SINGLE:
        # Statistics are of single precision at least.
        return OrderScores(found.scores.float(), found.logits.float(), activation)
    return found


def goes_by_frame(scorer: Scorer) -> bool:
    """Whether a framewise model encodes each frame once, whatever orders it is shown in."""
    return (
        isinstance(scorer, GradientScorer)
        and isinstance(scorer.model, FramewiseModel)
        and scorer.memory in ("auto", "framewise")
    )


def still_clip(clip: ClipTensor) -> ClipTensor:
    """The middle frame of a clip, repeated."""
    middle = clip.shape[1] // 2
    return clip[:, middle : middle + 1].expand_as(clip)


def drawn_orders(request: ProbeRequest) -> Orders:
    """The natural order, and those that were asked for."""
    frames = request.clip.shape[1]
    return _with_natural(frames, [request.shuffling], [request.shuffles], request.seed)


def _with_natural(
    frames: int, shufflings: Sequence[Shuffling], counts: Sequence[int], seed: int
) -> Orders:
    """The natural order, and so many of each family."""
    drawn = [
        draw_orders(shuffling, frames, count, seed)
        for shuffling, count in zip(shufflings, counts, strict=True)
    ]
    return torch.cat([torch.arange(frames)[None], *drawn])
