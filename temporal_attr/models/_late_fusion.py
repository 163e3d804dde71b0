"""Late fusion: each frame on its own, one pooling over time at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from temporal_attr._typing import Features, Frames, Logits
from temporal_attr.clips import Preprocessing
from temporal_attr.models._base import FrameLogits, FramewiseModel, is_affine
from temporal_attr.models._outputs import logits_of
from temporal_attr.models._pooling import (
    WEIGHTED,
    pool_time,
    readout_weights,
    require_readout,
    winners,
)


class LateFusion(FramewiseModel):
    """An image network applied to every frame, and its outputs pooled over time.

    The clip's features are `aggregation` over time of `encoder(frame)`, and its logits are `head`
    of that. With the encoder a whole image classifier and no head, that is the average of the
    frames' logits (late fusion as in :cite:t:`karpathy2014`).

    A timestep is a frame. With aggregation `"mean"` and an affine head, its logits are what the
    head says of that frame alone (`exactness="linear"`); the same for `"last"`, where only the
    last frame has weight. With `"max"`, each feature's winning frame is held, and a frame's logits
    are the contribution of the features that it wins (`"frozen"`). With an aggregation module, or
    a head that is not affine, they are the prediction for a clip of that frame alone (`"none"`).

    Args:
        encoder: Frames `(frames, channel, height, width)` to features `(frames, ...)`.
        head: Pooled features `(batch, ...)` to logits; None if the encoder gives logits.
        aggregation: `"mean"`, `"max"`, `"last"`, or a module from `(batch, time, ...)` to
            `(batch, ...)`.
        preprocessing: See `VideoModel`.

    Example:
        >>> import torch
        >>> classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5))
        >>> model = LateFusion(classifier.eval())
        >>> clip = torch.rand(2, 8, 3, 16, 16)
        >>> steps = model.frame_logits(clip)
        >>> tuple(steps.logits.shape), torch.allclose(steps.clip_logits(), model(clip), atol=1e-6)
        ((2, 8, 5), True)
    """

    def __init__(
        self,
        encoder: nn.Module,
        head: nn.Module | None = None,
        aggregation: Literal["mean", "max", "last"] | Callable[[Tensor], Tensor] = "mean",
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__(preprocessing)
        require_readout("aggregation", aggregation, ("mean", "max", "last"))
        self.encoder = encoder
        self.classifier = nn.Identity().eval() if head is None else head
        self.aggregation = aggregation
        self._adopt_mode(encoder, head, aggregation)
        if not is_affine(self.classifier) or callable(aggregation):
            self.exactness = "none"
        else:
            self.exactness = "linear" if aggregation in WEIGHTED else "frozen"

    def encode(self, frames: Frames) -> Features:
        """Features of single frames `(frames, ...)`."""
        return logits_of(self.encoder(frames))

    def head(self, features: Features) -> Logits:
        """Logits of the pooled features."""
        logits: Tensor = self.classifier(self._pool(features))
        return logits

    def frame_head(self, features: Features) -> FrameLogits:
        """Logits of each frame; see the class for what they mean."""
        steps = features.shape[1]
        uniform = readout_weights("mean", features)
        if self.exactness == "linear":
            weights = readout_weights(str(self.aggregation), features)
            terms = features
        elif self.exactness == "frozen":
            weights, terms = uniform, features * winners(features) * steps
        else:
            singles = self._pool(features.flatten(0, 1).unsqueeze(1))
            weights, terms = uniform, singles.unflatten(0, features.shape[:2])
        logits = self.classifier(terms.flatten(0, 1))
        return FrameLogits(logits.unflatten(0, features.shape[:2]), weights)

    def _pool(self, features: Tensor) -> Tensor:
        if callable(self.aggregation):
            return self.aggregation(features)
        return pool_time(features, self.aggregation)
