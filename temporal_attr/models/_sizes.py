"""Which sizes of clip a network takes, told from shapes alone, before anything is computed."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from temporal_attr._errors import ClipError
from temporal_attr.models.trials._misfits import FITS_NOT

LONGEST = 128
"""Frames up to which a network's fixed number of frames is looked for."""

ROOMY = 512
"""Pixels a side that leave any network room."""


def without_values(network: nn.Module) -> nn.Module:
    """A copy without numbers, and without hooks, that tells shapes in no time.

    Parameters and buffers are on PyTorch's device `meta`, as its inputs must be. The network itself
    is left alone.

    Example:
        >>> shapes = without_values(nn.Conv3d(3, 8, 3, stride=2))
        >>> tuple(shapes(torch.empty(1, 3, 9, 33, 33, device="meta")).shape)
        (1, 8, 4, 16, 16)
    """
    bare = copy.copy(network)
    bare._parameters = {
        name: None if one is None else nn.Parameter(_empty(one), one.requires_grad)
        for name, one in network._parameters.items()
    }
    bare._buffers = {
        name: None if one is None else _empty(one) for name, one in network._buffers.items()
    }
    for hooks in ("_forward_hooks", "_forward_pre_hooks"):
        setattr(bare, hooks, OrderedDict())
    bare._modules = {
        name: None if part is None else without_values(part)
        for name, part in network._modules.items()
    }
    return bare.eval()


def _empty(values: Tensor) -> Tensor:
    return torch.empty_like(values, device="meta")


@dataclass(frozen=True)
class Sizes:
    """What a network takes.

    Attributes:
        frames: The smallest number of frames.
        longer: Whether it also takes more.
        side: The smallest height and width, in pixels.
    """

    frames: int
    longer: bool
    side: int

    def refusal(self, clip: Tensor, name: str) -> ClipError:
        """The error for a clip `(batch, channel, time, height, width)` that is not taken."""
        frames, height, width = clip.shape[2:]
        least = "at least " if self.longer else ""
        return ClipError(
            f"{least}{self.frames} frames of at least {self.side} x {self.side} pixels, as "
            f"{name} pools over",
            f"{frames} frames of {height} x {width}",
            "Load the clip with that many frames, and preprocessing=model.preprocessing.",
        )


class SizeCheck:
    """Refuses a clip whose size a network does not take, before its first layer runs.

    Args:
        every: What the number of frames is a multiple of.

    Example:
        >>> pool = nn.AvgPool3d((4, 2, 2))
        >>> SizeCheck()(pool, torch.rand(1, 3, 2, 9, 9))
        Traceback (most recent call last):
        ...
        temporal_attr._errors.ClipError: expected at least 4 frames of at least 2 x 2 pixels, ...
    """

    def __init__(self, every: int = 1) -> None:
        self._every = every
        self._taken: set[tuple[int, ...]] = set()

    def __call__(
        self,
        network: nn.Module,
        volume: Tensor,
        given: Callable[[Tensor], Any] = lambda clip: clip,
    ) -> None:
        """Raise unless a clip is taken; each size is looked at once.

        Args:
            network: The network.
            volume: `(batch, channel, time, height, width)`.
            given: From a clip of this layout to what the network is called with.

        Raises:
            ClipError: With the smallest size that is taken.
        """
        size = tuple(volume.shape[2:])
        if size in self._taken:
            return
        bare = without_values(network)

        def fits(*size: int) -> bool:
            clip = torch.empty((1, volume.shape[1], *size), dtype=volume.dtype, device="meta")
            return shape_of(lambda: bare(given(clip))) is not None

        if not fits(*size):
            known = sizes_taken(fits, self._every)
            # Where no size runs without values, the network itself has to tell.
            if known is not None:
                raise known.refusal(volume, type(network).__name__)
        self._taken.add(size)


def sizes_taken(fits: Callable[[int, int, int], bool], every: int = 1) -> Sizes | None:
    """The smallest clip that a network takes; None if it takes none that was tried.

    Args:
        fits: Whether it takes so many frames of such a height and width.
        every: What the number of frames is a multiple of.

    Example:
        >>> sizes_taken(lambda frames, height, width: frames >= 8 and height > 223 and width > 9)
        Sizes(frames=8, longer=True, side=224)
    """
    lengths = range(every, LONGEST + 1, every)
    frames = next((length for length in lengths if fits(length, ROOMY, ROOMY)), None)
    if frames is None:
        return None
    return Sizes(
        frames,
        fits(frames + every, ROOMY, ROOMY),
        _smallest(lambda side: fits(frames, side, side)),
    )


def _smallest(fits: Callable[[int], bool]) -> int:
    """The smallest side that fits, by halving: all larger ones do."""
    low, high = 0, ROOMY
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def shape_of(run: Callable[[], Any]) -> tuple[int, ...] | None:
    """The shape of what a run without values gives; None if a layer refuses its input."""
    # A mode that intercepts functions, such as that of relevance, has no business here.
    with torch.no_grad(), torch._C.DisableTorchFunction():
        try:
            output: Tensor = run()
        except FITS_NOT:
            return None
    return tuple(output.shape)
