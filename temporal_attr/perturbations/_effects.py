"""Parts of clips that are hidden one after another, and what that does to an attribution."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from temporal_attr._errors import ModelError
from temporal_attr._typing import ClipTensor
from temporal_attr.perturbations._baselines import neighbour_of

OnStop: TypeAlias = Literal["raise", "keep"]
"""What becomes of a run that is stopped: nothing, or what is done by then."""

HiddenFrames: TypeAlias = Float[Tensor, "hidden channel height width"]


@dataclass(frozen=True)
class Mask:
    """What is hidden of one clip: all of some frames, or a part of one.

    Attributes:
        example: Which clip of the batch.
        first: The first frame.
        end: The one after the last.
        labels: `(height, width)`, the parts of the frame; None to hide all of it.
        label: Which part.
    """

    example: int
    first: int
    end: int
    labels: Int[Tensor, "height width"] | None = None
    label: int = 0

    @property
    def frames(self) -> range:
        """The frames that are touched."""
        return range(self.first, self.end)

    def applied(self, clip: ClipTensor, hidden: ClipTensor | None) -> HiddenFrames:
        """The touched frames as they are shown.

        Args:
            clip: All clips of the batch.
            hidden: What shows where something is hidden; None for the neighbouring frame.
        """
        own = clip[self.example, self.first : self.end]
        if hidden is None:
            place = neighbour_of(self.first, self.end, clip.shape[1])
            cover = clip[self.example, place].expand_as(own)
        else:
            cover = hidden[self.example, self.first : self.end]
        if self.labels is None:
            return cover
        return torch.where(self.labels == self.label, cover, own)


@dataclass(frozen=True)
class Piece:
    """What some of the masks did.

    Attributes:
        places: `(piece,)`, which masks.
        moved: `(piece,)`, the sum over all values of |R(X) - R(X masked)|.
        logits: `(piece, classes)`, of the masked clips; None if they were not asked for.
        frames: How many frames went forward through the model, or its encoder, for that.
        path: How it was computed.
    """

    places: Int[Tensor, "piece"]
    moved: Float[Tensor, "piece"]
    logits: Float[Tensor, "piece classes"] | None
    frames: int
    path: str


@dataclass(frozen=True)
class Changes:
    """What hiding did, mask by mask.

    Attributes:
        moved: `(masks,)`, the sum over all values of |R(X) - R(X masked)|; 0 where not done.
        logits: `(masks, classes)`, of the masked clips; None if they were not asked for.
        done: `(masks,)`, all of them unless the run was stopped.
        frames: How many frames went forward through the model, or its encoder.
        paths: How it was computed.
    """

    moved: Float[Tensor, "masks"]
    logits: Float[Tensor, "masks classes"] | None
    done: Bool[Tensor, "masks"]
    frames: int
    paths: tuple[str, ...]


class MaskedAttribution(ABC):
    """How an attribution moves under masks, piece by piece."""

    @property
    def prepared(self) -> int:
        """How many frames went forward through the model before any was hidden."""
        return 0

    @abstractmethod
    def pieces(
        self,
        clip: ClipTensor,
        relevance: ClipTensor,
        masks: Sequence[Mask],
        title: str,
        predict: bool,
        show_progress: bool,
    ) -> Iterator[Piece]:
        """What all masks do, each in one piece; see `changes`."""

    def changes(
        self,
        clip: ClipTensor,
        relevance: ClipTensor,
        masks: Sequence[Mask],
        title: str,
        predict: bool,
        show_progress: bool = False,
        on_stop: OnStop = "raise",
    ) -> Changes:
        """What all masks do.

        Args:
            clip: `(batch, time, channel, height, width)`.
            relevance: R(X), of the clips as they are.
            masks: What to hide.
            title: Of the bar.
            predict: Whether the logits are asked for.
            show_progress: Show a bar, with the time left, on anything over two seconds.
            on_stop: On KeyboardInterrupt, `"raise"` it, or `"keep"` what is done.
        """
        # Made once: small results lying between what is freed would fragment the heap.
        moved = clip.new_zeros(len(masks))
        logits: Tensor | None = None
        done = torch.zeros(len(masks), dtype=torch.bool, device=clip.device)
        frames, paths = 0, dict[str, None]()
        try:
            for piece in self.pieces(clip, relevance, masks, title, predict, show_progress):
                moved[piece.places] = piece.moved.to(clip.dtype)
                if piece.logits is not None:
                    if logits is None:
                        logits = clip.new_zeros(len(masks), piece.logits.shape[1])
                    logits[piece.places] = piece.logits.to(clip.dtype)
                done[piece.places] = True
                frames += piece.frames
                paths[piece.path] = None
        except KeyboardInterrupt:
            if on_stop == "raise":
                raise
        return Changes(moved, logits, done, frames, tuple(paths))


def require_finite(attribution: Tensor) -> Tensor:
    """The attribution itself.

    Raises:
        ModelError: If it is not finite.
    """
    bad = int((~attribution.isfinite()).sum())
    if bad:
        raise ModelError(
            "a finite attribution",
            f"{bad} of {attribution.numel()} that are NaN or infinite",
            "Look at the method's attribution of this clip, or hide with something else.",
        )
    return attribution
