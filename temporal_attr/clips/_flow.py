"""Where pixels go from one frame to the next, as OpenCV finds it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

FlowAlgorithm: TypeAlias = Literal["farneback", "dis"]

_FARNEBACK = {
    "pyr_scale": 0.5,
    "levels": 3,
    "winsize": 15,
    "iterations": 3,
    "poly_n": 5,
    "poly_sigma": 1.2,
    "flags": 0,
}


def flow_fields(
    clip: Float[Tensor, "time channel height width"], algorithm: FlowAlgorithm
) -> Iterator[Float[np.ndarray, "height width 2"]]:
    """The flow of each pair of neighbouring frames, in pixels to the right, then down.

    `temporal_attr.measures.optical_flow` checks what it is given, and says what the algorithms are.

    Args:
        clip: RGB or grey, from 0 to 1.
        algorithm: `"farneback"` or `"dis"`.

    Example:
        >>> [field.shape for field in flow_fields(torch.rand(2, 3, 16, 16), "farneback")]
        [(16, 16, 2)]
    """
    import cv2  # noqa: PLC0415 - `import temporal_attr` must work without OpenCV's libraries

    for earlier, later in pairwise(map(grey_picture, clip)):
        # The result is left to OpenCV (None): DIS would start from one that is given.
        field: np.ndarray
        if algorithm == "farneback":
            field = cv2.calcOpticalFlowFarneback(earlier, later, None, **_FARNEBACK)  # type: ignore[call-overload]
        else:
            # On small frames it changes its own settings, so each pair gets a fresh one.
            search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
            field = search.calc(earlier, later, None)  # type: ignore[call-overload]
        yield field


def grey_picture(
    frame: Float[Tensor, "channel height width"],
) -> UInt8[np.ndarray, "height width"]:
    """A frame, RGB or grey from 0 to 1, as 8 bits of grey.

    Example:
        >>> grey_picture(torch.ones(3, 1, 2))
        array([[255, 255]], dtype=uint8)
    """
    import cv2  # noqa: PLC0415

    # Rounded, not cut off: bytes that were divided by 255 come back as they were.
    levels = (frame.detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8)
    picture = levels.permute(1, 2, 0).contiguous().numpy()
    if picture.shape[2] == 1:
        return picture[..., 0]
    grey: np.ndarray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return grey
