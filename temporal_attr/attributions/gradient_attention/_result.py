"""What gradient attention found."""

from __future__ import annotations

from dataclasses import dataclass

from temporal_attr._activation import output_name
from temporal_attr.attributions._attention_result import AttentionResult


@dataclass(frozen=True, eq=False)
class GradientAttentionResult(AttentionResult):
    """What `GradientAttention.explain` found; it has the fields of `AttentionResult`.

    Attributes:
        identity: Whether the mass that comes past all attention is part of it.

    Masses are no shares: they grow with the gradients, and compare within one clip only.

    Example:
        >>> import torch
        >>> from temporal_attr import GradientAttention
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("tubelet-transformer", classes=4, frames=4, size=16).eval()
        >>> result = GradientAttention(model).explain(torch.rand(1, 4, 3, 16, 16), target=1)
        >>> tuple(result.token_scores.shape), bool((result.frame_scores >= 0).all())
        ((1, 2, 2, 2), True)
    """

    identity: bool = True

    @property
    def meaning(self) -> str:
        """Mass by gradient attention."""
        taken = ", with the identity" if self.identity else ""
        return f"attention that raises the {output_name(self.activation)}{taken}"

    @property
    def frame_meaning(self) -> str:
        """The mass of a frame."""
        taken = "\n(with the identity)" if self.identity else ""
        return f"attention to the frame\nthat raises the {output_name(self.activation)}{taken}"

    def _details(self, example: int) -> list[str]:
        return self._attention_lines(example)
