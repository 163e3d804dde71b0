"""VideoMAE and ViViT of the transformers library: one attention over all tubelets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from temporal_attr._typing import Features, Logits
from temporal_attr.models._base import FrameLogits
from temporal_attr.models._frozen import TokenTimes, attention_split
from temporal_attr.models.libraries._transformers_base import (
    TransformersVideo,
    by_head,
    eager_softmax_dtype,
    pair,
)


class VideoMAE(TransformersVideo):
    """`VideoMAEForVideoClassification` :cite:p:`tong2022`.

    The mean of all tokens goes through a layer norm and the classifier. The norm's standard
    deviation is held at the clip's value (`exactness="frozen"`): a timestep's logits are what its
    own tokens contribute, after each has read the whole clip. The `rest` is of biases only.

    With `use_mean_pooling=False` token 0 is read out, which is a patch of the first tubelet: see
    `ViViT`, whose class token it stands for.

    A timestep is a tubelet.
    """

    @staticmethod
    def _shape(config: Any) -> tuple[int, tuple[int, int], int]:  # noqa: ANN401
        return config.num_frames, pair(config.image_size), config.tubelet_size

    @property
    def _times(self) -> TokenTimes:
        return TokenTimes(self._net.config.num_frames // self.frames_per_step)

    @property
    def stages(self) -> tuple[Callable[[Tensor], Tensor], ...]:
        """Embedding and layers; without the last where token 0 is read out."""
        base = self._net.videomae
        layers = base.encoder.layer if self._pools else base.encoder.layer[:-1]
        return (self._embed, *layers)

    @property
    def _pools(self) -> bool:
        return self._net.fc_norm is not None

    def _embed(self, video: Tensor) -> Tensor:
        tokens: Tensor = self._net.videomae.embeddings(video, None)
        return tokens

    def head(self, features: Features) -> Logits:
        """Logits of the mean token, or of token 0 after the last layer."""
        net = self._net
        if self._pools:
            token = net.fc_norm(features.mean(1))
        else:
            token = net.videomae.layernorm(net.videomae.encoder.layer[-1](features))[:, 0]
        logits: Tensor = net.classifier(token)
        return logits

    def frame_head(self, features: Features) -> FrameLogits:
        """What each timestep's tokens contribute; see the class."""
        net = self._net
        if self._pools:
            split = self._times.split(features / features.shape[1])
            return split.through(net.fc_norm, net.classifier).frame_logits()
        layer = net.videomae.encoder.layer[-1]
        attention, normed = layer.attention.attention, layer.layernorm_before(features)
        query, key, value = (
            by_head(part(normed), attention.num_attention_heads)
            for part in (attention.query, attention.key, attention.value)
        )
        split = attention_split(query[:, :, :1], key, value, attention.scaling, self._times)
        split = split.through(layer.attention.output.dense).plus(features[:, 0])
        activation = layer.intermediate.intermediate_act_fn
        parts = (layer.layernorm_after, layer.intermediate.dense, activation, layer.output.dense)
        split = split.plus(split.through(*parts))
        return split.through(net.videomae.layernorm, net.classifier).frame_logits()


class ViViT(TransformersVideo):
    """`VivitForVideoClassification`, ViViT's first model :cite:p:`arnab2021`.

    The classifier reads a class token, so no timestep has a prediction of its own. What the last
    layer's attention reads of each timestep's tokens is split, with attention weights, standard
    deviations and gates held at the clip's values (`exactness="frozen"`): a timestep's logits are
    its contribution. What the class token had gathered before belongs to no timestep and is the
    `rest`, which may be most of the logit.

    A timestep is a tubelet.
    """

    @staticmethod
    def _shape(config: Any) -> tuple[int, tuple[int, int], int]:  # noqa: ANN401
        return config.num_frames, pair(config.image_size), config.tubelet_size[0]

    @property
    def stages(self) -> tuple[Callable[[Tensor], Tensor], ...]:
        """Embedding, and all layers but the last."""
        base = self._net.vivit
        return (base.embeddings, *base.layers[:-1])

    def head(self, features: Features) -> Logits:
        """Logits of the class token after the last layer."""
        tokens = self._net.vivit.layernorm(self._net.vivit.layers[-1](features))
        logits: Tensor = self._net.classifier(tokens[:, 0])
        return logits

    def frame_head(self, features: Features) -> FrameLogits:
        """What each timestep's tokens contribute in the last layer; see the class."""
        layer = self._net.vivit.layers[-1]
        attention, normed = layer.attention, layer.layernorm_before(features)
        query, key, value = (
            by_head(part(normed), attention.num_attention_heads)
            for part in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        times = TokenTimes(self._net.config.num_frames // self.frames_per_step, leading=1)
        split = attention_split(
            query[:, :, :1], key, value, attention.scaling, times, eager_softmax_dtype(self.model)
        )
        split = split.through(attention.o_proj).plus(features[:, 0])
        mlp = layer.mlp
        split = split.plus(
            split.through(layer.layernorm_after, mlp.fc1, mlp.activation_fn, mlp.fc2)
        )
        return split.through(self._net.vivit.layernorm, self._net.classifier).frame_logits()
