"""A case's method, asked again: of another clip, class, model or seed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from temporal_attr._errors import DataError
from temporal_attr._typing import ClipTensor
from temporal_attr.clips import Normalization
from temporal_attr.evaluation._case import Case, Explain, Explanation, Model, ScoresOf
from temporal_attr.gradients import isolated_autograd
from temporal_attr.models import VideoModel, model_logits, require_evaluation_mode


@dataclass(frozen=True, eq=False)
class Again:
    """What a method says where one thing is another than in the case.

    Attributes:
        case: What is judged.
        explain: The case's method.
        of: What is scored.

    Example:
        >>> clip = torch.rand(1, 4, 3, 8, 8)
        >>> def energy(clip, target, model=None, seed=None):
        ...     return Explanation(frame_scores=clip[0].square().mean((1, 2, 3)))
        >>> case = Case(lambda clip: clip.sum((2, 3, 4)), clip, 0, energy(clip, 0), explain=energy)
        >>> again = Again(case, energy, "frames")
        >>> bool((again.scores(clip=2 * clip) == 4 * case.scores("frames")).all())
        True
    """

    case: Case
    explain: Explain
    of: ScoresOf

    def __call__(
        self,
        clip: ClipTensor | None = None,
        target: int | None = None,
        model: Model | None = None,
        seed: int | None = None,
    ) -> Explanation:
        """The explanation; what is None is as in the case."""
        shown = self.case.clip if clip is None else clip
        chosen = self.case.target if target is None else target
        return self.explain(shown, chosen, model=model, seed=seed)

    def scores(
        self,
        clip: ClipTensor | None = None,
        target: int | None = None,
        model: Model | None = None,
        seed: int | None = None,
    ) -> Float[np.ndarray, "..."]:
        """Scores `(time,)` or `(time, height, width)` of that explanation."""
        found = self(clip, target, model, seed)
        return replace(self.case, explanation=found).scores(self.of)

    def values(
        self,
        clip: ClipTensor | None = None,
        target: int | None = None,
        model: Model | None = None,
        seed: int | None = None,
    ) -> Float[np.ndarray, "..."]:
        """Everything that the explanation says, see `values_of`."""
        return values_of(self(clip, target, model, seed), self.of)


def values_of(explanation: Explanation, of: ScoresOf) -> Float[np.ndarray, "..."]:
    """What an explanation says, in float64, for norms.

    Args:
        explanation: Of one clip.
        of: `"frames"`: the scores `(time,)`. `"pixels"`: the attribution itself,
            `(time, channel, height, width)`.

    Raises:
        DataError: If the explanation does not say.

    Example:
        >>> values_of(Explanation(frame_scores=torch.tensor([1.0, 2.0])), "frames")
        array([1., 2.])
    """
    found = explanation.frame_scores if of == "frames" else explanation.attribution
    if found is None:
        raise DataError(
            f"scores of {of}", "an explanation without", "Ask for a metric of what there is."
        )
    return found.detach().cpu().double().numpy()


def logits_of_clip(model: Model, clip: ClipTensor) -> Float[Tensor, " classes"]:
    """The logits of one clip, without gradient; it takes one forward pass.

    Args:
        model: In evaluation mode.
        clip: `(1, time, channel, height, width)`.

    Raises:
        ModelError: If the model is in training mode, or gives no logits.

    Example:
        >>> logits_of_clip(lambda clip: clip.mean((3, 4)).amax(1), torch.ones(1, 4, 3, 8, 8))
        tensor([1., 1., 1.])
    """
    require_evaluation_mode(model)
    with isolated_autograd((clip,)) as (own,), torch.no_grad():
        # A copy, because the model may work in place.
        return model_logits(model, (own.clone(),))[0]


def normalization_of(model: Model) -> Normalization | None:
    """How pixel values become a model's input values; None if it is not known.

    Example:
        >>> normalization_of(lambda clip: clip.mean((1, 3, 4))) is None
        True
    """
    return model.normalization if isinstance(model, VideoModel) else None


def range_of(clip: ClipTensor) -> float:
    """The largest value of a clip less its smallest; what is small is small beside it.

    Example:
        >>> range_of(torch.tensor([-1.0, 3.0]).reshape(1, 2, 1, 1, 1))
        4.0
    """
    return float(clip.max() - clip.min())


FLAT = "all values of the clip are equal, so that no change is small beside their range"
"""Why nothing can be said of a clip whose range of values is 0."""

ZERO = "the explanation is zero, so that no change is small beside it"
"""Why nothing can be said of an explanation whose norm is 0."""
