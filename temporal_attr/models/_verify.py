"""A wrapper of a known network, tried on random numbers when it is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from temporal_attr._errors import ModelError, UnsupportedModelError
from temporal_attr._memory import is_out_of_memory
from temporal_attr.models._base import FramewiseModel, VideoModel
from temporal_attr.models._conv3d import Conv3D
from temporal_attr.models.libraries._transformers_base import pair
from temporal_attr.models.trials._evaluation_mode import depends_on_training
from temporal_attr.models.trials._misfits import FITS_NOT
from temporal_attr.models.trials._trials import mixes_frames, require_framewise

_SMALL, _SMALLEST, _GROUP = 64, 32, 16
"""What a network is tried on when it is wrapped: pixels a side of frames and of clips, and frames
in a group."""


def verify_on_random_numbers(wrapper: VideoModel) -> None:
    """Try a wrapper on random numbers; one that cannot be tried is when it is first used."""
    if any(part.training and depends_on_training(part) for part in wrapper.modules()):
        return
    known = next((entry for entry in wrapper.parameters() if entry.is_floating_point()), None)
    if known is None or known.is_meta:
        return
    with torch.inference_mode(False), torch.no_grad():
        for size in _sizes(wrapper):
            random = torch.Generator().manual_seed(0)
            shape = (_GROUP, wrapper.channels, *size)
            frames = torch.randn(shape, generator=random).to(known)
            try:
                if _tried_on(wrapper, frames):
                    return
            except RuntimeError as error:
                if is_out_of_memory(error):
                    return
                raise


def _sizes(wrapper: VideoModel) -> list[tuple[int, int]]:
    """Small frames, and those of the preprocessing for networks that take no others."""
    if isinstance(wrapper, Conv3D):
        return [(_SMALLEST, _SMALLEST)]
    crop = None if wrapper.preprocessing is None else wrapper.preprocessing.crop
    config: Any = getattr(getattr(wrapper, "encoder", None), "config", None)
    if crop is None and hasattr(config, "image_size"):
        crop = pair(config.image_size)
    return [(_SMALL, _SMALL), *([] if crop is None else [crop])]


def _tried_on(wrapper: VideoModel, frames: Tensor) -> bool:
    """Whether a wrapper could be tried on frames of this size.

    Raises:
        UnsupportedModelError: If frames see each other.
        ModelError: If parts do not make up the model.
    """
    if isinstance(wrapper, Conv3D):
        return _runs(lambda: wrapper.agrees_with_parts(frames[None, :8]))
    if not isinstance(wrapper, FramewiseModel):
        return True
    try:
        few = frames[: 3 if frames.shape[-1] == _SMALL else 2]
        if _runs(lambda: require_framewise(wrapper, few)):
            return True
        # One that takes frames in groups only, as temporal shift does, fits none of these.
        if _runs(lambda: wrapper.encode(frames)):
            raise mixes_frames(f"one that takes {len(frames)} frames, but not one or three")
    except ModelError as error:
        kind = type(getattr(wrapper, "encoder", wrapper)).__name__
        raise UnsupportedModelError(error.expected, f"{kind}: {error.got}", error.remedy) from error
    return False


def _runs(attempt: Callable[[], object]) -> bool:
    """Whether an attempt ends; a network that frames do not fit raises one of these."""
    try:
        attempt()
    except ModelError:
        raise
    except FITS_NOT as error:
        if is_out_of_memory(error):
            raise
        return False
    return True
