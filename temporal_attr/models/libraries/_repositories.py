"""TSN, TSM, TAM, I3D and S3D of the repositories of their papers, recognised by their parts.

All apply their classifier to every timestep and average what it says, so each timestep's logits are
what the last layer gives before that mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from temporal_attr._errors import ClipError, UnsupportedModelError
from temporal_attr._typing import ClipTensor
from temporal_attr.clips import Normalization, Preprocessing
from temporal_attr.models._base import VideoModel
from temporal_attr.models.layers import LayerTimesteps

_SEGMENTED = ("base_model", "consensus", "modality", "new_length", "num_segments", "reshape")

VOLUMES = "batch channel time height width"
FRAMES_AS_CHANNELS = "batch (time channel) height width"
FOLDED = 0
"""The axis of features of single frames, one after another, whose batch is folded into it."""


class FoldedFrames(LayerTimesteps):
    """A network that takes the frames of all clips as one batch, and finds the clips by counting.

    With another number of frames than it counts, frames of different clips would mix, or it would
    return more clips than it got; `clip_frames` is therefore required of every clip, if known.

    Example:
        >>> import torch
        >>> network = nn.Sequential(nn.Unflatten(1, (4, 3)), nn.Flatten(2), nn.Linear(12, 5))
        >>> model = FoldedFrames(network.eval(), "2", layout=FRAMES_AS_CHANNELS, time_axis=1)
        >>> model.clip_frames = 4
        >>> model.to_layout(torch.rand(2, 5, 3, 2, 2))
        Traceback (most recent call last):
        ...
        temporal_attr._errors.ClipError: expected 4 frames, as Sequential takes, got 5. Load the ...
    """

    def to_layout(self, clip: ClipTensor) -> Tensor:
        """The clip as the network takes it, in one block of memory, of which it takes views."""
        video = super().to_layout(clip)
        if self.clip_frames is not None and clip.shape[1] != self.clip_frames:
            raise ClipError(
                f"{self.clip_frames} frames, as {type(self.model).__name__} takes",
                f"{clip.shape[1]}",
                "Load the clip with that many frames.",
            )
        return video.contiguous()


def folds_frames(model: object) -> bool:
    """Whether a network takes frames as channels, and makes a batch of all frames of them.

    Example:
        >>> folds_frames(nn.Conv2d(12, 4, 3))
        False
    """
    return _has_segments(model) or (_named_itself(model) and hasattr(model, "orig_num_frames"))


def wrap_segments(model: nn.Module, preprocessing: Preprocessing | None) -> VideoModel | None:
    """The wrapper of a TSN :cite:p:`wang2016` or TSM :cite:p:`lin2019`; None for any other model.

    Known by the parts that both repositories give it: a `base_model` that takes the frames of all
    clips in one batch, and a `consensus` over the `num_segments` of each.

    Args:
        model: It takes `(batch, time * channel, height, width)`.
        preprocessing: None for what the network's `input_mean`, `input_std` and `input_size` say.

    Raises:
        UnsupportedModelError: If it takes other than RGB frames, or does not average over time.

    Example:
        >>> wrap_segments(nn.Linear(2, 2), None) is None
        True
    """
    if not _has_segments(model):
        return None
    net: Any = model
    _require_segments(net)
    last = getattr(net.base_model, "last_layer_name", None)
    layer = "base_model" if last is None else f"base_model.{last}"
    # A softmax before the mean makes the network's own outputs probabilities, and so a step's.
    probabilities = not net.before_softmax
    wrapper = FoldedFrames(
        model,
        "softmax" if probabilities else layer,
        layout=FRAMES_AS_CHANNELS,
        time_axis=FOLDED,
        stages=blocks_of(model, "base_model"),
        preprocessing=preprocessing or _of_segments(net),
    )
    wrapper.clip_frames = net.num_segments * net.new_length
    if probabilities:
        wrapper.activation = "identity"
        wrapper.notes = ("the outputs are means of probabilities: softmax stands before the mean",)
    return wrapper


def _has_segments(model: object) -> bool:
    return all(hasattr(model, name) for name in _SEGMENTED)


def _require_segments(net: Any) -> None:  # noqa: ANN401 - known by its parts only
    kind = type(net).__name__
    if net.modality != "RGB":
        raise UnsupportedModelError(
            "a network of RGB frames",
            f"{kind} of modality {net.modality!r}, whose clips are no frames",
            "Explain it on its own inputs: pass a function of a clip that holds them as frames, or "
            "subclass VideoModel with channels of your own.",
        )
    consensus = getattr(net.consensus, "consensus_type", "avg")
    if not net.reshape or consensus != "avg":
        how = "no mean over timesteps" if not net.reshape else f"consensus {consensus!r}"
        raise UnsupportedModelError(
            f"a {kind} that averages over timesteps",
            how,
            'Build it with consensus_type="avg" and reshape=True, or subclass VideoModel.',
        )


def _of_segments(net: Any) -> Preprocessing | None:  # noqa: ANN401
    """What the network says of its frames; None if their unit is not [0, 1] or is not said."""
    mean, std, size = (getattr(net, f"input_{name}", None) for name in ("mean", "std", "size"))
    # BN-Inception takes bytes, blue first, less a mean of a hundred or so.
    if mean is None or std is None or size is None or len(mean) != 3 or max(mean) > 1:
        return None
    return preset(mean, std, int(size))


def wrap_frames_or_volumes(
    model: nn.Module, preprocessing: Preprocessing | None
) -> VideoModel | None:
    """The wrapper of the networks beside TAM :cite:p:`fan2019`; None for any other model.

    The repository has 2D networks (TSN and TAM, ResNet and Inception) that take the frames as
    channels, and 3D ones (I3D and S3D, likewise) that take time after the channels. They are known
    by how they name themselves (`network_name`, and `mean` and `std` of a modality), and by their
    classifier `fc`, which is applied to every timestep.

    Args:
        model: Any.
        preprocessing: None for what the network's `mean` and `std` say, short side 256, crop 224.

    Example:
        >>> wrap_frames_or_volumes(nn.Linear(2, 2), None) is None
        True
    """
    net: Any = model
    if not _named_itself(model):
        return None
    frames = getattr(model, "orig_num_frames", None)
    if frames is None and not any(isinstance(part, nn.Conv3d) for part in model.modules()):
        return None
    wrapper = FoldedFrames(
        model,
        "fc",
        layout=VOLUMES if frames is None else FRAMES_AS_CHANNELS,
        time_axis=FOLDED,
        stages=blocks_of(model, ""),
        preprocessing=preprocessing or preset(net.mean(), net.std(), 224),
    )
    wrapper.clip_frames = frames
    return wrapper


def _named_itself(model: object) -> bool:
    named = hasattr(model, "network_name") and callable(getattr(model, "mean", None))
    return named and isinstance(getattr(model, "fc", None), nn.Linear)


def preset(mean: Iterable[float], std: Iterable[float], size: int) -> Preprocessing:
    """A short side of 8/7 of the crop, as nearly all of these are evaluated with.

    Example:
        >>> preset([0.5] * 3, [0.5] * 3, 224).resize
        256
    """
    normalization = Normalization(tuple(map(float, mean)), tuple(map(float, std)))
    return Preprocessing(size * 256 // 224, (size, size), normalization)


def blocks_of(model: nn.Module, within: str) -> list[str]:
    """Paths of the blocks that a network runs one after another, so that each cuts it.

    Those are the children of `layer1`, `layer2`, ... and of `features`, and the Inception blocks.

    Args:
        model: The network.
        within: Path of the submodule that has them; empty for the network itself.

    Example:
        >>> network = nn.Sequential()
        >>> network.layer1 = nn.Sequential(nn.ReLU(), nn.Tanh())
        >>> blocks_of(network, "")
        ['layer1.0', 'layer1.1']
    """
    found: list[str] = []
    for name, part in model.get_submodule(within).named_children():
        path = f"{within}.{name}" if within else name
        layer = name.removeprefix("layer").isdecimal() or name == "features"
        if layer and isinstance(part, nn.Sequential):
            found += [f"{path}.{child}" for child, _ in part.named_children()]
        elif name.startswith("inception"):
            found.append(path)
    return found
