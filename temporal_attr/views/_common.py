"""What all pictures share: heat, colours, and the clip that a result belongs to."""

from __future__ import annotations

from io import BytesIO
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.figure import Figure

from temporal_attr._errors import ClipError, OptionError
from temporal_attr._typing import ClipTensor
from temporal_attr.clips import Clip

Sign: TypeAlias = Literal["absolute", "signed"]
HeatMaps = Float[np.ndarray, "time height width"]
Images = Float[np.ndarray, "time height width 3"]

BAR_COLOUR = "#d1495b"
MUTED_COLOUR = "#8d99ae"
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


def heat_maps(attribution: ClipTensor, example: int, sign: Sign) -> HeatMaps:
    """One heat map a frame: the L2 norm over channels, or the signed sum over them."""
    if sign not in COLOUR_MAPS:
        raise OptionError('sign to be "absolute" or "signed"', repr(sign), "Choose one of them.")
    frames = attribution[example].detach().cpu().float()
    heat = torch.linalg.vector_norm(frames, dim=1) if sign == "absolute" else frames.sum(1)
    maps: np.ndarray = heat.numpy()
    return maps


def heat_limit(heat: HeatMaps, percentile: float) -> float:
    """The value at the end of the colour scale, one for all frames; 1 if all heat is zero."""
    if not 0 < percentile <= 100:
        raise OptionError("percentile in (0, 100]", str(percentile), "Try 99.5.")
    return float(np.percentile(np.abs(heat), percentile)) or 1.0


def blend(images: Images, heat: HeatMaps, limit: float, sign: Sign) -> Images:
    """Heat over grey frames: the more of it, the more opaque."""
    share = np.clip(heat / limit, 0 if sign == "absolute" else -1, 1)
    position = share if sign == "absolute" else (share + 1) / 2
    colours = colormaps[COLOUR_MAPS[sign]](position)[..., :3]
    opacity = np.abs(share)[..., None]
    grey = images.mean(-1, keepdims=True).repeat(3, -1)
    blended: np.ndarray = (1 - opacity) * grey + opacity * colours
    return blended
