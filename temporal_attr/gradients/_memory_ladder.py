"""The memory ladder: which paths a model has, and which is taken when memory runs out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from temporal_attr._errors import ClipError, HalfPrecisionWarning, OptionError
from temporal_attr._memory import is_out_of_memory
from temporal_attr._run import RunContext
from temporal_attr.gradients._autograd import isolated_autograd
from temporal_attr.gradients._framewise import count_framewise, framewise
from temporal_attr.gradients._paths import (
    Count,
    Path,
    checkpointed,
    count_checkpointed,
    count_differentiated,
    count_half,
    count_whole,
    half,
    offloaded,
    whole,
)
from temporal_attr.gradients._query import GradientQuery, Gradients
from temporal_attr.models import FramewiseModel, VideoModel

Memory: TypeAlias = Literal["auto", "whole", "framewise", "checkpoint", "offload", "half"]
"""How gradients are computed; see `TemporalGradient`."""


def require_memory(memory: object) -> None:
    """Raise unless this names a memory path.

    Raises:
        OptionError: With the names.

    Example:
        >>> require_memory("whole")
        >>> require_memory("hole")
        Traceback (most recent call last):
        ...
        temporal_attr._errors.OptionError: expected memory to be "auto", "whole", "framewise", ...
    """
    if not isinstance(memory, str) or memory not in get_args(Memory):
        names = ", ".join(f'"{name}"' for name in get_args(Memory))
        raise OptionError(f"memory to be {names}", repr(memory), "Choose one of them.")


def gradients_of(
    query: GradientQuery,
    clips: tuple[Tensor, ...],
    run: RunContext,
    memory: Memory = "auto",
    chunk_size: int | None = None,
) -> Gradients:
    """Gradients by the named path, or with `"auto"` by the first that memory allows.

    All paths compute the same numbers, except `"half"`, which computes them in half precision; the
    run says so, and where `"auto"` ends there, a `HalfPrecisionWarning`. Only running out of memory
    moves on to the next path; any other error is raised.

    Args:
        query: The scalar outputs.
        clips: `(batch, time, channel, height, width)` each.
        run: Where the path, and what was tried before it, are noted.
        memory: The path.
        chunk_size: Frames encoded at a time on the framewise path.

    Raises:
        OptionError: If the model does not have the named path.

    Example:
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("late-fusion", classes=4, pooling="mean", widths=(4, 8))
        >>> query = GradientQuery(model, lambda logits: logits[:, :1])  # the logit of class 0
        >>> run = RunContext()
        >>> found = gradients_of(query, (torch.rand(2, 5, 3, 16, 16),), run, memory="framewise")
        >>> found.of_clips[0].shape, run.finished(frames=10).path
        (torch.Size([1, 2, 5, 3, 16, 16]), 'framewise')
    """
    if not clips:
        raise ClipError("at least one clip", "none", "Pass the clip in a tuple.")
    with isolated_autograd(clips) as own:
        paths = _paths_of(query, own)
        if memory != "auto":
            return _named(paths, memory, query)(query, own, chunk_size, run)
        if not own[0].is_cuda:
            del paths["offload"]  # the tensors are in the CPU's memory already
        *first, last = paths
        for name in first:
            try:
                return paths[name](query, own, chunk_size, run)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            # Only here is the error, which holds the graph, gone.
            run.ran_out(name)
            torch.cuda.empty_cache()
        found = paths[last](query, own, chunk_size, run)
        if last == "half":
            _warn_of_half_precision()
        return found


def count_gradients(
    query: GradientQuery,
    clips: tuple[Tensor, ...],
    plan: RunContext,
    scalars: int,
    memory: Memory = "auto",
    chunk_size: int | None = None,
) -> None:
    """Count what `gradients_of` takes, if memory suffices for what it tries first.

    It is counted from shapes, except where passes depend on which frames a framewise model's
    scalars read: then from one pass without a graph, and the gradients of its head.

    Args:
        query: The scalar outputs.
        clips: `(batch, time, channel, height, width)` each.
        plan: Counts the passes that would be made.
        scalars: How many scalar outputs there are.
        memory: The path.
        chunk_size: Frames encoded at a time on the framewise path.

    Example:
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("inflated-resnet", classes=4, widths=(4, 8))
        >>> query, plan = GradientQuery(model, lambda logits: logits[:, :3]), RunContext()
        >>> count_gradients(query, (torch.rand(1, 4, 3, 16, 16),), plan, scalars=3)
        >>> plan.finished(frames=4).backward_passes
        3.0
    """
    with isolated_autograd(clips) as own:
        paths = _paths_of(query, own)
        name = next(iter(paths)) if memory == "auto" else memory
        _named(paths, name, query)
        count = count_half(_COUNTS[_leanest(paths)]) if name == "half" else _COUNTS[name]
        count(query, own, chunk_size, plan, scalars)


_COUNTS: dict[str, Count] = {
    "whole": count_whole,
    "framewise": count_framewise,
    "checkpoint": count_checkpointed,
    "offload": count_differentiated,
}


def _leanest(paths: Mapping[str, Path]) -> str:
    """The path that keeps least, of those in full precision."""
    return next(name for name in ("framewise", "checkpoint", "offload") if name in paths)


def _warn_of_half_precision() -> None:
    warnings.warn(
        "memory ran out on every path of full precision, so this gradient was computed in "
        "bfloat16, which keeps 2 to 3 digits. Explain fewer clips, shorter or smaller ones; or "
        'name a path, such as memory="whole", where memory that runs out is an error.',
        HalfPrecisionWarning,
        stacklevel=2,
    )


def _paths_of(query: GradientQuery, clips: tuple[Tensor, ...]) -> dict[str, Path]:
    """The paths that a model has, in the order in which they are tried."""
    paths: dict[str, Path] = {"whole": whole}
    model = query.model
    if isinstance(model, FramewiseModel) and len(clips) == 1:
        paths["framewise"] = framewise
    elif isinstance(model, VideoModel) and len(model.stages) > 1:
        paths["checkpoint"] = checkpointed
    paths["offload"] = offloaded
    if clips[0].dtype != torch.float64:  # autocast leaves doubles as they are
        paths["half"] = half(paths[_leanest(paths)])
    return paths


def _named(paths: dict[str, Path], name: str, query: GradientQuery) -> Path:
    if name not in paths:
        options = ", ".join(f'"{option}"' for option in ("auto", *paths))
        raise OptionError(
            f"memory to be {options} for this {type(query.model).__name__}",
            repr(name),
            'The path "framewise" needs a FramewiseModel, and "checkpoint" a model with stages.',
        )
    return paths[name]
