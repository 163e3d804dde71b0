"""TimeSformer of the transformers library."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from temporal_attr._errors import ClipError
from temporal_attr._typing import Features, Logits
from temporal_attr.clips import Preprocessing
from temporal_attr.models._base import FrameLogits, VideoModel
from temporal_attr.models._frozen import FrozenSplit, TokenTimes, attention_split
from temporal_attr.models._late_fusion import LateFusion
from temporal_attr.models._outputs import logits_of
from temporal_attr.models.libraries._transformers_base import TransformersVideo, first_of, pair


class TimeSformer(TransformersVideo):
    """`TimesformerForVideoClassification` :cite:p:`bertasius2021` with attention over time.

    The classifier reads a class token. With divided attention, the last layer lets the class token
    read each frame by itself and takes the mean over frames; with joint attention it reads all
    patches at once, and attention weights are held. Either way a frame's logits are its
    contribution in the last layer, with standard deviations and gates held at the clip's values
    (`exactness="frozen"`). What the class token had gathered before belongs to no frame and is the
    `rest`.

    A timestep is a frame. Clips have the configuration's number of frames: with another, the
    network runs without an error and mixes up places and times.
    """

    @property
    def stages(self) -> tuple[Callable[[Tensor], Tensor], ...]:
        """Embedding, and all layers but the last."""
        base = self._net.timesformer
        return (base.embeddings, *(partial(first_of, layer) for layer in base.encoder.layer[:-1]))

    @property
    def _last(self) -> Any:  # noqa: ANN401 - a module of another library
        return self._net.timesformer.encoder.layer[-1]

    def head(self, features: Features) -> Logits:
        """Logits of the class token after the last layer."""
        tokens = self._net.timesformer.layernorm(self._last(features)[0])
        logits: Tensor = self._net.classifier(tokens[:, 0])
        return logits

    def frame_head(self, features: Features) -> FrameLogits:
        """What each frame contributes in the last layer; see the class."""
        layer = self._last
        divided = layer.attention_type == "divided_space_time"
        split = self._divided(features) if divided else self._joint(features)
        activation = layer.intermediate.intermediate_act_fn
        parts = (layer.layernorm_after, layer.intermediate.dense, activation, layer.output.dense)
        split = split.plus(split.through(*parts))
        return split.through(self._net.timesformer.layernorm, self._net.classifier).frame_logits()

    def _joint(self, tokens: Tensor) -> FrozenSplit:
        """The class token after an attention over all patches, in which time is the minor axis."""
        layer = self._last
        attention = layer.attention.attention
        qkv = attention.qkv(layer.layernorm_before(tokens))
        query, key, value = qkv.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
        times = TokenTimes(self._net.config.num_frames, leading=1, minor=True)
        split = attention_split(query[:, :, :1], key, value, attention.scale, times)
        return split.through(layer.attention.output.dense).plus(tokens[:, 0])

    def _divided(self, tokens: Tensor) -> FrozenSplit:
        """The class token after an attention over time at each place, and one over each frame."""
        layer, frames = self._last, self._net.config.num_frames
        patches = tokens[:, 1:]
        series = patches.unflatten(1, (-1, frames)).flatten(0, 1)
        moved = layer.temporal_attention(layer.temporal_layernorm(series))[0]
        patches = patches + layer.temporal_dense(moved.reshape(patches.shape))
        # Each frame's patches, behind a copy of the class token.
        pictures = patches.unflatten(1, (-1, frames)).transpose(1, 2)
        copies = tokens[:, None, :1].expand(-1, frames, -1, -1)
        sequences = torch.cat([copies, pictures], 2).flatten(0, 1)
        read = layer.attention(layer.layernorm_before(sequences))[0][:, 0]
        return FrozenSplit.of(tokens[:, 0], read.unflatten(0, (-1, frames)) / frames)


class SingleFrames(nn.Module):
    """A network of clips with a configuration, on clips of one frame."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.training = network.training
        self.config: Any = network.config

    def forward(self, frames: Tensor) -> Tensor:
        """Logits `(frames, classes)`.

        Raises:
            ClipError: If frames have another size than the configuration's, where the network would
                stretch its positions.
        """
        height, width = pair(self.config.image_size)
        if frames.shape[2:] != (height, width):
            raise ClipError(
                f"frames of {height} x {width}, as the configuration of "
                f"{type(self.network).__name__} says",
                " x ".join(map(str, frames.shape[2:])),
                "Load the clip with the preprocessing of the checkpoint.",
            )
        return logits_of(self.network(frames[:, None]))


def wrap_timesformer(model: nn.Module, preprocessing: Preprocessing | None) -> VideoModel:
    """The wrapper of a TimeSformer; late fusion, where frames see only themselves.

    With space-only attention the network returns a row for each frame and leaves the mean to the
    caller.
    """
    net: Any = model
    if net.config.attention_type != "space_only":
        return TimeSformer(model, preprocessing)
    wrapper = LateFusion(SingleFrames(model), preprocessing=preprocessing)
    wrapper.clip_frames = net.config.num_frames
    return wrapper
