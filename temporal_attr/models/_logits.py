"""The logits of any model of clips, or an error that says what it would take."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from temporal_attr._errors import ClipError, ModelError, TemporalAttrError
from temporal_attr._memory import is_out_of_memory
from temporal_attr.models._base import VideoModel, check_logits

_OTHER_PRECISION = (
    "expected scalar type",
    "should be the same",
    "must have the same dtype",
    "same dtype",
    "dtype mismatch",
)
"""What PyTorch says where inputs and weights are of several precisions."""


def model_logits(
    model: Callable[..., Any], clips: tuple[Tensor, ...], arguments: tuple[Any, ...] = ()
) -> Tensor:
    """Logits `(batch, classes)` that a model gives for clips.

    Args:
        model: A wrapper, or any function of clips.
        clips: `(batch, time, channel, height, width)` each.
        arguments: Handed to the model after the clips.

    Raises:
        ModelError: If the output is no logits, the model takes other arguments, or a layer of
            PyTorch inside a module that is no `VideoModel` refuses what it got, as a network of
            another layout does; that error is then the cause. Errors of wrappers and of your own
            code are raised as they are.

    Example:
        >>> import torch
        >>> network = torch.nn.Sequential(torch.nn.Conv3d(3, 4, 3), torch.nn.Flatten())
        >>> model_logits(network, (torch.rand(1, 8, 3, 16, 16),))
        Traceback (most recent call last):
        ...
        temporal_attr._errors.ModelError: expected a model that takes clips (batch, time, ...
    """
    if not clips:
        raise ClipError("at least one clip", "none", "Pass the clip in a tuple.")
    if isinstance(model, VideoModel) and len(clips) + len(arguments) > 1:
        raise ModelError(
            f"one clip, and nothing else, for a {type(model).__name__}",
            f"{len(clips)} clips and {len(arguments)} arguments",
            "Pass a function of all of them.",
        )
    try:
        output = model(*clips, *arguments)
    except Exception as error:
        if isinstance(error, TypeError):
            _require_arguments(model, clips, arguments)
        if isinstance(model, VideoModel) or not refused_by_a_layer(error):
            raise
        shapes = ", ".join(str(tuple(clip.shape)) for clip in clips)
        if any(words in str(error) for words in _OTHER_PRECISION):
            raise ModelError(
                "a model of clips in " + ", ".join(str(clip.dtype) for clip in clips),
                f"{type(error).__name__} inside it ({error})",
                "Bring the clip to the precision of the weights, such as "
                "clip.to(torch.float32), or the model to that of the clip.",
            ) from error
        raise ModelError(
            "a model that takes clips (batch, time, channel, height, width)",
            f"{type(error).__name__} inside it for a clip of shape {shapes} ({error})",
            "If the network takes another layout, wrap it: wrap(model), Conv3D(model) for (batch, "
            "channel, time, height, width), LateFusion(model) for single frames; or pass a "
            "function such as lambda clip: model(clip.transpose(1, 2)).",
        ) from error
    return check_logits(output, clips[0].shape[0])


def _require_arguments(
    model: Callable[..., Any], clips: tuple[Tensor, ...], arguments: tuple[Any, ...]
) -> None:
    """Raise if a model cannot be called with these at all, with what it takes."""
    function = model.forward if isinstance(model, nn.Module) else model
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # of functions in C
    try:
        signature.bind(*clips, *arguments)
    except TypeError as error:
        name = type(model).__name__ if isinstance(model, nn.Module) else "the function"
        raise ModelError(
            f"a model of {len(clips)} clip(s) and {len(arguments)} argument(s) more",
            f"{name}{signature}: {error}",
            "Pass what else it takes as additional_forward_args, or a function of the clip alone, "
            "such as lambda clip: model(clip, lengths).",
        ) from error


@contextmanager
def named_misfit(model: VideoModel, *given: Tensor) -> Iterator[None]:
    """Name the error where a layer of a wrapper's parts refuses what it gets.

    Args:
        model: The wrapper that runs inside.
        given: What it is given.

    Raises:
        ModelError: With the layer's own error as its cause.

    Example:
        >>> import torch
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("late-fusion", classes=4, widths=(4, 8))
        >>> with named_misfit(model, torch.rand(1, 7)):
        ...     model.head(torch.rand(1, 5, 7))
        Traceback (most recent call last):
        ...
        temporal_attr._errors.ModelError: expected a LateFusion whose parts fit each other and ...
    """
    try:
        yield
    except Exception as error:
        if not refused_by_a_layer(error):
            raise
        got = ", ".join(f"{one.dtype} of shape {tuple(one.shape)}" for one in given)
        raise ModelError(
            f"a {type(model).__name__} whose parts fit each other and {got}",
            f"{type(error).__name__} in one of its layers ({error})",
            "Look at what each part gives and the next one takes, and at the size of the clip.",
        ) from error


def refused_by_a_layer(error: Exception) -> bool:
    """Whether an error was raised in PyTorch's own layers, and not for want of memory."""
    if not isinstance(error, (RuntimeError, ValueError)) or is_out_of_memory(error):
        return False
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    # A mode that intercepts functions stands between a layer and its kernel.
    own = [frame for frame in frames if frame.f_code.co_name != "__torch_function__"]
    place = str(own[-1].f_globals.get("__name__", ""))
    return place.startswith("torch.nn.") and not isinstance(error, TemporalAttrError)
