"""What all pictures share: what is drawn, its heat and colours, and the clip that it belongs to."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from io import BytesIO
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from temporal_attr._errors import ClipError, OptionError
from temporal_attr._typing import ClipTensor, FrameScores
from temporal_attr.attributions import PixelResult, Result, ScoreResult
from temporal_attr.clips import Clip
from temporal_attr.measures import frame_scores

Sign: TypeAlias = Literal["absolute", "signed"]
HeatMaps = Float[np.ndarray, "time height width"]
Images = Float[np.ndarray, "time height width 3"]

BAR_COLOUR = "#d1495b"
MUTED_COLOUR = "#8d99ae"
MOST_OPAQUE = 0.75
"""How opaque the most of heat is: what has it must still be seen."""
COLOUR_MAPS: dict[Sign, str] = {"absolute": "inferno", "signed": "RdBu_r"}


class Picture(Figure):
    """A matplotlib figure that a notebook shows by itself.

    Matplotlib's own figures appear in notebooks only once pyplot has been imported; these need no
    pyplot, so that nothing is shown or kept open elsewhere.
    """

    def _repr_png_(self) -> bytes:
        buffer = BytesIO()
        self.savefig(buffer, format="png", dpi=100)
        return buffer.getvalue()


D = TypeVar("D", bound=Callable[..., Any])


def by_keyword(dispatched: D) -> D:
    """A function of `singledispatch`, whose first argument can be given by its name too."""
    first = next(iter(inspect.signature(dispatched).parameters))

    @wraps(dispatched)
    def call(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - as it has them
        if not args and first in options:
            args = (options.pop(first),)
        return dispatched(*args, **options)

    return call  # type: ignore[return-value]


def require_index(example: int, batch: int) -> None:
    """Raise unless the batch has such an example."""
    if not 0 <= example < batch:
        raise OptionError(
            f"an example from 0 to {batch - 1}", str(example), "The batch has no such clip."
        )


def require_example(example: int, batch: int, clip: Clip, frames: int) -> None:
    """Raise unless an example is there and the clip has the frames that were explained."""
    require_index(example, batch)
    if clip.tensor.shape[1] != frames:
        raise ClipError(
            f"the clip that was explained, with {frames} frames",
            f"one with {clip.tensor.shape[1]}",
            "Pass the Clip whose tensor went into explain().",
        )


@dataclass(frozen=True)
class Drawable:
    """One clip's attribution and what is said about it, whether it came in a result or bare.

    Attributes:
        pixels: `(time, channel, height, width)`, with one channel where a place has one number;
            None where only frames have scores.
        scores: `(time,)`, one for each frame.
        error: `(time,)`, the standard error of each; None where there is none.
        subject: What is explained, to begin a title with.
        method: By which method, and of which class, to begin a title with.
        label: What the attribution of a value is.
        frame_label: What a frame's score is.
        influence: `(rows, time)`, how strongly timesteps react to each frame; None where it is not
            known.
        rows: The timesteps of these rows.
        title: What the reader put in place of the title.
    """

    pixels: Float[Tensor, "time channel height width"] | None
    scores: Float[Tensor, "time"]
    error: Float[Tensor, "time"] | None
    subject: str
    method: str
    label: str
    frame_label: str
    influence: Float[Tensor, "rows time"] | None
    rows: tuple[int, ...]
    title: str | None

    def headline(self, shown: str, with_label: bool = False) -> str:
        """The title: the reader's own, or the method or the label, and how it is shown."""
        if self.title is not None:
            return plain(self.title)
        if not with_label:
            return f"{self.method}, {shown}"
        named = self.label.lower() != self.subject.lower()
        return f"{self.subject}{f': {self.label}' if named else ''}, {shown}"

    def frame_headline(self) -> str:
        """The title of bars of the frames' scores, which says what the lines on them are."""
        lines = "" if self.error is None else ", with standard errors"
        return self.headline(f"frame by frame{lines}")

    def require_pixels(self) -> Float[Tensor, "time channel height width"]:
        """The attribution of pixels.

        Raises:
            ClipError: If only frames have scores.
        """
        if self.pixels is None:
            raise ClipError(
                "an attribution of pixels (batch, time, channel, height, width)",
                f"one of {len(self.scores)} frames",
                "Draw it with frame_strip.",
            )
        return self.pixels

    def heat(self, sign: Sign) -> HeatMaps:
        """One heat map a frame.

        Raises:
            ClipError: If only frames have scores.
        """
        return heat_maps(self.require_pixels(), sign)


def drawable(
    attribution: PixelResult | ScoreResult | ClipTensor | FrameScores,
    clip: Clip | None,
    example: int,
    title: str | None = None,
    label: str | None = None,
) -> Drawable:
    """What is drawn of a clip.

    Args:
        attribution: A result; or a bare tensor of pixels, whose frames' scores are then their L2
            norms, or of frames.
        clip: The clip that was explained, if it is needed.
        example: Which one of the batch.
        title: In place of the picture's own.
        label: What the attribution is, in place of what the result says, or of "attribution".

    Raises:
        ClipError: If the clip is another one, by its frames or their size, or a bare tensor is
            neither an attribution of pixels nor of frames, or is not finite.
        OptionError: If there is no such example.
    """
    error: Tensor | None = None
    pixels: Tensor | None = None
    if isinstance(attribution, PixelResult):
        pixels, scores = attribution.attribution, attribution.frame_scores
        error = getattr(attribution, "frame_error", None)
        if attribution.same_in_channels:
            # The number of a place is not to be added up over its channels.
            pixels = pixels[:, :, :1]
        if attribution.shared_by_channels:
            pixels = pixels.sum(2, keepdim=True)
        names = (attribution.meaning, attribution.frame_meaning)
    elif isinstance(attribution, ScoreResult):
        scores, error = attribution.frame_scores, attribution.frame_error
        names = (attribution.frame_meaning, attribution.frame_meaning)
    else:
        pixels, scores = _bare(attribution)
        names = ("attribution", "attribution" if pixels is None else "attribution,\nL2 norm")
    require_index(example, len(scores))
    if clip is not None:
        require_example(example, len(scores), clip, scores.shape[1])
        if pixels is not None:
            _require_size(clip, pixels)
    if label is not None:
        names = (plain(label), plain(label))
    influence: Tensor | None = getattr(attribution, "influence", None)
    return Drawable(
        pixels=None if pixels is None else pixels[example].detach(),
        scores=scores[example].detach(),
        error=_lines(error, example),
        subject=subject(attribution, example),
        method=_method(attribution, example),
        label=names[0],
        frame_label=names[1],
        influence=None if influence is None else influence[example].detach(),
        rows=getattr(attribution, "rows", None) or (),
        title=title,
    )


def _lines(error: Tensor | None, example: int) -> Tensor | None:
    """The standard errors of a clip; None where all are 0 or not known, which gives no lines."""
    if error is None or not error[example].nan_to_num().any():
        return None
    return error[example].detach()


def subject(found: Result | Tensor, example: int) -> str:
    """What is explained, to begin a title with: "running (3)", "Class 3" or "Attribution"."""
    if isinstance(found, Tensor):
        return "Attribution"
    label = class_text(found, example)
    return label if found.class_names and found.depends_on_target else label.capitalize()


def _method(found: Result | Tensor, example: int) -> str:
    """Such as "GradCAM for running (3)"; of a tensor it is not known."""
    if isinstance(found, Tensor):
        return "Attribution"
    return f"{found.found_by} for {class_text(found, example)}"


def class_text(result: Result, example: int) -> str:
    """What the explained class is called, as matplotlib prints it letter by letter."""
    return plain(result.class_label(example)) if result.depends_on_target else "any class"


def plain(text: str) -> str:
    """A user's text as matplotlib prints it letter by letter, with nothing taken for a formula."""
    return text.replace("$", r"\$")


def number_rows(axes: Axes, numbers: Sequence[int]) -> None:
    """Mark some rows of a matrix by the numbers of their timesteps."""
    marked = range(0, len(numbers), max(1, len(numbers) // 8))
    axes.set_yticks(marked, [str(numbers[row]) for row in marked])


def one_matrix(matrices: Float[Tensor, "..."], example: int) -> Tensor:
    """The matrix of one clip.

    Raises:
        ClipError: If these are no matrices, or not finite.
        OptionError: If there is no such example.
    """
    if matrices.ndim != 3 or not matrices.isfinite().all():
        raise ClipError(
            "a result, or finite matrices (batch, rows, columns)",
            f"a tensor of shape {tuple(matrices.shape)}"
            + ("" if matrices.isfinite().all() else " with NaN or infinity in it"),
            "Draw an attribution of pixels or frames with frame_strip.",
        )
    require_index(example, len(matrices))
    return matrices[example].detach()


def _bare(attribution: Tensor) -> tuple[Tensor | None, Tensor]:
    """The pixels, if it has any, and the scores of the frames."""
    if attribution.ndim not in (2, 5):
        raise ClipError(
            "a result, or an attribution (batch, time, channel, height, width) or (batch, time)",
            f"a tensor of shape {tuple(attribution.shape)}",
            "Draw a matrix of timesteps with influence_map or relevance_heatmap.",
        )
    if attribution.ndim == 2:
        return None, attribution
    if not attribution.isfinite().all():
        raise ClipError(
            "a finite attribution", "NaN or infinity in it", "Leave out what is not defined."
        )
    return attribution, frame_scores(attribution)


def _require_size(clip: Clip, pixels: Tensor) -> None:
    """Raise unless the attribution is of frames as the clip's are, or of one channel for all."""
    (channels, height, width), shape = pixels.shape[2:], clip.tensor.shape[2:]
    if (height, width) != shape[1:] or channels not in (1, shape[0]):
        raise ClipError(
            f"the clip that was explained, with frames of {height} x {width} pixels",
            f"one with frames of {shape[1]} x {shape[2]}"
            + ("" if channels in (1, shape[0]) else f" in {shape[0]} channels, not {channels}"),
            "Pass the Clip whose tensor was attributed.",
        )


def heat_maps(frames: Float[Tensor, "time channel height width"], sign: Sign) -> HeatMaps:
    """One heat map a frame: the L2 norm over channels, or the signed sum over them."""
    if sign not in COLOUR_MAPS:
        raise OptionError('sign to be "absolute" or "signed"', repr(sign), "Choose one of them.")
    values = frames.detach().cpu().float()
    heat = torch.linalg.vector_norm(values, dim=1) if sign == "absolute" else values.sum(1)
    maps: np.ndarray = heat.numpy()
    return maps


def heat_limit(heat: HeatMaps, percentile: float) -> float:
    """The value at the end of the colour scale, one for all frames; 1 if all heat is zero."""
    if not 0 < percentile <= 100:
        raise OptionError("percentile in (0, 100]", str(percentile), "Try 99.5.")
    return float(np.percentile(np.abs(heat), percentile)) or 1.0


def blend(images: Images, heat: HeatMaps, limit: float, sign: Sign) -> Images:
    """Heat over grey frames: the more of it, the more opaque, but never so that it hides them."""
    share = np.clip(heat / limit, 0 if sign == "absolute" else -1, 1)
    position = share if sign == "absolute" else (share + 1) / 2
    colours = colormaps[COLOUR_MAPS[sign]](position)[..., :3]
    opacity = MOST_OPAQUE * np.abs(share)[..., None]
    grey = images.mean(-1, keepdims=True).repeat(3, -1)
    blended: np.ndarray = (1 - opacity) * grey + opacity * colours
    return blended
