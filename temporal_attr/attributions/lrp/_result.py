"""What layer-wise relevance propagation found."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from temporal_attr._activation import output_name
from temporal_attr._typing import PerExample
from temporal_attr.attributions._relevance import ratio_lines, rules_line, sink_lines
from temporal_attr.attributions._results import PixelResult


@dataclass(frozen=True, eq=False)
class LRPResult(PixelResult):
    """What `LRP.explain` found.

    Attributes:
        attribution: `(batch, time, channel, height, width)`, the relevance of every value.
        frame_scores: `(batch, time)`, its sum over channel, height and width.
        convergence_delta: `(batch,)`, the target's logit less the sum of the clip's relevance.
        relevance_ratio: `(batch,)`, the sum of the magnitudes of all relevance over that of the
            logit. 1 where no relevance is negative. Where large parts cancel in a sum or a mean,
            they get large relevance of both signs: the sum is still the logit, but far above 1
            (`LARGEST_RATIO`; the summary then says so) single values mean nothing. NaN where the
            logit is 0.
        sinks: What went to anything but the clip, `(batch,)` by name: constants beside the data
            (a class token, a mask token, a border) by their name in the model; biases, shifts of
            norms and position embeddings under rules that give them a share; and what a rule loses
            ("softmax in ..." by its Taylor rule, "epsilon in ..."), with either sign.
        from_probabilities: Whether the model ends in a softmax or sigmoid. The logits before it
            are explained, and shown here.
        rules: Which composite it was; "as given" if one was.

    Example:
        >>> import torch
        >>> from temporal_attr import LRP
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("tam2d", classes=4, widths=(4, 8)).double()
        >>> result = LRP(model).explain(torch.rand(1, 5, 3, 16, 16).double(), target=1)
        >>> bool(result.convergence_delta.abs() < 1e-9)
        True
    """

    convergence_delta: PerExample
    relevance_ratio: PerExample
    sinks: dict[str, PerExample] = field(default_factory=dict)
    from_probabilities: bool = False
    rules: str = "as given"

    @property
    def lost(self) -> PerExample:
        """What neither the clip nor a sink got `(batch,)`: rounding."""
        return self.convergence_delta - sum(
            self.sinks.values(), torch.zeros_like(self.logits[:, 0])
        )

    @property
    def meaning(self) -> str:
        """Relevance."""
        return f"relevance for the {output_name(self.activation)}"

    @property
    def frame_meaning(self) -> str:
        """The relevance of a frame."""
        return f"relevance of the\nframe for the {output_name(self.activation)}"

    def _details(self, example: int) -> list[str]:
        scores = self.frame_scores[example]
        total = scores.sum().item()
        lines = [f"relevance sums to {total:.4g}; lost {self.lost[example]:.2g}"]
        gone = {name: got[example].item() for name, got in self.sinks.items()}
        lines += sink_lines(gone, self.logits[example, self.target[example]].item())
        lines += ratio_lines(self.relevance_ratio[example].item(), output_name(self.activation))
        lines += rules_line(self.rules)
        if self.from_probabilities:
            lines.append("the model returns probabilities; the logits before them are explained")
        if scores.any():
            lines.append(f"frames with most relevance: {self._top_frames(example)}")
        return lines
