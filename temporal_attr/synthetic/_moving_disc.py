"""A disc that crosses a textured background."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from temporal_attr.clips import require_positive


def moving_disc(
    frames: int = 32, size: int = 96, seed: int = 0
) -> UInt8[np.ndarray, "time size size channel"]:
    """Draw a bright disc that moves from left to right over a fixed texture.

    Args:
        frames: Length of the video.
        size: Height and width in pixels.
        seed: Of the texture, the noise, and the disc's colour and height.

    Returns:
        RGB bytes `(time, height, width, channel)`; the same for the same arguments.

    Example:
        >>> video = moving_disc(frames=4, size=32)
        >>> video.shape, bool((video == moving_disc(frames=4, size=32)).all())
        ((4, 32, 32, 3), True)
    """
    require_positive("frames", frames)
    require_positive("size", size)
    random = np.random.default_rng(seed)
    tiles = random.uniform(40, 120, (size // 8 + 1, size // 8 + 1, 3))
    texture = tiles.repeat(8, 0).repeat(8, 1)[:size, :size]
    colour = random.uniform(190, 250, 3)
    rows, columns = np.mgrid[:size, :size]
    height = size * random.uniform(0.35, 0.65)
    video = np.empty((frames, size, size, 3))
    for frame in range(frames):
        across = size * (0.1 + 0.8 * frame / max(1, frames - 1))
        inside = (rows - height) ** 2 + (columns - across) ** 2 < (size / 8) ** 2
        video[frame] = np.where(inside[..., None], colour, texture)
    noisy = video + random.normal(0, 4, video.shape)
    pixels: np.ndarray = noisy.clip(0, 255).round().astype(np.uint8)
    return pixels
