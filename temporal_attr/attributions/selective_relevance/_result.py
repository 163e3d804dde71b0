"""What is motion, and what is appearance, in an attribution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from temporal_attr._activation import output_name
from temporal_attr._require import require_within
from temporal_attr._typing import ClipTensor, FrameScores, Logits, PerExample
from temporal_attr.attributions._results import PixelResult
from temporal_attr.attributions.selective_relevance._split import Static


@dataclass(frozen=True, eq=False)
class SelectiveRelevanceResult(PixelResult):
    """What `SelectiveRelevance.explain` found.

    Attributes:
        attribution: `(batch, time, channel, height, width)`, the part of the attribution that is
            about motion, in the method's unit.
        frame_scores: `(batch, time)`, its sum over channel, height and width, with its sign.
        appearance: `(batch, time, channel, height, width)`, the rest: both parts add up to the
            method's attribution of the clip.
        appearance_scores: `(batch, time)`, its sums.
        motion_share: `(batch,)`, the magnitude of the motion part as a share of both magnitudes,
            from 0 to 1; NaN where the attribution is 0.
        still_logits: `(batch, classes)`, the logits of the clip without motion, the mean where
            there are several; None where there is none (`static="derivative"`).
        appearance_logit: `(batch,)`, the target's logit of these; None likewise.
        motion_logit: `(batch,)`, the target's logit of the clip less that; None likewise. The parts
            of a method that is conserved (`LRP`) sum to these two.
        static: What was taken for standing still.
        sigma: The threshold of the derivative; None where there is none.
        method_name: Whose attribution it is.

    Example:
        >>> import torch
        >>> from temporal_attr import SelectiveRelevance
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("tam2d", classes=4, widths=(4, 8)).double()
        >>> result = SelectiveRelevance(model).explain(torch.rand(1, 5, 3, 16, 16).double(), 1)
        >>> torch.allclose(result.frame_scores.sum(1), result.motion_logit)
        True
    """

    large: ClassVar[tuple[str, ...]] = ("attribution", "appearance")

    appearance: ClipTensor
    appearance_scores: FrameScores
    motion_share: PerExample
    still_logits: Logits | None
    appearance_logit: PerExample | None
    motion_logit: PerExample | None
    static: Static
    sigma: float | None
    method_name: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sigma is not None:
            require_within("sigma", self.sigma, 0)

    @property
    def meaning(self) -> str:
        """The part of motion."""
        return f"part of motion in\n{self.method_name}"

    @property
    def frame_meaning(self) -> str:
        """The same of a frame."""
        return f"part of motion in\n{self.method_name} of the frame"

    def _details(self, example: int) -> list[str]:
        share = self.motion_share[example].item()
        motion, rest = (one[example] for one in (self.frame_scores, self.appearance_scores))
        lines = [
            f"motion is {share:.0%} of the magnitude of {self.method_name} ({self._taken}); sums: "
            f"motion {motion.sum().item():.4g}, appearance {rest.sum().item():.4g}"
        ]
        if self.motion_logit is not None and self.appearance_logit is not None:
            lines.append(
                f"{output_name(self.activation)} of the clip without motion "
                f"{self.appearance_logit[example].item():.4g}; motion adds "
                f"{self.motion_logit[example].item():.4g}"
            )
        if motion.any():
            lines.append(f"frames with most motion: {self._top_frames(example)}")
        return lines

    @property
    def _taken(self) -> str:
        if self.sigma is None:
            return f"beside {_STILL[self.static]}"
        return f"where it changes by more than {self.sigma:g} standard deviations"


_STILL = {
    "frame": "each frame standing still",
    "frozen": "the first frame standing still",
    "mean_frame": "the mean frame standing still",
}
"""What was taken for standing still, in words."""
