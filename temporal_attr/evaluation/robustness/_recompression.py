"""Does an explanation outlive lossy compression?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
import torch

from temporal_attr._errors import DataError
from temporal_attr._require import require_count
from temporal_attr._typing import ClipTensor
from temporal_attr.clips import Normalization
from temporal_attr.evaluation._again import Again, normalization_of
from temporal_attr.evaluation._case import Case, Model, ScoresOf, require_clips
from temporal_attr.evaluation._metric import Metric, MetricTraits, Score
from temporal_attr.evaluation._similarity import mean_similarity, similarity


def recompressed(clip: ClipTensor, normalization: Normalization, quality: int = 50) -> ClipTensor:
    """A clip each frame of which went through JPEG, in memory.

    Pixels are rounded to bytes first, and what lies outside of black and white is clamped. OpenCV
    encodes colours at half the resolution.

    Args:
        clip: `(1, time, channel, height, width)`, of one channel or of three, RGB.
        normalization: How pixel values became the clip's.
        quality: Of JPEG, from 1 to 100.

    Raises:
        DataError: If the clip has another number of channels.

    Example:
        >>> from temporal_attr.clips import IDENTITY
        >>> grey = torch.full((1, 2, 3, 8, 8), 128 / 255)
        >>> torch.allclose(recompressed(grey, IDENTITY), grey)
        True
    """
    require_clips(clip)
    require_count("quality", quality, 1, 100)
    channels = clip.shape[2]
    if channels not in (1, 3):
        raise DataError(
            "frames of 1 or 3 channels, as JPEG has them",
            f"{channels}",
            "Leave recompression out.",
        )
    pixels = normalization.invert(clip.detach().float())[0].clamp(0, 1)
    frames = (255 * pixels).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    coded = np.stack([_through_jpeg(frame, quality) for frame in frames])
    values = torch.from_numpy(coded).permute(0, 3, 1, 2)[None].to(clip.device)
    return normalization.apply(values.to(clip.dtype) / 255)


def _through_jpeg(frame: np.ndarray, quality: int) -> np.ndarray:
    # OpenCV takes and gives blue first.
    done, code = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done  # frames of bytes always can be
    decoded = np.asarray(cv2.imdecode(code, cv2.IMREAD_UNCHANGED))
    found: np.ndarray = decoded.reshape(frame.shape)[..., ::-1].copy()
    return found


@dataclass(frozen=True)
class Recompression(Metric):
    """How well an explanation outlives JPEG: its rank correlation with the one before.

    Each frame goes through JPEG, see `recompressed`, which at the usual qualities is hard to
    see. The value is in [-1, 1]; NaN where all scores of an explanation are equal.

    Args:
        of: What is scored.
        quality: Of JPEG, from 1 to 100.

    Raises:
        DataError: Of `score`, if it is not known how pixels became the clip's values, or the clip
            has not 1 or 3 channels.

    Example:
        >>> Recompression(quality=80).name
        'recompression-frames(quality=80)'
    """

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="recompression",
        question="Does it stay when the frames go through JPEG?",
        family="robustness",
        needs=("method",),
        higher_is_better=True,
        lowest=-1.0,
        highest=1.0,
        cost="1 A",
        source="",
    )

    of: ScoresOf = "frames"
    quality: int = 50

    def __post_init__(self) -> None:
        require_count("quality", self.quality, 1, 100)

    def score(self, case: Case) -> Score:
        """Judge one explanation."""
        again = Again(case, self.require_explain(case), self.of)
        coded = recompressed(case.clip, _normalization(case.model), self.quality)
        return mean_similarity([similarity(case.scores(self.of), again.scores(coded), "rank")])


def _normalization(model: Model) -> Normalization:
    known = normalization_of(model)
    if known is None:
        raise DataError(
            "a model that knows how pixels become its input values",
            f"{getattr(model, '__name__', type(model).__name__)}, which has no normalization",
            "Wrap it with its preprocessing: wrap(network, Preprocessing()).",
        )
    return known
