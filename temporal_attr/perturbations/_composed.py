"""Perturbed clips, put together from numbered frames: equal frames are known to be equal."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from temporal_attr._errors import DataError
from temporal_attr._typing import ClipTensor, Frames
from temporal_attr.perturbations._feature_mask import Labels


class FrameTable(ABC):
    """Frames by number, made when they are asked for."""

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""

    @abstractmethod
    def frames(self, numbers: Int[Tensor, "frames"]) -> Frames:
        """The frames of these numbers, as the model sees them."""

    @abstractmethod
    def key(self, number: int) -> Hashable:
        """What a frame is: frames of one batch with equal keys are equal, also in other tables.

        None for a frame that never comes again.
        """


@dataclass(frozen=True, eq=False)
class StoredFrames(FrameTable):
    """The frames of clips, and after them those that can replace them.

    Args:
        clip: `(batch, time, channel, height, width)`; frame t of example b has the number
            `b * time + t`.
        others: Frames with the numbers that follow.

    Example:
        >>> table = StoredFrames(torch.arange(3.0).reshape(1, 3, 1, 1, 1))
        >>> table.frames(torch.tensor([2])).item()
        2.0
    """

    clip: ClipTensor
    others: Frames | None = None

    def __len__(self) -> int:
        return self._own + (0 if self.others is None else len(self.others))

    @property
    def _own(self) -> int:
        return self.clip.shape[0] * self.clip.shape[1]

    def frames(self, numbers: Int[Tensor, "frames"]) -> Frames:
        """Copies of them."""
        own = self.clip.flatten(0, 1)
        if self.others is None:
            return own[numbers]
        found = own[numbers.clamp_max(self._own - 1)]
        later = numbers >= self._own
        found[later] = self.others[numbers[later] - self._own]
        return found

    def key(self, number: int) -> Hashable:
        """By its place in the clip, or among the others."""
        if number < self._own:
            return ("clip", number)
        return ("other", number - self._own)


@dataclass(frozen=True, eq=False)
class MaskedFrames(FrameTable):
    """Frames of which some features are replaced by the baseline.

    Args:
        clip: `(batch, time, channel, height, width)`.
        baseline: What each value becomes where it is masked, shaped like the clip.
        labels: `(batch, time, height, width)`, the feature that each pixel belongs to.
        places: `(frames, 2)`, the example and the frame of each.
        present: `(frames, features)`, the features that are not masked; those that have no pixel in
            the frame are False.
        whole: `(frames,)`, whether all that have pixels in it are present.
    """

    clip: ClipTensor
    baseline: ClipTensor
    labels: Labels
    places: Int[Tensor, "frames two"]
    present: Bool[Tensor, "frames features"]
    whole: Bool[Tensor, "frames"]

    def __len__(self) -> int:
        return len(self.places)

    def frames(self, numbers: Int[Tensor, "frames"]) -> Frames:
        """Pixels of present features, and the baseline elsewhere."""
        example, time = self.places[numbers].unbind(1)
        labels = self.labels[example, time].long()
        kept = self.present[numbers].gather(1, labels.flatten(1)).view_as(labels)
        return torch.where(kept[:, None], self.clip[example, time], self.baseline[example, time])

    def key(self, number: int) -> Hashable:
        """By its place in the clip, and what of it is present."""
        return self._keys[number]

    @cached_property
    def _keys(self) -> list[Hashable]:
        # All at once: a card would be waited for at each number.
        present, places = self.present.cpu().numpy(), self.places.tolist()
        found: list[Hashable] = []
        for row, (example, time), whole in zip(present, places, self.whole.tolist(), strict=True):
            place = example * self.clip.shape[1] + time
            found.append(("clip", place) if whole else ("masked", place, row.tobytes()))
        return found


@dataclass(frozen=True, eq=False)
class BlendedFrames(FrameTable):
    """Frames of clips, and blends of each with its baseline.

    Args:
        clip: `(batch, time, channel, height, width)`.
        baseline: What each value becomes where it is masked, shaped like the clip.
        places: `(frames, 2)`, the example and the frame of each.
        kept: `(masks, height, width)`, how much of a frame is kept, in [0, 1].
        mask: `(frames,)`, the mask of each frame; -1 for the frame as it is.
        again: Whether masks have the same numbers in other tables, so that frames come again.

    Example:
        >>> clip = torch.ones(1, 1, 1, 1, 2)
        >>> kept = torch.tensor([[[1.0, 0.25]]])
        >>> places, mask = torch.zeros(2, 2).long(), torch.tensor([-1, 0])
        >>> table = BlendedFrames(clip, -clip, places, kept, mask, again=False)
        >>> table.frames(torch.tensor([0, 1])).flatten(1)
        tensor([[ 1.0000,  1.0000],
                [ 1.0000, -0.5000]])
    """

    clip: ClipTensor
    baseline: ClipTensor
    places: Int[Tensor, "frames two"]
    kept: Float[Tensor, "masks height width"]
    mask: Int[Tensor, "frames"]
    again: bool

    def __len__(self) -> int:
        return len(self.places)

    def frames(self, numbers: Int[Tensor, "frames"]) -> Frames:
        """The frames as they are, or blended."""
        example, time = self.places[numbers].unbind(1)
        mask = self.mask[numbers]
        kept = self.kept[mask.clamp_min(0)][:, None].to(self.clip.dtype)
        kept = torch.where((mask < 0)[:, None, None, None], 1, kept)
        own, other = self.clip[example, time], self.baseline[example, time]
        # So that what is wholly kept is the frame itself, whatever the baseline.
        return torch.where(kept == 1, own, own * kept + other * (1 - kept))

    def key(self, number: int) -> Hashable:
        """By its place in the clip, and its mask."""
        return self._keys[number]

    @cached_property
    def _keys(self) -> list[Hashable]:
        found: list[Hashable] = []
        for (example, time), mask in zip(self.places.tolist(), self.mask.tolist(), strict=True):
            place = example * self.clip.shape[1] + time
            masked = ("blended", place, mask) if self.again else None
            found.append(("clip", place) if mask < 0 else masked)
        return found


@dataclass(frozen=True, eq=False)
class ComposedClips:
    """Perturbed clips, each a row of numbers of frames in a table.

    Args:
        table: The frames.
        order: `(clips, time)`, the number of the frame at each place.
        example: `(clips,)`, which clip of the batch each is a perturbation of.

    Raises:
        DataError: If a number is not in the table.

    Example:
        >>> table = StoredFrames(torch.arange(3.0).reshape(1, 3, 1, 1, 1))
        >>> backwards = ComposedClips(table, torch.tensor([[2, 1, 0]]), torch.tensor([0]))
        >>> backwards.clips(slice(0, 1)).flatten()
        tensor([2., 1., 0.])
    """

    table: FrameTable
    order: Int[Tensor, "clips time"]
    example: Int[Tensor, "clips"]

    def __post_init__(self) -> None:
        if not len(self.order):
            return
        low, high = int(self.order.min()), int(self.order.max())
        if low < 0 or high >= len(self.table):
            raise DataError(
                f"numbers of {len(self.table)} frames", f"{low} to {high}", "Number them from 0."
            )

    def __len__(self) -> int:
        return len(self.order)

    def clips(self, rows: slice) -> ClipTensor:
        """Some of them, `(clips, time, channel, height, width)`."""
        order = self.order[rows]
        found: Tensor = self.table.frames(order.flatten()).unflatten(0, order.shape)
        return found


def whole_clips(clip: ClipTensor) -> ComposedClips:
    """The clips as they are.

    Example:
        >>> whole_clips(torch.rand(2, 3, 3, 4, 4)).order
        tensor([[0, 1, 2],
                [3, 4, 5]])
    """
    batch, time = clip.shape[:2]
    numbers = torch.arange(batch * time, device=clip.device).view(batch, time)
    return ComposedClips(StoredFrames(clip), numbers, torch.arange(batch, device=clip.device))


def masked_compositions(
    clip: ClipTensor,
    baseline: ClipTensor,
    labels: Labels,
    present: Bool[Tensor, "clips features"],
    example: Int[Tensor, "clips"],
) -> ComposedClips:
    """Clips of which some features are replaced by the baseline; equal frames have one number.

    Args:
        clip: `(batch, time, channel, height, width)`.
        baseline: What each value becomes where it is masked, shaped like the clip.
        labels: `(batch, time, height, width)`, the feature that each pixel belongs to; one that
            has pixels in several frames is masked in all of them.
        present: The features of each perturbed clip that are not masked.
        example: Which clip of the batch each is a perturbation of.

    Raises:
        DataError: If there are labels without a column.

    Example:
        >>> clip = torch.arange(3.0).reshape(1, 3, 1, 1, 1)
        >>> present = torch.tensor([[True, False, True], [True, True, False]])
        >>> labels = torch.arange(3).reshape(1, 3, 1, 1)
        >>> of = masked_compositions(clip, -clip, labels, present, torch.tensor([0, 0]))
        >>> of.clips(slice(0, 2)).flatten(1)
        tensor([[ 0., -1.,  2.],
                [ 0.,  1., -2.]])
        >>> len(of.table)  # the first frame is the same in both
        5
    """
    if int(labels.max()) >= present.shape[1]:
        raise DataError(
            f"a column of present for each of {int(labels.max()) + 1} features",
            f"{present.shape[1]} columns",
            "Give one for each number of labels.",
        )
    order = torch.zeros(len(present), clip.shape[1], dtype=torch.long, device=clip.device)
    places, kept, whole, count = [], [], [], 0
    for row, frame, inside in _features_of_frames(labels, example):
        rows = (example == row).nonzero().flatten()
        distinct, numbers = torch.unique(present[rows][:, inside], dim=0, return_inverse=True)
        order[rows, frame] = numbers + count
        count += len(distinct)
        places.append(torch.tensor([row, frame], device=clip.device).expand(len(distinct), 2))
        own = present.new_zeros(len(distinct), present.shape[1])
        own[:, inside] = distinct
        kept.append(own)
        whole.append(distinct.all(1))
    parts = [torch.cat(part) for part in (places, kept, whole)]
    return ComposedClips(MaskedFrames(clip, baseline, labels, *parts), order, example)


def _features_of_frames(
    labels: Labels, example: Int[Tensor, "clips"]
) -> Iterator[tuple[int, int, Tensor]]:
    """Example, frame and the features that have pixels there, for the examples that are used."""
    for row in example.unique().tolist():
        for frame in range(labels.shape[1]):
            yield row, frame, labels[row, frame].unique().long()


def distinct_frames(baseline: ClipTensor) -> tuple[Frames, Int[Tensor, "batch time"]]:
    """The frames of a baseline, equal ones once, and the number of each.

    Example:
        >>> frames, numbers = distinct_frames(torch.zeros(2, 5, 3, 4, 4))
        >>> len(frames), numbers.unique()
        (1, tensor([0]))
    """
    flat = baseline.flatten(0, 1)
    if bool((flat == flat[:1]).all()):
        return flat[:1], torch.zeros(baseline.shape[:2], dtype=torch.long, device=flat.device)
    numbers = torch.arange(len(flat), device=flat.device)
    return flat, numbers.view(baseline.shape[:2])
