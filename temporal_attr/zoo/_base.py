"""What the reference architectures share: a linear classifier at each timestep, then a mean."""

from __future__ import annotations

from typing import Literal, TypeAlias

from jaxtyping import Float
from torch import Tensor, nn

from temporal_attr._errors import ClipError, OptionError
from temporal_attr._require import require_size
from temporal_attr._typing import Features, Logits, StepWeights
from temporal_attr.clips import Normalization, Preprocessing
from temporal_attr.models import FrameLogits, VideoModel

Ensemble: TypeAlias = Literal["all"] | int
"""How many timesteps' logits are averaged: all, or that many from the middle of the clip."""

NORMALIZATION = Normalization((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))


def preprocessing(size: int | None) -> Preprocessing:
    """Resize to a square of `size` pixels, or keep the size; bring values to about -2 to 2."""
    if size is not None:
        require_size("size", size, 16)
    return Preprocessing(None if size is None else (size, size), normalization=NORMALIZATION)


def require_classes(classes: int) -> None:
    """Raise unless there are at least two classes."""
    require_size("classes", classes, 2)


def require_ensemble(ensemble: Ensemble) -> None:
    """Raise unless this says how many timesteps to average."""
    if ensemble != "all" and not (isinstance(ensemble, int) and ensemble >= 1):
        raise OptionError('ensemble "all" or a number from 1', repr(ensemble), "Try 'all'.")


def ensemble_weights(ensemble: Ensemble, like: Float[Tensor, "batch steps ..."]) -> StepWeights:
    """Equal weights for the timesteps in the middle that are averaged, zero for the others.

    Raises:
        ClipError: If there are fewer timesteps than are to be averaged.
    """
    steps = like.shape[1]
    count = steps if ensemble == "all" else ensemble
    if count > steps:
        raise ClipError(
            f"at least {count} timesteps, as ensemble={count} averages",
            f"{steps}",
            "Give a longer clip, or build the model with a smaller ensemble.",
        )
    first = (steps - count) // 2
    weights = like.new_zeros(steps)
    weights[first : first + count] = 1 / count
    return weights


def ensemble_mean(
    ensemble: Ensemble, features: Float[Tensor, "batch steps feature"]
) -> Float[Tensor, "batch feature"]:
    """The mean feature of the timesteps that are averaged."""
    return (features * ensemble_weights(ensemble, features)[:, None]).sum(1)


class SteppedModel(VideoModel):
    """A network whose last features are `(batch, steps, feature)`, classified step by step.

    The classifier is linear and the clip's logits are the mean of the timesteps' logits, over all
    or over the middle ones only, so `exactness` is `"linear"`.

    Args:
        features: Length of a timestep's feature.
        classes: Number of classes.
        ensemble: `"all"`, or how many timesteps from the middle of the clip are averaged. The
            fewer, the further each of them must look to know the whole clip.
        size: Height and width that clips are resized to; None for any.

    Example:
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("inflated-resnet", classes=4, widths=(4, 8))
        >>> isinstance(model, SteppedModel), model.exactness
        (True, 'linear')
    """

    def __init__(
        self, features: int, classes: int, ensemble: Ensemble = "all", size: int | None = None
    ) -> None:
        super().__init__(preprocessing(size))
        require_classes(classes)
        require_ensemble(ensemble)
        self.ensemble = ensemble
        self.classifier = nn.Linear(features, classes)

    def head(self, features: Features) -> Logits:
        """Logits of the clip: those of the mean feature."""
        logits: Tensor = self.classifier(ensemble_mean(self.ensemble, features))
        return logits

    def frame_head(self, features: Features) -> FrameLogits:
        """Logits of each timestep."""
        return FrameLogits(self.classifier(features), ensemble_weights(self.ensemble, features))


def pool_space(
    volume: Float[Tensor, "batch channel steps height width"],
) -> Float[Tensor, "batch steps channel"]:
    """The mean over space."""
    return volume.mean((3, 4)).transpose(1, 2)
