"""What is evaluated: a clip, what is known to be true of it, and what a method says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from temporal_attr._errors import ClipError, DataError
from temporal_attr._require import require_count
from temporal_attr._typing import ClipTensor
from temporal_attr.models import VideoModel
from temporal_attr.synthetic import PlantedVideo

Model: TypeAlias = VideoModel | Callable[..., Any]
"""A wrapper, or any function from clips to logits."""


ScoresOf: TypeAlias = Literal["frames", "pixels"]
"""What a metric takes as the things that are scored."""


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known to decide a clip's class. What is not known is None.

    Attributes:
        frames: `(time,)`, the frames that decide.
        region: `(time, height, width)`, the pixels that decide.
        pairs: `(time, time)`, the pairs of frames that decide together, symmetric.

    Example:
        >>> from temporal_attr.synthetic import Order
        >>> truth = Truth.of(Order(frames=12, size=32, distance=5).sample(0))
        >>> truth.frames.nonzero()[:, 0].tolist()
        [3, 4, 8, 9]
    """

    frames: Bool[Tensor, " time"] | None = None
    region: Bool[Tensor, "time height width"] | None = None
    pairs: Bool[Tensor, "time time"] | None = None

    @staticmethod
    def of(video: PlantedVideo) -> Truth:
        """The truth of a planted video."""
        return Truth(
            torch.from_numpy(video.deciding_frames),
            torch.from_numpy(video.region),
            None if video.pairs is None else torch.from_numpy(video.pairs),
        )


@dataclass(frozen=True, eq=False)
class Example:
    """A clip to explain.

    Attributes:
        clip: `(1, time, channel, height, width)`.
        target: The class that is explained; None for the one that the model predicts.
        truth: What is known to decide the class; None where nothing is.
        name: In tables; it tells a clip from all others.

    Raises:
        ClipError: If this is not one clip, or the truth has other frames or sizes.
        OptionError: If the target is negative.
    """

    clip: ClipTensor
    target: int | None = None
    truth: Truth | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if self.clip.ndim != 5 or len(self.clip) != 1:
            raise ClipError(
                "one clip (1, time, channel, height, width)",
                f"shape {tuple(self.clip.shape)}",
                "Make an example of each clip of a batch.",
            )
        time, _, height, width = self.clip.shape[1:]
        if self.target is not None:
            require_count("target", self.target, 0)
        expected = {"frames": (time,), "region": (time, height, width), "pairs": (time, time)}
        for name, shape in expected.items():
            known = getattr(self.truth, name, None)
            if known is not None and tuple(known.shape) != shape:
                raise ClipError(
                    f"{name} that are true of shape {shape}, as the clip has",
                    f"shape {tuple(known.shape)}",
                    "Give the truth in the clip's own frames and pixels.",
                )


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a method says of one clip, in the forms that metrics ask for.

    Attributes:
        frame_scores: `(time,)`, how much each frame counts; None where a method does not say.
        attribution: `(time, channel, height, width)`; None where it scores no pixels.
        matrix: `(time, time)`, what the prediction at one frame (row) gets from another (column).
        sensitivity: Whether the sign says nothing for or against the class, as of a plain gradient;
            a pixel's score is then the norm over its channels, and else their sum.

    Raises:
        DataError: If nothing is given, or not all of it is finite.

    Example:
        >>> signed = Explanation(attribution=torch.tensor([1.0, -2.0]).reshape(1, 2, 1, 1))
        >>> signed.pixel_scores.item()
        -1.0
    """

    frame_scores: Float[Tensor, " time"] | None = None
    attribution: Float[Tensor, "time channel height width"] | None = None
    matrix: Float[Tensor, "time time"] | None = None
    sensitivity: bool = False

    def __post_init__(self) -> None:
        given = {
            name: value
            for name in ("frame_scores", "attribution", "matrix")
            if (value := getattr(self, name)) is not None
        }
        if not given:
            raise DataError(
                "scores of frames, pixels or pairs of frames",
                "nothing",
                "Give at least one of them.",
            )
        for name, value in given.items():
            bad = int((~value.isfinite()).sum())
            if bad:
                raise DataError(
                    f"{name} that are numbers",
                    f"{bad} of {value.numel()} NaN or infinite",
                    "Look at what the method gives for this clip.",
                )

    @property
    def pixel_scores(self) -> Float[Tensor, "time height width"] | None:
        """How much each pixel counts: the sum over channels, or the norm of a sensitivity."""
        if self.attribution is None:
            return None
        found: Tensor = (
            self.attribution.norm(dim=1) if self.sensitivity else self.attribution.sum(1)
        )
        return found


@runtime_checkable
class Explain(Protocol):
    """A method, ready to be asked again: of another clip, class or model."""

    def __call__(
        self, clip: ClipTensor, target: int, model: Model | None = None, seed: int | None = None
    ) -> Explanation:
        """Explain one clip.

        Args:
            clip: `(1, time, channel, height, width)`.
            target: The class that is explained.
            model: Another model, of the same build; None for the case's own.
            seed: Of a method that draws random numbers; None for the case's own.
        """
        ...


@dataclass(frozen=True, eq=False)
class Case:
    """One explanation to be judged: of one clip, by one method, of one model.

    Attributes:
        model: What was explained.
        clip: `(1, time, channel, height, width)`.
        target: The class that was explained.
        explanation: What the method said.
        truth: What is known to decide the class; None where nothing is.
        explain: The method, to be asked again; None where only the explanation is there.
        seed: Of what a metric draws at random.
    """

    model: Model
    clip: ClipTensor
    target: int
    explanation: Explanation
    truth: Truth | None = None
    explain: Explain | None = None
    seed: int = 0

    def scores(self, of: ScoresOf) -> Float[np.ndarray, "..."]:
        """What was said of each frame `(time,)` or pixel `(time, height, width)`, in float64.

        Raises:
            DataError: If the explanation does not say.
        """
        known = self.explanation
        found = known.frame_scores if of == "frames" else known.pixel_scores
        if found is None:
            raise DataError(
                f"scores of {of}", "an explanation without", "Ask for a metric of what there is."
            )
        return found.detach().cpu().double().numpy()

    def true(self, of: ScoresOf) -> Bool[np.ndarray, "..."]:
        """Which frames `(time,)` or pixels `(time, height, width)` decide.

        Raises:
            DataError: If that is not known, or none does.
        """
        known = None if self.truth is None else self.truth.frames
        if of == "pixels" and self.truth is not None:
            known = self.truth.region
        if known is None or not known.any():
            raise DataError(
                f"{of} that are known to decide the class",
                "no truth of them" if known is None else "a truth in which none does",
                "Give the example's truth, or leave metrics of truth out.",
            )
        return known.cpu().numpy()


def require_clips(clip: Tensor) -> None:
    """Raise unless this has the axes of clips, and something on each.

    Raises:
        ClipError: With its shape.
    """
    if clip.ndim != 5 or not clip.numel():
        raise ClipError(
            "clips (batch, time, channel, height, width)",
            f"shape {tuple(clip.shape)}",
            "Add an axis for the batch to a single one.",
        )
