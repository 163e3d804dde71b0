"""Torchvision's multiscale vision transformers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from torch import Tensor, nn

from temporal_attr._errors import ClipError, UnsupportedModelError
from temporal_attr._typing import ClipTensor, Features, Logits
from temporal_attr.clips import Preprocessing
from temporal_attr.models._base import FrameLogits
from temporal_attr.models._conv3d import triple
from temporal_attr.models._frozen import FrozenSplit, TokenTimes, attention_split
from temporal_attr.models._parts import WholeAndParts

Grid: TypeAlias = tuple[int, ...]
"""Timesteps, rows and columns of tokens."""


class MViT(WholeAndParts):
    """Torchvision's mvit_v1_b :cite:p:`fan2021` and mvit_v2_s :cite:p:`li2022`.

    The classifier reads a class token, so no timestep has a prediction of its own. What the last
    block's attention reads of each timestep's tokens is split, with attention weights, standard
    deviations and gates held at the clip's values (`exactness="frozen"`): a timestep's logits are
    its contribution. What the class token had gathered before the last block belongs to no timestep
    and is the `rest` of the frame logits, which is often most of the logit. For what each frame
    does in the whole network, use relevance or gradients.

    Clips have the number of frames and the size that the positions were made for.
    """

    layout = "batch channel time height width"
    exactness = "frozen"

    def __init__(self, model: nn.Module, preprocessing: Preprocessing | None = None) -> None:
        super().__init__(model, preprocessing)
        if any(block.needs_transposal for block in self._net.blocks):
            raise UnsupportedModelError(
                "an MViT with norms over features", "one with batch norm", "Use nn.LayerNorm."
            )
        stride, grid = self._net.conv_proj.stride[0], self._grids()
        self.frames_per_step = stride * grid[0][0] // self._read_grid()[0]
        self.clip_frames = stride * grid[0][0]

    @property
    def _net(self) -> Any:  # noqa: ANN401 - a module of another library
        return self.model

    def _grids(self) -> list[Grid]:
        """The grid of tokens before each block."""
        positions = self._net.pos_encoding
        grids: list[Grid] = [(positions.temporal_size, *positions.spatial_size)]
        for block in self._net.blocks:
            grids.append(_pooled(grids[-1], block.attn.pool_q))
        return grids[:-1]

    def _read_grid(self) -> Grid:
        """The grid of what the last block reads."""
        return _pooled(self._grids()[-1], self._net.blocks[-1].attn.pool_v)

    def to_layout(self, clip: ClipTensor) -> Tensor:
        """The clip, if its patches are those that have a position."""
        volume = super().to_layout(clip)
        first = self._grids()[0]
        if convolved(tuple(volume.shape[2:]), self._net.conv_proj) != first:
            sizes = [stride * side for stride, side in zip(_strides(self._net), first, strict=True)]
            raise ClipError(
                f"{sizes[0]} frames of {sizes[1]} x {sizes[2]}, for which {self._name} has "
                "positions",
                " x ".join(map(str, volume.shape[2:])),
                "Load the clip with that many frames and preprocessing=model.preprocessing.",
            )
        return volume

    @property
    def _name(self) -> str:
        return type(self.model).__name__

    @property
    def stages(self) -> tuple[Callable[[Tensor], Tensor], ...]:
        """Embedding, and all blocks but the last: tokens `(batch, 1 + token, feature)`."""
        blocks = zip(self._net.blocks[:-1], self._grids(), strict=False)
        return (self._embed, *(partial(_run, block, grid) for block, grid in blocks))

    def _embed(self, volume: Tensor) -> Tensor:
        patches = self._net.conv_proj(volume).flatten(2).transpose(1, 2)
        tokens: Tensor = self._net.pos_encoding(patches)
        return tokens

    def head(self, features: Features) -> Logits:
        """Logits of the class token after the last block."""
        tokens = _run(self._net.blocks[-1], self._grids()[-1], features)
        logits: Tensor = self._net.head(self._net.norm(tokens)[:, 0])
        return logits

    def frame_head(self, features: Features) -> FrameLogits:
        """The contribution of each timestep's tokens in the last block; see the class."""
        block = self._net.blocks[-1]
        normed = block.norm1(features)
        split = self._attended(normed)
        early = block.project is not None and block.proj_after_attn
        shortcut = block.project(normed[:, 0]) if early else features[:, 0]
        split = split.plus(shortcut)
        again = split.through(block.norm2)
        late = block.project is not None and not block.proj_after_attn
        beside = again.through(block.project) if late else split
        split = beside.plus(again.through(block.mlp))
        return split.through(self._net.norm, self._net.head).frame_logits()

    def _attended(self, normed: Tensor) -> FrozenSplit:
        """What the class token's query reads in the last block."""
        attention, grid = self._net.blocks[-1].attn, self._grids()[-1]
        shape = (*normed.shape[:2], 3, attention.num_heads, attention.head_dim)
        query, key, value = attention.qkv(normed).reshape(shape).transpose(1, 3).unbind(2)
        query, key, value = (
            part if pool is None else pool(part, grid)[0]
            for part, pool in (
                (query, attention.pool_q),
                (key, attention.pool_k),
                (value, attention.pool_v),
            )
        )
        times = TokenTimes(self._read_grid()[0], leading=1)
        split = attention_split(query[:, :, :1], key, value, attention.scaler, times)
        if attention.residual_pool and attention.residual_with_cls_embed:
            split = split.plus(query[:, :, 0].flatten(1))
        return split.through(attention.project)


def _run(block: nn.Module, grid: Grid, tokens: Tensor) -> Tensor:
    output: Tensor = block(tokens, grid)[0]
    return output


def _pooled(grid: Grid, pool: Any) -> Grid:  # noqa: ANN401 - a module of another library
    return grid if pool is None else convolved(grid, pool.pool)


def convolved(sides: Grid, layer: Any) -> Grid:  # noqa: ANN401 - a convolution or a pooling
    """The sides of a volume after a convolution or pooling with a kernel, stride and padding."""
    settings = zip(
        sides, *map(triple, (layer.kernel_size, layer.stride, layer.padding)), strict=True
    )
    return tuple((side + 2 * pad - kernel) // stride + 1 for side, kernel, stride, pad in settings)


def _strides(net: Any) -> tuple[int, ...]:  # noqa: ANN401 - a module of another library
    strides: tuple[int, ...] = net.conv_proj.stride
    return strides
