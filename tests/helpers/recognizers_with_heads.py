"""Small networks of a backbone and a head, in the structure of mmaction2's and PySlowFast's."""

from types import SimpleNamespace

import torch
from torch import nn

from tests.helpers.recognizers import CLASSES, Block, Consensus, Shifted


class FrameBackbone(nn.Module):
    """From frames to maps, with blocks that may look at the frames beside."""

    def __init__(self, shifted=0, width=8):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.layer1 = nn.Sequential(Block(width, width), Block(width, width))
        if shifted:
            for block in self.layer1:
                block.conv1 = Shifted(block.conv1, shifted)

    def forward(self, x):
        return self.layer1(self.conv1(x))


class VolumeBackbone(nn.Module):
    """From volumes to maps at half the frame rate."""

    def __init__(self, width=8):
        super().__init__()
        self.conv1 = nn.Conv3d(3, width, 3, stride=(2, 2, 2), padding=1)
        self.bn1 = nn.BatchNorm3d(width)
        self.layer1 = nn.Sequential(nn.ReLU(), nn.Conv3d(width, width, 3, padding=1))

    def forward(self, x):
        return self.layer1(self.bn1(self.conv1(x)))


class TwoPathways(nn.Module):
    def __init__(self):
        super().__init__()
        self.slow_path, self.fast_path = VolumeBackbone(), VolumeBackbone()

    def forward(self, x):
        return self.slow_path(x[:, :, ::2]), self.fast_path(x)


class _Head(nn.Module):
    def __init__(self, width=8, average_clips="prob"):
        super().__init__()
        self.average_clips = average_clips
        self.dropout = nn.Dropout(0.4)
        self.fc_cls = nn.Linear(width, CLASSES)


class MeanThenLinear(_Head):
    """Features averaged over time, then classified."""

    def __init__(self):
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.consensus = Consensus("avg")

    def forward(self, x, num_segs, **kwargs):
        x = self.avg_pool(x)
        x = self.consensus(x.reshape((-1, num_segs, *x.shape[1:]))).squeeze(1)
        return self.fc_cls(self.dropout(x).flatten(1))


class LinearThenMean(MeanThenLinear):
    """Each frame classified, then averaged."""

    def __init__(self, num_segments):
        super().__init__()
        self.num_segments = num_segments

    def forward(self, x, num_segs, **kwargs):
        scores = self.fc_cls(self.dropout(self.avg_pool(x).flatten(1)))
        return self.consensus(scores.view(-1, self.num_segments, CLASSES)).squeeze(1)


class VolumeHead(_Head):
    def __init__(self):
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool3d((1, 1, 1))

    def forward(self, x, **kwargs):
        return self.fc_cls(self.dropout(self.avg_pool(x)).flatten(1))


class HiddenLayerHead(nn.Module):
    """A layer with an activation between pooling and classifier, as X3D has."""

    def __init__(self, width=8):
        super().__init__()
        self.average_clips = None
        self.pool = nn.AdaptiveAvgPool3d((1, 1, 1))
        self.fc1, self.fc2 = nn.Linear(width, 12, bias=False), nn.Linear(12, CLASSES)
        self.relu, self.dropout = nn.ReLU(), nn.Dropout(0.4)

    def forward(self, x, **kwargs):
        return self.fc2(self.dropout(self.relu(self.fc1(self.pool(x).flatten(1)))))


class _Recognizer(nn.Module):
    """`forward` gives features unless another stage is asked for, as mmaction2's does."""

    def __init__(self, backbone, cls_head, neck=None):
        super().__init__()
        self.data_preprocessor = nn.Module()
        for name, value in (("mean", [123.675, 116.28, 103.53]), ("std", [58.395, 57.12, 57.375])):
            self.data_preprocessor.register_buffer(name, torch.tensor(value)[:, None, None])
        self.backbone, self.cls_head = backbone, cls_head
        if neck is not None:
            self.neck = neck
        self.test_cfg = None

    def forward(self, inputs, data_samples=None, mode="tensor", **kwargs):
        if mode != "tensor":
            raise RuntimeError(mode)
        return self.extract_feat(inputs, **kwargs)[0]

    def extract_feat(self, inputs, stage="neck", data_samples=None, test_mode=False):
        kwargs = {"num_segs": inputs.shape[1]}
        x = self.backbone(inputs.view((-1, *inputs.shape[2:])))
        return (self.cls_head(x, **kwargs) if stage == "head" else x), kwargs


class Recognizer2D(_Recognizer):
    """Takes `(batch, frames, channel, height, width)`."""


class Recognizer3D(_Recognizer):
    """Takes `(batch, clips, channel, time, height, width)`."""


class Stem(nn.Module):
    """A layer for each pathway, from and to a list."""

    def __init__(self, channels, width):
        super().__init__()
        self.pathway0_stem = nn.Conv3d(channels, width, 3, stride=(1, 2, 2), padding=1)

    def forward(self, x):
        return [self.pathway0_stem(x[0])]


class Stage(nn.Module):
    """Blocks named after pathway and place, from and to a list."""

    def __init__(self, width, stride=1, blocks=1):
        super().__init__()
        self.num_blocks = [blocks]
        for at in range(blocks):
            part = nn.Sequential(
                nn.Conv3d(width, width, 3, (stride if at == 0 else 1, 1, 1), padding=1),
                nn.BatchNorm3d(width),
                nn.ReLU(inplace=True),
            )
            self.add_module(f"pathway0_res{at}", part)

    def forward(self, x):
        volume = x[0]
        for at in range(self.num_blocks[0]):
            volume = getattr(self, f"pathway0_res{at}")(volume)
        return [volume]


class PathwayHead(nn.Module):
    """Pools, classifies at each place of the pooled map, and averages probabilities."""

    def __init__(self, width, kernel, act):
        super().__init__()
        pool = nn.AdaptiveAvgPool3d(1) if kernel is None else nn.AvgPool3d(kernel, stride=1)
        self.add_module("pathway0_avgpool", pool)
        self.dropout = nn.Dropout(0.5)
        self.projection = nn.Linear(width, CLASSES)
        self.act = act

    def forward(self, inputs):
        x = self.pathway0_avgpool(inputs[0]).permute(0, 2, 3, 4, 1)
        x = self.projection(self.dropout(x))
        if not self.training:
            x = x if self.act is None else self.act(x)
            x = x.mean([1, 2, 3])
        return x.reshape(x.shape[0], -1)


class PathwayNetwork(nn.Module):
    """In the structure of the single-pathway ResNet of facebookresearch/SlowFast."""

    def __init__(self, kernel=None, act="softmax", width=6, num_pathways=1):
        super().__init__()
        self.num_pathways, self.enable_detection = num_pathways, False
        data = SimpleNamespace(
            MEAN=[0.45] * 3, STD=[0.225] * 3, TEST_CROP_SIZE=256, REVERSE_INPUT_CHANNEL=False
        )
        self.cfg = SimpleNamespace(DATA=data)
        self.s1, self.s2 = Stem(3, width), Stage(width)
        self.pathway0_pool = nn.MaxPool3d((1, 1, 1))
        self.s3, self.s4, self.s5 = Stage(width, 2), Stage(width), Stage(width, blocks=2)
        layers = {"softmax": nn.Softmax(dim=4), "sigmoid": nn.Sigmoid(), "none": None}
        self.head = PathwayHead(width, kernel, layers[act])

    def forward(self, x, bboxes=None):
        x = self.s2(self.s1(x[:]))
        x = self.s3([self.pathway0_pool(x[0])])
        return self.head(self.s5(self.s4(x)))


class HandWrittenSwish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        gate = torch.sigmoid(x)
        return gradient * (gate * (1 + x * (1 - gate)))


class Swish(nn.Module):
    def forward(self, x):
        return HandWrittenSwish.apply(x)


class HiddenPathwayHead(nn.Module):
    """A convolution before the pooling, and a hidden layer after it, as X3D's head has."""

    def __init__(self, width):
        super().__init__()
        self.conv_5, self.conv_5_bn = nn.Conv3d(width, 10, 1), nn.BatchNorm3d(10)
        self.conv_5_relu = nn.ReLU(inplace=True)
        self.avg_pool = nn.AdaptiveAvgPool3d((1, 1, 1))
        self.lin_5, self.lin_5_relu = nn.Conv3d(10, 12, 1, bias=False), nn.ReLU(inplace=True)
        self.projection = nn.Linear(12, CLASSES)
        self.act = nn.Softmax(dim=4)

    def forward(self, inputs):
        x = self.avg_pool(self.conv_5_relu(self.conv_5_bn(self.conv_5(inputs[0]))))
        x = self.projection(self.lin_5_relu(self.lin_5(x)).permute(0, 2, 3, 4, 1))
        if not self.training:
            x = self.act(x).mean([1, 2, 3])
        return x.view(x.shape[0], -1)


class HiddenPathwayNetwork(nn.Module):
    """In the structure of the X3D of facebookresearch/SlowFast: children called in turn."""

    def __init__(self, width=6):
        super().__init__()
        self.num_pathways, self.enable_detection = 1, False
        self.s1 = Stem(3, width)
        for at in range(2, 6):
            self.add_module(f"s{at}", Stage(width))
        self.s2.pathway0_res0[2] = Swish()
        self.head = HiddenPathwayHead(width)

    def forward(self, x, bboxes=None):
        for module in self.children():
            x = module(x)
        return x
