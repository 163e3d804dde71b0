"""The wrapper of a network of no known library, by a layer that is named or found."""

from __future__ import annotations

import torch

from temporal_attr._errors import FrameLogitsError, ModelError
from temporal_attr._memory import is_out_of_memory
from temporal_attr._typing import ClipTensor
from temporal_attr.clips import Preprocessing
from temporal_attr.models._base import VideoModel
from temporal_attr.models._early_fusion import EarlyFusion
from temporal_attr.models._without_timesteps import WithoutTimesteps
from temporal_attr.models.layers import (
    FramewiseLayerTimesteps,
    Layer,
    LayerTable,
    LayerTimesteps,
    Network,
    chosen_layers,
    layer_table,
)
from temporal_attr.models.trials._misfits import FITS_NOT
from temporal_attr.models.trials._trials import require_framewise

_FOLDED_CHANNELS = "batch (time channel) height width"


def wrap_by_layer(
    network: Network,
    clip: ClipTensor,
    layout: str,
    layer: str | None = None,
    time_axis: int | None = None,
    preprocessing: Preprocessing | None = None,
) -> VideoModel:
    """The wrapper of a network, whose timesteps are those of a layer.

    Without a name that is the last layer with a time axis, if the logits are a sum over its
    timesteps; if they are not, or there is no such layer, the wrapper has no timesteps, and says
    why.

    Args:
        network: In evaluation mode.
        clip: On which it is tried.
        layout: What the network takes; see `LayerTimesteps`.
        layer: Path of the layer.
        time_axis: Of its output.
        preprocessing: See `VideoModel`.

    Raises:
        ModelError: If the named layer is none, with those that can be named.

    Example:
        >>> from torch import nn
        >>> network = nn.Sequential(
        ...     nn.Conv3d(3, 4, 3, padding="same"), nn.ReLU(),
        ...     nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 5),
        ... ).eval()
        >>> layout = "batch channel time height width"
        >>> model = wrap_by_layer(Network(network), torch.rand(1, 6, 3, 8, 8), layout)
        >>> model.layer, model.exactness, model.notes[0]
        ('1', 'linear', "timesteps are those of the layer '1' (ReLU), and logits are their sum")
    """
    found, encoder = chosen_layers(network, clip, layout, layer, time_axis)
    if layer is None and found is None and layout == _FOLDED_CHANNELS:
        wrapper: VideoModel = EarlyFusion(network.module, clip.shape[1], preprocessing)
        wrapper.notes = ("the first layer mixes all frames, so there is one timestep",)
        return wrapper
    if found is None or (layer is None and not found.adds_up):
        reason = _open_question(layer_table(network, clip, layout), layout)
        wrapper = WithoutTimesteps(network, layout, reason, preprocessing)
        wrapper.notes = (f"no timesteps: {reason.got.strip()}. {reason.remedy}",)
        return wrapper
    by_layer = LayerTimesteps(
        network.module,
        found.path,
        layout=layout,
        time_axis=found.time_axis,
        exactness="linear" if found.adds_up else "frozen",
        substitutes=network.substitutes,
        keyword=network.keyword,
        listed=network.listed,
        preprocessing=preprocessing,
    )
    wrapper, notes = by_layer, [_said(found)]
    if encoder is not None and (framewise := _framewise(by_layer, encoder, clip)) is not None:
        wrapper = framewise
        notes.append(_said_of(encoder))
    with torch.no_grad():
        wrapper.features(clip[:1])  # which tries it
    wrapper.notes = tuple(notes)
    return wrapper


def _framewise(
    wrapper: LayerTimesteps, encoder: Layer, clip: ClipTensor
) -> FramewiseLayerTimesteps | None:
    """The wrapper with its frames encoded alone, if the network takes single frames so far."""
    own = FramewiseLayerTimesteps(
        wrapper.model,
        wrapper.layer,
        encoder=encoder.path,
        encoder_axis=encoder.time_axis,
        layout=wrapper.layout,
        time_axis=wrapper.time_axis,
        exactness="linear" if wrapper.exactness == "linear" else "frozen",
        substitutes=wrapper.network.substitutes,
        keyword=wrapper.network.keyword,
        listed=wrapper.network.listed,
        preprocessing=wrapper.preprocessing,
    )
    frames = own.to_layout(clip[:1])[:3]
    try:
        with torch.no_grad():
            require_framewise(own, frames)
    except ModelError:
        return None  # it sees other clips of the batch, or numbers frames from the start
    except FITS_NOT as error:
        if is_out_of_memory(error):
            raise
        return None
    return own


def _said(layer: Layer) -> str:
    then = "logits are their sum" if layer.adds_up else "all after it is held at the clip's values"
    return f"timesteps are those of the layer {layer.path!r} ({layer.kind}), and {then}"


def _said_of(encoder: Layer) -> str:
    return f"frames are encoded alone as far as the layer {encoder.path!r} ({encoder.kind})"


def _open_question(table: LayerTable, layout: str) -> FrameLogitsError:
    """Which layer is meant, or that there is none."""
    kind = table.network
    if not len(table):
        return FrameLogitsError(
            f"a layer of {kind} with a time axis, which all of its output passes through",
            "none: it mixes all frames at once, runs step by step, or has several streams",
            "Methods that need no timesteps work; TemporalGradient.explain with influence=False. "
            "For a network of steps write FrameRecurrent(encoder, step, classifier, readout=...), "
            "of several streams wrap each, for any other a subclass of VideoModel; and compare "
            "it: wrap(wrapper, like=network, clip=clip).",
        )
    return FrameLogitsError(
        f"a layer of {kind} whose timesteps add up to the logits",
        "none among those that all passes through, so that it is open which is meant",
        f"Those that can be named:\n{table}\nName one, such as "
        f'wrap(model, layer="{table.rows[-1].path}", layout="{layout}"): what follows it is held '
        "at the clip's values, and a timestep's logits are its contribution. Methods that need no "
        "timesteps work without, TemporalGradient.explain with influence=False; for frames read by "
        "a class token there is FrameTransformer.",
    )
