"""Why a model says so at one moment: the logits of one timestep as the output."""

from __future__ import annotations

import torch
from torch import Tensor

from temporal_attr._errors import FrameLogitsError, TargetError
from temporal_attr._typing import Logits, StepWeights
from temporal_attr.models._base import Exactness, FrameLogits, VideoModel
from temporal_attr.models.outputs._derived import Derived, Outcome, Outputs, derived


class AtTimestep(Outputs):
    """The logits of one timestep; see `at_timestep`."""

    def __init__(self, timestep: int) -> None:
        super().__init__()
        self.timestep = timestep
        # What the last clip told, for names.
        self._place, self._classes = timestep, 0

    def of_clip(self, outcome: Outcome) -> Logits:
        """The logits of the timestep."""
        known = outcome.steps()
        places, shares = self._shares(known, outcome.merged)
        chosen = known.logits[:, places]
        if len(shares) == 1:
            return chosen[:, 0]
        return (chosen * shares[:, None]).sum(1)

    def of_steps(self, steps: FrameLogits, merged: int) -> FrameLogits:
        """All timesteps as before, of which one has all the weight."""
        places, shares = self._shares(steps, merged)
        weights = torch.zeros_like(steps.weights)
        weights[places] = shares
        return FrameLogits(steps.logits, weights, steps.rest)

    def _shares(self, steps: FrameLogits, merged: int) -> tuple[slice, StepWeights]:
        """Which of the model's timesteps it is, and how each counts among these."""
        count = steps.logits.shape[1] // merged
        if not -count <= self.timestep < count:
            raise TargetError(
                f"a timestep from 0 to {count - 1}, as the clip has {count}",
                str(self.timestep),
                "Name one of them, or load a longer clip.",
            )
        self._place, self._classes = self.timestep % count, steps.logits.shape[2]
        places = slice(self._place * merged, (self._place + 1) * merged)
        weights: Tensor = steps.weights[places]
        total = weights.sum()
        # One that the model's own output leaves out has a prediction all the same.
        even = torch.full_like(weights, 1 / merged)
        return places, torch.where(total > 0, weights / total, even)

    def names(self, class_names: tuple[str, ...]) -> tuple[str, ...]:
        """What the outputs are called, such as "running at timestep 5"."""
        known = class_names or tuple(f"class {number}" for number in range(self._classes))
        if self._classes == 1 and not class_names:
            known = ("output",)
        return tuple(f"{name} at timestep {self._place}" for name in known)

    def exactness(self, base: Exactness) -> Exactness:
        """A single timestep is the whole sum, so that sum is exact whatever the others are."""
        return "linear" if base == "none" else base


def at_timestep(model: VideoModel, timestep: int) -> Derived:
    """A model whose outputs are the logits of one timestep: why does it say so at that moment?

    The timesteps are those of the model, of which this one has all the weight. What its logits mean
    the model's wrapper says: where `exactness` is `"frozen"` they are a contribution, with the
    data-dependent factors held, and their gradient is that of the contribution. In a model with
    `merged_steps` a timestep is a block of that size, which makes one prediction.

    Every method also takes a target `(timestep, class)` for this, and `attribute` one for each clip
    of a batch: `target=[(3, 1), (5, 1)]`, as Captum has it for outputs `(batch, time, classes)`.

    Args:
        model: A `VideoModel` with frame logits.
        timestep: Which one, counted from 0, or from the last by negative numbers; not frames, where
            a timestep stands for several.

    Raises:
        FrameLogitsError: If the model is no `VideoModel`; with the first clip, if it has no frame
            logits.
        TargetError: With the first clip, if it has no such timestep.

    Example:
        >>> from temporal_attr import TemporalGradient
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("gru", classes=3, widths=(4, 8)).eval()
        >>> clip = torch.rand(1, 4, 3, 16, 16)
        >>> result = TemporalGradient(at_timestep(model, 1)).explain(clip, target=2)
        >>> result.class_label(), bool(result.frame_scores[0, 2:].any())  # reads forward only
        ('class 2 at timestep 1 (2)', False)
        >>> other = TemporalGradient(model).attribute(clip, target=(1, 2))
        >>> torch.equal(result.attribution, other)
        True
    """
    if not isinstance(model, VideoModel):
        raise FrameLogitsError(
            "a VideoModel, whose timesteps each have logits",
            type(model).__name__,
            "Wrap the model: wrap(model), or StepOutputs for one that returns (batch, time, "
            "classes).",
        )
    changed = derived(model, AtTimestep(timestep))
    assert isinstance(changed, Derived)
    return changed
