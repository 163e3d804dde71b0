"""V-JEPA 2 and VideoPrism of the transformers library: a learned query reads all tokens."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor
from torch.nn import functional

from temporal_attr._typing import ClipTensor, Features, Logits
from temporal_attr.models._base import FrameLogits
from temporal_attr.models._frozen import TokenTimes, attention_split
from temporal_attr.models._outputs import logits_of
from temporal_attr.models.libraries._transformers_base import (
    TransformersVideo,
    by_head,
    eager_softmax_dtype,
    first_of,
    pair,
)


class VJEPA2(TransformersVideo):
    """`VJEPA2ForVideoClassification` :cite:p:`assran2025`.

    A learned query reads all tokens, and the classifier what it read. The attention weights,
    standard deviations and gates are held at the clip's values (`exactness="frozen"`): a timestep's
    logits are what the query reads of its tokens. The query itself is the same for every clip, so
    the `rest` varies with the clip through held factors only.

    A timestep is a tubelet. Clips have the configuration's height and width, since tokens are
    counted by it, and any number of whole tubelets: of a part of one, the network would leave the
    frames out without an error.
    """

    any_length = True

    @staticmethod
    def _shape(config: Any) -> tuple[int, tuple[int, int], int]:  # noqa: ANN401
        return config.frames_per_clip, pair(config.crop_size), config.tubelet_size

    @property
    def stages(self) -> tuple[Callable[[Tensor], Tensor], ...]:
        """Embedding, the encoder's layers and norm, and the pooler's layers."""
        encoder = self._net.vjepa2.encoder
        layers = (partial(first_of, layer) for layer in encoder.layer)
        pooler = self._net.pooler.self_attention_layers
        above = (partial(first_of, layer, attention_mask=None) for layer in pooler)
        return (encoder.embeddings, *layers, encoder.layernorm, *above)

    def head(self, features: Features) -> Logits:
        """Logits of what the query reads."""
        pooler = self._net.pooler
        query = pooler.query_tokens.repeat(len(features), 1, 1)
        read = pooler.cross_attention_layer(query, features)[0].squeeze(1)
        logits: Tensor = self._net.classifier(read)
        return logits

    def frame_head(self, features: Features) -> FrameLogits:
        """What the query reads of each timestep's tokens; see the class."""
        pooler, config = self._net.pooler, self._net.config
        layer = pooler.cross_attention_layer
        attention, normed = layer.cross_attn, layer.layer_norm1(features)
        query = pooler.query_tokens.repeat(len(features), 1, 1)
        rows = config.crop_size // config.patch_size
        split = attention_split(
            by_head(attention.q_proj(query), attention.num_heads),
            by_head(attention.k_proj(normed), attention.num_heads),
            by_head(attention.v_proj(normed), attention.num_heads),
            attention.scale,
            TokenTimes(features.shape[1] // rows**2),
            eager_softmax_dtype(self.model),
        ).plus(query[:, 0])
        mlp = layer.mlp
        split = split.plus(split.through(layer.layer_norm2, mlp.fc1, mlp.activation, mlp.fc2))
        return split.through(self._net.classifier).frame_logits()


class VideoPrism(TransformersVideo):
    """`VideoPrismForVideoClassification` :cite:p:`zhao2024`.

    A learned query reads the tokens of all frames, and a layer norm and the classifier what it
    read. The attention weights and the standard deviation are held at the clip's values
    (`exactness="frozen"`): a frame's logits are what the query reads of its tokens. The `rest` is
    of biases only.

    A timestep is a frame (a tubelet, where the configuration has longer ones).
    """

    @staticmethod
    def _shape(config: Any) -> tuple[int, tuple[int, int], int]:  # noqa: ANN401
        return config.num_frames, pair(config.image_size), config.tubelet_size[0]

    def forward(self, clip: ClipTensor) -> Logits:
        """The network's own logits, without their axis of queries."""
        return logits_of(self.model(pixel_values_videos=self.to_layout(clip))).squeeze(1)

    @property
    def stages(self) -> tuple[Callable[[Tensor], Tensor], ...]:
        """The layers over space and those over time, each with embedding and norm."""
        base = self._net.vision_model
        return (
            base.spatial_embeddings,
            *base.spatial_layers,
            base.layernorm1,
            self._turn_to_time,
            *base.temporal_layers,
            base.layernorm2,
            self._turn_back,
        )

    def _turn_to_time(self, pictures: Tensor) -> Tensor:
        """`(batch * place, step, feature)`, with positions in time."""
        steps = self._net.config.num_frames // self.frames_per_step
        shape = (len(pictures) // steps, steps, self.channels, *self._size)
        series: Tensor = self._net.vision_model.temporal_embeddings(pictures, shape)
        return series

    def _turn_back(self, series: Tensor) -> Tensor:
        """`(batch, step * place, feature)`."""
        rows, columns = self._net.vision_model.spatial_embeddings.patch_embeddings.pos_emb_shape
        places: Tensor = series.unflatten(0, (-1, rows * columns))
        return places.transpose(1, 2).flatten(1, 2)

    def head(self, features: Features) -> Logits:
        """Logits of what the query reads."""
        net = self._net
        logits: Tensor = net.classifier(net.head_layernorm(net.head(features)[0]))
        return logits.squeeze(1)

    def frame_head(self, features: Features) -> FrameLogits:
        """What the query reads of each frame's tokens; see the class."""
        net, pool = self._net, self._net.head
        heads = self._net.config.num_attention_heads
        query = by_head(pool.q_proj(pool.pooling_attention_query), heads)
        split = attention_split(
            (query * functional.softplus(pool.per_dim_scale)).expand(len(features), -1, -1, -1),
            by_head(pool.k_proj(features), heads),
            by_head(pool.v_proj(features), heads),
            pool.scaling,
            TokenTimes(net.config.num_frames // self.frames_per_step),
            eager_softmax_dtype(self.model),
        ).through(pool.o_proj)
        # The library's norm of this family multiplies by one more than its weight.
        split = split.normed(net.head_layernorm, net.head_layernorm.weight + 1)
        return split.through(net.classifier).frame_logits()
