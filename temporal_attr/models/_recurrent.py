"""Frame-recurrent models: an encoder for each frame, and a memory that reads in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from temporal_attr._errors import ModelError
from temporal_attr._require import require_count
from temporal_attr._typing import Features, Frames, Logits, StepLogits
from temporal_attr.clips import Preprocessing
from temporal_attr.models._base import FrameLogits, FramewiseModel
from temporal_attr.models._pooling import (
    WEIGHTED,
    last_weights,
    readout_weights,
    require_readout,
)

Step: TypeAlias = Callable[[Tensor, Any], tuple[Any, Any]]
"""`step(features of a frame (batch, ...), memory) -> (output, memory)`; the memory starts None."""


class FrameRecurrent(FramewiseModel):
    """A frame encoder, a recurrent step, a classifier of its outputs, and a readout over time.

    A CNN-LSTM :cite:p:`donahue2015` is `FrameRecurrent(cnn, lstm, linear)`. A model that is itself
    a step, such as an online tracker whose first step has no reference and whose later ones read
    the last, is `FrameRecurrent(None, step, score)`.

    A timestep is a frame, and its logits are what the classifier says of the recurrent output at
    that frame: a prediction from the frames up to it (from all frames, if bidirectional). With
    readout `"mean"` they count equally; with `"last"` only the last one does, with a number the
    last so many. All are `exactness="linear"`. A readout of your own makes it `"none"`: then the
    logits are those of each step, before the readout.

    Args:
        encoder: Frames `(frames, channel, height, width)` to features `(frames, ...)`; None hands
            the frames themselves to the step.
        recurrent: `nn.LSTM`, `nn.GRU` or `nn.RNN` (either `batch_first`), which read the features
            flattened to `(batch, time, feature)`; or `step(features, memory) -> (output, memory)`.
        classifier: One recurrent output to logits `(batch, classes)`.
        readout: `"last"`, `"mean"`, how many of the last timesteps to average, or a function from
            `(batch, time, classes)` to `(batch, classes)`.
        preprocessing: See `VideoModel`.

    Example:
        >>> encoder = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
        >>> lstm, linear = nn.LSTM(12, 6, batch_first=True), nn.Linear(6, 5)
        >>> model = FrameRecurrent(encoder, lstm, linear)
        >>> clip = torch.rand(2, 8, 3, 16, 16)
        >>> outputs, _ = lstm(encoder(clip.flatten(0, 1)).unflatten(0, (2, 8)))
        >>> torch.allclose(model(clip), linear(outputs[:, -1]), atol=1e-6)
        True
    """

    def __init__(
        self,
        encoder: nn.Module | None,
        recurrent: nn.Module | Step,
        classifier: nn.Module | Callable[[Any], Tensor],
        readout: Literal["last", "mean"] | int | Callable[[Tensor], Tensor] = "last",
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__(preprocessing)
        if isinstance(readout, int):
            require_count("readout", readout, 1)
        else:
            require_readout("readout", readout, WEIGHTED)
        if isinstance(recurrent, nn.RNNCellBase):
            raise ModelError(
                "nn.LSTM, nn.GRU or nn.RNN, or step(features, memory) -> (output, memory)",
                type(recurrent).__name__,
                "Wrap the cell in a step, such as lambda x, h: 2 * (cell(x, h),) for a GRUCell.",
            )
        self.encoder = nn.Identity().eval() if encoder is None else encoder
        self.recurrent = recurrent
        self.classifier = classifier
        self.readout = readout
        self.exactness = "none" if callable(readout) else "linear"
        self._adopt_mode(encoder, recurrent, classifier, readout)

    def encode(self, frames: Frames) -> Features:
        """Features of single frames `(frames, ...)`."""
        encoded: Tensor = self.encoder(frames)
        return encoded

    def head(self, features: Features) -> Logits:
        """Logits of the clip: the classifier's, read out over time."""
        if self.readout == "last":
            return self._step_logits(features, last_only=True)[:, 0]
        steps = self.frame_head(features)
        return self.readout(steps.logits) if callable(self.readout) else steps.clip_logits()

    def frame_head(self, features: Features) -> FrameLogits:
        """Logits after each frame; see the class for what they mean."""
        logits = self._step_logits(features)
        if isinstance(self.readout, int):
            return FrameLogits(logits, last_weights(self.readout, logits))
        kind = "mean" if callable(self.readout) else self.readout
        return FrameLogits(logits, readout_weights(kind, logits))

    def _step_logits(self, features: Tensor, last_only: bool = False) -> StepLogits:
        if isinstance(self.recurrent, nn.RNNBase):
            outputs = _run_sequence(self.recurrent, features)
            outputs = outputs[:, -1:] if last_only else outputs
            logits: Tensor = self.classifier(outputs.flatten(0, 1))
            steps: Tensor = logits.unflatten(0, outputs.shape[:2])
            return steps
        memory, scores = None, []
        for time, frame in enumerate(features.unbind(1)):
            output, memory = self.recurrent(frame, memory)
            if not last_only or time == features.shape[1] - 1:
                scores.append(self.classifier(output))
        return torch.stack(scores, 1)


def _run_sequence(recurrent: nn.RNNBase, features: Tensor) -> Tensor:
    sequence = features.flatten(2)
    if recurrent.batch_first:
        outputs: Tensor = recurrent(sequence)[0]
        return outputs
    outputs = recurrent(sequence.transpose(0, 1))[0]
    return outputs.transpose(0, 1)
