"""Small transformers whose attention can be written down by hand."""

import torch
from torch import nn

from temporal_attr.zoo._transformer import Attention

CLASSES = 3


class Block(nn.Module):
    """Attention and two linear layers, each after a norm and beside a skip connection."""

    def __init__(self, features, heads):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(features), Attention(features, heads)
        self.mix = nn.Sequential(
            nn.LayerNorm(features), nn.Linear(features, 7), nn.GELU(), nn.Linear(7, features)
        )

    def forward(self, tokens):
        tokens = tokens + self.attention(self.norm(tokens))
        return tokens + self.mix(tokens)


class Joint(nn.Module):
    """Attention among all tubelets of a clip `(batch, time, channel, height, width)`."""

    tube = (2, 4, 4)

    def __init__(self, depth=2, heads=2, class_token=False, features=6):
        super().__init__()
        self.heads = heads
        self.patches = nn.Conv3d(3, features, self.tube, self.tube)
        self.token = nn.Parameter(torch.randn(features)) if class_token else None
        self.blocks = nn.Sequential(*(Block(features, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(features), nn.Linear(features, CLASSES)

    def tokens(self, clip):
        tokens = self.patches(clip.transpose(1, 2)).flatten(2).transpose(1, 2)
        if self.token is None:
            return tokens
        return torch.cat([self.token.expand(len(tokens), 1, -1), tokens], 1)

    def forward(self, clip):
        tokens = self.norm(self.blocks(self.tokens(clip)))
        return self.head(tokens.mean(1) if self.token is None else tokens[:, 0])


class Divided(nn.Module):
    """Over the frames of each patch, then within each frame, beside whose patches the class is."""

    tube = (1, 4, 4)

    def __init__(self, depth=2, heads=2, features=6):
        super().__init__()
        self.heads = heads
        self.patches = nn.Conv3d(3, features, self.tube, self.tube)
        self.token = nn.Parameter(torch.randn(features))
        self.over_time = nn.ModuleList(Block(features, heads) for _ in range(depth))
        self.within = nn.ModuleList(Block(features, heads) for _ in range(depth))
        self.head = nn.Linear(features, CLASSES)

    def forward(self, clip):
        volume = self.patches(clip.transpose(1, 2)).flatten(3).permute(0, 2, 3, 1)
        batch, frames, places, _ = volume.shape
        token = self.token.expand(batch, 1, -1)
        for time, space in zip(self.over_time, self.within, strict=True):
            rows = volume.transpose(1, 2).flatten(0, 1)
            moved = time.attention(time.norm(rows)).unflatten(0, (batch, places)).transpose(1, 2)
            volume = volume + moved
            copies = token[:, None].expand(-1, frames, -1, -1)
            rows = torch.cat([copies, volume], 2).flatten(0, 1)
            moved = space.attention(space.norm(rows)).unflatten(0, (batch, frames))
            both = torch.cat([token, volume.flatten(1, 2)], 1)
            both = both + torch.cat(
                [moved[:, :, 0].mean(1, True), moved[:, :, 1:].flatten(1, 2)], 1
            )
            both = both + space.mix(both)
            token, volume = both[:, :1], both[:, 1:].unflatten(1, (frames, places))
        return self.head(token[:, 0])


def lively(network, seed=0):
    """In float64 and evaluation mode, with weights of which attention is far from even."""
    generator = torch.Generator().manual_seed(seed)
    network = network.double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.6)
    return network
