"""What methods that mask features have found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from temporal_attr._activation import objective_text
from temporal_attr._typing import PerExample
from temporal_attr.attributions._results import PixelResult


@dataclass(frozen=True, eq=False)
class FeatureResult(PixelResult):
    """Base of the results of methods that mask features of the clip.

    Attributes:
        attribution: `(batch, time, channel, height, width)`, the value of the feature that each
            pixel belongs to, which is that of the whole feature, as Captum has it.
        frame_scores: `(batch, time)`, the values of the features that have pixels in the frame,
            each by the share of its pixels that lies there, so that frames add up to the sum over
            features.
        full_value: `(batch,)`, the objective of the clip.
        fit: `(batch,)`, the share of the variance of the coalitions' objective that the values
            explain, at most 1; low where features interact.
        features: How many each clip has.
        samples: Coalitions that were used, for each clip.
        complete: False if the run was stopped.
        objective: The name of what was explained.
    """

    same_in_channels: ClassVar[bool] = True

    full_value: PerExample
    fit: PerExample
    features: tuple[int, ...]
    samples: tuple[int, ...]
    complete: bool
    objective: str

    @property
    def meaning(self) -> str:
        """The value of a feature."""
        return f"value of the feature, {objective_text(self.objective, self.activation)}"

    @property
    def frame_meaning(self) -> str:
        """What of the values lies in a frame."""
        return f"{objective_text(self.objective, self.activation)},\nsum over the frame's features"

    def _details(self, example: int) -> list[str]:
        lines = [
            f"{self.features[example]} features from {self.samples[example]} coalitions, which "
            f"explain {self.fit[example]:.0%} of their variance",
            f"frames with the largest scores: {self._top_frames(example)}",
        ]
        return lines if self.complete else [*lines, "stopped before all coalitions were tried"]
