"""Feature masks of regions that look, or move, alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from temporal_attr._errors import ClipError
from temporal_attr._require import require_count, require_within
from temporal_attr._typing import ClipTensor
from temporal_attr.clips import Normalization, check_finite, check_layout
from temporal_attr.clips._flow import flow_fields
from temporal_attr.perturbations._feature_mask import FeatureMask, Labels

_COMPACTNESS = 10.0
"""How much places count beside colours of CIELAB; the usual one of SLIC."""

_SMALLEST = 11
"""Pixels of the shorter side of frames in which Farneback's flow is found."""


@dataclass(frozen=True)
class _Segments(FeatureMask):
    """Regions that look alike, found in pixels."""

    needs_pixels: ClassVar[bool] = True

    n_segments: int = 100

    def __post_init__(self) -> None:
        require_count("n_segments", self.n_segments, 1)


@dataclass(frozen=True)
class Superpixels(_Segments):
    """Regions of one frame that look alike (SLIC) are features. Needs scikit-image.

    Args:
        n_segments: About how many a frame has.

    Example:
        >>> from temporal_attr.clips import IDENTITY
        >>> labels = Superpixels(n_segments=4).labels(torch.rand(1, 2, 3, 16, 16), IDENTITY)
        >>> tuple(labels.shape)
        (1, 2, 16, 16)
    """

    def labels(self, clip: ClipTensor, normalization: Normalization | None = None) -> Labels:
        """Superpixels of each frame, found without the others."""
        from skimage.segmentation import slic  # noqa: PLC0415 - an extra

        def of_clip(frames: np.ndarray) -> np.ndarray:
            found = [slic(one, self.n_segments, channel_axis=-1, start_label=0) for one in frames]
            return np.stack(found)

        pixels = _pixels(self, clip, normalization)
        return torch.stack([torch.from_numpy(of_clip(one)) for one in pixels]).to(clip.device)


@dataclass(frozen=True)
class Supervoxels(_Segments):
    """Regions of a clip that look alike (SLIC) are features.

    Needs scikit-image.

    Args:
        n_segments: About how many a frame has.

    Example:
        >>> from temporal_attr.clips import IDENTITY
        >>> labels = Supervoxels(n_segments=4).labels(torch.rand(1, 2, 3, 16, 16), IDENTITY)
        >>> tuple(labels.shape)
        (1, 2, 16, 16)
    """

    def labels(self, clip: ClipTensor, normalization: Normalization | None = None) -> Labels:
        """Supervoxels of each clip; the frames of one have the same number."""
        from skimage.segmentation import slic  # noqa: PLC0415 - an extra

        segments = self.n_segments * clip.shape[1]
        found = [
            torch.from_numpy(slic(frames, segments, channel_axis=-1, start_label=0))
            for frames in _pixels(self, clip, normalization)
        ]
        return torch.stack(found).to(clip.device)


@dataclass(frozen=True)
class FlowSegments(_Segments):
    """Regions of a clip that look and move alike (SLIC on colours and flow) are features.

    A region that moves is one feature through the frames that it crosses, as far as it keeps its
    colours and its motion. Needs scikit-image and OpenCV.

    Args:
        n_segments: About how many a frame has.
        motion: How much a flow of a pixel per frame counts, in units of CIELAB colours; 0 counts
            colours alone.

    Example:
        >>> from temporal_attr.clips import IDENTITY
        >>> labels = FlowSegments(n_segments=4).labels(torch.rand(1, 3, 3, 16, 16), IDENTITY)
        >>> tuple(labels.shape)
        (1, 3, 16, 16)
    """

    motion: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_within("motion", self.motion, 0)

    def labels(self, clip: ClipTensor, normalization: Normalization | None = None) -> Labels:
        """Regions of each clip; the frames of one have the same number.

        Raises:
            ClipError: If there is no next frame to move to, or frames are smaller than the flow
                needs.
        """
        from skimage.color import rgb2lab  # noqa: PLC0415 - an extra
        from skimage.segmentation import slic  # noqa: PLC0415 - an extra

        time, _, height, width = clip.shape[1:]
        if time < 2 or min(height, width) < _SMALLEST:
            raise ClipError(
                f"at least 2 frames of {_SMALLEST} x {_SMALLEST} pixels, to see what moves",
                f"{time} of {height} x {width}",
                "Take Supervoxels, which look at colours alone.",
            )
        found = []
        for pixels in _pixels(self, clip, normalization):
            moving = torch.from_numpy(pixels).permute(0, 3, 1, 2)
            fields = list(flow_fields(moving, "farneback"))
            # The last frame goes on as the one before it.
            flow = np.stack([*fields, fields[-1]]) * self.motion
            values = np.concatenate([rgb2lab(pixels), flow], -1)
            # SLIC rescales what it is given to 0 to 1, but not how compact regions are to be.
            compactness = _COMPACTNESS / max(float(np.ptp(values)), 1e-9)
            segments = slic(
                values,
                self.n_segments * time,
                compactness,
                channel_axis=-1,
                start_label=0,
                convert2lab=False,
            )
            found.append(torch.from_numpy(segments))
        return torch.stack(found).to(clip.device)


def _pixels(
    feature_mask: FeatureMask, clip: ClipTensor, normalization: Normalization | None
) -> np.ndarray:
    """Pixels `(batch, time, height, width, channel)` from 0 to 1."""
    feature_mask.require_pixels(normalization)
    check_layout(clip)
    check_finite(clip)
    assert normalization is not None
    pixels = normalization.invert(clip.detach()).clamp(0, 1).cpu().double()
    array: np.ndarray = pixels.permute(0, 1, 3, 4, 2).numpy()
    return array
