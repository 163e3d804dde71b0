"""`wrap`: from a known library's model to the wrapper that fits it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from temporal_attr._activation import Activation, require_activation
from temporal_attr._errors import OptionError, UnsupportedModelError
from temporal_attr.clips import Preprocessing
from temporal_attr.models._base import VideoModel
from temporal_attr.models._timm import wrap_timm
from temporal_attr.models._torchvision import wrap_torchvision

Recogniser = Callable[[nn.Module, Preprocessing | None], VideoModel | None]

RECOGNISERS: tuple[Recogniser, ...] = (wrap_torchvision, wrap_timm)
"""Each gives the wrapper of the models it knows, and None for all others."""


def wrap(
    model: nn.Module,
    preprocessing: Preprocessing | None = None,
    class_names: Sequence[str] = (),
    activation: Activation | None = None,
) -> VideoModel:
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
        class_names: What its classes are called, in their order, such as torchvision's
            `weights.meta["categories"]`; they become the wrapper's `class_names`. That there are as
            many as classes is checked when the first result is made.
        activation: What turns its outputs into probabilities; becomes the wrapper's `activation`.
            None is found out from the outputs.

    Returns:
        A `VideoModel`.

    Raises:
        UnsupportedModelError: If the model is not recognised; the message says what was looked at.
        OptionError: If the names are not a list of text, there is no such activation, or either is
            given for a `VideoModel`, which has its own.

    Example:
        >>> import torchvision
        >>> weights = torchvision.models.video.MC3_18_Weights.DEFAULT
        >>> network = torchvision.models.video.mc3_18().eval()
        >>> model = wrap(network, class_names=weights.meta["categories"])
        >>> type(model).__name__, model.exactness, model.frames_per_step, model.class_names[5]
        ('Conv3D', 'linear', 1, 'archery')
    """
    names = checked_names(class_names)
    require_activation(activation)
    if isinstance(model, VideoModel):
        for name, given in (("class_names", names), ("activation", activation)):
            if given:
                raise OptionError(
                    f"{name} with a model that is yet to be wrapped",
                    f"a {type(model).__name__}",
                    f"Set its own: model.{name} = {'(...)' if name == 'class_names' else '...'}.",
                )
        return model
    for recognise in RECOGNISERS:
        wrapper = recognise(model, preprocessing)
        if wrapper is not None:
            wrapper.class_names = names
            wrapper.activation = activation
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


def checked_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Names of classes as a tuple.

    Raises:
        OptionError: If they are anything but a sequence of text.
    """
    # A text is a sequence of text too, but nobody's classes are called by single letters.
    if isinstance(class_names, str) or not all(isinstance(name, str) for name in class_names):
        raise OptionError(
            "class_names as a list of text, a name for each class",
            f"{class_names!r:.60}",
            "Give them in the order of the classes.",
        )
    return tuple(class_names)
