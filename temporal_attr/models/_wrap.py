"""`wrap`: from a known library's model to the wrapper that fits it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from temporal_attr._activation import Activation, require_activation
from temporal_attr._errors import ModelError, OptionError, UnsupportedModelError, printable
from temporal_attr._memory import is_out_of_memory
from temporal_attr._require import require_flag
from temporal_attr.clips import Preprocessing
from temporal_attr.models._base import FramewiseModel, VideoModel
from temporal_attr.models._containers import known_container, unwrapped
from temporal_attr.models._conv3d import Conv3D
from temporal_attr.models.libraries._timm import wrap_timm
from temporal_attr.models.libraries._torchvision import wrap_torchvision
from temporal_attr.models.libraries._transformers import wrap_transformers
from temporal_attr.models.libraries._transformers_base import TransformersVideo, pair
from temporal_attr.models.trials._evaluation_mode import depends_on_training
from temporal_attr.models.trials._trials import mixes_frames, require_framewise

Recogniser = Callable[[nn.Module, Preprocessing | None], VideoModel | None]

RECOGNISERS: tuple[Recogniser, ...] = (wrap_torchvision, wrap_timm, wrap_transformers)
"""Each gives the wrapper of the models it knows, and None for all others."""

_LIBRARIES = ("torchvision.models.", "timm.models.", "transformers.models.")
"""Where networks live that take single frames, or time after the channels."""

_SMALL, _SMALLEST, _GROUP = 64, 32, 16
"""What a network is tried on when it is wrapped: pixels a side of frames and of clips, and frames
in a group."""


def wrap(
    model: nn.Module,
    preprocessing: Preprocessing | None = None,
    class_names: Sequence[str] = (),
    activation: Activation | None = None,
    *,
    verify: bool = True,
) -> VideoModel:
    """The wrapper for a model of a known library.

    Recognised are torchvision's r3d_18, mc3_18, r2plus1d_18, s3d, swin3d and mvit; VideoMAE, ViViT,
    TimeSformer, V-JEPA 2 and VideoPrism of the transformers library, with their classifiers; and
    image classifiers of torchvision, timm and transformers, which become late fusion with a mean
    over time. The model is held, not copied, and not changed, and neither is its configuration.

    They are recognised too inside `DataParallel`, `DistributedDataParallel`, `torch.compile`,
    Lightning modules, `AveragedModel`, and any module whose forward only hands its input to one of
    its children; what was taken off stands in the wrapper's `notes`.

    Args:
        model: The model; a `VideoModel` comes back as it is.
        preprocessing: What its checkpoint was trained with. Without it, torchvision's models get
            the preset of their default weights (image classifiers: the ImageNet preset, short side
            256 and crop 224), and timm's the one in their `pretrained_cfg`; models of transformers
            know none, but `load_transformers` reads it with the checkpoint. Of other checkpoints,
            pass `Preprocessing.from_torchvision(weights.transforms())`.
        class_names: What its classes are called, in their order, such as torchvision's
            `weights.meta["categories"]`; they become the wrapper's `class_names`. That there are as
            many as classes is checked when the first result is made. Without them, models of
            transformers have those of their configuration's `id2label`.
        activation: What turns its outputs into probabilities; becomes the wrapper's `activation`.
            None is found out from the outputs, or read from a configuration's `problem_type`.
        verify: Try the wrapper on random numbers, if the model is in evaluation mode: an image
            network must give a frame the same features alone, among others and in another order
            (one whose blocks shift features between frames does not); the parts of a 3D network
            must make up its own output. That takes seven frames of 64 x 64, or two passes of 8
            frames of 32 x 32. An image network that does not take these is tried on five frames of
            its preprocessing's size; a 3D network (S3D) when it is first used, and so is a
            transformer over the whole clip.

    Returns:
        A `VideoModel`.

    Raises:
        UnsupportedModelError: If the model is not recognised; the message says what was looked at.
            Also if it is no image network by the way it treats frames, or returns features.
        ModelError: If a 3D network does something else than the parts it is known to have.
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
    require_flag("verify", verify)
    if isinstance(model, VideoModel):
        for name, given in (("class_names", names), ("activation", activation)):
            if given:
                raise OptionError(
                    f"{name} with a model that is yet to be wrapped",
                    f"a {type(model).__name__}",
                    f"Set its own: model.{name} = {'(...)' if name == 'class_names' else '...'}.",
                )
        return model
    wrapper = _recognised(model, preprocessing)
    notes: tuple[str, ...] = ()
    if wrapper is None:
        network, notes = unwrapped(model)
        if isinstance(network, VideoModel):
            return wrap(network, preprocessing, names, activation, verify=verify)
        wrapper = None if network is model else _recognised(network, preprocessing)
    if wrapper is not None:
        wrapper.notes = (*notes, *wrapper.notes)
        wrapper.class_names = names or wrapper.class_names
        wrapper.activation = activation or wrapper.activation
        if verify:
            _verify(wrapper)
        return wrapper
    _require_parts(network)
    kind = type(network)
    raise UnsupportedModelError(
        "a video classifier of torchvision or transformers, or an image classifier of torchvision, "
        "timm or transformers",
        f"{kind.__module__}.{kind.__qualname__}, which is none of these by its class and bases",
        "Build the wrapper by hand: LateFusion(encoder, head) for a network per frame, "
        "FrameRecurrent(encoder, lstm, classifier), EarlyFusion(model, frames), "
        'Conv3D(model, stages=[...], pool="...", classifier="..."), or a subclass of VideoModel.',
    )


def _require_parts(network: nn.Module) -> None:
    """Raise on a network whose parts cannot be seen, with what can be done with it."""
    if isinstance(network, torch.jit.ScriptModule):
        raise UnsupportedModelError(
            "a network whose layers can be seen",
            f"{network.original_name} as scripted or traced code (TorchScript)",
            "Wrap the network that it was made from. As it is, a function around it, such as "
            "lambda clip: scripted(clip.transpose(1, 2)), is enough for TemporalGradient, "
            "ShuffleProbe and FrameMaskingTSR; timesteps and relevance need the layers.",
        )


def _recognised(model: nn.Module, preprocessing: Preprocessing | None) -> VideoModel | None:
    wrappers = (recognise(model, preprocessing) for recognise in RECOGNISERS)
    return next((wrapper for wrapper in wrappers if wrapper is not None), None)


def require_wrapped(model: object) -> None:
    """Raise on a network of a known library as it is, which does not take canonical clips.

    Of clips of three frames it might take time for colour, without an error.

    Raises:
        ModelError: With how to wrap it.

    Example:
        >>> import torchvision
        >>> require_wrapped(torchvision.models.video.r3d_18())
        Traceback (most recent call last):
        ...
        temporal_attr._errors.ModelError: expected a model of clips (batch, time, channel, ...
    """
    network = model.__self__ if isinstance(model, MethodType) else model
    while isinstance(network, nn.Module) and (name := known_container(network)) is not None:
        network = getattr(network, name)
    if not isinstance(network, nn.Module) or "forward" in vars(network):
        return
    if not str(getattr(type(network).forward, "__module__", None)).startswith(_LIBRARIES):
        return
    if isinstance(model, MethodType) and model.__name__ not in ("forward", "_wrapped_call_impl"):
        return
    wrapper = _recognised(network, None)
    what = ""
    if isinstance(wrapper, FramewiseModel):
        what = ", which takes (frames, channel, height, width)"
    elif isinstance(wrapper, TransformersVideo):
        what = ", which returns an object and not logits"
    elif wrapper is not None:
        what = ", which takes (batch, channel, time, height, width)"
    raise ModelError(
        "a model of clips (batch, time, channel, height, width)",
        f"the bare network {type(network).__name__}{what}",
        "Pass wrap(model)."
        if wrapper is not None
        else "Wrap it: Conv3D(model) if it takes (batch, channel, time, height, width), "
        "LateFusion(model) if it takes single frames, or a subclass of VideoModel.",
    )


def _verify(wrapper: VideoModel) -> None:
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
    except (RuntimeError, ValueError, AssertionError) as error:
        if is_out_of_memory(error):
            raise
        return False
    return True


def checked_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Names of classes as a tuple, with whatever a terminal would act on written out.

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
    # They reach terminals and pictures.
    return tuple(printable(name, keep="") for name in class_names)
