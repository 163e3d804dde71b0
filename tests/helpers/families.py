"""Models whose outputs vary: one builder a family, each with its bare model beside the wrapper."""

from collections.abc import Callable
from dataclasses import dataclass

import timm
import torch
import torchvision
from torch import nn

from temporal_attr import (
    Conv3D,
    EarlyFusion,
    FrameRecurrent,
    FrameTransformer,
    LateFusion,
    VideoModel,
    wrap,
)
from temporal_attr.zoo import build_model
from tests.helpers import own_networks

CLASSES = 5


@dataclass(frozen=True)
class Family:
    """A wrapper, and the same answer computed without it."""

    name: str
    build: Callable[[], tuple[VideoModel, Callable]]
    shape: tuple[int, ...] = (2, 6, 3, 16, 16)
    steps: int = 6
    exactness: str = "linear"

    def clip(self, dtype=torch.float32):
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(7)).to(dtype)


@torch.no_grad()
def vivid(model, *inputs):
    """Give biases and affines random values, and batch norm the statistics of its inputs.

    A fresh network can be numerically constant, and every test of it then passes.
    """
    for part in model.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.3)
            part.momentum = None
        elif getattr(part, "bias", None) is not None and isinstance(part.bias, torch.Tensor):
            nn.init.normal_(part.bias, std=0.3)
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    model.train()
    model(*inputs)
    for part in model.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.momentum = 0.1
    return model.eval()


def image_encoder(width=6):
    """A small convolutional network from a frame to `4 * width` features."""
    network = nn.Sequential(
        nn.Conv2d(3, width, 3, stride=2, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width, 3, padding=1),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
    )
    return vivid(network, torch.randn(32, 3, 16, 16))


def head(features=24):
    """An affine classifier."""
    return nn.Linear(features, CLASSES).eval()


def late_fusion(aggregation):
    def build():
        encoder, linear = image_encoder(), head()
        pools = {
            "mean": lambda x: x.mean(1),
            "max": lambda x: x.amax(1),
            "last": lambda x: x[:, -1],
        }

        def bare(clip):
            features = torch.stack([encoder(frame) for frame in clip.unbind(1)], 1)
            return linear(pools[aggregation](features))

        return LateFusion(encoder, linear, aggregation), bare

    return build


class Attention(nn.Module):
    """Softmax-weighted sum over time."""

    def __init__(self):
        super().__init__()
        self.score = nn.Linear(24, 1)

    def forward(self, features):
        return (features * self.score(features).softmax(1)).sum(1)


def late_fusion_module():
    encoder, attention = image_encoder(), Attention().eval()
    classifier = nn.Sequential(nn.Linear(24, 8), nn.ReLU(), nn.Linear(8, CLASSES)).eval()

    def bare(clip):
        features = torch.stack([encoder(frame) for frame in clip.unbind(1)], 1)
        return classifier(attention(features))

    return LateFusion(encoder, classifier, attention), bare


def early_fusion():
    network = nn.Sequential(
        nn.Conv2d(18, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, CLASSES),
    )
    vivid(network, torch.randn(32, 18, 16, 16))
    return EarlyFusion(network, frames=6), lambda clip: network(torch.cat(clip.unbind(1), 1))


class SmallConv3D(nn.Module):
    """Two stages, a residual sum, and a pooling whose windows overlap in time."""

    def __init__(self, pool):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(3, 6, 3, stride=(1, 2, 2), padding=1), nn.BatchNorm3d(6), nn.ReLU()
        )
        self.layer = nn.Sequential(nn.Conv3d(6, 6, 3, padding=1), nn.Tanh())
        self.pool = pool
        self.fc = nn.Linear(6, CLASSES)

    def forward(self, x):
        volume = self.pool(self.layer(self.stem(x)))
        return self.fc(volume.permute(0, 2, 3, 4, 1)).mean((1, 2, 3))


def small_conv3d(pool):
    def build():
        network = vivid(SmallConv3D(pool()), torch.randn(4, 3, 6, 16, 16))
        wrapper = Conv3D(network, stages=["stem", "layer"], pool="pool", classifier="fc")
        return wrapper, lambda clip: network(clip.transpose(1, 2))

    return build


def recurrent(kind, readout, **options):
    def build():
        encoder, memory = image_encoder(), kind(24, 7, **options).eval()
        width = 14 if options.get("bidirectional") else 7
        linear = head(width)

        def bare(clip):
            features = torch.stack([encoder(frame) for frame in clip.unbind(1)], 1)
            if not memory.batch_first:
                features = features.transpose(0, 1)
            outputs = memory(features)[0]
            outputs = outputs if memory.batch_first else outputs.transpose(0, 1)
            return linear(outputs[:, -1] if readout == "last" else outputs.mean(1))

        return FrameRecurrent(encoder, memory, linear, readout), bare

    return build


class Tracker(nn.Module):
    """A step without reference at first, and with the last output afterwards."""

    def __init__(self):
        super().__init__()
        self.look = nn.Linear(24, 7)
        self.remember = nn.Linear(7, 7)

    def forward(self, features, memory):
        seen = torch.tanh(self.look(features))
        output = seen if memory is None else torch.tanh(seen + self.remember(memory))
        return output, output


def step_model(readout):
    def build():
        encoder, tracker, linear = image_encoder(), Tracker().eval(), head(7)

        def bare(clip):
            memory, scores = None, []
            for frame in clip.unbind(1):
                output, memory = tracker(encoder(frame), memory)
                scores.append(linear(output))
            logits = torch.stack(scores, 1)
            return logits.amax(1) if callable(readout) else logits.mean(1)

        return FrameRecurrent(encoder, tracker, linear, readout), bare

    return build


def reference_architecture(name, **options):
    def build():
        model = build_model(name, CLASSES, **options)
        vivid(model, torch.randn(8, 6, 3, 16, 16))
        linear = model.classifier

        def bare(clip):
            if isinstance(model, FrameRecurrent):
                encoded = torch.stack([model.encoder(frame) for frame in clip.unbind(1)], 1)
                outputs, memory = [], None
                for frame in encoded.unbind(1):
                    output, memory = model.recurrent(frame, memory)
                    outputs.append(output)
                return linear(outputs[-1])
            volume = clip.transpose(1, 2)
            for stage in model.stages:
                volume = stage(volume)
            return torch.stack([linear(step) for step in volume.unbind(1)]).mean(0)

        return model, bare

    return build


def torchvision_video(name, shape):
    def build():
        model = getattr(torchvision.models.video, name)(num_classes=CLASSES)
        vivid(model, torch.randn(shape).transpose(1, 2))
        return wrap(model), lambda clip: model(clip.transpose(1, 2))

    return build


def s3d():
    # Its pooling spans 7 x 7 pixels of the last map, which takes frames of 224 and minutes.
    model = torchvision.models.video.s3d(num_classes=CLASSES)
    model.avgpool = nn.AvgPool3d((2, 1, 1), stride=1)
    vivid(model, torch.randn(2, 3, 32, 32, 32))
    return wrap(model), lambda clip: model(clip.transpose(1, 2))


def image_classifier(make):
    def build():
        model = vivid(make(), torch.randn(8, 3, 64, 64))

        def bare(clip):
            return torch.stack([model(frame) for frame in clip.unbind(1)], 1).mean(1)

        return wrap(model), bare

    return build


def _torchvision_image(name):
    return image_classifier(lambda: torchvision.models.get_model(name, num_classes=CLASSES))


def _timm_image(name, **options):
    return image_classifier(lambda: timm.create_model(name, num_classes=CLASSES, **options))


def found_layer(kind, shape, layer=None):
    """A network of no library, as `wrap` finds its timesteps, or by a layer."""

    def build():
        network = vivid(kind(), torch.randn(shape))
        swapped = shape[1] == 3

        def bare(clip):
            return network(clip.transpose(1, 2) if swapped else clip)

        clip = torch.randn(1, 6, 3, 16, 16)
        return wrap(network, layer=layer, clip=clip), bare

    return build


SMALL = [
    Family("late_fusion_mean", late_fusion("mean")),
    Family("late_fusion_last", late_fusion("last")),
    Family("late_fusion_max", late_fusion("max"), exactness="frozen"),
    Family("late_fusion_module", late_fusion_module, exactness="none"),
    Family("early_fusion", early_fusion, steps=1),
    Family("conv3d_global", small_conv3d(lambda: nn.AdaptiveAvgPool3d(1))),
    Family("conv3d_windows", small_conv3d(lambda: nn.AvgPool3d((3, 5, 4), stride=(1, 2, 3)))),
    Family("lstm_last", recurrent(nn.LSTM, "last", batch_first=True)),
    Family("lstm_two_layers", recurrent(nn.LSTM, "mean", batch_first=True, num_layers=2)),
    Family("lstm_time_first", recurrent(nn.LSTM, "mean")),
    Family("gru_mean", recurrent(nn.GRU, "mean", batch_first=True)),
    Family("gru_bidirectional", recurrent(nn.GRU, "mean", batch_first=True, bidirectional=True)),
    Family("rnn_last", recurrent(nn.RNN, "last", batch_first=True)),
    Family("step_mean", step_model("mean")),
    Family("step_own_readout", step_model(lambda logits: logits.amax(1)), exactness="none"),
    Family("zoo_tam2d", reference_architecture("tam2d", widths=(4, 8))),
    Family("zoo_slowfast", reference_architecture("slowfast", alpha=2, widths=(4, 8))),
    Family(
        "zoo_tubelets",
        reference_architecture("tubelet-transformer", frames=6, size=16, features=16, depth=1),
        steps=3,
    ),
    Family("layer_framewise", found_layer(own_networks.CNNLSTM, (4, 6, 3, 16, 16))),
    Family("layer_of_volume", found_layer(own_networks.TwoStream, (4, 3, 6, 16, 16))),
    Family(
        "layer_frozen",
        found_layer(own_networks.NormBeforeTheHead, (4, 3, 6, 16, 16), "body"),
        exactness="frozen",
    ),
    Family(
        "zoo_input_cell_attention",
        reference_architecture("input-cell-attention", widths=(4, 8), hidden=8),
    ),
]


def frame_transformer():
    """Attention over the frames of a clip, each of which is a token."""
    encoder, linear = image_encoder(), head()
    layer = nn.TransformerEncoderLayer(24, 2, 32, dropout=0.0, batch_first=True)
    transformer = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    with torch.no_grad():
        for parameter in transformer.parameters():
            nn.init.normal_(parameter, std=0.3)

    def bare(clip):
        features = torch.stack([encoder(frame) for frame in clip.unbind(1)], 1)
        return linear(transformer(features).mean(1))

    return FrameTransformer(encoder, transformer, linear), bare


ATTENDING = [Family("frame_transformer", frame_transformer)]

SHORT = (2, 8, 3, 32, 32)
LARGE = [
    Family("r3d_18", torchvision_video("r3d_18", SHORT), SHORT, steps=1),
    Family(
        "r3d_18_13_frames", torchvision_video("r3d_18", (2, 13, 3, 32, 32)), (2, 13, 3, 32, 32), 2
    ),
    Family("mc3_18", torchvision_video("mc3_18", SHORT), SHORT, steps=8),
    Family(
        "r2plus1d_18", torchvision_video("r2plus1d_18", (2, 16, 3, 32, 32)), (2, 16, 3, 32, 32), 2
    ),
    Family("s3d", s3d, (1, 32, 3, 32, 32), steps=4),
    *(
        Family(f"torchvision_{name}", _torchvision_image(name), (1, 3, 3, 64, 64), steps=3)
        for name in ("resnet18", "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5")
    ),
    *(
        Family(f"timm_{name}", _timm_image(name), (1, 3, 3, 64, 64), steps=3)
        for name in ("resnet18", "mobilenetv3_small_050", "convnext_atto")
    ),
    Family(
        "timm_vit", _timm_image("vit_tiny_patch16_224", img_size=64), (1, 3, 3, 64, 64), steps=3
    ),
]


def family(name):
    """The family of a name."""
    known = {entry.name: entry for entry in SMALL + ATTENDING + LARGE}
    if name not in known:
        # Its libraries take seconds to import.
        from tests.helpers.transformer_families import TRANSFORMERS

        known |= {entry.name: entry for entry in TRANSFORMERS}
    return known[name]
