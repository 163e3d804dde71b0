"""Small networks in the structure of the public repositories of action recognition.

Each says in its docstring whose structure it has; the layers are as few as show it.
"""

import torch
import torch.nn.functional as F
from torch import nn

CLASSES = 5


class Shifted(nn.Module):
    """Moves an eighth of the channels to the frame before and one to the frame after."""

    def __init__(self, net, n_segment):
        super().__init__()
        self.net, self.n_segment = net, n_segment

    def forward(self, x):
        clips = x.reshape(-1, self.n_segment, *x.shape[1:])
        fold = x.shape[1] // 8
        moved = torch.zeros_like(clips)
        moved[:, :-1, :fold] = clips[:, 1:, :fold]
        moved[:, 1:, fold : 2 * fold] = clips[:, :-1, fold : 2 * fold]
        moved[:, :, 2 * fold :] = clips[:, :, 2 * fold :]
        return self.net(moved.flatten(0, 1))


class HalfOfFrames(nn.Module):
    """Pools pairs of frames of a folded batch, and runs a network on what is left."""

    def __init__(self, net, frames, mode="max"):
        super().__init__()
        self.net, self.frames, self.mode = net, frames, mode

    def forward(self, x):
        clips = x.view(-1, self.frames, *x.shape[1:]).transpose(1, 2)
        pool = F.max_pool3d if self.mode == "max" else F.avg_pool3d
        half = pool(clips, (3, 1, 1), (2, 1, 1), (1, 0, 0))
        return self.net(half.transpose(1, 2).flatten(0, 1))


class Block(nn.Module):
    """A residual block whose first convolution, or input, may look at other frames."""

    def __init__(self, channels, width, tam=None):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Conv2d(channels, width, 1)
        self.tam = tam

    def forward(self, x):
        seen = x if self.tam is None else self.tam(x)
        out = self.bn1(self.conv1(seen))
        out += self.downsample(x)
        return self.relu(out)


class FrameNetwork(nn.Module):
    """An image classifier as torchvision builds its ResNets."""

    def __init__(self, width=16):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(Block(width, width), Block(width, width))
        self.layer2 = nn.Sequential(Block(width, width))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, CLASSES)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer2(self.layer1(x))
        return self.fc(self.avgpool(x).flatten(1))


class Consensus(nn.Module):
    def __init__(self, consensus_type):
        super().__init__()
        self.consensus_type = consensus_type

    def forward(self, x):
        return x.mean(1, keepdim=True) if self.consensus_type == "avg" else x


class SegmentNetwork(nn.Module):
    """In the structure of the TSN of mit-han-lab/temporal-shift-module."""

    def __init__(
        self,
        num_segments=6,
        dropout=0.8,
        consensus_type="avg",
        before_softmax=True,
        is_shift=True,
        temporal_pool=False,
        modality="RGB",
    ):
        super().__init__()
        self.num_segments, self.modality, self.new_length = num_segments, modality, 1
        self.reshape, self.before_softmax, self.dropout = True, before_softmax, dropout
        self.consensus_type, self.is_shift = consensus_type, is_shift
        self.temporal_pool = temporal_pool
        self.input_size = 224
        self.input_mean, self.input_std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        self.base_model = FrameNetwork()
        self.base_model.last_layer_name = "fc"
        if is_shift:
            later = num_segments // 2 if temporal_pool else num_segments
            for stage, frames in (("layer1", num_segments), ("layer2", later)):
                for block in getattr(self.base_model, stage):
                    block.conv1 = Shifted(block.conv1, frames)
        if temporal_pool:
            self.base_model.layer2 = HalfOfFrames(self.base_model.layer2, num_segments)
        self.new_fc = None
        if dropout > 0:
            self.new_fc = nn.Linear(self.base_model.fc.in_features, CLASSES)
            self.base_model.fc = nn.Dropout(dropout)
        self.consensus = Consensus(consensus_type)
        if not before_softmax:
            self.softmax = nn.Softmax(dim=1)

    def forward(self, clips, no_reshape=False):
        out = self.base_model(clips.view((-1, 3, *clips.shape[-2:])))
        if self.new_fc is not None:
            out = self.new_fc(out)
        if not self.before_softmax:
            out = self.softmax(out)
        if self.reshape:
            steps = self.num_segments // 2 if self.temporal_pool else self.num_segments
            return self.consensus(out.view((-1, steps, *out.shape[1:]))).squeeze(1)
        return None


class Aggregation(nn.Module):
    """TAM: a channel's own weights for the frame before, this one, and the next."""

    def __init__(self, duration, channels):
        super().__init__()
        self.duration = duration
        self.prev, self.curr, self.next = (
            nn.Conv2d(channels, channels, 1, groups=channels, bias=False) for _ in range(3)
        )

    def forward(self, x):
        clips = (-1, self.duration, *x.shape[1:])
        before = F.pad(self.prev(x).view(clips), (0,) * 6 + (1, 0))[:, :-1]
        after = F.pad(self.next(x).view(clips), (0,) * 6 + (0, 1))[:, 1:]
        total = torch.stack([before, self.curr(x).view(clips), after]).sum(0)
        return F.relu(total, inplace=True).flatten(0, 1)


class _Named:
    """What all networks of IBM/action-recognition-pytorch say of themselves."""

    network_name = "small"

    def mean(self, modality="rgb"):
        return [0.485, 0.456, 0.406] if modality == "rgb" else [0.5]

    def std(self, modality="rgb"):
        return [0.229, 0.224, 0.225] if modality == "rgb" else [0.5]


class FoldedNetwork(_Named, nn.Module):
    """In the structure of the 2D networks of IBM/action-recognition-pytorch."""

    def __init__(self, num_frames=6, tam=True, without_t_stride=True, width=8):
        super().__init__()
        self.orig_num_frames = num_frames
        self.without_t_stride = without_t_stride
        self.conv1 = nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)

        def block(frames):
            return Block(width, width, Aggregation(frames, width) if tam else None)

        self.layer1 = nn.Sequential(block(num_frames), block(num_frames))
        if not without_t_stride:
            self.pool1 = HalfOfFrames(nn.Identity(), num_frames, "avg")
        later = num_frames if without_t_stride else num_frames // 2
        self.layer2 = nn.Sequential(block(later))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(width, CLASSES)

    def forward(self, x):
        batch, channels, height, width = x.shape
        frames = self.orig_num_frames
        x = x.view(batch * frames, channels // frames, height, width)
        x = self.layer1(self.relu(self.bn1(self.conv1(x))))
        x = x if self.without_t_stride else self.pool1(x)
        x = self.dropout(self.avgpool(self.layer2(x)).flatten(1))
        return self.fc(x).view(batch, -1, CLASSES).mean(1)


class VolumeNetwork(_Named, nn.Module):
    """In the structure of the 3D networks of IBM/action-recognition-pytorch."""

    def __init__(self, width=8):
        super().__init__()
        self.conv1 = nn.Conv3d(3, width, 3, stride=(1, 2, 2), padding=1)
        self.bn1 = nn.BatchNorm3d(width)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(nn.Conv3d(width, width, 3, stride=(2, 1, 1), padding=1))
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(width, CLASSES)

    def forward(self, x):
        x = self.layer1(self.relu(self.bn1(self.conv1(x))))
        x = F.adaptive_avg_pool3d(x, (x.shape[2], 1, 1)).squeeze(-1).squeeze(-1).transpose(1, 2)
        batch, steps, _ = x.shape
        x = self.fc(self.dropout(x.contiguous().view(batch * steps, -1)))
        return x.view(batch, steps, -1).mean(1)
