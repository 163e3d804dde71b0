"""Clips of a size that a network does not take, and networks that change with each pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from temporal_attr._errors import ClipError, ModelError, TemporalAttrError
from temporal_attr._memory import is_out_of_memory
from temporal_attr.models.trials._clip_sizes import Size, declared_size, sizes_to_try
from temporal_attr.models.trials._evaluation_mode import modules_behind
from temporal_attr.models.trials._state import tensor_versions

FITS_NOT = (RuntimeError, ValueError, AssertionError)
"""What networks raise of inputs that do not fit them."""


@contextmanager
def watched(
    model: object, clips: tuple[Tensor, ...], run: Callable[[tuple[Tensor, ...]], object]
) -> Iterator[None]:
    """Around a trial: names the size of clips that a model takes, and what each pass changes."""
    with ExitStack() as around:
        if len(clips) == 1 and clips[0].ndim == 5:
            around.enter_context(named_size(model, clips[0], lambda clip: run((clip,))))
        around.enter_context(unchanging(model, lambda: run(clips)))
        yield


@contextmanager
def named_size(model: object, clip: Tensor, run: Callable[[Tensor], object]) -> Iterator[None]:
    """Name the size of clips that a network takes, where it refuses the one that it gets.

    Sizes that its error points to, and usual ones, are tried then; of none that it takes, the error
    is raised as it is.

    Args:
        model: Only modules are tried; what a function raises is its own to say.
        clip: `(batch, time, channel, height, width)` that it gets inside.
        run: The model as a function of a clip.

    Raises:
        ClipError: With a size that it takes; the network's own error is the cause.
    """
    try:
        yield
    except FITS_NOT as error:
        # Our own errors say what it is, but for those that tell what a layer said.
        own = isinstance(error, TemporalAttrError) and not isinstance(error.__cause__, FITS_NOT)
        if own or is_out_of_memory(error) or not isinstance(model, nn.Module):
            raise
        size = _size_taken(model, clip, run, error.__cause__ or error)
        if size is None:
            raise
        frames, side = size
        name = type(model).__name__
        kept = side == clip.shape[-1]
        raise ClipError(
            f"a clip that {name} takes, such as one of {frames} frames"
            + ("" if kept else f" of {side} x {side} pixels"),
            f"{clip.shape[1]} frames of {clip.shape[3]} x {clip.shape[4]} pixels, at which it ends "
            f"in {type(error.__cause__ or error).__name__}",
            "Load the clip so.",
        ) from error


def _size_taken(
    model: nn.Module, clip: Tensor, run: Callable[[Tensor], object], error: BaseException
) -> Size | None:
    """A size that a network takes, of those that it declares or its error points to."""
    frames, side = clip.shape[1], clip.shape[-1]
    declared = declared_size(model)
    said = (declared[0] or frames, declared[1] or side)
    for size in dict.fromkeys([said, *sizes_to_try(frames, side, [str(error)])]):
        # As many frames as colours might be taken for them.
        if size == (frames, side) or size[0] == clip.shape[2]:
            continue
        try:
            run(resized(clip[:1], size))
        except FITS_NOT as again:
            if is_out_of_memory(again):
                return None
            continue
        return size
    return None


def resized(clips: Tensor, size: Size) -> Tensor:
    """Clips with so many of their frames, and so many of their pixels a side: the nearest ones.

    Example:
        >>> clip = torch.arange(3.0).reshape(1, 3, 1, 1, 1)
        >>> resized(clip, (5, 1)).flatten().tolist()
        [0.0, 0.0, 1.0, 2.0, 2.0]
    """
    frames, side = size
    places = torch.linspace(0, clips.shape[1] - 1, frames, device=clips.device).round().long()
    chosen = clips if frames == clips.shape[1] else clips[:, places]
    if side == clips.shape[-1]:
        return chosen
    pixels: Tensor = functional.interpolate(chosen.flatten(0, 1), size=(side, side))
    changed: Tensor = pixels.unflatten(0, chosen.shape[:2])
    return changed


@contextmanager
def unchanging(model: object, run: Callable[[], object]) -> Iterator[None]:
    """Raise where a model writes to its parameters or buffers with each pass, as counters do.

    What is written once, such as a table of positions, is no matter. Values of buffers are put back
    before the error.

    Args:
        model: That runs inside; what functions call is looked at too.
        run: One pass more, where something was written to.

    Raises:
        ModelError: With the names.
    """
    modules = modules_behind(model)
    values = [(one, one.detach().clone()) for module in modules for one in module.buffers()]
    parts = [part._buffers for module in modules for part in module.modules()]
    held = [(buffers, dict(buffers)) for buffers in parts]
    before = [tensor_versions(module) for module in modules]
    yield
    after = [tensor_versions(module) for module in modules]
    if before == after:
        return
    run()
    for module, once in zip(modules, after, strict=True):
        twice = tensor_versions(module)
        names = [name for name, now in twice.items() if now != once.get(name)]
        if names:
            for buffers, own in held:
                buffers.clear()
                buffers.update(own)
            with torch.no_grad():
                for buffer, value in values:
                    buffer.copy_(value)
            raise ModelError(
                "a model that a forward pass does not change",
                f"{type(module).__name__}, whose {', '.join(names[:3])} changes with each",
                "Leave that out in evaluation mode, such as by `if self.training`; or keep it in "
                "a plain attribute, if nothing is computed from it.",
            )
