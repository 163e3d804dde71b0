"""A planted video with its truth drawn on it."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from temporal_attr._errors import OptionError
from temporal_attr.synthetic import PlantedVideo
from temporal_attr.views._common import BAR_COLOUR, Picture


def planted_sheet(videos: Sequence[PlantedVideo]) -> Figure:
    """Planted videos, a row each: deciding frames framed, and the deciding region outlined.

    Where the truth has pairs of frames, each frame says with which others it tells the class.

    Args:
        videos: All of one length.

    Returns:
        A figure; it is neither shown nor saved.

    Raises:
        OptionError: If there are none, or their lengths differ.

    Example:
        >>> from temporal_attr.synthetic import Keyframe
        >>> task = Keyframe(frames=6, size=32)
        >>> len(planted_sheet([task.sample(0), task.sample(1)]).axes)
        12
    """
    if len({len(video.frames) for video in videos}) != 1:
        lengths = sorted({len(video.frames) for video in videos})
        raise OptionError("videos of one length", str(lengths or "none"), "Give at least one.")
    rows, columns = len(videos), len(videos[0].frames)
    figure = Picture(figsize=(columns + 0.9, 1.12 * rows + 0.7))
    borders = {"left": 0.9 / (columns + 0.9), "right": 0.995, "bottom": 0.02}
    figure.subplots_adjust(**borders, top=1 - 0.65 / (1.12 * rows + 0.7), wspace=0.05, hspace=0.13)
    grid = figure.subplots(rows, columns, squeeze=False)
    for row, video in zip(grid, videos, strict=True):
        for time, axes in enumerate(row):
            axes.imshow(video.frames[time])
            axes.set_xticks([])
            axes.set_yticks([])
            if video.region[time].any():
                axes.contour(video.region[time], [0.5], colors="white", linewidths=0.7)
            if video.deciding_frames[time]:
                frame = Rectangle((0, 0), 1, 1, transform=axes.transAxes, fill=False)
                frame.set(edgecolor=BAR_COLOUR, linewidth=3, clip_on=False, zorder=3)
                axes.add_patch(frame)
            if video.pairs is not None and video.pairs[time].any():
                partners = ", ".join(map(str, video.pairs[time].nonzero()[0]))
                axes.set_xlabel(f"with {partners}", fontsize=6, labelpad=1)
        row[0].set_ylabel(_caption(video), fontsize=7)
    for time, axes in enumerate(grid[0]):
        axes.set_title(str(time), fontsize=8)
    tasks = ", ".join(dict.fromkeys(video.task for video in videos))
    figure.suptitle(f"{tasks}: red frames decide, the white line is the cue", fontsize=10)
    return figure


def _caption(video: PlantedVideo) -> str:
    """The class; or, where a cue supports another one, what each cue supports."""
    supported = {cue: video.class_names[number] for cue, number in video.cues.items()}
    name = video.class_names[video.label]
    if set(supported.values()) != {name}:
        return "\n".join(f"{cue}:\n{other}" for cue, other in supported.items())
    return name.replace(", ", ",\n").replace(" then ", "\nthen ")
