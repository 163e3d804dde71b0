"""Clips with noise on them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from temporal_attr._typing import ClipTensor
from temporal_attr.clips import Normalization
from temporal_attr.evaluation._again import range_of


def uniform_noise(
    clip: ClipTensor,
    radius: float,
    samples: int,
    seed: int = 0,
    normalization: Normalization | None = None,
) -> Iterator[ClipTensor]:
    """Clips with uniform noise on every value; random states of the caller stay as they are.

    Args:
        clip: `(1, time, channel, height, width)`.
        radius: The largest magnitude of the noise, as a share of the clip's range of values.
        samples: How many.
        seed: Of what is drawn.
        normalization: How pixel values became the clip's, if known. Noise then makes no pixel
            blacker than black or whiter than white, as rules of relevance need it.

    Example:
        >>> clip = torch.linspace(0, 2, 8).reshape(1, 2, 1, 2, 2)
        >>> (noisy,) = uniform_noise(clip, radius=0.1, samples=1)
        >>> bool(((noisy - clip).abs() <= 0.2 + 1e-6).all())
        True
    """
    random = torch.Generator().manual_seed(seed)
    reach = radius * range_of(clip)
    for _ in range(samples):
        # On the CPU and in float64: the same for every device and precision.
        drawn = torch.rand(clip.shape, generator=random, dtype=torch.float64)
        yield _within(clip + (reach * (2 * drawn - 1)).to(clip), clip, normalization)


def gaussian_noise(
    clip: ClipTensor,
    sigma: float,
    samples: int,
    seed: int = 0,
    normalization: Normalization | None = None,
) -> Iterator[ClipTensor]:
    """Clips with normal noise on every value; random states of the caller stay as they are.

    Args:
        clip: `(1, time, channel, height, width)`.
        sigma: Its standard deviation, as a share of the clip's range of values.
        samples: How many.
        seed: Of what is drawn.
        normalization: See `uniform_noise`.

    Example:
        >>> clip = torch.linspace(0, 2, 8).reshape(1, 2, 1, 2, 2)
        >>> first, second = gaussian_noise(clip, sigma=0.1, samples=2)
        >>> torch.equal(first, second)
        False
    """
    random = torch.Generator().manual_seed(seed)
    scale = sigma * range_of(clip)
    for _ in range(samples):
        drawn = torch.randn(clip.shape, generator=random, dtype=torch.float64)
        yield _within(clip + (scale * drawn).to(clip), clip, normalization)


def _within(noisy: Tensor, clip: Tensor, normalization: Normalization | None) -> Tensor:
    """A noisy clip whose values lie between black and white, or no farther out than without."""
    if normalization is None:
        return noisy
    black, white = (bound[:, None, None].to(clip) for bound in normalization.bounds())
    return noisy.maximum(black.minimum(clip)).minimum(white.maximum(clip))
