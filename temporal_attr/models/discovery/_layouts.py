"""In which layout a network of no known library takes clips, found by trying."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import no_type_check

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from temporal_attr._errors import ModelError, UnsupportedModelError
from temporal_attr._memory import is_out_of_memory
from temporal_attr._told import told, usable
from temporal_attr._typing import ClipTensor
from temporal_attr.clips import check_layout
from temporal_attr.models._outputs import logits_of
from temporal_attr.models.discovery._signature import read_signature
from temporal_attr.models.discovery._taken import (
    CHANNELS_FIRST,
    LAYOUTS,
    LayoutTrial,
    TakenLayouts,
)
from temporal_attr.models.trials._clip_sizes import Size, declared_size, sizes_to_try
from temporal_attr.models.trials._evaluation_mode import require_evaluation_mode
from temporal_attr.models.trials._fits import check_fits
from temporal_attr.models.trials._misfits import resized
from temporal_attr.models.trials._state import put_back, tensor_versions
from temporal_attr.models.trials._trials import difference, outside_of_callers_modes, tolerance

_CLIPS, _FRAMES, _SIDE = 2, 8, 32
"""Of the clips that are made where none is given. No two axes of theirs are alike, nor is one like
the three channels, or a network could take one for another without an error."""

_MOST_TRIED = 12
"""Sizes of clips that are tried until a layout fits."""


def taken_layouts(
    module: nn.Module, clip: ClipTensor | None = None, layouts: Sequence[str] = ()
) -> TakenLayouts:
    """Try in which layout a network takes clips.

    It is run on two clips in each of `LAYOUTS`, and in a list where it reads pathways. A layout is
    taken if the output has logits (see `logits_of`) with a row for each clip or each frame. Where
    time and channels could be taken for each other, as of three frames, clips of another length are
    tried first. Nothing of the network is changed: buffers and attributes are put back.

    Args:
        module: A network in evaluation mode.
        clip: `(batch, time, channel, height, width)`, of the size that it was trained with. Without
            it, clips of random numbers are made, of the size that the network declares or 8 frames
            of 32 x 32. Where none fits, sizes that its errors point to are tried.
        layouts: Those that are tried; without any, all of `LAYOUTS`.

    Raises:
        ModelError: If it is in training mode, or gives the same clips another output each time.
        ClipError: If the clip is none, or of another precision or device than the weights.

    Example:
        >>> network = nn.Sequential(nn.Conv3d(3, 4, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten())
        >>> found = taken_layouts(network.eval())
        >>> found.require().layout
        'batch channel time height width'
    """
    require_evaluation_mode(module)
    signature = read_signature(module)
    name = type(module).__name__
    if signature.needs:
        return TakenLayouts(name, signature.needs)
    clips, sizes = _to_try(module, clip)
    known = tuple(layouts) or LAYOUTS
    plain = [LayoutTrial(layout, (), keyword=signature.keyword) for layout in known]
    if CHANNELS_FIRST in known:
        plain.append(LayoutTrial(CHANNELS_FIRST, (), listed=True, keyword=signature.keyword))
    first = found = _tried(module, plain, resized(clips, sizes[0]))
    likely = [trial.layout for trial in found.furthest]
    if not found.taken:
        sizes += sizes_to_try(*sizes[0], (trial.error for trial in found.furthest))
    for size in sizes[1:_MOST_TRIED]:
        if found.taken:
            break
        # Those that came furthest first; then, of a size that fits, all.
        given = resized(clips, size)
        if _tried(module, [one for one in plain if one.layout in likely], given).taken:
            found = _tried(module, plain, given)
    asked = () if clip is None else tuple(clip.shape)
    return replace(found if found.taken else first, asked=asked)


def _to_try(module: nn.Module, clip: Tensor | None) -> tuple[Tensor, list[Size]]:
    """Two clips, and of which sizes to try them first."""
    if clip is None:
        frames, side = declared_size(module)
        size = (frames or _FRAMES, side or _SIDE)
        known = next((one for one in module.parameters() if one.is_floating_point()), torch.ones(1))
        random = torch.Generator().manual_seed(0)
        made = torch.randn(_CLIPS, size[0], 3, size[1], size[1], generator=random)
        # Two that differ in more than noise, or some networks could hardly tell them apart.
        made[1] = made[1] / 2 + 1
        return made.to(known), [size]
    check_layout(clip, clip.shape[2] if clip.ndim == 5 else 3)
    check_fits(module, clip)
    pair = clip[:2] if len(clip) > 1 else torch.cat([clip, clip.flip(1) / 2])
    frames, side = clip.shape[1], clip.shape[-1]
    # Where time could be taken for channels, clips with a frame more tell.
    longer = [(frames + 1, side)] if frames == clip.shape[2] else []
    return pair.detach(), [*longer, (frames, side)]


def _tried(module: nn.Module, entries: list[LayoutTrial], clips: Tensor) -> TakenLayouts:
    """What comes of clips of one size in some layouts."""
    tried = [_try_one(module, replace(one, size=tuple(clips.shape)), clips) for one in entries]
    outputs = [logits for _, logits in tried if logits is not None]
    trials = tuple(trial for trial, _ in tried)
    return TakenLayouts(type(module).__name__, (), trials, _are_alike(outputs))


class _CountsCalls(TorchFunctionMode):
    """Counts the functions of PyTorch that give a tensor while it is entered."""

    count = 0

    @no_type_check  # as PyTorch has it
    def __torch_function__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        """Count a call, and make it."""
        output = func(*args, **(kwargs or {}))
        self.count += isinstance(output, Tensor)
        return output


def _try_one(
    module: nn.Module, entry: LayoutTrial, clips: Tensor
) -> tuple[LayoutTrial, Tensor | None]:
    """What comes of clips in one layout, and the logits."""
    calls = _CountsCalls()
    with put_back(module), _unseen(clips):
        try:
            given = entry.arrange(clips.clone())
            with calls:
                output = entry.call(module, given)
            try:
                first = logits_of(output)
            except ModelError as error:
                return replace(entry, error=f"gives {error.got}", calls=calls.count), None
            before = tensor_versions(module)
            again = entry.run(module, clips.clone())
        except Exception as error:
            # A network says by any error, its own or a layer's, that it does not take a layout.
            if is_out_of_memory(error):
                raise
            return replace(entry, error=_short(error), calls=calls.count), None
        after = tensor_versions(module)
    came = _no_logits(first, entry.size)
    if came:
        return replace(entry, error=f"gives {came}", calls=calls.count), None
    if difference(again, first) > tolerance(first):
        raise ModelError(
            "a network that gives the same clips the same output",
            f"{type(module).__name__}, which does not: it keeps a state between calls, or draws "
            "random numbers",
            "Reset its state in forward, or call model.eval().",
        )
    state = tuple(name for name, now in after.items() if now != before.get(name))
    return replace(entry, shape=tuple(first.shape), state=state, calls=calls.count), first


def time_axis_of_outputs(module: nn.Module, entry: LayoutTrial, clip: ClipTensor) -> int | None:
    """The axis of a network's outputs that grows with the number of frames; None if there is none.

    Args:
        module: The network.
        entry: How it takes clips, and the shape of its outputs.
        clip: Of that size.

    Raises:
        UnsupportedModelError: If outputs have three axes, and it is open which one is time.
    """
    shape = entry.shape or ()
    sizes = []
    for frames in (clip.shape[1], 2 * clip.shape[1], clip.shape[1] + 4):
        given = resized(clip[:1], (frames, clip.shape[-1]))
        trial, logits = _try_one(module, replace(entry, size=tuple(given.shape)), given)
        sizes.append(tuple(logits.shape[1:]) if trial.taken and logits is not None else None)
    own = sizes[0] or ()
    others = [one for one in sizes[1:] if one is not None and len(one) == len(own)]
    axes = range(len(own))
    grown = {axis + 1 for one in others for axis in axes if one[axis] != own[axis]}
    if len(grown) == 1:
        return grown.pop()
    if len(shape) == 2:
        return None
    # Of a network of one number of frames: as many timesteps as frames, or fewer.
    fitting = [axis for axis in (1, 2) if shape[axis] <= clip.shape[1]]
    if others or len(fitting) != 1:
        raise UnsupportedModelError(
            f"outputs of {type(module).__name__} of which one axis is time",
            f"shape {shape}",
            "Say so: StepOutputs(network), whose outputs are (batch, time, classes), or "
            "StepOutputs(network, lambda output: output.transpose(1, 2)).",
        )
    return fitting[0]


def _no_logits(output: Tensor, size: tuple[int, ...]) -> str:
    """What an output is that has no row for each clip or frame; nothing if it has."""
    if not usable(output) or not output.is_floating_point():
        return told(output)
    clips, frames = size[:2]
    rows = output.shape[0] if output.ndim else 0
    # A row of classes for each clip or frame, or one for each timestep of each clip.
    fits = output.ndim == 2 and rows in (clips, clips * frames)
    if not fits and not (output.ndim == 3 and rows == clips):
        return f"an output of shape {tuple(output.shape)} for {clips} clips of {frames} frames"
    return ""


def _are_alike(outputs: list[Tensor]) -> bool:
    """Whether outputs are the same but for the last digits, and tell clips apart."""
    if len(outputs) < 2:
        return False
    first = outputs[0]
    last_digits = 16 * torch.finfo(first.dtype).eps
    apart = max(difference(other, first) for other in outputs)
    # A network that says the same of all clips, as one whose last layer is zero, shows nothing.
    between = difference(first[:1], first[1:2])
    return apart == 0 < between or apart <= last_digits < between / 100


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."


def _unseen(clips: Tensor) -> ExitStack:
    """As methods run a model, without gradients, and with the caller's random numbers left."""
    stack = ExitStack()
    devices = [clips.device] if clips.is_cuda else []
    stack.enter_context(torch.random.fork_rng(devices=devices))
    stack.enter_context(outside_of_callers_modes(clips))
    return stack
