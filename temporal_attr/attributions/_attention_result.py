"""What the methods that follow attention found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from temporal_attr._errors import ResultError
from temporal_attr._typing import PerExample, TokenAttention, TokenScores
from temporal_attr.attributions._results import PixelResult


@dataclass(frozen=True, eq=False)
class AttentionResult(PixelResult):
    """Base of the results of `AttentionRollout` and `GradientAttention`.

    Attributes:
        attribution: `(batch, time, channel, height, width)`, 0 or more: the mass of each value.
        frame_scores: `(batch, time)`, its sum over channel, height and width.
        token_scores: `(batch, token_time, token_height, token_width)`, its sum over the tube of
            pixels of each token; None where tubes overlap, as under a convolution wider than its
            stride.
        temporal_attention: `(batch, layer, query_time, key_time)`, the model's own attention
            weights: what a token of one time (row) gives to all tokens of another (column), mean
            over heads and over the tokens of the row, from 0 to 1. A row sums to 1 less what goes
            to tokens without a time, such as a class token. None if it was not asked for, or no
            layer has such weights.
        layers: The submodules of these layers, in the order of the pass.
        left_out: The submodules of the other layers with attention: their queries are other tokens
            than their keys (a pooled query, a learned one), or have other times.

    Raises:
        ResultError: If there is not a name for each layer.
    """

    large: ClassVar[tuple[str, ...]] = ("attribution",)
    shared_by_channels: ClassVar[bool] = True

    token_scores: TokenScores | None = None
    temporal_attention: TokenAttention | None = None
    layers: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        shown = 0 if self.temporal_attention is None else self.temporal_attention.shape[1]
        if len(self.layers) != shown:
            raise ResultError(
                f"a name for each of the {shown} layers of the attention",
                f"{len(self.layers)}",
                "Choose both alike, or explain again.",
            )

    @property
    def on_clip(self) -> PerExample:
        """`(batch,)`, the mass that lies on the clip.

        Of rollout, that is 1 less what lies on anything else: class tokens, learned tokens, and
        the borders of padded windows.
        """
        return self.frame_scores.sum(1)

    def _attention_lines(self, example: int) -> list[str]:
        lines = []
        if self.frame_scores[example].any():
            lines.append(f"frames with most of the mass: {self._top_frames(example)}")
        else:
            lines.append("no mass comes to lie on the clip")
        if self.temporal_attention is not None:
            weights = self.temporal_attention[example].double()
            own = (weights.diagonal(dim1=1, dim2=2).sum(1) / weights.sum((1, 2))).tolist()
            shares = ", ".join(f"{share:.0%}" for share in own)
            lines.append(f"attention that stays within its time, by layer: {shares}")
        return lines
