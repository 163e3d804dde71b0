"""`wrap`: from a known library's model to the wrapper that fits it."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from temporal_attr._errors import UnsupportedModelError
from temporal_attr.clips import Preprocessing
from temporal_attr.models._base import VideoModel
from temporal_attr.models._timm import wrap_timm
from temporal_attr.models._torchvision import wrap_torchvision

Recogniser = Callable[[nn.Module, Preprocessing | None], VideoModel | None]

RECOGNISERS: tuple[Recogniser, ...] = (wrap_torchvision, wrap_timm)
"""Each gives the wrapper of the models it knows, and None for all others."""


def wrap(model: nn.Module, preprocessing: Preprocessing | None = None) -> VideoModel:
    """The wrapper for a model of a known library.

    Recognised are torchvision's r3d_18, mc3_18, r2plus1d_18 and s3d, and torchvision's and timm's
    image classifiers, which become late fusion with a mean over time. The model is held, not
    copied, and not changed.

    Args:
        model: The model; a `VideoModel` comes back as it is.
        preprocessing: What its checkpoint was trained with. Without it, torchvision's models get
            the preset of their default weights (image classifiers: the ImageNet preset, short side
            256 and crop 224), and timm's the one in their `pretrained_cfg`. Of other checkpoints,
            pass `Preprocessing.from_torchvision(weights.transforms())`.

    Returns:
        A `VideoModel`.

    Raises:
        UnsupportedModelError: If the model is not recognised; the message says what was looked at.

    Example:
        >>> import torchvision
        >>> model = wrap(torchvision.models.video.mc3_18().eval())
        >>> type(model).__name__, model.exactness, model.frames_per_step
        ('Conv3D', 'linear', 1)
    """
    if isinstance(model, VideoModel):
        return model
    for recognise in RECOGNISERS:
        wrapper = recognise(model, preprocessing)
        if wrapper is not None:
            return wrapper
    kind = type(model)
    raise UnsupportedModelError(
        "r3d_18, mc3_18, r2plus1d_18 or s3d of torchvision, or an image classifier of torchvision "
        "or timm",
        f"{kind.__module__}.{kind.__qualname__}, which is none of these by its class and bases",
        "Build the wrapper by hand: LateFusion(encoder, head) for a network per frame, "
        "FrameRecurrent(encoder, lstm, classifier), EarlyFusion(model, frames), "
        'Conv3D(model, stages=[...], pool="...", classifier="..."), or a subclass of VideoModel.',
    )
