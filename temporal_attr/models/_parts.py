"""A network as a whole, beside its parts up to the logits of its timesteps."""

from __future__ import annotations

import torch
from torch import nn

from temporal_attr._errors import ModelError
from temporal_attr._typing import ClipTensor, Features, Logits
from temporal_attr.clips import Preprocessing
from temporal_attr.models._base import RunStage, VideoModel
from temporal_attr.models._outputs import logits_of


class WholeAndParts(VideoModel):
    """A wrapper whose `forward` calls the network itself, and whose timesteps come from its parts.

    The parts are checked against the network's own output once, on the first clip, in evaluation
    mode: parts that leave something out are an error, not another answer.

    Attributes:
        model: The network.
        remedy: What to do where the parts do not make it up.
    """

    remedy = (
        "The network's forward does more than call its usual parts; subclass VideoModel and write "
        "stages, head and frame_head for it."
    )

    def __init__(self, model: nn.Module, preprocessing: Preprocessing | None = None) -> None:
        super().__init__(preprocessing)
        self.model = model
        self._parts_checked = False
        self._adopt_mode(model)

    def forward(self, clip: ClipTensor) -> Logits:
        """The network's own output."""
        return logits_of(self.model(self.to_layout(clip)))

    def features(self, clip: ClipTensor, run: RunStage = lambda stage, x: stage(x)) -> Features:
        """What the last of the stages gives."""
        self.check_parts(clip)
        return super().features(clip, run)

    def check_parts(self, clip: ClipTensor) -> None:
        """Compare the parts with the network's own output, unless that was done."""
        if self._parts_checked or any(part.training for part in self.model.modules()):
            return
        self._parts_checked = self.agrees_with_parts(clip)

    @torch.no_grad()
    def agrees_with_parts(self, clip: ClipTensor) -> bool:
        """Whether the parts were seen to make up the network; not, if it gives no numbers.

        Args:
            clip: Of which the first example is looked at, in evaluation mode.

        Raises:
            ModelError: If their output differs, or their timesteps are not as many as was said.
        """
        # Copies, because the model may work in place.
        first = clip[:1].detach()
        whole = self(first.clone())
        features = self._through_stages(first.clone(), lambda stage, x: stage(x))
        candidates, timesteps = [self.head(features)], self.frame_head(features)
        if self.exactness != "none":
            candidates.append(timesteps.clip_logits())
        if not whole.isfinite().all():
            return False
        # These differ in the order of a few sums; a missing layer differs in the first digits.
        digits = 1e-3 if whole.dtype in (torch.float32, torch.float64) else 3e-2
        for parts in candidates:
            scale = whole.abs().median()
            if whole.shape != parts.shape or not torch.allclose(
                whole, parts, digits, digits * scale
            ):
                raise ModelError(
                    f"stages, pool and classifier that make up {type(self.model).__name__}",
                    "parts whose output differs from the model's",
                    self.remedy,
                )
        self._require_rate(first.shape[1], timesteps.logits.shape[1])
        return True

    def _require_rate(self, frames: int, steps: int) -> None:
        """Raise unless there are as many timesteps as `frames_per_step` says."""
        if abs(steps - frames / self.frames_per_step) >= 1:
            raise ModelError(
                f"about {frames / self.frames_per_step:g} timesteps for {frames} frames at "
                f"frames_per_step={self.frames_per_step}",
                f"{steps}",
                "Set frames_per_step to the temporal stride of the stages.",
            )
