"""Recognisers of a backbone and a head, as mmaction2 and PySlowFast build them, by their parts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from temporal_attr._errors import UnsupportedModelError
from temporal_attr.clips import Normalization, Preprocessing
from temporal_attr.models._base import VideoModel
from temporal_attr.models.layers import LayerTimesteps
from temporal_attr.models.libraries._repositories import (
    FOLDED,
    VOLUMES,
    FoldedFrames,
    blocks_of,
    preset,
)

_HEADS = ("avg_pool", "pool")
"""What heads call the layer that pools the backbone's map."""


class Scores(nn.Module):
    """A recogniser of mmaction2, called so that it returns logits and not features.

    Args:
        recognizer: It is held, not copied.
        views: Whether it takes an axis of views of a video after the batch; there will be one.

    Example:
        >>> class Recognizer(nn.Module):
        ...     def forward(self, inputs, stage="backbone"):
        ...         return inputs.flatten(1).sum(1) if stage == "head" else inputs
        >>> Scores(Recognizer(), views=True)(torch.ones(1, 3))
        tensor([3.])
    """

    def __init__(self, recognizer: nn.Module, views: bool) -> None:
        super().__init__()
        self.recognizer = recognizer
        self.views = views
        self.training = recognizer.training

    def forward(self, clip: Tensor) -> Any:  # noqa: ANN401 - whatever the head returns
        """What the head returns, before scores of views are averaged."""
        return self.recognizer(clip[:, None] if self.views else clip, stage="head")


class OnePathway(nn.Module):
    """A network of PySlowFast, which takes a list of pathways, with the clip as the only one.

    Args:
        network: It is held, not copied.

    Example:
        >>> class Network(nn.Module):
        ...     def forward(self, pathways):
        ...         return pathways[0] + 1
        >>> OnePathway(Network())(torch.zeros(1))
        tensor([1.])
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.training = network.training

    def forward(self, clip: Tensor) -> Any:  # noqa: ANN401 - whatever the head returns
        """The network's own output for a list that nobody else holds."""
        return self.network([clip])


def wrap_recognizer(model: nn.Module, preprocessing: Preprocessing | None) -> VideoModel | None:
    """The wrapper of a recogniser in mmaction2's structure; None for any other model.

    Known by its `backbone` and a `cls_head` that can average the scores of several clips. Its
    logits are those of the head for one clip (`mode="tensor"`, `stage="head"`), before
    `average_clips` and its softmax. Timesteps are those of the backbone's map.

    Args:
        model: Takes `(batch, frames, channel, height, width)`, or volumes with an axis of clips.
        preprocessing: None for the `mean` and `std` of its `data_preprocessor`, short side 256 and
            crop 224.

    Raises:
        UnsupportedModelError: If it has a neck or two pathways, or the head reads no map.

    Example:
        >>> wrap_recognizer(nn.Linear(2, 2), None) is None
        True
    """
    net: Any = model
    if not isinstance(getattr(model, "backbone", None), nn.Module):
        return None
    head: Any = getattr(model, "cls_head", None)
    if not (isinstance(head, nn.Module) and hasattr(head, "average_clips")):
        return None
    if hasattr(net.backbone, "slow_path"):
        raise two_pathways(model)
    pools = [getattr(head, name, None) for name in _HEADS]
    pool = next((one for one in pools if one is not None), None)
    if getattr(net, "neck", None) is not None or pool is None:
        what = "a neck" if getattr(net, "neck", None) is not None else type(head).__name__
        raise UnsupportedModelError(
            "a recogniser whose head pools the map of its backbone",
            f"{type(model).__name__} with {what}",
            "Name the layer whose output has a time axis: LayerTimesteps(model, layer=...), or "
            "pass a function of clips that returns the logits.",
        )
    volumes = isinstance(pool, (nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool3d))
    wrapper = FoldedFrames(
        Scores(model, views=volumes),
        "recognizer.backbone",
        layout=VOLUMES if volumes else "batch time channel height width",
        time_axis=2 if volumes else FOLDED,
        exactness="linear" if hasattr(head, "fc_cls") else "frozen",
        stages=[f"recognizer.{path}" for path in blocks_of(model, "backbone")[:-1]],
        preprocessing=preprocessing or _of_bytes(getattr(model, "data_preprocessor", None)),
    )
    segments = getattr(head, "num_segments", None) or getattr(net.backbone, "num_segments", None)
    wrapper.clip_frames = None if volumes else segments
    return wrapper


def wrap_pathway(model: nn.Module, preprocessing: Preprocessing | None) -> VideoModel | None:
    """The wrapper of a single-pathway network in PySlowFast's structure; None for any other model.

    Known by its stages `s1` to `s5` and a `head` with a `projection`: Slow, C2D, I3D and X3D. The
    wrapper's outputs are logits: it runs without the head's softmax or sigmoid, which the network
    keeps. Where the head's pooling has several windows, the network averages their probabilities
    and the wrapper their logits.

    Args:
        model: Takes a list of one clip.
        preprocessing: None for what its `cfg` says, or else mean .45, std .225 and 256 pixels.

    Raises:
        UnsupportedModelError: If it has two pathways, detects boxes, or takes blue first.

    Example:
        >>> wrap_pathway(nn.Linear(2, 2), None) is None
        True
    """
    net: Any = model
    stages = [getattr(model, f"s{at}", None) for at in range(1, 6)]
    if None in stages or not hasattr(getattr(model, "head", None), "projection"):
        return None
    if getattr(net, "num_pathways", 1) != 1:
        raise two_pathways(model)
    data = getattr(getattr(net, "cfg", None), "DATA", None)
    _require_frames(net, data)
    activation = getattr(net.head, "act", None)
    substitutes: dict[str, nn.Module] = {f"network.{path}": nn.SiLU() for path in _swishes(model)}
    notes: tuple[str, ...] = ()
    if activation is not None:
        substitutes["network.head.act"] = nn.Identity()
        notes = (f"{type(activation).__name__} was left out at the end: the outputs are logits",)
    before_pooling = hasattr(net.head, "conv_5_relu")
    last = "head.conv_5_relu" if before_pooling else _last_block(net, 5)
    linear = not before_pooling and isinstance(net.head.projection, nn.Linear)
    wrapper = LayerTimesteps(
        OnePathway(model),
        f"network.{last}",
        layout=VOLUMES,
        time_axis=2,
        exactness="linear" if linear else "frozen",
        stages=[f"network.{_last_block(net, at)}" for at in range(2, 5)],
        substitutes=substitutes,
        preprocessing=preprocessing or _of_config(data),
    )
    wrapper.activation = "sigmoid" if isinstance(activation, nn.Sigmoid) else None
    wrapper.notes = notes
    return wrapper


def two_pathways(model: nn.Module) -> UnsupportedModelError:
    """The error for a network that takes frames at two rates."""
    return UnsupportedModelError(
        "a network of one pathway",
        f"{type(model).__name__}, which has two pathways",
        "Two pathways: use SlowFast(...), which makes both from one clip.",
    )


def _require_frames(net: Any, data: Any) -> None:  # noqa: ANN401 - known by their parts only
    reasons = {
        "one that detects boxes": getattr(net, "enable_detection", False),
        "one that takes blue first": getattr(data, "REVERSE_INPUT_CHANNEL", False),
    }
    for got, holds in reasons.items():
        if holds:
            raise UnsupportedModelError(
                "a classifier of RGB clips",
                f"{type(net).__name__}, {got}",
                "Pass a function of clips that does what it needs around it.",
            )


def _last_block(net: Any, stage: int) -> str:  # noqa: ANN401
    """The path of the last block of a stage, which gives a tensor where the stage gives a list."""
    names = [name for name, _ in getattr(net, f"s{stage}").named_children()]
    blocks = [name for name in names if name.startswith(("pathway0_res", "pathway0_nonlocal"))]

    def place(name: str) -> tuple[int, bool]:
        return int("".join(filter(str.isdecimal, name.partition("_")[2]))), "nonlocal" in name

    return f"s{stage}.{max(blocks, key=place)}"


def _swishes(model: nn.Module) -> list[str]:
    """Paths of layers that compute `x * sigmoid(x)` by a backward pass written by hand.

    Rules of relevance, and second derivatives, pass such a function by.
    """
    values = torch.linspace(-3, 3, 7)
    named = [(path, part) for path, part in model.named_modules() if _is_swish(part)]
    with torch.no_grad():
        return [
            path for path, part in named if torch.allclose(part(values), nn.functional.silu(values))
        ]


def _is_swish(part: nn.Module) -> bool:
    return type(part).__name__ == "Swish" and not any(True for _ in part.parameters())


def _of_bytes(preprocessor: Any) -> Preprocessing | None:  # noqa: ANN401
    """From a mean and standard deviation of pixel values from 0 to 255; None if not given."""
    mean, std = (getattr(preprocessor, name, None) for name in ("mean", "std"))
    if not (isinstance(mean, Tensor) and isinstance(std, Tensor) and mean.numel() == 3):
        return None
    return preset((mean.flatten() / 255).tolist(), (std.flatten() / 255).tolist(), 224)


def _of_config(data: Any) -> Preprocessing:  # noqa: ANN401
    mean, std = (
        getattr(data, name, [value] * 3) for name, value in (("MEAN", 0.45), ("STD", 0.225))
    )
    size = getattr(data, "TEST_CROP_SIZE", 256)
    return Preprocessing(size, (size, size), Normalization(tuple(mean), tuple(std)))
