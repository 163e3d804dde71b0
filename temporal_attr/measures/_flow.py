"""How much moves between one frame and the next: optical flow and its magnitude."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from temporal_attr._errors import ClipError, OptionError
from temporal_attr._typing import ClipTensor
from temporal_attr.clips._flow import FlowAlgorithm, flow_fields, grey_picture

# Farneback fits its polynomial over 11 pixels each way and trusts the outer 5 less. OpenCV takes
# smaller frames, and finds nothing up to 5 pixels and noise up to about 8. DIS raises where both
# sides are below 12, and raises, gives NaN or ends the whole process where frames are lower than 16
# and wide: from 16 on, every shape works.
_SMALLEST = {"farneback": 11, "dis": 16}


def optical_flow(
    pixels: ClipTensor, algorithm: FlowAlgorithm = "farneback"
) -> Float[Tensor, "batch pairs height width 2"]:
    """Where each pixel of a frame goes in the next one, as OpenCV finds it.

    Both algorithms see grey frames of 8 bits. Farneback's takes the last row and column of a frame
    to have left the picture, so it finds small motion along these edges even in a still clip.

    Args:
        pixels: `(batch, time, channel, height, width)`, RGB or grey in [0, 1]. Of a clip in
            a model's values, take `normalization.invert`.
        algorithm: `"farneback"`, of :cite:t:`farneback2003`, with 3 levels of half the size each, a
            window of 15 pixels, 3 iterations, and polynomials over 5 pixels with a sigma of 1.2; or
            `"dis"`, dense inverse search of :cite:t:`kroeger2016`, with OpenCV's medium preset.

    Returns:
        `(batch, time - 1, height, width, 2)`, pixels per frame, of each pixel of the earlier frame:
        to the right, then down. In float32 on the device of the clip, and without a gradient.

    Raises:
        ClipError: If the clip is not five axes of floats from 0 to 1 in 1 or 3 channels, has fewer
            than 2 frames, or frames shorter or narrower than 11 pixels (`"farneback"`) or 16
            (`"dis"`).
        OptionError: If the algorithm is unknown.

    Example:
        >>> wave = torch.sin(torch.arange(67) / 3) / 2 + 0.5
        >>> frame = (wave[:, None] + wave) / 2
        >>> clip = torch.stack([frame[:64, 3:], frame[:64, :64]])[None, :, None]
        >>> flow = optical_flow(clip)
        >>> flow[0, 0, 32, 32].round(decimals=1) + 0.0
        tensor([3., 0.])
    """
    _require_frames(pixels, algorithm)
    batch, time, _, height, width = pixels.shape
    flow = torch.empty(batch, time - 1, height, width, 2)
    for clip, fields in zip(pixels, flow, strict=True):
        for pair, field in enumerate(flow_fields(clip, algorithm)):
            fields[pair] = torch.from_numpy(field)
    return flow.to(pixels.device)


def flow_magnitude(
    pixels: ClipTensor, algorithm: FlowAlgorithm = "farneback"
) -> Float[Tensor, "batch pairs"]:
    """OF_t, how much moves from frame t to t + 1: the mean magnitude of the flow over the pixels.

    Of still frames it is 0 with `"dis"`. With `"farneback"` it is not quite, for what happens at
    the edges: of textures up to about 0.1 in frames of 16 pixels, 0.01 of 64, and 0.002 of 224.

    Args:
        pixels: `(batch, time, channel, height, width)`, RGB or grey in [0, 1].
        algorithm: As in `optical_flow`, of which no more than one pair of frames is held at a time.

    Returns:
        `(batch, time - 1)`, pixels per frame, 0 or more, in float32 on the device of the clip.

    Raises:
        ClipError: As in `optical_flow`.
        OptionError: If the algorithm is unknown.

    Example:
        >>> flow_magnitude(torch.rand(1, 1, 3, 16, 16).expand(1, 3, 3, 16, 16), "dis")
        tensor([[0., 0.]])
    """
    _require_frames(pixels, algorithm)
    magnitude = torch.empty(pixels.shape[0], pixels.shape[1] - 1)
    for clip, row in zip(pixels, magnitude, strict=True):
        for pair, field in enumerate(flow_fields(clip, algorithm)):
            row[pair] = float(np.hypot(field[..., 0], field[..., 1]).mean(dtype=np.float64))
    return magnitude.to(pixels.device)


def still_pairs(pixels: ClipTensor) -> Bool[Tensor, "batch pairs"]:
    """Which frames are the same picture to the flow as the one before: no byte of grey differs.

    Example:
        >>> still_pairs(torch.tensor([0.5, 0.5001, 0.6]).reshape(1, 3, 1, 1, 1))
        tensor([[ True, False]])
    """
    batch, time = pixels.shape[:2]
    same = [np.array_equal(*pair) for clip in pixels for pair in pairwise(map(grey_picture, clip))]
    return torch.tensor(same, dtype=torch.bool, device=pixels.device).reshape(batch, time - 1)


def require_pictures(pixels: Tensor, measure: str) -> None:
    """Raise unless pixels are clips of at least 2 frames, RGB or grey, of floats from 0 to 1.

    Raises:
        ClipError: With what is wrong; `measure` names what is taken from one frame to the next.
    """
    if pixels.ndim != 5 or pixels.shape[2] not in (1, 3):
        raise ClipError(
            "a clip (batch, time, channel, height, width) of 1 or 3 channels",
            f"shape {tuple(pixels.shape)}",
            f"{measure} is of pictures: give RGB or grey frames.",
        )
    if not pixels.is_floating_point():
        got = f"{pixels.dtype}"
        raise ClipError("pixels in floating point, 0 to 1", got, "Divide bytes by 255.")
    time = pixels.shape[1]
    if time < 2:
        raise ClipError("at least 2 frames", str(time), f"{measure} is from one frame to the next.")
    bad = int((~pixels.isfinite()).sum())
    if bad:
        got = f"{bad} of {pixels.numel()} NaN or infinite"
        raise ClipError("finite pixels", got, "Look where they come from.")
    _require_unit(pixels)


def _require_unit(pixels: Tensor) -> None:
    """Raise on pixels of another unit, which clamping would make black and white."""
    # Less than a byte tells, and the rounding of a model's values from which pixels were made.
    slack = 1 / 255 + 4 * torch.finfo(pixels.dtype).eps
    if not pixels.numel():
        return
    least, most = pixels.min().item(), pixels.max().item()
    if least < -slack or most > 1 + slack:
        raise ClipError(
            "pixels from 0 to 1",
            f"from {least:.3g} to {most:.3g}",
            "Divide bytes by 255, or take normalization.invert of a model's values; clamp what "
            "lies beyond black and white.",
        )


def _require_frames(pixels: Tensor, algorithm: FlowAlgorithm) -> None:
    if algorithm not in _SMALLEST:
        names = " or ".join(f'"{name}"' for name in _SMALLEST)
        raise OptionError(f"algorithm to be {names}", repr(algorithm), "Choose one of them.")
    require_pictures(pixels, "Flow")
    height, width = pixels.shape[3:]
    least = _SMALLEST[algorithm]
    if min(height, width) < least:
        raise ClipError(
            f'frames of at least {least}x{least} pixels for "{algorithm}"',
            f"{height}x{width}",
            "Take the flow of the frames before they are resized, or enlarge them.",
        )
