"""What a result of the shuffle probe says of the probe that it is of."""

from __future__ import annotations

from dataclasses import dataclass

from captum.attr import Attribution

from temporal_attr._activation import Activation, objective_text
from temporal_attr.attributions.temporal_gradient import TemporalGradient
from temporal_attr.clips import Shuffling


@dataclass(frozen=True)
class ProbeLabels:
    """What a result says of the probe that it is of.

    Attributes:
        shuffling: The family of orders, as text.
        method: The name of the method that scores frames.
        objective: Of which it takes the gradient; None if it is another method.
        class_names: Of the model, as far as it knows.
    """

    shuffling: str
    method: str
    objective: str | None
    class_names: tuple[str, ...]

    def scored_by(self, activation: Activation | None) -> str:
        """What the scores of frames are."""
        if self.objective is None:
            return f"scored by {self.method}"
        return f"scored by the gradient of the {objective_text(self.objective, activation)}"


def labels_of(
    method: Attribution, shuffling: Shuffling, class_names: tuple[str, ...]
) -> ProbeLabels:
    """What results say of a probe of a method."""
    objective = method.objective_name if isinstance(method, TemporalGradient) else None
    return ProbeLabels(repr(shuffling), method.get_name(), objective, class_names)
