"""What temporal saliency rescaling found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from jaxtyping import Bool
from torch import Tensor

from temporal_attr._typing import ClipTensor, FrameScores
from temporal_attr.attributions._results import PixelResult

Steps: TypeAlias = Literal["one", "two"]


@dataclass(frozen=True, eq=False)
class FrameMaskingTSRResult(PixelResult):
    """What `FrameMaskingTSR.explain` found.

    Attributes:
        attribution: `(batch, time, channel, height, width)`, the rescaled attribution; of half
            precision clips in float32, like all that is made of differences.
        frame_scores: `(batch, time)`, the time relevance Delta_t.
        base: `(batch, time, channel, height, width)`, R(X), the attribution that was rescaled.
        time_contribution: `(batch, time)`, the drop of the target's probability when the frame is
            masked, in [-1, 1]; where there are no probabilities (activation "none"), the drop of
            its output.
        accuracy_contribution: `(batch, time)`, 1 where the target was predicted and is not without
            the frame, -1 the other way round, 0 otherwise; of windows a mean. The top class is
            predicted, or, where each class is by itself, one whose probability is above one half;
            NaN where there are no probabilities.
        kept: `(batch, time)`, frames whose Delta_t is at least the threshold.
        keyframes: `(batch, time)`, frames at which the clip changes: see
            `temporal_attr.measures.keyframes`; None where it cannot be told, and a note says why.
            Where nearly all frames are found they say nothing, which is noted too.
        steps: `"one"` or `"two"`.
        masks: How many masked clips there were.
        complete: False if the run was stopped; frames that were not done by then are not kept.
        notes: What a reader should know.
        method_name: The method that was rescaled.
    """

    large = ("attribution", "base")

    base: ClipTensor
    time_contribution: FrameScores
    accuracy_contribution: FrameScores
    kept: Bool[Tensor, "batch time"]
    keyframes: Bool[Tensor, "batch time"] | None
    steps: Steps
    masks: int
    complete: bool
    notes: tuple[str, ...]
    method_name: str

    @property
    def time_relevance(self) -> FrameScores:
        """Delta_t, `(batch, time)`, 0 or more."""
        return self.frame_scores

    @property
    def explained_drop(self) -> str:
        """What the time contribution is a drop of: "probability", or "output" if there is none."""
        return "output" if self.activation == "none" else "probability"

    @property
    def meaning(self) -> str:
        """The rescaled attribution, or the changes that it is made of."""
        if self.steps == "one":
            return f"{self.method_name}, rescaled in time"
        return f"change of {self.method_name}\nwithout the feature, times without the frame"

    @property
    def frame_meaning(self) -> str:
        """Delta_t."""
        return r"$\Delta_t$: change of the attribution" + "\nwithout the frame"

    def _details(self, example: int) -> list[str]:
        kept = int(self.kept[example].sum())
        lines = [f"{self.masks} masked clips; {kept} of {self.kept.shape[1]} frames kept"]
        if self.frame_scores[example].sum():
            top = self._top_frames(example)
            lines.append(f"frames without which the attribution changes most: {top}")
        worst = int(self.time_contribution[example].argmax())
        drop = self.time_contribution[example, worst].item()
        shown = f"{drop:.3f}" if self.activation == "none" else f"{drop:.1%}"
        lines.append(f"the {self.explained_drop} drops most, by {shown}, without frame {worst}")
        return [*lines, *(f"note: {note}" for note in self.notes)]
