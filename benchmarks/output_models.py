"""The models of `output_hashes.py`: every architecture, small, with outputs that vary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import timm
import torch
import torchvision
from torch import Tensor, nn

from temporal_attr import Conv3D, FrameRecurrent, VideoModel, wrap
from temporal_attr.clips import Normalization, Preprocessing
from temporal_attr.zoo import FrameEncoder, build_model

CLASSES = 5
FRAMES = 8
SMALL = (2, FRAMES, 3, 16, 16)
PREPROCESSING = Preprocessing(normalization=Normalization((0.45,) * 3, (0.225,) * 3))
MIDDLE = (
    "logits",
    "gradient/*",
    "probe/plain",
    "probe/saliency",
    "tsr/one/zero",
    "tsr/one/neighbour",
    "tsr/saliency/one",
    "tsr/two/blocks",
    "lrp/default",
    "lrp/epsilon",
    "lrp/merge",
    "matrix/contrastive",
    "matrix/plain",
    "windows/*",
)
"""What is asked of networks of images."""
LITTLE = (
    "logits",
    "gradient/logit",
    "gradient/float64/checkpoint",
    "gradient/float32/half",
    "probe/reversal",
    "tsr/one/zero",
    "lrp/default",
    "lrp/merge",
    "matrix/contrastive",
    "windows/1",
)
"""What is asked of networks of videos, whose many weights make every pass long."""
LEAST = ("logits", "gradient/logit", "gradient/float64/checkpoint", "lrp/default", "windows/1")
"""What is asked of a network that needs a large clip."""


@dataclass(frozen=True)
class Case:
    """A model, the clips that it is shown, and patterns of what is asked of it."""

    build: Callable[[], VideoModel]
    shape: tuple[int, ...] = SMALL
    asked: tuple[str, ...] = ("*",)


def zoo(name: str, **options: Any) -> Case:  # noqa: ANN401
    """A reference architecture."""
    return Case(lambda: build_model(name, CLASSES, **options))


def torchvision_case(name: str, shape: tuple[int, ...], asked: tuple[str, ...] = MIDDLE) -> Case:
    """A model of torchvision."""
    return Case(lambda: wrap(torchvision.models.get_model(name, num_classes=CLASSES)), shape, asked)


class Volume(nn.Module):
    """A 3D network whose pooling has windows that overlap in time."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv3d(3, 6, 3, (1, 2, 2), 1), nn.BatchNorm3d(6), nn.ReLU())
        self.layer = nn.Sequential(nn.Conv3d(6, 6, 3, padding=1), nn.Tanh())
        self.pool = nn.AvgPool3d((3, 5, 4), stride=(1, 2, 3))
        self.fc = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, channel, time, height, width)` to logits."""
        volume = self.pool(self.layer(self.stem(x)))
        return self.fc(volume.permute(0, 2, 3, 4, 1)).mean((1, 2, 3))  # type: ignore[no-any-return]


def volume() -> VideoModel:
    """`Volume`, wrapped."""
    return Conv3D(
        Volume(),
        stages=["stem", "layer"],
        pool="pool",
        classifier="fc",
        preprocessing=PREPROCESSING,
    )


def recurrent(
    kind: Callable[..., nn.RNNBase],
    readout: Literal["last", "mean"],
    **options: Any,  # noqa: ANN401
) -> Case:
    """One of torch's recurrent networks behind a small encoder."""
    width = 14 if options.get("bidirectional") else 7

    def build() -> VideoModel:
        memory = kind(8, 7, batch_first=True, **options)
        encoder = FrameEncoder(widths=(4, 8))
        return FrameRecurrent(encoder, memory, nn.Linear(width, CLASSES), readout, PREPROCESSING)

    return Case(build)


WIDTHS = {"widths": (4, 8)}
IMAGES = (1, 4, 3, 32, 32)
CASES: dict[str, Case] = {
    **{
        f"late-fusion-{pooling}": zoo("late-fusion", pooling=pooling, **WIDTHS)
        for pooling in ("mean", "max", "last", "attention", "netvlad", "pyramid")
    },
    "early-fusion": zoo("early-fusion", frames=FRAMES, **WIDTHS),
    "inflated-resnet": zoo("inflated-resnet", ensemble=4, **WIDTHS),
    "factorised-resnet": zoo("factorised-resnet", **WIDTHS),
    "tam2d": zoo("tam2d", temporal_kernel=5, **WIDTHS),
    "slowfast": zoo("slowfast", alpha=2, **WIDTHS),
    "lstm": zoo("lstm", hidden=8, **WIDTHS),
    "gru": zoo("gru", hidden=8, ensemble="all", **WIDTHS),
    "input-cell-attention": zoo("input-cell-attention", hidden=8, **WIDTHS),
    "temporal-transformer": zoo(
        "temporal-transformer", frames=FRAMES, features=16, depth=1, **WIDTHS
    ),
    "tubelet-transformer": zoo("tubelet-transformer", frames=FRAMES, size=16, features=16, depth=1),
    "conv3d-overlapping-pool": Case(volume),
    "lstm-two-layers": recurrent(nn.LSTM, "mean", num_layers=2),
    "gru-bidirectional": recurrent(nn.GRU, "last", bidirectional=True),
    "r3d_18": torchvision_case("r3d_18", (1, 9, 3, 16, 16), LITTLE),
    "mc3_18": torchvision_case("mc3_18", (1, 4, 3, 16, 16), LITTLE),
    "r2plus1d_18": torchvision_case("r2plus1d_18", (1, 9, 3, 16, 16), LITTLE),
    # The least that its last pooling takes.
    "s3d": torchvision_case("s3d", (1, 13, 3, 209, 209), LEAST),
    **{
        name: torchvision_case(name, IMAGES)
        for name in ("resnet18", "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5")
    },
    "timm_convnext_atto": Case(
        lambda: wrap(timm.create_model("convnext_atto", num_classes=CLASSES)), IMAGES, MIDDLE
    ),
}


@torch.no_grad()
def varied(model: VideoModel, shape: tuple[int, ...]) -> VideoModel:
    """In float64, with random affines and biases, and batch norm that knows its inputs.

    The outputs of a fresh network may be numerically constant, and then nothing can differ.
    """
    norms = [part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    for part in model.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.3)
            part.momentum = None
        elif isinstance(bias := getattr(part, "bias", None), Tensor):
            nn.init.normal_(bias, std=0.3)
        elif isinstance(part, nn.Dropout):
            part.p = 0.0
    model.double().train()
    model(torch.randn(max(4, shape[0]), *shape[1:], dtype=torch.float64))
    for norm in norms:
        norm.momentum = 0.1
    return model.eval().requires_grad_(False)


def clip_for(model: VideoModel, shape: tuple[int, ...]) -> Tensor:
    """Stripes that drift, and noise, in the model's input values."""
    frames, height, width = shape[1], *shape[3:]
    at = torch.meshgrid(*(torch.arange(n).double() for n in shape), indexing="ij")
    example, frame, channel, row, column = at
    phase = 9 * row / height + (5 + 3 * example) * column / width - (0.4 + 0.5 * example) * frame
    noise = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    # A cut in the middle of the clip.
    cut = 0.2 * (frame >= frames // 2)
    pixels = 0.4 + 0.3 * torch.sin(phase + channel) + 0.2 * (noise - 0.5) - cut
    normalization = model.normalization
    return pixels.clamp(0, 1) if normalization is None else normalization.apply(pixels.clamp(0, 1))
