"""What the pictures of shuffled clips share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Num
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from temporal_attr._errors import OptionError
from temporal_attr.clips import Clip
from temporal_attr.views._window_accuracy import CURVE_COLOURS

SHUFFLED_COLOUR, FLOW_COLOUR = CURVE_COLOURS[1], CURVE_COLOURS[3]

UNCHANGED = {
    "mrr": 1.0,
    "relative_drop": 0.0,
    "flow_correlation_drop": 0.0,
    "median_log_ratio": 0.0,
    "rising_share": 0.0,
    "logit_drop": 0.0,
    "probability_drop": 0.0,
    "rank_correlation": 1.0,
}
"""What each measure is where order changes nothing."""

NARROWEST = 0.1
"""An axis shows at least so much: rounding is not enlarged until it looks like a finding."""


def drop_measure(known: Iterable[str]) -> str:
    """The drop of the probability, or of the output where there are no probabilities."""
    return "probability_drop" if "probability_drop" in known else "logit_drop"


def require_measures(measures: Sequence[str], known: Iterable[str]) -> None:
    """Raise unless there is at least one measure, and each is known."""
    known = list(known)
    missing = [name for name in measures if name not in known]
    if missing or not measures:
        raise OptionError(
            f"measures of these: {', '.join(known) or 'none'}",
            ", ".join(map(repr, missing)) or "none",
            "Choose from those that were computed.",
        )


def draw_frame_axis(axes: Axes, clip: Clip | None, frames: int) -> Num[np.ndarray, "time"]:
    """Name the x axis of frames, with room for all; give back where each of them lies on it."""
    if clip is None:
        times = np.arange(frames)
        axes.set_xlabel("frame")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    else:
        times = np.asarray(clip.timestamps[:frames])
        axes.set_xlabel("time in the video (s)")
    room = 0.04 * float(times.max() - times.min()) or 0.5
    axes.set_xlim(times.min() - room, times.max() + room)
    return times


def limits(*values: float | np.ndarray) -> tuple[float, float]:
    """Ends of an axis that shows all finite values with some room, however close they are."""
    joined = np.concatenate([np.ravel(np.asarray(value, float)) for value in values])
    finite = joined[np.isfinite(joined)]
    if not len(finite):
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    room = max(0.07 * (high - low), (NARROWEST - (high - low)) / 2)
    return low - room, high + room


def headline(figure: Figure, title: str, *lines: str) -> None:
    """What is shown, and in smaller lines below it what was found."""
    figure.suptitle("\n".join((title, *lines)), fontsize=9.5)


def legend_below(figure: Figure, parts: Iterable[Axes]) -> None:
    """One legend outside of all axes, each entry once; model names are taken as they are."""
    entries: dict[str, Artist] = {}
    for axes in parts:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    # An inch has room for some 14 letters, and an entry for the letters of its label and 6 more.
    fitting = int(14 * figure.get_figwidth() / (6 + max(map(len, entries))))
    legend = figure.legend(
        list(entries.values()),
        list(entries),
        loc="outside lower center",
        ncols=max(1, min(fitting, len(entries))),
        fontsize=8,
        frameon=False,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
