"""Whether an attribution tells what small noise does to the prediction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from temporal_attr._errors import DataError
from temporal_attr._require import require_count, require_within
from temporal_attr._typing import ClipTensor
from temporal_attr.evaluation._case import Case
from temporal_attr.evaluation._metric import Metric, MetricTraits, Score
from temporal_attr.evaluation.faithfulness._features import require_one_of
from temporal_attr.evaluation.faithfulness._predicted import (
    CasePredictions,
    RisingObjective,
    composed_once,
)

_FRAMES = 64
"""Noisy frames that are made at a time."""


def infidelity_of_samples(
    told: Float[np.ndarray, "samples"],
    drops: Float[np.ndarray, "samples"],
    normalize: bool = False,
) -> Float[np.ndarray, "samples"]:
    """The squared error of what an attribution tells of each perturbation.

    Infidelity (:cite:t:`yeh2019`, definition 2.1) is its mean over perturbations I:
    E[(I . attribution - (f(x) - f(x - I)))^2].

    Args:
        told: `(samples,)`, the sum of the perturbation times the attribution.
        drops: `(samples,)`, by how much the objective drops.
        normalize: Whether what is told is first scaled by the factor that makes the mean error
            smallest, as in the authors' code: then the attribution's scale does not count.

    Returns:
        `(samples,)`, at least 0.

    Raises:
        DataError: If there are not as many of both.

    Example:
        >>> infidelity_of_samples(np.array([1.0, 2.0]), np.array([2.0, 4.0])).tolist()
        [1.0, 4.0]
        >>> infidelity_of_samples(np.array([1.0, 2.0]), np.array([2.0, 4.0]), True).tolist()
        [0.0, 0.0]
    """
    if len(told) != len(drops):
        got = f"{len(told)} and {len(drops)}"
        raise DataError("as many numbers told as drops", got, "Give one of each for each sample.")
    squares = float(told @ told)
    factor = float(told @ drops) / squares if normalize and squares else 1.0
    found: np.ndarray = (factor * told - drops) ** 2
    return found


@dataclass(frozen=True)
class Infidelity(Metric):
    """Does the attribution tell what small noise does to the prediction?

    Noise I is drawn from a Gaussian and taken off the clip x; the mean squared difference between
    what the attribution tells, the sum of I times it, and by how much the objective drops is the
    value (:cite:t:`yeh2019`; `captum.metrics.infidelity`, with which it agrees on equal draws). The
    objective must be the one that was explained, as units count; most methods explain the logit.

    An attribution that has the input as a factor (gradient times input, integrated gradients, LRP)
    tells of shares of each value instead: for these give `multiply_by_inputs=True`, where noise is
    divided by the clip, as Captum's decorator does it.

    Args:
        samples: How many noisy clips.
        noise: Standard deviation of the noise, as a share of the clip's range of values.
        objective: What the model is asked for.
        multiply_by_inputs: Whether the attribution has the input as a factor.
        normalize: Whether the attribution's scale is set aside; see `infidelity_of_samples`.

    Raises:
        OptionError: If an option is outside its range.

    Example:
        >>> from temporal_attr.evaluation._case import Case, Explanation
        >>> clip = torch.rand(1, 5, 2, 4, 4, generator=torch.Generator().manual_seed(0))
        >>> total = lambda clip: clip.sum((1, 2, 3, 4))[:, None]
        >>> gradient = Explanation(attribution=torch.ones(5, 2, 4, 4))
        >>> Infidelity().score(Case(total, clip, 0, gradient)).value < 1e-9
        True
    """

    samples: int = 50
    noise: float = 0.02
    objective: RisingObjective = "logit"
    multiply_by_inputs: bool = False
    normalize: bool = False

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="infidelity",
        question="Does the attribution tell what small noise does to the prediction?",
        family="faithfulness",
        needs=("model",),
        higher_is_better=False,
        lowest=0.0,
        highest=math.inf,
        cost="(M + 1) F for M samples",
        source="yeh2019",
    )

    def __post_init__(self) -> None:
        require_count("samples", self.samples, 2)
        require_within("noise", self.noise, 0)
        require_one_of("objective", self.objective, get_args(RisingObjective))

    def score(self, case: Case) -> Score:
        """The mean squared error, with its standard error; NaN if the clip is constant."""
        attribution = _attribution(case)
        asked = CasePredictions(case)
        size = self.noise * float(asked.clip.max() - asked.clip.min())
        if not size:
            note = "there is no noise: the clip is constant, or the option is 0"
            return Score(math.nan, forward_passes=asked.spent(), note=note)
        told, logits = [], []
        draw = torch.Generator().manual_seed(case.seed)
        at_a_time = max(1, _FRAMES // asked.clip.shape[1])
        for start in range(0, self.samples, at_a_time):
            count = min(at_a_time, self.samples - start)
            noise = torch.stack([drawn_noise(asked.clip, size, draw) for _ in range(count)])
            told.append(self._told(asked.clip, noise, attribution))
            logits.append(asked.logits(composed_once(asked.clip - noise)))
        values = asked.objective(torch.cat([asked.whole, *logits]), self.objective)
        drops = values[0] - values[1:]
        errors = infidelity_of_samples(torch.cat(told).numpy(), drops, self.normalize)
        standard_error = float(errors.std(ddof=1)) / math.sqrt(len(errors))
        return Score(float(errors.mean()), standard_error, asked.spent())

    def _told(self, clip: ClipTensor, noise: ClipTensor, attribution: Tensor) -> Tensor:
        """What the attribution tells of each sample, in float64 on the CPU."""
        if self.multiply_by_inputs:
            # A value of 0 has no share that could go; Captum takes the noise itself there.
            noise = noise / torch.where(clip == 0, 1, clip)
        return torch.einsum("stchw,tchw->s", noise.cpu().double(), attribution)


def drawn_noise(
    clip: ClipTensor, size: float, draw: torch.Generator
) -> Float[Tensor, "time channel height width"]:
    """Gaussian noise for one clip, the same on every device and for any number at a time."""
    return (size * torch.randn(clip.shape[1:], generator=draw)).to(clip)


def _attribution(case: Case) -> Float[Tensor, "time channel height width"]:
    """The attribution, in float64 on the CPU.

    Raises:
        DataError: If there is none, or it is of a clip of other sizes.
    """
    found = case.explanation.attribution
    if found is None:
        raise DataError(
            "an attribution of pixels", "an explanation without", "Ask for metrics of frames."
        )
    if found.shape != case.clip.shape[1:]:
        raise DataError(
            f"an attribution of shape {tuple(case.clip.shape[1:])}, as the clip has",
            f"shape {tuple(found.shape)}",
            "Explain the clip that the case has.",
        )
    return found.detach().cpu().double()
