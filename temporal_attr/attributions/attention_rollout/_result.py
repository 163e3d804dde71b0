"""What attention rollout found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from temporal_attr.attributions._attention_result import AttentionResult

CLASS_BLIND = "rollout does not depend on the target: it is the same for every class"


@dataclass(frozen=True, eq=False)
class AttentionRolloutResult(AttentionResult):
    """What `AttentionRollout.explain` found; it has the fields of `AttentionResult`.

    The mass of a clip is 1: `attribution` sums to 1 less what lies on class tokens and the like.
    `target` says which class was asked for, and has no part in anything but `logits`.

    Example:
        >>> import torch
        >>> from temporal_attr import AttentionRollout
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("tubelet-transformer", classes=4, frames=4, size=16).eval()
        >>> result = AttentionRollout(model).explain(torch.rand(1, 4, 3, 16, 16), target=1)
        >>> tuple(result.token_scores.shape), tuple(result.temporal_attention.shape)
        ((1, 2, 2, 2), (1, 2, 2, 2))
        >>> torch.allclose(result.frame_scores.sum(1), torch.ones(1))
        True
    """

    depends_on_target: ClassVar[bool] = False

    @property
    def meaning(self) -> str:
        """Mass by rollout."""
        return "share by attention rollout"

    @property
    def frame_meaning(self) -> str:
        """The share of a frame."""
        return "share of the frame\nby attention rollout"

    def _details(self, example: int) -> list[str]:
        lines = self._attention_lines(example)
        gone = 1 - self.on_clip[example].item()
        if gone > 1e-4:
            lines.append(f"{gone:.1%} lies on class tokens, learned tokens or borders")
        return [*lines, CLASS_BLIND]
