"""Models of known libraries: which wrapper is whose."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType

import torch
from torch import nn

from temporal_attr._errors import ModelError
from temporal_attr.clips import Preprocessing
from temporal_attr.models._base import FramewiseModel, VideoModel
from temporal_attr.models._containers import known_container
from temporal_attr.models.libraries._pytorchvideo import wrap_pytorchvideo
from temporal_attr.models.libraries._recognizers import wrap_pathway, wrap_recognizer
from temporal_attr.models.libraries._repositories import wrap_frames_or_volumes, wrap_segments
from temporal_attr.models.libraries._slowfast import SlowFast
from temporal_attr.models.libraries._timm import wrap_timm
from temporal_attr.models.libraries._torchvision import wrap_torchvision
from temporal_attr.models.libraries._transformers import wrap_transformers
from temporal_attr.models.libraries._transformers_base import TransformersVideo
from temporal_attr.models.libraries._transnet import wrap_transnet

Recogniser = Callable[[nn.Module, Preprocessing | None], VideoModel | None]

RECOGNISERS: tuple[Recogniser, ...] = (
    wrap_torchvision,
    wrap_timm,
    wrap_transformers,
    wrap_pytorchvideo,
    wrap_transnet,
    wrap_segments,
    wrap_frames_or_volumes,
    wrap_recognizer,
    wrap_pathway,
)
"""Each gives the wrapper of the models it knows, and None for all others."""

_LIBRARIES = ("torchvision.models.", "timm.models.", "transformers.models.", "pytorchvideo.models.")
"""Where networks live that take single frames, or time after the channels."""


def recognised(model: nn.Module, preprocessing: Preprocessing | None) -> VideoModel | None:
    """The wrapper of a model of a known library; None for any other."""
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
    # A traced network has no function of its class.
    if isinstance(network, torch.jit.ScriptModule):
        return
    if not str(getattr(type(network).forward, "__module__", None)).startswith(_LIBRARIES):
        return
    if isinstance(model, MethodType) and model.__name__ not in ("forward", "_wrapped_call_impl"):
        return
    wrapper = recognised(network, None)
    what = ""
    if isinstance(wrapper, FramewiseModel):
        what = ", which takes (frames, channel, height, width)"
    elif isinstance(wrapper, TransformersVideo):
        what = ", which returns an object and not logits"
    elif isinstance(wrapper, SlowFast):
        what = ", which takes a list of two clips (batch, channel, time, height, width)"
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
