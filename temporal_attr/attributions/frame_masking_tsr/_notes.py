"""What a reader should know of a run of temporal saliency rescaling, and its keyframes."""

from __future__ import annotations

from jaxtyping import Bool
from torch import Tensor

from temporal_attr._errors import ClipError
from temporal_attr._typing import ClipTensor
from temporal_attr.clips import Normalization
from temporal_attr.measures import keyframes, stand_out
from temporal_attr.perturbations import Blocks, FeatureMask


def notes_of(above: Bool[Tensor, "batch time"], done: int, masks: int) -> tuple[str, ...]:
    """What a reader should know of a run.

    Args:
        above: Frames whose Delta_t is large enough.
        done: How many masks were applied.
        masks: How many there were.

    Example:
        >>> import torch
        >>> notes_of(torch.tensor([[True], [False]]), done=2, masks=2)
        ('the threshold keeps no frame of clip(s) 1',)
    """
    notes = []
    if done < masks:
        notes.append(f"stopped after {done} of {masks} masked clips; frames not done are 0")
    empty = (~above.any(1)).nonzero().flatten().tolist()
    if empty:
        notes.append(f"the threshold keeps no frame of clip(s) {', '.join(map(str, empty))}")
    return tuple(notes)


def found_keyframes(
    clip: ClipTensor, normalization: Normalization | None
) -> tuple[Bool[Tensor, "batch time"] | None, tuple[str, ...]]:
    """Keyframes, or None where they cannot be told; and what limits them.

    Args:
        clip: `(batch, time, channel, height, width)`.
        normalization: How its pixels became input values, if known.
    """
    if normalization is None:
        return None, ("no keyframes, as nothing says how pixels became input values",)
    try:
        found = keyframes(normalization.invert(clip).clamp(0, 1)).to(clip.device)
    except ClipError as error:
        return None, (f"no keyframes: expected {error.expected}, got {error.got}",)
    alike = (~stand_out(found)).nonzero().flatten().tolist()
    if not alike:
        return found, ()
    return found, (
        f"keyframes say nothing of clip(s) {', '.join(map(str, alike))}: most frames are found, as "
        "where the clip has few frames of a video, or changes throughout",
    )


def block_notes(features: FeatureMask, clip: ClipTensor) -> tuple[str, ...]:
    """Whether blocks are cut off at the edges of the frames."""
    if not isinstance(features, Blocks) or features.divide(clip):
        return ()
    size = f"{features.height} x {features.width}"
    return (f"blocks of {size} do not divide the frame; the last are smaller",)
