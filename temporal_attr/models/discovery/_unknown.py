"""The wrapper of a network of no known library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from temporal_attr._typing import ClipTensor
from temporal_attr.clips import Preprocessing
from temporal_attr.models._base import VideoModel
from temporal_attr.models._late_fusion import LateFusion
from temporal_attr.models._outputs import logits_of
from temporal_attr.models.discovery._by_layer import wrap_by_layer
from temporal_attr.models.discovery._end import without_probabilities
from temporal_attr.models.discovery._layouts import taken_layouts, time_axis_of_outputs
from temporal_attr.models.discovery._taken import CANONICAL, LayoutTrial
from temporal_attr.models.layers import LayerTable, Network, layer_table
from temporal_attr.models.layers._axes import require_layout
from temporal_attr.models.outputs._network_outputs import StepOutputs


def layers(model: nn.Module, clip: ClipTensor, layout: str | None = None) -> LayerTable:
    """The layers of a network that its timesteps can be taken from, found by running it.

    A layer is listed if it runs once, all of the logits depends on the clip through its output
    alone, and that has an axis of time: one whose size changes with the number of frames; or, of a
    network that takes no other number, along which the frames that it depends on move on. Of
    several with the same output the outermost is listed.

    Args:
        model: In evaluation mode.
        clip: Of which the first example is used; best one in which something moves.
        layout: What it takes, see `LayerTimesteps`; found out if it is not given.

    Returns:
        A table, which prints as one. It takes a forward pass, and a backward pass for each layer,
        of the clip, one of two, one of one with twice the frames, and some of what follows each
        layer as far as timesteps add up.

    Raises:
        ModelError: If the output does not depend on the clip by a gradient.
        UnsupportedModelError: If it takes clips in no layout, or it is open in which.

    Example:
        >>> network = nn.Sequential(
        ...     nn.Conv3d(3, 4, (3, 1, 1), padding=(1, 0, 0)), nn.ReLU(),
        ...     nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 5),
        ... ).eval()
        >>> print(layers(network, torch.rand(1, 6, 3, 8, 8)))
        layer  class   output of one clip  time axis  timesteps  add up  reads
        0      Conv3d  (1,4,6,8,8)         2          6          yes     3 frames
        1      ReLU    (1,4,6,8,8)         2          6          yes     3 frames
    """
    found = _handed(model, clip, layout)
    return layer_table(_network(model, found), clip, found.layout)


def wrap_unknown(
    model: nn.Module,
    preprocessing: Preprocessing | None = None,
    *,
    layer: str | None = None,
    layout: str | None = None,
    time_axis: int | None = None,
    clip: ClipTensor | None = None,
) -> VideoModel:
    """The wrapper of a network of no known library; see `wrap` for the arguments.

    Raises:
        UnsupportedModelError: With what was found, what is open, and what to write.

    Example:
        >>> network = nn.Sequential(
        ...     nn.Conv3d(3, 4, 3, padding="same"), nn.ReLU(),
        ...     nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 5),
        ... ).eval()
        >>> model = wrap_unknown(network)
        >>> for note in model.notes:
        ...     print(note)
        it takes batch channel time height width
        timesteps are those of the layer '1' (ReLU), and logits are their sum
    """
    found = _handed(model, clip, layout)
    shown = _random_clip(model, found) if clip is None else clip
    if found.of_frames and layer is None:
        wrapper: VideoModel = LateFusion(model, preprocessing=preprocessing)
        wrapper.notes = ("it gives a row of logits for each frame, and their mean is taken",)
        return wrapper
    axis = None if layer is not None else time_axis_of_outputs(model, found, shown)
    if axis is not None:
        return _step_outputs(model, found, axis, preprocessing)
    network, end, activation = without_probabilities(
        _network(model, found), rearrange(shown[:1].clone(), f"{CANONICAL} -> {found.layout}")
    )
    wrapper = wrap_by_layer(network, shown, found.layout, layer, time_axis, preprocessing)
    wrapper.activation = activation
    taken_off = [] if end is None else [f"its last layer {end!r} is left out, as it is no logits"]
    if activation == "identity":
        taken_off.append("its forward ends in sigmoid or softmax: outputs are probabilities")
    wrapper.notes = (f"it takes {found.layout}", *taken_off, *wrapper.notes)
    return wrapper


def _handed(model: nn.Module, clip: Tensor | None, layout: str | None) -> LayoutTrial:
    """How a network is handed its clips: as is said, or else as it takes them."""
    if layout is None:
        return taken_layouts(model, clip).require()
    require_layout(layout)
    return taken_layouts(model, clip, [layout]).require()


def _step_outputs(
    model: nn.Module, found: LayoutTrial, axis: int, preprocessing: Preprocessing | None
) -> StepOutputs:
    """The wrapper of a network whose outputs have an axis of time."""
    shape = found.shape or ()
    picks: dict[tuple[int, int], Callable[[Any], Tensor] | None] = {
        (3, 1): None,
        (3, 2): lambda output: logits_of(output).transpose(1, 2),
        (2, 1): lambda output: logits_of(output)[..., None],
    }
    called = _Called(_network(model, found)) if found.keyword or found.listed else model
    pick = picks[len(shape), axis]
    wrapper = StepOutputs(called, pick, layout=found.layout, preprocessing=preprocessing)
    kinds = {(3, 1): "(batch, time, classes)", (3, 2): "(batch, classes, time)"}
    kind = kinds.get((len(shape), axis), "(batch, time)")
    wrapper.notes = (
        f"it takes {found.layout}",
        f"its outputs are {kind}, logits of each timestep, and their mean is taken; a target "
        "(timestep, class) is one of them",
    )
    return wrapper


def _network(model: nn.Module, found: LayoutTrial) -> Network:
    return Network(model, keyword=found.keyword, listed=found.listed)


def _random_clip(model: nn.Module, found: LayoutTrial) -> Tensor:
    """One clip of the size with which a layout was found."""
    known = next((one for one in model.parameters() if one.is_floating_point()), torch.ones(1))
    clip = torch.randn((1, *found.size[1:]), generator=torch.Generator().manual_seed(0))
    return clip.to(known)


class _Called(nn.Module):
    """A network that is handed its video by keyword or in a list, as one that takes it first."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.module = network.module
        self._keyword, self._listed = network.keyword, network.listed
        self.training = network.module.training

    def forward(self, video: Tensor) -> Any:  # noqa: ANN401 - whatever a network returns
        """What the network returns."""
        return Network(self.module, keyword=self._keyword, listed=self._listed)(video)
