"""Timm's image classifiers, recognised without importing timm."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from temporal_attr._errors import UnsupportedModelError
from temporal_attr.clips import Normalization, Preprocessing
from temporal_attr.models._base import VideoModel
from temporal_attr.models._late_fusion import LateFusion


def wrap_timm(model: nn.Module, preprocessing: Preprocessing | None) -> VideoModel | None:
    """Late fusion of a timm image classifier; None for any other model."""
    if not any(kind.__module__.startswith("timm.models.") for kind in type(model).__mro__):
        return None
    config: dict[str, Any] | None = getattr(model, "pretrained_cfg", None)
    if config is None or not getattr(model, "num_classes", 0):
        return None
    channels = _input_channels(model, config)
    if channels != 3:
        raise UnsupportedModelError(
            "a timm classifier of single RGB frames (3 input channels)",
            f"{type(model).__name__} with {channels}",
            f"If frames are stacked as channels, use EarlyFusion(model, frames={channels // 3})."
            if channels % 3 == 0
            else "Wrap it by hand: LateFusion(model, preprocessing=...) with its channels.",
        )
    return LateFusion(model, preprocessing=preprocessing or _preprocessing(config))


def _input_channels(model: nn.Module, config: dict[str, Any]) -> int:
    first = config.get("first_conv")
    name = first[0] if isinstance(first, (tuple, list)) else first
    layer = model.get_submodule(name) if name else None
    declared = config["input_size"][0]
    # A first layer behind space-to-depth has a multiple of the channels that were declared.
    if not isinstance(layer, nn.Conv2d) or getattr(model, "in_chans", None) == declared:
        return int(declared)
    return layer.in_channels


def _preprocessing(config: dict[str, Any]) -> Preprocessing:
    """The evaluation preset that timm itself builds from the same entries."""
    height, width = config["input_size"][-2:]
    share = config.get("crop_pct") or 0.875
    squash = config.get("crop_mode") == "squash" or height != width
    resize = (math.floor(height / share), math.floor(width / share))
    return Preprocessing(
        resize=resize if squash else resize[0],
        crop=(height, width),
        normalization=Normalization(tuple(config["mean"]), tuple(config["std"])),
        interpolation=config.get("interpolation", "bicubic"),
        antialias=True,
    )
