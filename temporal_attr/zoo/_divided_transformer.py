"""A transformer over tubelets that attends over time and over space in turn."""

from __future__ import annotations

from einops import rearrange
from torch import Tensor, nn

from temporal_attr.zoo._base import Ensemble
from temporal_attr.zoo._transformer import Attention, Tokens, VolumeTransformer, mixer


class DividedBlock(nn.Module):
    """Attention over time, then over space, then two linear layers, each beside a shortcut.

    Args:
        features: Length of a token.
        heads: Of both attentions.
        steps: Timesteps, whose tokens follow each other.
    """

    def __init__(self, features: int, heads: int, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.over_time = nn.Sequential(nn.LayerNorm(features), Attention(features, heads))
        self.over_space = nn.Sequential(nn.LayerNorm(features), Attention(features, heads))
        self.mix = mixer(features)

    def forward(self, tokens: Tokens) -> Tokens:
        """As many tokens as before."""
        places = "(batch place) step feature"
        steps = "(batch step) place feature"
        # Each attention sees what it does not attend over as more examples.
        tracks = rearrange(tokens, f"batch (step place) feature -> {places}", step=self.steps)
        tracks = tracks + self.over_time(tracks)
        frames = rearrange(tracks, f"{places} -> {steps}", batch=len(tokens))
        frames = frames + self.over_space(frames)
        informed = rearrange(frames, f"{steps} -> batch (step place) feature", batch=len(tokens))
        output: Tensor = informed + self.mix(informed)
        return output


class DividedTransformer(VolumeTransformer):
    """A transformer whose blocks attend over time and over space in turn.

    TimeSformer's divided space-time attention :cite:p:`bertasius2021`, in small, with a mean in
    place of its class token: in each block a token reads those at its own place in all timesteps,
    then those of its own timestep at all places, which have read every frame. So every timestep
    reads every frame. The last layer norm is on each token, so the mean over tokens is linear
    (`exactness="linear"`).

    Args:
        classes: Number of classes.
        frames: Length of a clip.
        size: Height and width of a clip, which is resized to it.
        tubelet: Frames of a token, which is a timestep long; divides `frames`. 1 in the paper.
        patch: Height and width of a token; divides `size`.
        features: Length of a token.
        heads: Of each attention.
        depth: Blocks of the transformer.
        ensemble: See `SteppedModel`.

    Example:
        >>> import torch
        >>> model = DividedTransformer(classes=5, frames=8, size=32).eval()
        >>> tuple(model.frame_logits(torch.rand(2, 8, 3, 32, 32)).logits.shape)
        (2, 8, 5)
    """

    def __init__(
        self,
        classes: int,
        frames: int = 16,
        size: int = 48,
        tubelet: int = 1,
        patch: int = 8,
        features: int = 64,
        heads: int = 4,
        depth: int = 2,
        ensemble: Ensemble = "all",
    ) -> None:
        super().__init__(classes, frames, size, tubelet, patch, features, heads, depth, ensemble)

    def _block(self, features: int, heads: int) -> nn.Module:
        return DividedBlock(features, heads, self.place.shape[1])
