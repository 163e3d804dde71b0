"""What a clip is without some of its frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from temporal_attr._typing import ClipTensor
from temporal_attr.perturbations._baselines import Baselines, baseline_of, check_baselines
from temporal_attr.perturbations._composed import ComposedClips, StoredFrames, distinct_frames

FrameBaselines: TypeAlias = Baselines | Literal["removal"]
"""What replaces an absent frame, or that nothing does and the clip is shorter."""


def check_frame_baselines(baselines: object) -> None:
    """Raise unless this says what a clip is without some of its frames.

    Raises:
        OptionError: With what it may be.
        ClipError: If it is a tensor that is not finite.
    """
    if not (isinstance(baselines, str) and baselines == "removal"):
        check_baselines(baselines)


def is_relational(baselines: FrameBaselines) -> bool:
    """Whether what stands for an absent frame depends on which others are present.

    Raises:
        OptionError: If these are no baselines.

    Example:
        >>> is_relational("neighbour"), is_relational("blur")
        (True, False)
    """
    check_frame_baselines(baselines)
    return isinstance(baselines, str) and baselines in ("neighbour", "removal")


@dataclass(frozen=True, eq=False)
class AbsentFrames:
    """Clips without some of their frames.

    `"neighbour"` shows the last present frame before an absent one, or the first after it, as a
    video that freezes; `"removal"` leaves absent frames out. Where no frame is present, both show
    the mean over time of the clip's frames, once or throughout. All others replace each absent
    frame by that of a baseline, see `baseline_of`.

    Args:
        clip: `(batch, time, channel, height, width)`.
        baselines: As `check_frame_baselines` takes them.

    Raises:
        ClipError: If a tensor does not fit the clip.
        OptionError: If the baselines are none.

    Example:
        >>> clip = torch.arange(1.0, 5.0).reshape(1, 4, 1, 1, 1)
        >>> present = torch.tensor([[False, True, False, True], [False] * 4])
        >>> for kind in (0.0, "neighbour", "removal"):
        ...     found = AbsentFrames(clip, kind).without(present, example=0)
        ...     print([one.clips(slice(0, 2)).flatten(1).tolist() for rows, one in found])
        [[[0.0, 2.0, 0.0, 4.0], [0.0, 0.0, 0.0, 0.0]]]
        [[[2.0, 2.0, 2.0, 4.0], [2.5, 2.5, 2.5, 2.5]]]
        [[[2.5]], [[2.0, 4.0]]]
    """

    clip: ClipTensor
    baselines: FrameBaselines

    def __post_init__(self) -> None:
        check_frame_baselines(self.baselines)
        if self.relational:
            others = self.clip.mean(1)
            numbers = torch.arange(len(others), device=others.device)[:, None]
            numbers = numbers.expand(self.clip.shape[:2])
        else:
            assert self.baselines != "removal"
            baseline = baseline_of(self.clip, self.baselines)
            assert baseline is not None
            others, numbers = distinct_frames(baseline)
        table = StoredFrames(self.clip, others)
        object.__setattr__(self, "_table", table)
        object.__setattr__(self, "_numbers", numbers + len(table) - len(others))

    @property
    def relational(self) -> bool:
        """Whether what stands for an absent frame depends on which others are present."""
        return is_relational(self.baselines)

    def others(self, example: int) -> int:
        """How many frames stand for absent ones that are not the clip's own.

        One that serves all clips counts for the first.
        """
        numbers = self._numbers[: example + 1]  # type: ignore[attr-defined]
        return len(numbers.unique()) - len(numbers[:-1].unique())

    def without(
        self, present: Bool[Tensor, "clips time"], example: int
    ) -> Iterator[tuple[Int[Tensor, "rows"], ComposedClips]]:
        """The clips with these frames present, in groups of one length, each with its rows."""
        time = self.clip.shape[1]
        own = torch.arange(time, device=present.device) + example * time
        others = self._numbers[example].to(present.device)  # type: ignore[attr-defined]
        if self.baselines == "removal":
            yield from self._shorter(present, example, own, others)
            return
        if self.relational:
            order = torch.where(present.any(1, keepdim=True), own[_nearest(present)], others)
        else:
            order = torch.where(present, own, others)
        yield torch.arange(len(present)), self._composed(order, example)

    def _shorter(
        self,
        present: Bool[Tensor, "clips time"],
        example: int,
        own: Int[Tensor, "time"],
        others: Int[Tensor, "time"],
    ) -> Iterator[tuple[Int[Tensor, "rows"], ComposedClips]]:
        counts = present.sum(1)
        for count in counts.unique().tolist():
            rows = (counts == count).nonzero().flatten()
            order = own.expand(len(rows), -1)[present[rows]].view(len(rows), count)
            if not count:
                order = others[:1].expand(len(rows), 1)
            yield rows, self._composed(order, example)

    def _composed(self, order: Int[Tensor, "clips time"], example: int) -> ComposedClips:
        rows = torch.full((len(order),), example, device=order.device)
        return ComposedClips(self._table, order, rows)  # type: ignore[attr-defined]


def _nearest(present: Bool[Tensor, "clips time"]) -> Int[Tensor, "clips time"]:
    """The last present frame up to each, or the first after it; 0 where none is present.

    Example:
        >>> _nearest(torch.tensor([[False, True, False, True]]))
        tensor([[1, 1, 1, 3]])
    """
    time = present.shape[1]
    places = torch.arange(time, device=present.device).expand_as(present)
    before = torch.where(present, places, -1).cummax(1).values
    first = torch.where(present, places, time).amin(1, keepdim=True)
    return torch.where(before >= 0, before, first.clamp_max(time - 1))
