"""What a network's forward says of the input that it takes."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

from torch import nn

CLIP_NAMES = (
    "pixel_values_videos", "pixel_values", "videos", "video", "clips", "clip", "frames",
)  # fmt: skip
"""What arguments are called that are a clip, wherever they stand."""


@dataclass(frozen=True)
class Signature:
    """How a clip is handed to a network.

    Attributes:
        keyword: The name that it is given by; None if it is given first.
        needs: Other arguments without a default.
    """

    keyword: str | None
    needs: tuple[str, ...]


def read_signature(module: nn.Module) -> Signature:
    """How a clip is handed to a module, and what else it needs.

    A clip is its first argument, unless another is called as one of `CLIP_NAMES`, or can be given
    by keyword only.

    Example:
        >>> class Reads(nn.Module):
        ...     def forward(self, text, lengths, video=None):
        ...         return video
        >>> read_signature(Reads())
        Signature(keyword='video', needs=('text', 'lengths'))
        >>> read_signature(nn.Linear(2, 2))
        Signature(keyword=None, needs=())
    """
    arguments = inspect.signature(module.forward).parameters.values()
    named = [one for one in arguments if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    required = [one.name for one in named if one.default is one.empty]
    by_place = [one.name for one in named if one.kind is not one.KEYWORD_ONLY]
    known = next((one.name for one in named if one.name in CLIP_NAMES), None)
    if any(one.kind is one.VAR_POSITIONAL for one in arguments) and not by_place:
        by_place = [""]
    clip = by_place[0] if by_place and (known is None or known == by_place[0]) else known
    if clip is None:
        clip = required[0] if required else None
    keyword = None if by_place and clip == by_place[0] else clip
    return Signature(keyword, tuple(name for name in required if name != clip))
