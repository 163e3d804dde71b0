"""Networks as people write their own, small: what `wrap` has never seen."""

import torch
from torch import nn

CLASSES = 5


def small_cnn(width=8):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


class ConvLSTM(nn.Module):
    """A convolutional LSTM that runs step by step; the classifier reads the last state."""

    def __init__(self, width=6):
        super().__init__()
        self.gates = nn.Conv2d(3 + width, 4 * width, 3, padding=1)
        self.fc = nn.Linear(width, CLASSES)
        self.width = width

    def forward(self, video):
        batch, _, _, height, wide = video.shape
        hidden = video.new_zeros(batch, self.width, height, wide)
        memory = hidden
        for frame in video.unbind(1):
            given, forget, out, new = self.gates(torch.cat([frame, hidden], 1)).chunk(4, 1)
            memory = forget.sigmoid() * memory + given.sigmoid() * new.tanh()
            hidden = out.sigmoid() * memory.tanh()
        return self.fc(hidden.mean((2, 3)))


class TwoStream(nn.Module):
    """One stream looks at frames, the other at their differences; logits are averaged."""

    def __init__(self):
        super().__init__()
        self.looks = nn.Sequential(nn.Conv3d(3, 6, (1, 3, 3), padding=(0, 1, 1)), nn.ReLU())
        self.follows = nn.Sequential(nn.Conv3d(3, 6, 3, padding=1), nn.ReLU())
        self.join = nn.Conv3d(12, 8, 1)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, video):
        change = torch.diff(video, dim=2, prepend=video[:, :, :1])
        both = torch.cat([self.looks(video), self.follows(change)], 1)
        return self.fc(self.join(both).relu().mean((2, 3, 4)))


class CNNTransformer(nn.Module):
    """A transformer over frame features with learned positions, so for one number of frames."""

    def __init__(self, frames=6, width=8):
        super().__init__()
        self.cnn = small_cnn(width)
        self.positions = nn.Parameter(torch.randn(frames, width))
        layer = nn.TransformerEncoderLayer(width, 2, 16, batch_first=True)
        self.transformer = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, video):
        rows = self.cnn(video.flatten(0, 1)).unflatten(0, video.shape[:2])
        return self.head(self.transformer(rows + self.positions).mean(1))


class ReturnsDict(nn.Module):
    """Mean over frames of what a CNN says, in a dict."""

    key = "logits"

    def __init__(self):
        super().__init__()
        self.cnn = small_cnn()
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, video):
        rows = self.cnn(video.flatten(0, 1)).unflatten(0, video.shape[:2])
        return {self.key: self.fc(rows).mean(1), "features": rows.mean(1)}


class NormBeforeTheHead(nn.Module):
    """A layer norm and an activation between the mean over time and the classifier."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv3d(3, 6, 3, padding=1), nn.ReLU())
        self.head = nn.Sequential(
            nn.LayerNorm(6), nn.Linear(6, 8), nn.GELU(), nn.Linear(8, CLASSES)
        )

    def forward(self, video):
        return self.head(self.body(video).mean((2, 3, 4)))


class AllAtOnce(nn.Module):
    """The first layer mixes all frames, and nothing is stacked as channels."""

    def __init__(self, frames=6):
        super().__init__()
        self.mix = nn.Linear(frames * 3, 8)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, video):
        return self.fc(self.mix(video.mean((3, 4)).flatten(1)).tanh())


class CNNLSTM(nn.Module):
    """A CNN per frame, an LSTM over them, and a classifier of its last output."""

    def __init__(self):
        super().__init__()
        self.cnn = small_cnn()
        self.lstm = nn.LSTM(8, 6, batch_first=True)
        self.fc = nn.Linear(6, CLASSES)

    def forward(self, video):
        rows = self.cnn(video.flatten(0, 1)).unflatten(0, video.shape[:2])
        return self.fc(self.lstm(rows)[0][:, -1])


class EndsInSoftmax(nn.Module):
    """Probabilities of the mean over a volume, with a function between layer and pooling."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv3d(3, 6, 3, padding=1)
        self.fc = nn.Linear(6, CLASSES)
        self.act = nn.Softmax(-1)

    def forward(self, video):
        return self.act(self.fc(self.body(video).relu().mean((2, 3, 4))))


class ShiftsFrames(nn.Module):
    """Frames in the batch, of which a layer moves some channels on by a frame."""

    def __init__(self, frames=6):
        super().__init__()
        self.frames = frames
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, stacked):
        rows = self.first(stacked.reshape(-1, 3, *stacked.shape[2:])).relu()
        video = rows.unflatten(0, (-1, self.frames))
        moved = torch.cat([video[:, :1, :2] * 0, video[:, :-1, :2]], 1)
        rows = torch.cat([moved, video[:, :, 2:]], 2).flatten(0, 1)
        logits = self.fc(self.second(rows).relu().mean((2, 3)))
        return logits.unflatten(0, (-1, self.frames)).mean(1)


class PerTimestep(nn.Module):
    """Logits of every frame, in one of several orders of axes."""

    order = "classes last"

    def __init__(self):
        super().__init__()
        self.body = nn.Conv3d(3, 6, 3, padding=1)
        self.fc = nn.Linear(6, CLASSES)

    def forward(self, video):
        rows = self.fc(self.body(video).relu().mean((3, 4)).transpose(1, 2))
        if self.order == "one number a frame":
            return rows[..., 0]
        return rows.transpose(1, 2) if self.order == "classes first" else rows


class Unpadded(nn.Module):
    """A convolution without padding in time, so that ends have no timesteps of their own."""

    def __init__(self, kernel):
        super().__init__()
        self.body = nn.Conv3d(3, 6, (kernel, 3, 3), padding=(0, 1, 1))
        self.fc = nn.Linear(6, CLASSES)

    def forward(self, video):
        return self.fc(self.body(video).mean((2, 3, 4)))


def logits(network, clip):
    """What a network says of canonical clips, before it makes probabilities of it."""
    if isinstance(network, ReturnsDict):
        return network(clip)["logits"]
    if isinstance(network, EndsInSoftmax):
        return network.fc(network.body(clip.transpose(1, 2)).relu().mean((2, 3, 4)))
    if isinstance(network, ShiftsFrames):
        return network(clip.flatten(1, 2))
    if isinstance(network, TwoStream):
        return network(clip.transpose(1, 2))
    return network(clip)
