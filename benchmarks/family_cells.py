"""What comes of a network and a method: a cell of the table of families. See `families.py`."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from family_methods import Column
from torch import Tensor

import temporal_attr as ta

RIGHT = 1e-9
"""Over the largest entry, in double precision: sums of thousands of terms that cancel."""

ZERO = 1e-12
"""Of the largest logit: what is nowhere larger is 0."""

TARGET = [1, 0]


class OutOfTime(BaseException):
    """A cell took longer than it may; no Exception, which the cell would take for a raw error."""


def of_method(column: Column, wrapper: ta.VideoModel, clip: Tensor, limit: float) -> dict[str, Any]:
    """What a method makes of a model: right, wrong by how much, or what it says."""
    if column.framewise_only and not isinstance(wrapper, ta.FramewiseModel):
        return {"cell": "-"}

    def found(part: Tensor, target: list[int]) -> Tensor:
        attribution: Tensor = column.build(wrapper, clip).attribute(part, target=target)
        return attribution

    try:
        with warnings.catch_warnings(), at_most(limit):
            warnings.simplefilter("ignore")
            together, again = found(clip, TARGET), found(clip, TARGET)
            alone = [found(clip[place : place + 1], TARGET[place : place + 1]) for place in (0, 1)]
    except OutOfTime:
        return {"cell": f"over {limit:.0f} s"}
    except ta.TemporalAttrError as error:
        return {"cell": f"named: {type(error).__name__}", "why": str(error)}
    except Exception as error:  # noqa: BLE001 - what is raw is what this looks for
        return {"cell": f"RAW: {type(error).__name__}", "why": str(error)}
    with torch.no_grad():
        scale = wrapper(clip).abs().max()
    return {"cell": judged(together, again, torch.cat(alone), scale)}


def judged(together: Tensor, again: Tensor, alone: Tensor, scale: Tensor) -> str:
    """Whether the attribution of a batch is what it must be.

    Args:
        together: Of the batch.
        again: Of the batch, a second time.
        alone: Of its clips one by one.
        scale: The largest logit: an attribution far below it is 0 but for rounding.
    """
    zeros = [
        [bool(of_clip.abs().max() <= ZERO * scale) for of_clip in one]
        for one in (together, again, alone)
    ]
    if all(map(all, zeros)):
        return "zero"
    off = max(apart(alone, together), apart(again, together))
    if off > RIGHT:
        return f"WRONG: {off:.0e}"
    if together.isnan().any():
        return "NaN"
    return "zero of one clip" if any(zeros[0]) else "right"


def apart(found: Tensor, expected: Tensor) -> float:
    """The largest difference, over the largest entry."""
    if found.shape != expected.shape:
        return float("inf")
    if not torch.equal(found.isnan(), expected.isnan()):
        return float("inf")
    size = expected.nan_to_num().abs().max().clamp(min=1e-300)
    return float((found - expected).nan_to_num().abs().max() / size)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` in what takes longer, in seconds of the process."""

    def stop(*_: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
