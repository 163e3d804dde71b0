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
from temporal_attr.models._base import FrameLogits, FramewiseModel, is_affine
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

    With `"hidden"` the classifier reads the last hidden state: `h_n` of the last layer, which is
    the last output, or, if bidirectional, both directions side by side, as in
    `torch.cat([h_n[-2], h_n[-1]], 1)`. The forward direction has then read all at the last frame,
    and the backward one at the first. So these two frames count half each, and their logits are
    what an affine classifier says of twice the half of the hidden state that was ready there, the
    other half being zero: contributions, whose sum is exact. All others count nothing, with the
    logits of their own outputs. A bidirectional network with a classifier that is not affine is
    `exactness="none"`: the logits are those of the outputs at each frame.

    Args:
        encoder: Frames `(frames, channel, height, width)` to features `(frames, ...)`; None hands
            the frames themselves to the step.
        recurrent: `nn.LSTM`, `nn.GRU` or `nn.RNN` (either `batch_first`), which read the features
            flattened to `(batch, time, feature)`; or `step(features, memory) -> (output, memory)`.
        classifier: One recurrent output to logits `(batch, classes)`.
        readout: `"last"`, `"mean"`, how many of the last timesteps to average, `"hidden"` for the
            last hidden state of an `nn.LSTM`, `nn.GRU` or `nn.RNN`, or a function from
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
        readout: Literal["last", "mean", "hidden"] | int | Callable[[Tensor], Tensor] = "last",
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__(preprocessing)
        if isinstance(readout, int):
            require_count("readout", readout, 1)
        else:
            require_readout("readout", readout, (*WEIGHTED, "hidden"))
        if isinstance(recurrent, nn.RNNCellBase):
            raise ModelError(
                "nn.LSTM, nn.GRU or nn.RNN, or step(features, memory) -> (output, memory)",
                type(recurrent).__name__,
                "Wrap the cell in a step, such as lambda x, h: 2 * (cell(x, h),) for a GRUCell.",
            )
        if readout == "hidden" and not isinstance(recurrent, nn.RNNBase):
            raise ModelError(
                'nn.LSTM, nn.GRU or nn.RNN with readout="hidden"',
                type(recurrent).__name__,
                'Say readout="last", and return from the step what the classifier reads.',
            )
        self.encoder = nn.Identity().eval() if encoder is None else encoder
        self.recurrent = recurrent
        self.classifier = classifier
        self.readout = readout
        inexact = self._read_at_both_ends is not None and not _affine(classifier)
        self.exactness = "none" if callable(readout) or inexact else "linear"
        self._adopt_mode(encoder, recurrent, classifier, readout)

    def encode(self, frames: Frames) -> Features:
        """Features of single frames `(frames, ...)`."""
        encoded: Tensor = self.encoder(frames)
        return encoded

    def head(self, features: Features) -> Logits:
        """Logits of the clip: the classifier's, read out over time."""
        both_ways = self._read_at_both_ends
        if both_ways is not None:
            outputs = _run_sequence(both_ways, features)
            size = outputs.shape[2] // 2
            hidden = torch.cat([outputs[:, -1, :size], outputs[:, 0, size:]], 1)
            logits: Tensor = self.classifier(hidden)
            return logits
        if self.readout in ("last", "hidden"):
            return self._step_logits(features, last_only=True)[:, 0]
        steps = self.frame_head(features)
        return self.readout(steps.logits) if callable(self.readout) else steps.clip_logits()

    def frame_head(self, features: Features) -> FrameLogits:
        """Logits after each frame; see the class for what they mean."""
        both_ways = self._read_at_both_ends
        if both_ways is not None:
            return self._both_ends(_run_sequence(both_ways, features))
        logits = self._step_logits(features)
        if isinstance(self.readout, int):
            return FrameLogits(logits, last_weights(self.readout, logits))
        kind = "mean" if callable(self.readout) else self.readout
        return FrameLogits(logits, readout_weights(kind, logits))

    @property
    def _read_at_both_ends(self) -> nn.RNNBase | None:
        """The memory, if half of the hidden state is of the last frame and half of the first."""
        memory = self.recurrent
        if self.readout == "hidden" and isinstance(memory, nn.RNNBase) and memory.bidirectional:
            return memory
        return None

    def _both_ends(self, outputs: Tensor) -> FrameLogits:
        """Logits of each frame's output; of the ends, of twice the half that is read there."""
        steps, size = outputs.shape[1], outputs.shape[2] // 2
        weights = outputs.new_zeros(steps)
        weights[0] += 0.5
        weights[-1] += 0.5
        if steps > 1 and self.exactness == "linear":
            counts = outputs.new_ones(steps, 2, size)
            counts[-1, 0] = counts[0, 1] = 2
            counts[-1, 1] = counts[0, 0] = 0
            outputs = outputs * counts.flatten(1)
        logits: Tensor = self.classifier(outputs.flatten(0, 1))
        return FrameLogits(logits.unflatten(0, (-1, steps)), weights)

    def _step_logits(self, features: Tensor, last_only: bool = False) -> StepLogits:
        if isinstance(self.recurrent, nn.RNNBase):
            outputs = _run_sequence(self.recurrent, features)
            outputs = outputs[:, -1:] if last_only else outputs
            logits: Tensor = self.classifier(outputs.flatten(0, 1))
            steps: Tensor = logits.unflatten(0, outputs.shape[:2])
            return steps
        memory, scores = None, []
        for time, frame in enumerate(features.unbind(1)):
            output, memory = _pair(self.recurrent(frame, memory))
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


def _pair(returned: Any) -> tuple[Any, Any]:  # noqa: ANN401 - whatever a step returns
    if isinstance(returned, tuple) and len(returned) == 2:
        return returned
    raise ModelError(
        "step(features, memory) to return (output, memory), where memory is None at first",
        type(returned).__name__,
        "Where the memory is the output, return it twice, such as lambda x, h: 2 * (cell(x, h),).",
    )


def _affine(classifier: object) -> bool:
    return isinstance(classifier, nn.Module) and is_affine(classifier)
