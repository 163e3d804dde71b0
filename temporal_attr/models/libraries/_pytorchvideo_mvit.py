"""Pytorchvideo's multiscale vision transformers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from temporal_attr._errors import ClipError, UnsupportedModelError
from temporal_attr._typing import ClipTensor, Features, Logits
from temporal_attr.clips import Preprocessing
from temporal_attr.models._base import FrameLogits
from temporal_attr.models._frozen import FrozenSplit, TokenTimes, attention_split
from temporal_attr.models._outputs import logits_of
from temporal_attr.models._parts import WholeAndParts
from temporal_attr.models.layers._copies import ModuleCopies
from temporal_attr.models.libraries._mvit import Grid, convolved


class PyTorchVideoMViT(WholeAndParts):
    """Pytorchvideo's multiscale vision transformer :cite:p:`fan2021`.

    With a class token, which the classifier reads, no timestep has a prediction of its own: what
    the last block's attention reads of each timestep's tokens is split, as for torchvision's MViT
    (`exactness="frozen"`; what the class token had gathered before is the `rest`). Without one, the
    classifier reads the mean of all tokens after their norm, so a timestep's logits are what it
    says of its own tokens (`"linear"`).

    Clips have the number of frames and the size that the positions were made for. A softmax or
    sigmoid at the end is left out; the network itself keeps it.
    """

    layout = "batch channel time height width"

    def __init__(self, model: nn.Module, preprocessing: Preprocessing | None = None) -> None:
        super().__init__(model, preprocessing)
        head = self._net.head
        self._pools = head.sequence_pool.mode == "mean"
        self.exactness = "linear" if self._pools else "frozen"
        ending = head.activation
        if ending is not None:
            if not isinstance(ending, (nn.Softmax, nn.Sigmoid)):
                raise UnsupportedModelError(
                    "a head that ends in a linear layer, a softmax or a sigmoid",
                    f"one that ends in {ending}",
                    "Subclass VideoModel for this head.",
                )
            self.activation = "softmax" if isinstance(ending, nn.Softmax) else "sigmoid"
        grids = self._grids()
        self.clip_frames = self._patches.stride[0] * grids[0][0]
        self.frames_per_step = self.clip_frames // self._steps

    @property
    def _net(self) -> Any:  # noqa: ANN401 - a module of another library
        return self.model

    @property
    def _patches(self) -> nn.Conv3d:
        patches: nn.Conv3d = self._net.patch_embed.patch_model
        return patches

    @property
    def _last(self) -> Any:  # noqa: ANN401 - a module of another library
        return self._net.blocks[-1]

    def _grids(self) -> list[Grid]:
        """The grid of tokens before each block, and after the last."""
        grids: list[Grid] = [tuple(self._net.cls_positional_encoding.patch_embed_shape)]
        for block in self._net.blocks:
            pool = block.attn.pool_q
            grids.append(grids[-1] if pool is None else convolved(grids[-1], pool))
        return grids

    @property
    def _steps(self) -> int:
        """Timesteps of the tokens that the classifier, or its class token, reads."""
        *_, before, after = self._grids()
        pool = self._last.attn.pool_v
        if self._pools:
            return after[0]
        return before[0] if pool is None else convolved(before, pool)[0]

    def to_layout(self, clip: ClipTensor) -> Tensor:
        """The clip, if its patches are those that have a position."""
        volume = super().to_layout(clip)
        grid = self._grids()[0]
        if convolved(tuple(volume.shape[2:]), self._patches) != grid:
            sides = [step * side for step, side in zip(self._patches.stride, grid, strict=True)]
            raise ClipError(
                f"{sides[0]} frames of {sides[1]} x {sides[2]}, for which "
                f"{type(self.model).__name__} has positions",
                " x ".join(map(str, volume.shape[2:])),
                "Load the clip with that many frames and preprocessing=model.preprocessing.",
            )
        return volume

    def forward(self, clip: ClipTensor) -> Logits:
        """The network's own output, without a softmax or sigmoid at its end."""
        ending = {} if self.activation is None else {"head.activation": nn.Identity()}
        return logits_of(ModuleCopies(self.model, ending).root(self.to_layout(clip)))

    @property
    def stages(self) -> tuple[Callable[[Tensor], Tensor], ...]:
        """Embedding and blocks; without the last where a class token is read out."""
        grids = self._grids()
        blocks = [
            partial(_run, block, grid) for block, grid in zip(self._net.blocks, grids, strict=False)
        ]
        return (self._embed, *(blocks if self._pools else blocks[:-1]))

    def _embed(self, volume: Tensor) -> Tensor:
        net = self._net
        tokens: Tensor = net.cls_positional_encoding(net.patch_embed(volume))
        for part in (net.pos_drop, net.norm_patch_embed):
            tokens = tokens if part is None else part(tokens)
        return tokens

    def head(self, features: Features) -> Logits:
        """Logits of the mean token, or of the class token after the last block."""
        if self._pools:
            token = self._normed(features).mean(1)
        else:
            tokens = _run(self._last, self._grids()[-2], features)
            token = self._normed(tokens)[:, 0]
        logits: Tensor = self._net.head.proj(token)
        return logits

    def _normed(self, tokens: Tensor) -> Tensor:
        normed: Tensor = tokens if self._net.norm_embed is None else self._net.norm_embed(tokens)
        return normed

    def frame_head(self, features: Features) -> FrameLogits:
        """What each timestep's tokens predict or contribute; see the class."""
        if self._pools:
            tokens = self._normed(features).unflatten(1, (self._steps, -1)).mean(2)
            logits = self._net.head.proj(tokens)
            return FrameLogits(logits, logits.new_full((self._steps,), 1 / self._steps))
        block = self._last
        split = self._attended(block.norm1(features)).plus(features[:, 0])
        again = split.through(block.norm2)
        beside = split if block.dim == block.dim_out else again.through(block.proj)
        split = beside.plus(again.through(block.mlp.fc1, block.mlp.act, block.mlp.fc2))
        last = [part for part in (self._net.norm_embed, self._net.head.proj) if part is not None]
        return split.through(*last).frame_logits()

    def _attended(self, normed: Tensor) -> FrozenSplit:
        """What the class token's query reads in the last block."""
        attention, grid = self._last.attn, list(self._grids()[-2])
        batch, count, width = normed.shape
        if attention.pool_first:
            heads = normed.unflatten(2, (attention.num_heads, -1)).transpose(1, 2)
            pooled = attention._qkv_pool(heads, heads, heads, grid)[::2]
            query, key, value = (part.transpose(1, 2).flatten(2) for part in pooled)
            counts = (query.shape[1], key.shape[1], value.shape[1])
            given = zip((query, key, value), counts, strict=True)
            parts = attention._qkv_proj(*(one for pair in given for one in pair), batch, width)
        else:
            own = (normed, count)
            parts = attention._qkv_proj(*own, *own, *own, batch, width)
            parts = attention._qkv_pool(*parts, grid)[::2]
        query, key, value = parts
        times = TokenTimes(self._steps, leading=1)
        split = attention_split(query[:, :, :1], key, value, attention.scale, times)
        return split.through(attention.proj)


def is_mvit(model: nn.Module) -> bool:
    """Whether a network is of the build that `PyTorchVideoMViT` takes."""
    parts = ("patch_embed", "cls_positional_encoding", "pos_drop", "norm_patch_embed")
    if not all(hasattr(model, name) for name in (*parts, "blocks", "norm_embed", "head")):
        return False
    head: Any = model.head
    patches = getattr(model.patch_embed, "patch_model", None)
    readout = getattr(getattr(head, "sequence_pool", None), "mode", None)
    return isinstance(patches, nn.Conv3d) and readout in ("cls", "mean")


def _run(block: nn.Module, grid: Grid, tokens: Tensor) -> Tensor:
    output: Tensor = block(tokens, list(grid))[0]
    return output
