"""Which frames an attribution depends on: time relevance and contribution beside keyframes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Num
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from temporal_attr.attributions import FrameMaskingTSRResult
from temporal_attr.clips import Clip
from temporal_attr.measures import keyframe_agreement, stand_out
from temporal_attr.views._common import BAR_COLOUR, MUTED_COLOUR, Picture, require_example, subject
from temporal_attr.views._shuffle_common import (
    FLOW_COLOUR,
    SHUFFLED_COLOUR,
    headline,
    legend_below,
)
from temporal_attr.views._strip import place_thumbnails, shown_frames, time_axis

RELEVANCE_COLOUR, CONTRIBUTION_COLOUR = SHUFFLED_COLOUR, FLOW_COLOUR
"""Red is left to keyframes."""

SMALLEST_DROP = 1e-4
"""The axis of drops of a probability is at least so long: less is rounding."""

Times = Num[np.ndarray, "time"]


def keyframe_strip(
    result: FrameMaskingTSRResult, clip: Clip, *, example: int = 0, thumbnails: int = 16
) -> Figure:
    r"""Frames in a row, keyframes framed in red, above what masking each frame does.

    The upper bars are the time relevance :math:`\Delta_t`, how far the attribution changes without
    the frame; muted ones are of frames that were not kept, and lie below the dashed line. The lower
    bars are the time contribution, the drop of the target's probability without the frame (of its
    output, where there are no probabilities). Red triangles between the two mark the keyframes,
    also those without a picture.

    The title says how many of the k most relevant frames are keyframes, k being the number of
    keyframes, and how many of k frames drawn at random would be.

    Keyframes are of frames as they follow each other. They are left out, and the title says why,
    where the clip leaves out frames of its video, and where most of its frames are keyframes.

    Args:
        result: Of `FrameMaskingTSR.explain`.
        clip: The clip that was explained.
        example: Which one of the batch.
        thumbnails: At most so many frames are shown, evenly chosen; every frame has its bars.

    Returns:
        A figure; it is neither shown nor saved.

    Raises:
        ClipError: If the clip has another number of frames than the result.
        OptionError: If there is no such example, or `thumbnails` is not positive.

    Example:
        >>> from temporal_attr import FrameMaskingTSR, TemporalGradient
        >>> from temporal_attr.synthetic import Keyframe
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("gru", classes=4, widths=(4, 8))
        >>> clip = Keyframe(frames=6, size=32).sample(0).clip(model.preprocessing)
        >>> result = FrameMaskingTSR(TemporalGradient(model)).explain(clip.tensor, target=2)
        >>> relevance, contribution = keyframe_strip(result, clip).axes
        >>> len(relevance.patches), len(contribution.patches)
        (6, 6)
    """
    batch, frames = result.frame_scores.shape
    require_example(example, batch, clip, frames)
    shown = shown_frames(frames, thumbnails)
    times = np.asarray(clip.timestamps)
    missing = _why_no_keyframes(result, clip, example)
    keyframes = None
    if missing is None and result.keyframes is not None:
        keyframes = result.keyframes[example].cpu().numpy()
    framed = None if keyframes is None else keyframes[shown]
    figure = Picture(figsize=(max(7.5, 1.05 * len(shown)), 5.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    width = time_axis(lower, times)
    _draw_relevance(upper, times, width, result, example)
    _draw_contribution(lower, times, width, result, example)
    if keyframes is not None:
        _mark(lower, times[keyframes])
    place_thumbnails(upper, clip.images()[shown], times[shown], figure.get_figwidth(), framed)
    if any(axes.get_legend_handles_labels()[1] for axes in (upper, lower)):
        legend_below(figure, (upper, lower))
    title = f"{subject(result, example)}: {result.meaning}"
    lines = [missing] if missing else _agreement_lines(result, example)
    headline(figure, title, *lines, *_open_ends(result))
    return figure


def _draw_relevance(
    axes: Axes, times: Times, width: float, result: FrameMaskingTSRResult, example: int
) -> None:
    relevance = result.time_relevance[example].detach().cpu().double().numpy()
    kept = result.kept[example].cpu().numpy()
    other = "not kept" if result.complete else "not kept, or not done"
    kinds = ((kept, RELEVANCE_COLOUR, "kept"), (~kept, MUTED_COLOUR, other))
    for chosen, colour, name in kinds:
        if chosen.any():
            # Where all are kept there is nothing to tell apart.
            label = None if kept.all() else name
            axes.bar(times[chosen], relevance[chosen], width, color=colour, label=label)
    axes.set_ylim(0, 1.05 * relevance.max() or 1)
    axes.set_ylabel("change of the\nattribution, $\\Delta_t$")
    axes.tick_params(labelbottom=False)
    axes.spines[["top", "right"]].set_visible(False)
    # Where the run was stopped, frames that were not done are not kept either.
    if result.complete and kept.any() and not kept.all():
        least = float(relevance[kept].min())
        label = f"least that is kept: {least:.3g}"
        axes.axhline(least, color="black", linestyle="--", linewidth=0.9, label=label)


def _draw_contribution(
    axes: Axes, times: Times, width: float, result: FrameMaskingTSRResult, example: int
) -> None:
    drop = result.time_contribution[example].detach().cpu().double().numpy()
    axes.bar(times, drop, width, color=CONTRIBUTION_COLOUR)
    axes.axhline(0, color="black", linewidth=0.8)
    low, high = min(0, 1.08 * drop.min()), max(0, 1.08 * drop.max())
    axes.set_ylim(low, max(high, low + SMALLEST_DROP))
    axes.set_ylabel(f"drop of the target's\n{result.explained_drop}")
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    if result.explained_drop == "probability":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g} %"))
    axes.spines[["top", "right"]].set_visible(False)


def _mark(axes: Axes, times: Times) -> None:
    """Red triangles above an axis at the keyframes."""
    axes.plot(
        times,
        np.full(len(times), 1.08),
        "v",
        color=BAR_COLOUR,
        markersize=6,
        transform=axes.get_xaxis_transform(),
        clip_on=False,
        label="keyframe",
    )


def _why_no_keyframes(result: FrameMaskingTSRResult, clip: Clip, example: int) -> str | None:
    """Why keyframes would say nothing; None where they do."""
    if result.keyframes is None:
        return "keyframes not known: pixels are not known, or frames are too small for flow"
    gaps = np.diff(clip.indices)
    if (gaps != 1).any():
        share = f"one frame in {gaps[0]}" if (gaps == gaps[0]).all() else "some of the frames"
        return f"no keyframes: they are of frames in a row, and the clip has {share} of its video"
    keyframes = result.keyframes[example : example + 1]
    if not stand_out(keyframes):
        found, frames = int(keyframes.sum()), keyframes.shape[1]
        return f"no keyframes: {found} of {frames} frames would be, as the clip changes throughout"
    return None


def _agreement_lines(result: FrameMaskingTSRResult, example: int) -> list[str]:
    """How many of the most relevant frames are keyframes, and how many would be by chance."""
    assert result.keyframes is not None
    one = slice(example, example + 1)
    keyframes = result.keyframes[one]
    found = keyframe_agreement(result.time_relevance[one], keyframes)
    count, frames = int(keyframes.sum()), keyframes.shape[1]
    hits, chance = round(found.precision.item() * count), found.chance.item() * count
    return [
        f"keyframes among the {count} most relevant frames: {hits}",
        f"by chance {chance:.1f}, as {count} of {frames} frames are keyframes "
        f"(p = {found.p_value.item():.2g})",
    ]


def _open_ends(result: FrameMaskingTSRResult) -> list[str]:
    return [] if result.complete else ["stopped before the end: see the notes of the result"]
