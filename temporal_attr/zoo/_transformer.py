"""Transformers over frames, and over tubelets of a clip."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from temporal_attr._errors import ClipError, OptionError
from temporal_attr._require import require_count, require_size
from temporal_attr._typing import ClipTensor, Features, Frames, Logits
from temporal_attr.models import FrameLogits, FramewiseModel
from temporal_attr.zoo._base import (
    Ensemble,
    SteppedModel,
    ensemble_mean,
    ensemble_weights,
    preprocessing,
    require_classes,
    require_ensemble,
)
from temporal_attr.zoo._residual import WIDTHS, FrameEncoder

Tokens = Float[Tensor, "batch token feature"]


class Attention(nn.Module):
    """Multi-head self-attention :cite:p:`vaswani2017`, step by step, so that it can be followed."""

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.read = nn.Linear(features, 3 * features)
        self.write = nn.Linear(features, features)

    def forward(self, tokens: Tokens) -> Tokens:
        """Every token, as the others inform it."""
        pattern = "batch token (part head feature) -> part batch head token feature"
        query, key, value = rearrange(self.read(tokens), pattern, part=3, head=self.heads)
        scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        mixed = scores.softmax(-1) @ value
        written: Tensor = self.write(
            rearrange(mixed, "batch head token feature -> batch token (head feature)")
        )
        return written


def mixer(features: int) -> nn.Sequential:
    """A layer norm and two linear layers, for each token by itself."""
    return nn.Sequential(
        nn.LayerNorm(features),
        nn.Linear(features, 2 * features),
        nn.GELU(),
        nn.Linear(2 * features, features),
    )


class Block(nn.Module):
    """Attention and two linear layers, each after a layer norm and beside a shortcut."""

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(features), Attention(features, heads))
        self.mix = mixer(features)

    def forward(self, tokens: Tokens) -> Tokens:
        """As many tokens as before."""
        informed: Tensor = tokens + self.attention(tokens)
        output: Tensor = informed + self.mix(informed)
        return output


def _waves(length: int, features: int) -> Float[Tensor, "length feature"]:
    """Sines and cosines of a place, at wavelengths from 2 pi up: where place embeddings begin.

    From random ones a small transformer hardly learns which frames are neighbours.
    """
    half = -(-features // 2)
    rates = 1000.0 ** (-torch.arange(half) / half)
    angles = torch.arange(length)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)[:, :features]


def _blocks(
    features: int, heads: int, depth: int, block: Callable[[int, int], nn.Module] = Block
) -> nn.Sequential:
    require_size("features", features, 1)
    require_size("depth", depth, 1)
    require_size("heads", heads, 1)
    if features % heads:
        raise OptionError(
            f"heads to divide the feature length {features}", str(heads), "Try heads=4."
        )
    return nn.Sequential(*(block(features, heads) for _ in range(depth)))


class TemporalTransformer(FramewiseModel):
    """A residual network on each frame, and a transformer over the frames' features.

    The last layer norm is on each timestep, and the classifier linear, so the logits are the mean
    of the timesteps' logits (`exactness="linear"`). Every timestep reads every frame.

    Args:
        classes: Number of classes.
        frames: The longest clip; each place in time has a learned embedding.
        features: Length of a token.
        heads: Of the attention.
        depth: Blocks of the transformer.
        widths: Channels of each stage of the encoder.
        blocks: Residual blocks a stage of the encoder.
        grid: See `FrameEncoder`.
        ensemble: See `SteppedModel`.
        size: Height and width that clips are resized to; None for any.

    Example:
        >>> model = TemporalTransformer(classes=5, widths=(4, 8)).eval()
        >>> tuple(model.frame_logits(torch.rand(2, 8, 3, 32, 32)).logits.shape)
        (2, 8, 5)
    """

    def __init__(
        self,
        classes: int,
        frames: int = 16,
        features: int = 64,
        heads: int = 4,
        depth: int = 2,
        widths: Sequence[int] = WIDTHS,
        blocks: int = 1,
        grid: int = 3,
        ensemble: Ensemble = "all",
        size: int | None = None,
    ) -> None:
        super().__init__(preprocessing(size))
        require_classes(classes)
        require_ensemble(ensemble)
        require_size("frames", frames, 1)
        require_size("features", features, 1)
        self.ensemble = ensemble
        encoder = FrameEncoder(self.channels, widths, blocks, grid)
        self.encoder = nn.Sequential(encoder, nn.Linear(encoder.features, features))
        self.place = nn.Parameter(_waves(frames, features))
        self.blocks = _blocks(features, heads, depth)
        self.norm = nn.LayerNorm(features)
        self.classifier = nn.Linear(features, classes)

    def encode(self, frames: Frames) -> Features:
        """Features of single frames `(frames, feature)`."""
        encoded: Tensor = self.encoder(frames)
        return encoded

    def head(self, features: Features) -> Logits:
        """Logits of the clip: those of the mean token."""
        logits: Tensor = self.classifier(ensemble_mean(self.ensemble, self._tokens(features)))
        return logits

    def frame_head(self, features: Features) -> FrameLogits:
        """Logits of each frame's token."""
        tokens = self._tokens(features)
        return FrameLogits(self.classifier(tokens), ensemble_weights(self.ensemble, tokens))

    def _tokens(self, features: Tensor) -> Tensor:
        steps = features.shape[1]
        if steps > len(self.place):
            raise ClipError(
                f"at most {len(self.place)} frames, as many as have a place embedding",
                f"{steps}",
                "Load a shorter clip, or build the model with more frames.",
            )
        tokens: Tensor = self.norm(self.blocks(features + self.place[:steps]))
        return tokens


class VolumeTransformer(SteppedModel):
    """A transformer over all tubelets of a clip; a kind of it says who attends to whom.

    The last layer norm is on each token, so the mean over tokens is linear. A timestep is a tubelet
    long.

    Args:
        classes: Number of classes.
        frames: Length of a clip.
        size: Height and width of a clip, which is resized to it.
        tubelet: Frames of a tubelet; divides `frames`.
        patch: Height and width of a tubelet; divides `size`.
        features: Length of a token.
        heads: Of the attention.
        depth: Blocks of the transformer.
        ensemble: See `SteppedModel`.
    """

    layout = "batch channel time height width"

    def __init__(
        self,
        classes: int,
        frames: int = 16,
        size: int = 48,
        tubelet: int = 2,
        patch: int = 8,
        features: int = 64,
        heads: int = 4,
        depth: int = 2,
        ensemble: Ensemble = "all",
    ) -> None:
        require_size("features", features, 1)
        super().__init__(features, classes, ensemble, size)
        require_size("frames", frames, 1)
        for name, part, whole in (("tubelet", tubelet, frames), ("patch", patch, size)):
            require_count(name, part, 1, whole)
            if whole % part:
                raise OptionError(f"{name} to divide {whole}", str(part), "Choose a divisor.")
        self.frames_per_step = tubelet
        self.clip_shape = (frames, size, size)
        sides = (frames // tubelet, size // patch, size // patch)
        block = (tubelet, patch, patch)
        self.embed = nn.Conv3d(self.channels, features, block, block)
        # Half of the features say when and half where, a quarter for each direction of space.
        parts = (features - 2 * (features // 4), features // 4, features // 4)
        shapes = ((-1, sides[0], 1, 1), (-1, 1, sides[1], 1), (-1, 1, 1, sides[2]))
        places = [
            _waves(length, part).T.reshape(shape).expand(-1, *sides)
            for length, part, shape in zip(sides, parts, shapes, strict=True)
        ]
        self.place = nn.Parameter(torch.cat(places))
        self.blocks = _blocks(features, heads, depth, self._block)
        self.norm = nn.LayerNorm(features)

    @abstractmethod
    def _block(self, features: int, heads: int) -> nn.Module:
        """One block, from tokens to as many; those of a timestep follow each other."""

    @property
    def stages(self) -> tuple[Callable[[Tensor], Tensor], ...]:
        """Embedding, blocks, and the mean over space."""
        return (self._embed, *self.blocks, self._pool)

    def to_layout(self, clip: ClipTensor) -> Tensor:
        """The clip, if it has the shape that the tubelets cover."""
        volume = super().to_layout(clip)
        if tuple(volume.shape[2:]) != self.clip_shape:
            raise ClipError(
                f"{self.clip_shape[0]} frames of {self.clip_shape[1]} x {self.clip_shape[2]}, as "
                "this transformer's tubelets cover",
                " x ".join(map(str, volume.shape[2:])),
                "Load the clip with that many frames and preprocessing=model.preprocessing.",
            )
        return volume

    def _embed(self, volume: Tensor) -> Tensor:
        tokens: Tensor = self.embed(volume) + self.place
        return tokens.flatten(2).transpose(1, 2)

    def _pool(self, tokens: Tensor) -> Tensor:
        pooled: Tensor = self.norm(tokens).unflatten(1, (self.place.shape[1], -1)).mean(2)
        return pooled


class TubeletTransformer(VolumeTransformer):
    """A transformer over all tubelets of a clip, blocks of a few frames and pixels at once.

    ViViT's first model :cite:p:`arnab2021`, in small, with a mean in place of its class token: the
    last layer norm is on each token, so the mean over tokens is linear. A timestep is a tubelet
    long; every timestep reads every frame.

    Args:
        classes: Number of classes.
        frames: Length of a clip.
        size: Height and width of a clip, which is resized to it.
        tubelet: Frames of a tubelet; divides `frames`.
        patch: Height and width of a tubelet; divides `size`.
        features: Length of a token.
        heads: Of the attention.
        depth: Blocks of the transformer.
        ensemble: See `SteppedModel`.

    Example:
        >>> model = TubeletTransformer(classes=5, frames=8, size=32).eval()
        >>> tuple(model.frame_logits(torch.rand(2, 8, 3, 32, 32)).logits.shape)
        (2, 4, 5)
    """

    def _block(self, features: int, heads: int) -> nn.Module:
        return Block(features, heads)
