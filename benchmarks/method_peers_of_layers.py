"""Class activation maps of signal-grad-cam, which takes one convolution and the bare network."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from importlib import import_module
from typing import Any
from unittest.mock import patch

import torch
from method_peer_pairs import TARGET, Pair, Setting, only_map
from torch import Tensor, nn

from temporal_attr import GradCAM, HiResCAM

LEVELS = 255
"""Of its maps, which are whole numbers from 0."""


@contextlib.contextmanager
def switches_restored() -> Iterator[None]:
    """Its constructor asks torch, for the whole process, for deterministic operations."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(deterministic)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn


def builder(network: nn.Module) -> Any:  # noqa: ANN401 - of a library that need not be there
    """What makes its maps, without its account of the network's layers."""
    kind = import_module("signal_grad_cam").TorchCamBuilder
    with switches_restored(), contextlib.redirect_stdout(io.StringIO()):
        return kind(network, time_axs=1)


def convolution(setting: Setting) -> str:
    """The last of the setting's layer: it takes no other kind of layer."""
    inside = setting.part.named_modules()
    names = [name for name, part in inside if isinstance(part, nn.Conv3d)]
    return f"{setting.layer}.{names[-1]}"


def layers(setting: Setting) -> Iterator[Pair]:
    """Its maps before they are scaled and enlarged, and what it gives of them."""
    name = convolution(setting)
    part, volume = setting.network.get_submodule(name), setting.clip.transpose(1, 2)
    peer = builder(setting.network)

    def map_of(kind: str) -> Tensor:
        (found,), _ = peer._create_raw_batched_cams(
            [volume[0]], TARGET, part, kind, False, avoid_relu=True
        )
        return torch.from_numpy(found)[None]

    for kind, known in ((GradCAM, "Grad-CAM"), (HiResCAM, "HiResCAM")):
        raw = kind(setting.model, part, relu=False)
        yield Pair(
            f"{kind.__name__} of a convolution, its map",
            f"signal-grad-cam {known}, its map",
            lambda raw=raw: only_map(raw.explain(setting.clip, TARGET)),  # type: ignore[misc]
            lambda known=known: map_of(known),  # type: ignore[misc]
        )
    shown = GradCAM(setting.model, part)

    def scaled() -> Tensor:
        found = shown.explain(setting.clip, TARGET)
        own, before = found.attribution[0, :, 0], only_map(found)
        share: Tensor = (own - before.min()) / (before.max() - before.min())
        return share

    def whole() -> Tensor:
        # Its pictures take most of its time, and its colour bar raises with NumPy 2.4.
        pictures = patch.object(type(peer).__base__, "_CamBuilder__display_output")
        with pictures, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            maps, _, _ = peer.get_cam(
                [volume[0].numpy()], [TARGET], TARGET, "Grad-CAM", name, False
            )
        return torch.from_numpy(*next(iter(maps.values()))) / LEVELS

    yield Pair(
        "GradCAM of a convolution, enlarged, by the range of its map here",
        "signal-grad-cam Grad-CAM, its result without pictures",
        scaled,
        whole,
        why="it cuts the map to 256 levels first, and interpolates over time as well",
    )
