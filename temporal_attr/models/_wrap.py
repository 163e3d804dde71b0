"""`wrap`: from a known library's model to the wrapper that fits it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from temporal_attr._activation import Activation, require_activation
from temporal_attr._errors import OptionError, UnsupportedModelError, printable
from temporal_attr._require import require_flag
from temporal_attr._typing import ClipTensor
from temporal_attr.clips import Preprocessing
from temporal_attr.models._agreement import check_wrapper
from temporal_attr.models._base import VideoModel
from temporal_attr.models._containers import unwrapped
from temporal_attr.models._recognise import recognised
from temporal_attr.models._verify import verify_on_random_numbers
from temporal_attr.models.discovery import taken_layouts, wrap_unknown


def wrap(
    model: nn.Module,
    preprocessing: Preprocessing | None = None,
    class_names: Sequence[str] = (),
    activation: Activation | None = None,
    *,
    layer: str | None = None,
    layout: str | None = None,
    time_axis: int | None = None,
    clip: ClipTensor | None = None,
    like: Callable[..., Any] | None = None,
    verify: bool = True,
) -> VideoModel:
    """The wrapper for a model: of a known library, or of your own.

    Recognised are torchvision's r3d_18, mc3_18, r2plus1d_18, s3d, swin3d and mvit; VideoMAE, ViViT,
    TimeSformer, V-JEPA 2 and VideoPrism of the transformers library, with their classifiers;
    pytorchvideo's networks (slow, c2d, i3d, csn, r2plus1d, x3d, slowfast, mvit) and copies of their
    build; and image classifiers of torchvision, timm and transformers, which become late fusion
    with a mean over time. The model is held, not copied, and not changed, and neither is its
    configuration.

    By their parts, and so in any copy of the code: TSN and TSM (a `base_model` and a `consensus`);
    TSN, TAM, I3D and S3D in the structure of IBM's repository; recognisers of mmaction2 of one
    pathway (a `backbone` and a `cls_head`); Slow, C2D, I3D and X3D of PySlowFast (`s1` to `s5` and
    a `head`), without the softmax at their end; and TransNetV2, whose timesteps are frames and
    which `wrap(network).at(frame)` asks for one.

    They are recognised too inside `DataParallel`, `DistributedDataParallel`, `torch.compile`,
    Lightning modules, `AveragedModel`, and any module whose forward only hands its input to one of
    its children.

    Any other network is run on a clip, in each of the layouts that networks take. If it takes one,
    its timesteps are those of the last layer that has a time axis and that all of the logits passes
    through, where the logits are their sum (see `LayerTimesteps`). Where they are not, it is open
    which layer is meant: the wrapper has no timesteps, and the error of what needs some lists the
    layers that can be named. What was taken off, tried and found stands in the wrapper's `notes`.

    Args:
        model: The model; a `VideoModel` comes back as it is.
        preprocessing: What its checkpoint was trained with. Without it, torchvision's models get
            the preset of their default weights (image classifiers: the ImageNet preset, short side
            256 and crop 224), and timm's the one in their `pretrained_cfg`; models of transformers
            know none, but `load_transformers` reads it with the checkpoint. Pytorchvideo's get the
            hub's mean and deviation, and the size that their head pools over. Of other checkpoints,
            pass `Preprocessing.from_torchvision(weights.transforms())`.
        class_names: What its classes are called, in their order, such as torchvision's
            `weights.meta["categories"]`; they become the wrapper's `class_names`. That there are as
            many as classes is checked when the first result is made. Without them, models of
            transformers have those of their configuration's `id2label`.
        activation: What turns its outputs into probabilities; becomes the wrapper's `activation`.
            None is found out from the outputs, or read from a configuration's `problem_type`.
        layer: Path of the layer that the timesteps are taken from, as in `named_modules()`; see
            `temporal_attr.models.layers` for those that can be named. With it, or with a layout or
            an axis, the model is not looked up among known ones.
        layout: Axes of what the network takes, as an einops pattern over
            `batch time channel height width`; found out if it is not given.
        time_axis: Which axis of the layer's output is time; likewise.
        clip: `(batch, time, channel, height, width)`, which the wrapper is tried on. Without it,
            clips of random numbers are, of the size that the network declares or 8 frames of
            32 x 32, or of sizes that its errors point to.
        like: A network, or a function of canonical clips, that the wrapper must agree with on the
            clip; see `check_wrapper`.
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
        UnsupportedModelError: If it is not known how to run the model, or where its timesteps are;
            the message says what was tried, what is open, and what to write. Also if it is no image
            network by the way it treats frames, or returns features.
        ModelError: If a 3D network does something else than the parts it is known to have, there is
            no such layer, the model is in training mode, or it does not agree with `like`.
        OptionError: If the names are not a list of text, there is no such activation, `like` comes
            without a clip, or anything is given for a `VideoModel`, which has its own.

    Example:
        >>> import torchvision
        >>> weights = torchvision.models.video.MC3_18_Weights.DEFAULT
        >>> network = torchvision.models.video.mc3_18().eval()
        >>> model = wrap(network, class_names=weights.meta["categories"])
        >>> type(model).__name__, model.exactness, model.frames_per_step, model.class_names[5]
        ('Conv3D', 'linear', 1, 'archery')

        A network of one's own:

        >>> class Follows(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.frames = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1))
        ...         self.lstm, self.fc = nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 5)
        ...     def forward(self, video):
        ...         rows = self.frames(video.flatten(0, 1)).flatten(1)
        ...         return self.fc(self.lstm(rows.unflatten(0, video.shape[:2]))[0][:, -1])
        >>> for note in wrap(Follows().eval()).notes:
        ...     print(note)
        it takes batch time channel height width
        timesteps are those of the layer 'lstm' (LSTM), and logits are their sum
        frames are encoded alone as far as the layer 'frames' (Sequential)
    """
    names = checked_names(class_names)
    require_activation(activation)
    require_flag("verify", verify)
    if like is not None and clip is None:
        raise OptionError("a clip to compare on", "none", "Pass wrap(model, like=..., clip=clip).")
    asked = {"layer": layer, "layout": layout, "time_axis": time_axis}
    named = {name: value for name, value in asked.items() if value is not None}
    network, notes = _network(model)
    if isinstance(network, VideoModel):
        _require_not_wrapped(network, {"class_names": names, "activation": activation, **named})
        wrapper = network
    else:
        wrapper = _wrapped(network, preprocessing, clip, named, verify)
        wrapper.notes = (*notes, *wrapper.notes)
        wrapper.class_names = names or wrapper.class_names
        wrapper.activation = activation or wrapper.activation
    if like is not None and clip is not None:
        check_wrapper(wrapper, _of_canonical_clips(like, clip), clip)
    return wrapper


def _require_not_wrapped(model: VideoModel, given: dict[str, Any]) -> None:
    for name, value in given.items():
        if value:
            set_it = name in ("class_names", "activation")
            raise OptionError(
                f"{name} with a model that is yet to be wrapped",
                f"a {type(model).__name__}",
                f"Set its own: model.{name} = {'(...)' if name == 'class_names' else '...'}."
                if set_it
                else "Pass the network inside it.",
            )


def _network(model: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """The model, or the network inside containers of it, and what was taken off."""
    if isinstance(model, VideoModel) or recognised(model, None) is not None:
        return model, ()
    return unwrapped(model)


def _wrapped(
    network: nn.Module,
    preprocessing: Preprocessing | None,
    clip: ClipTensor | None,
    named: dict[str, Any],
    verify: bool,
) -> VideoModel:
    """The wrapper of a network, known or not."""
    wrapper = None if named else recognised(network, preprocessing)
    if wrapper is None:
        _require_parts(network)
        return _by_trying(network, preprocessing, clip, named)
    if verify:
        verify_on_random_numbers(wrapper)
    return wrapper


def _by_trying(
    network: nn.Module,
    preprocessing: Preprocessing | None,
    clip: ClipTensor | None,
    named: dict[str, Any],
) -> VideoModel:
    try:
        return wrap_unknown(network, preprocessing, clip=clip, **named)
    except UnsupportedModelError as error:
        raise UnsupportedModelError(
            error.expected,
            error.got,
            f"{error.remedy} Or build the wrapper by hand: LateFusion(encoder, head) for a network "
            "per frame, FrameRecurrent(encoder, lstm, classifier), EarlyFusion(model, frames), "
            'Conv3D(model, stages=[...], pool="...", classifier="..."), or a subclass of '
            "VideoModel.",
        ) from error


def _of_canonical_clips(
    network: Callable[..., Any], clip: ClipTensor
) -> Callable[[ClipTensor], Any]:
    """A function of canonical clips; what a bare network takes is found out."""
    if isinstance(network, VideoModel) or not isinstance(network, nn.Module):
        return network
    found = taken_layouts(network, clip).require()

    def logits(clips: ClipTensor) -> Tensor:
        rows = found.run(network, clips)
        return rows.unflatten(0, clips.shape[:2]).mean(1) if found.of_frames else rows

    return logits


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
