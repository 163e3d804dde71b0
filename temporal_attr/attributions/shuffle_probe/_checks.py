"""What the shuffle probe refuses before it runs a model."""

from __future__ import annotations

from temporal_attr._errors import ClipError, OptionError
from temporal_attr._require import require_count, require_share
from temporal_attr._typing import ClipTensor
from temporal_attr.clips import Shuffling

SHORTEST = 3


def require_frames(clip: ClipTensor) -> None:
    """Raise unless a clip has frames enough to be shuffled."""
    if clip.shape[1] < SHORTEST:
        raise ClipError(
            f"at least {SHORTEST} frames to shuffle",
            f"{clip.shape[1]}",
            "Two frames have one other order, which is no sample of orders.",
        )


def require_segments(segment: object, overlap: object) -> None:
    """Raise unless segments have frames enough, and overlap by less than all of them."""
    require_count("segment", segment, SHORTEST)
    require_share("segment_overlap", overlap)


def require_shuffling(shuffling: object) -> None:
    """Raise unless this is a family of orders."""
    if not isinstance(shuffling, Shuffling | None):
        raise OptionError(
            "shuffling to be FullShuffle(), Reversal(), BlockShuffle(n) or LocalShuffle(n)",
            repr(shuffling),
            "They are in temporal_attr.clips.",
        )
