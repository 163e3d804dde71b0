"""A transformer over the features of frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from temporal_attr._errors import ClipError, ModelError
from temporal_attr._typing import Features, Frames, Logits
from temporal_attr.clips import Preprocessing
from temporal_attr.models._base import FrameLogits, FramewiseModel, is_affine
from temporal_attr.models._frozen import FrozenSplit, TokenTimes, attention_split, can_be_split
from temporal_attr.models._outputs import logits_of
from temporal_attr.models._pooling import pool_time, readout_weights, require_readout


class FrameTransformer(FramewiseModel):
    """A frame encoder, a transformer that reads the frames' features, and a head.

    A timestep is a frame. What its logits are depends on what the head reads:

    - the mean over frames (`pool="mean"`), and the head is linear: what the head says of that
      frame's token (`exactness="linear"`). Where the head has layer norms and activations, its
      contribution, with standard deviations and gates held at the clip's values (`"frozen"`);
      where it has anything else, what the head says of that token alone (`"none"`);
    - the first or the last frame's token: what the head says of each frame's token, where only that
      one has weight (`"linear"`);
    - a class token (`class_token`, `pool="first"`): the contribution of that frame to what the
      token reads in the last layer, with attention weights, standard deviations and gates held
      (`"frozen"`). What the token had gathered before is the `rest` of the frame logits.

    Args:
        encoder: Frames `(frames, channel, height, width)` to features `(frames, ...)`, which are
            flattened; None hands on the frames themselves.
        transformer: `nn.TransformerEncoder` (either `batch_first`), or any module from tokens
            `(batch, token, feature)` to as many; a mask, such as a causal one, is set in a module
            of your own.
        head: One token `(batch, feature)` to logits; None if the transformer's tokens are logits.
        pool: Which token the head reads.
        positions: Added to the tokens: `(tokens, feature)`, for the class token first if there is
            one, and as many as the longest clip needs; or a module from tokens to tokens.
        class_token: `(feature,)`, put before the frames' tokens.
        preprocessing: See `VideoModel`.

    Example:
        >>> encoder = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
        >>> layer = nn.TransformerEncoderLayer(12, nhead=2, dim_feedforward=16, batch_first=True)
        >>> transformer = nn.TransformerEncoder(layer, num_layers=2).eval()
        >>> model = FrameTransformer(
        ...     encoder, transformer, nn.Linear(12, 5), "first",
        ...     positions=torch.randn(9, 12), class_token=torch.randn(12),
        ... )
        >>> clip = torch.rand(2, 8, 3, 16, 16)
        >>> steps = model.frame_logits(clip)
        >>> tuple(steps.logits.shape), torch.allclose(steps.clip_logits(), model(clip), atol=1e-5)
        ((2, 8, 5), True)
    """

    def __init__(
        self,
        encoder: nn.Module | None,
        transformer: nn.Module,
        head: nn.Module | None,
        pool: Literal["mean", "first", "last"] = "mean",
        positions: Tensor | nn.Module | None = None,
        class_token: Tensor | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__(preprocessing)
        require_readout("pool", pool, ("mean", "first", "last"))
        self.encoder = nn.Identity().eval() if encoder is None else encoder
        self.transformer = transformer
        self.classifier = nn.Identity().eval() if head is None else head
        self.pool = pool
        self.positions: Any
        self.class_token: Any
        self._hold("positions", positions)
        self._hold("class_token", class_token)
        self._adopt_mode(encoder, transformer, head, positions)
        if class_token is not None:
            _require_known(transformer, pool)
            self.exactness = "frozen"
        elif pool == "mean" and not is_affine(self.classifier):
            self.exactness = "frozen" if can_be_split(self.classifier) else "none"

    def _hold(self, name: str, value: Tensor | nn.Module | None) -> None:
        """Keep a tensor as the parameter that it is, or as a buffer, which moves with the model."""
        if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
            self.register_buffer(name, value)
        else:
            setattr(self, name, value)

    def encode(self, frames: Frames) -> Features:
        """Features of single frames `(frames, feature)`."""
        return logits_of(self.encoder(frames)).flatten(1)

    def head(self, features: Features) -> Logits:
        """Logits of the token, or of the mean of tokens, that is read out."""
        tokens = self._read(self._tokens(features))
        pooled = tokens[:, 0] if self.pool == "first" else pool_time(tokens, self.pool)
        logits: Tensor = self.classifier(pooled)
        return logits

    def frame_head(self, features: Features) -> FrameLogits:
        """Logits of each frame; see the class for what they mean."""
        tokens = self._tokens(features)
        if self.class_token is not None:
            return self._of_class_token(tokens)
        tokens = self._read(tokens)
        if self.exactness == "frozen":
            split = TokenTimes(tokens.shape[1]).split(tokens / tokens.shape[1])
            return split.through(self.classifier).frame_logits()
        logits = self.classifier(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])
        if self.pool == "first":
            return FrameLogits(logits, readout_weights("last", logits).flip(0))
        return FrameLogits(logits, readout_weights(self.pool, logits))

    def _tokens(self, features: Tensor) -> Tensor:
        """What the transformer takes: the class token, if any, and features, with positions."""
        tokens = features.flatten(2)
        if self.class_token is not None:
            first = self.class_token.reshape(1, 1, -1).expand(len(tokens), -1, -1)
            tokens = torch.cat([first, tokens], 1)
        if self.positions is None:
            return tokens
        if isinstance(self.positions, nn.Module):
            placed: Tensor = self.positions(tokens)
            return placed
        positions: Tensor = self.positions
        positions = positions.reshape(-1, positions.shape[-1])
        if tokens.shape[1] > len(positions):
            own = int(self.class_token is not None)
            raise ClipError(
                f"at most {len(positions) - own} frames, as many as have a position",
                f"{features.shape[1]}",
                "Load a shorter clip.",
            )
        return tokens + positions[: tokens.shape[1]]

    def _read(self, tokens: Tensor) -> Tensor:
        """The transformer's tokens."""
        return _by_time(self.transformer, self.transformer, tokens)

    def _of_class_token(self, tokens: Tensor) -> FrameLogits:
        """The frames' contributions in the last layer."""
        transformer: Any = self.transformer
        steps = tokens.shape[1] - 1
        for layer in transformer.layers[:-1]:
            tokens = _by_time(self.transformer, layer, tokens)
        split = _last_layer(transformer.layers[-1], tokens, TokenTimes(steps, leading=1))
        norms = () if transformer.norm is None else (transformer.norm,)
        return split.through(*norms, self.classifier).frame_logits()


def _by_time(transformer: nn.Module, module: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
    """A transformer or a layer of it, whose tokens may be in the first axis."""
    if isinstance(transformer, nn.TransformerEncoder) and not _batch_first(transformer):
        return module(tokens.transpose(0, 1)).transpose(0, 1)
    return module(tokens)


def _batch_first(transformer: nn.TransformerEncoder) -> bool:
    first: Any = transformer.layers[0]
    return bool(first.self_attn.batch_first)


def _last_layer(layer: Any, tokens: Tensor, times: TokenTimes) -> FrozenSplit:  # noqa: ANN401
    """The class token after a layer, split by what it reads of each frame."""
    attention = layer.self_attn
    normed = layer.norm1(tokens) if layer.norm_first else tokens
    projected = functional.linear(normed, attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = projected.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    scale = attention.head_dim**-0.5
    split = attention_split(query[:, :, :1], key, value, scale, times)
    output = attention.out_proj
    split = FrozenSplit(functional.linear(split.rows, output.weight, output.bias))
    split = split.plus(tokens[:, 0])
    if layer.norm_first:
        return split.plus(_feed_forward(layer, split.through(layer.norm2)))
    split = split.through(layer.norm1)
    return split.plus(_feed_forward(layer, split)).through(layer.norm2)


def _feed_forward(layer: Any, split: FrozenSplit) -> FrozenSplit:  # noqa: ANN401
    return split.through(layer.linear1).gated(layer.activation).through(layer.linear2)


def _require_known(transformer: nn.Module, pool: str) -> None:
    """Raise unless what a class token reads in the last layer can be split."""
    layers = list(transformer.layers) if isinstance(transformer, nn.TransformerEncoder) else []
    if pool == "first" and layers and type(layers[-1]) is nn.TransformerEncoderLayer:
        return
    kind = type(layers[-1] if layers else transformer).__name__
    raise ModelError(
        'a class token with pool="first" and an nn.TransformerEncoder of its usual layers',
        f'pool="{pool}" and {kind}',
        "Put the class token into a subclass of FramewiseModel, whose frame_head says what a "
        "timestep is.",
    )
