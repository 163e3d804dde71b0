"""Torchvision's models, recognised without importing torchvision."""

from __future__ import annotations

import sys
from math import prod
from typing import Any

from torch import nn

from temporal_attr.clips import Normalization, Preprocessing
from temporal_attr.models._base import VideoModel
from temporal_attr.models._conv3d import Conv3D
from temporal_attr.models._late_fusion import LateFusion
from temporal_attr.models.libraries._mvit import MViT
from temporal_attr.models.libraries._swin3d import Swin3D

_KINETICS = Normalization((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
_IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

RESNET_PREPROCESSING = Preprocessing((128, 171), (112, 112), _KINETICS)
S3D_PREPROCESSING = Preprocessing((256, 256), (224, 224), _KINETICS)
SWIN3D_PREPROCESSING = Preprocessing(256, (224, 224), _IMAGENET)
MVIT_PREPROCESSING = Preprocessing(256, (224, 224), Normalization((0.45,) * 3, (0.225,) * 3))
IMAGE_PREPROCESSING = Preprocessing(256, (224, 224), _IMAGENET, antialias=True)

_NOT_CLASSIFIERS = {"detection", "optical_flow", "quantization", "segmentation", "video"}


def wrap_torchvision(model: nn.Module, preprocessing: Preprocessing | None) -> VideoModel | None:
    """The wrapper of a torchvision model; None for any other."""
    if "torchvision.models" not in sys.modules:
        # Nothing can be an instance of a class that was never imported.
        return None
    from torchvision.models import video  # noqa: PLC0415

    if isinstance(model, video.VideoResNet):
        return _wrap_resnet(model, preprocessing or RESNET_PREPROCESSING)
    if isinstance(model, video.S3D):
        return Conv3D(
            model,
            stages=[f"features.{i}" for i in range(len(model.features))],
            pool="avgpool",
            classifier="classifier",
            frames_per_step=8,
            preprocessing=preprocessing or S3D_PREPROCESSING,
        )
    transformers = (
        (video.SwinTransformer3d, Swin3D, SWIN3D_PREPROCESSING),
        (video.MViT, MViT, MVIT_PREPROCESSING),
    )
    for kind, wrapper, usual in transformers:
        if isinstance(model, kind):
            return wrapper(model, preprocessing or usual)
    if _is_image_classifier(model):
        return LateFusion(model, preprocessing=preprocessing or IMAGE_PREPROCESSING)
    return None


def _wrap_resnet(model: Any, preprocessing: Preprocessing) -> Conv3D:  # noqa: ANN401
    layers = ("layer1", "layer2", "layer3", "layer4")
    first_blocks = (getattr(model, layer)[0] for layer in layers)
    shortcuts = (block.downsample for block in first_blocks)
    stride = prod(shortcut[0].stride[0] for shortcut in shortcuts if shortcut is not None)
    blocks = [f"{layer}.{i}" for layer in layers for i in range(len(getattr(model, layer)))]
    return Conv3D(
        model,
        stages=["stem", *blocks],
        pool="avgpool",
        classifier="fc",
        frames_per_step=stride,
        preprocessing=preprocessing,
    )


def _is_image_classifier(model: nn.Module) -> bool:
    modules = (kind.__module__.split(".") for kind in type(model).__mro__)
    places = [parts[2] for parts in modules if parts[:2] == ["torchvision", "models"]]
    # Building blocks live in the same files as the networks, but have no classifier.
    has_classifier = any(hasattr(model, name) for name in ("fc", "classifier", "head", "heads"))
    return bool(places) and has_classifier and not _NOT_CLASSIFIERS.intersection(places)
