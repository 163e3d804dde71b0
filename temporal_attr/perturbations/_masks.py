"""Masks: which frames of a clip, or which part of one, are replaced by the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from temporal_attr._errors import DataError
from temporal_attr._require import LONGEST, require_count
from temporal_attr._typing import ClipTensor, FrameScores
from temporal_attr.perturbations._baselines import neighbour_of
from temporal_attr.perturbations._feature_mask import Labels


@dataclass(frozen=True)
class Mask:
    """What is masked of one clip: all of some frames, or one feature of them.

    Attributes:
        example: Which clip of the batch.
        first: The first frame.
        end: The one after the last.
        labels: `(height, width)`, the features of the frame; None to mask all of it.
        label: Which feature.
    """

    example: int
    first: int
    end: int
    labels: Integer[Tensor, "height width"] | None = None
    label: int = 0

    @property
    def frames(self) -> range:
        """The frames that are masked, or a part of which is."""
        return range(self.first, self.end)

    def applied(
        self, clip: ClipTensor, baseline: ClipTensor | None
    ) -> Float[Tensor, "masked channel height width"]:
        """The masked frames, as the model sees them.

        Args:
            clip: All clips of the batch.
            baseline: What each value becomes where it is masked; None for the neighbouring frame.

        Example:
            >>> clip = torch.arange(3.0).reshape(1, 3, 1, 1, 1)
            >>> Mask(0, 1, 3).applied(clip, None).flatten()
            tensor([0., 0.])
        """
        own = clip[self.example, self.first : self.end]
        if baseline is None:
            place = neighbour_of(self.first, self.end, clip.shape[1])
            replaced = clip[self.example, place].expand_as(own)
        else:
            replaced = baseline[self.example, self.first : self.end]
        if self.labels is None:
            return replaced
        return torch.where(self.labels == self.label, replaced, own)


def frame_masks(batch: int, frames: int, window: int) -> list[Mask]:
    """A mask for every run of `window` frames of every clip, clip by clip."""
    _require_window(frames, window)
    require_count("batch", batch, 0, LONGEST)
    starts = range(frames - window + 1)
    return [Mask(example, start, start + window) for example in range(batch) for start in starts]


def feature_masks(labels: Labels, example: int, frame: int) -> list[Mask]:
    """A mask for every feature of a frame, by its number."""
    batch, frames = labels.shape[:2]
    require_count("example", example, 0, batch - 1)
    require_count("frame", frame, 0, frames - 1)
    own = labels[example, frame]
    return [Mask(example, frame, frame + 1, own, int(label)) for label in own.unique()]


def masked_frames(
    clip: ClipTensor, masks: Sequence[Mask], baseline: ClipTensor | None
) -> Float[Tensor, "masked channel height width"]:
    """The masked frames of all masks, mask by mask."""
    if not masks:
        return clip.new_zeros(0, *clip.shape[2:])
    return torch.cat([mask.applied(clip, baseline) for mask in masks])


def masked_clips(
    clip: ClipTensor, masks: Sequence[Mask], baseline: ClipTensor | None
) -> Float[Tensor, "masks time channel height width"]:
    """A masked clip for every mask.

    Args:
        clip: `(batch, time, channel, height, width)`.
        masks: Each of one clip of the batch.
        baseline: What each value becomes where it is masked; None for the neighbouring frame.

    Example:
        >>> clip = torch.arange(6.0).reshape(1, 3, 1, 1, 2)
        >>> masked_clips(clip, frame_masks(1, 3, window=2), torch.zeros_like(clip)).flatten(1)
        tensor([[0., 0., 0., 0., 4., 5.],
                [0., 1., 0., 0., 0., 0.]])
    """
    copies = clip[[mask.example for mask in masks]]
    for place, mask in enumerate(masks):
        copies[place, mask.first : mask.end] = mask.applied(clip, baseline)
    return copies


def mean_over_windows(
    numbers: Float[Tensor, "batch windows"], frames: int, window: int
) -> FrameScores:
    """For each frame the mean over the windows that mask it.

    Args:
        numbers: One for each run of `window` frames, as `frame_masks` has them.
        frames: Of the clip.
        window: Frames that are masked at once.

    Example:
        >>> mean_over_windows(torch.tensor([[1.0, 3.0]]), frames=3, window=2)
        tensor([[1., 2., 3.]])
    """
    _require_window(frames, window)
    starts = frames - window + 1
    if numbers.shape[1] != starts:
        got = f"shape {tuple(numbers.shape)}"
        raise DataError(f"a number for each of {starts} windows", got, "Mask every run of frames.")
    covers = torch.zeros(starts, frames, dtype=torch.float64)
    for row in range(starts):
        covers[row, row : row + window] = 1
    shares = (covers / covers.sum(0)).to(numbers.device)
    return (numbers.double() @ shares).to(numbers.dtype)


def _require_window(frames: int, window: int) -> None:
    require_count("frames", frames, 1, LONGEST)
    require_count("window", window, 1, frames)
