"""What masks did to an attribution: mask by mask, as far as a run came."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from temporal_attr._errors import OptionError
from temporal_attr._require import LONGEST, require_count
from temporal_attr._typing import ClipTensor
from temporal_attr.perturbations._masks import Mask

OnStop: TypeAlias = Literal["raise", "keep"]
"""What becomes of a run that is stopped: nothing, or what is done by then."""


@dataclass(frozen=True)
class MaskQuery:
    """Masks, and what is asked of each.

    Attributes:
        masks: In the order in which they are applied.
        description: Of the bar.
        predict: Whether the logits of the masked clips are asked for.
        on_stop: On KeyboardInterrupt, `"raise"` it, or `"keep"` what is done.
    """

    masks: Sequence[Mask]
    description: str
    predict: bool = False
    on_stop: OnStop = "raise"


@dataclass(frozen=True)
class ChunkEffects:
    """What the next few masks did.

    Attributes:
        change: `(chunk,)`, the sum over all values of `|R(X) - R(X masked)|`.
        logits: `(chunk, classes)`, of the masked clips; None if they were not asked for.
    """

    change: Float[Tensor, "chunk"]
    logits: Float[Tensor, "chunk classes"] | None


@dataclass(frozen=True)
class Effects:
    """What masks did.

    Attributes:
        change: `(masks,)`, the sum over all values of `|R(X) - R(X masked)|`; 0 where not done.
        logits: `(masks, classes)`, of the masked clips; None if they were not asked for.
        done: `(masks,)`, all of them unless the run was stopped.
    """

    change: Float[Tensor, "masks"]
    logits: Float[Tensor, "masks classes"] | None
    done: Bool[Tensor, "masks"]


class EffectsSoFar:
    """What masks did, written down chunk by chunk, from the first mask on.

    Args:
        masks: How many there are.
        like: The clips, in whose precision it is kept, but for half, whose range is too small.

    Example:
        >>> found = EffectsSoFar(3, torch.zeros(1, 2, 3, 4, 4))
        >>> found.add(ChunkEffects(torch.tensor([0.5, 2.0]), None))
        >>> found.count, found.effects().change
        (2, tensor([0.5000, 2.0000, 0.0000]))
    """

    def __init__(self, masks: int, like: ClipTensor) -> None:
        require_count("masks", masks, 0, LONGEST)
        # Made once: small results lying between what is freed would fragment the heap.
        self._change = like.new_zeros(masks, dtype=at_least_single(like.dtype))
        self._logits: Tensor | None = None
        self.count = 0

    def add(self, chunk: ChunkEffects) -> None:
        """What the masks after those did that are written down already."""
        end = self.count + len(chunk.change)
        self._change[self.count : end] = chunk.change.to(self._change.dtype)
        if chunk.logits is not None:
            if self._logits is None:
                shape = len(self._change), chunk.logits.shape[1]
                self._logits = self._change.new_zeros(shape)
            self._logits[self.count : end] = chunk.logits.to(self._change.dtype)
        self.count = end

    def effects(self) -> Effects:
        """What is known by now."""
        places = torch.arange(len(self._change), device=self._change.device)
        return Effects(self._change, self._logits, places < self.count)


def at_least_single(dtype: torch.dtype) -> torch.dtype:
    """Single precision for half, where small differences and their products underflow to 0.

    Example:
        >>> at_least_single(torch.float16), at_least_single(torch.float64)
        (torch.float32, torch.float64)
    """
    return torch.promote_types(dtype, torch.float32)


@contextmanager
def stopping(on_stop: OnStop) -> Iterator[None]:
    """Let KeyboardInterrupt end what is done inside, and nothing more, if it is to be kept.

    Example:
        >>> with stopping("keep"):
        ...     raise KeyboardInterrupt
    """
    try:
        yield
    except KeyboardInterrupt:
        if on_stop == "raise":
            raise


def require_on_stop(on_stop: object) -> None:
    """Raise unless this says what becomes of a run that is stopped.

    Raises:
        OptionError: With what it may be.
    """
    if not isinstance(on_stop, str) or on_stop not in get_args(OnStop):
        raise OptionError('on_stop to be "raise" or "keep"', repr(on_stop), "Choose one.")
