"""A weighted ridge regression around the clip."""

from __future__ import annotations

import numpy as np
import scipy
import torch
from jaxtyping import Float
from torch import Tensor

from temporal_attr.attributions._feature_coalitions import (
    Coalitions,
    FeatureValues,
    explained_share,
    too_few,
)


def random_coalitions(features: int, samples: int, seed: int) -> Coalitions:
    """That of all features, and others in which each is present half of the time.

    Example:
        >>> random_coalitions(3, 2, seed=0)[0].tolist()
        [True, True, True]
    """
    random = torch.Generator().manual_seed(seed)
    drawn = torch.rand(samples, features, generator=random, dtype=torch.float64) < 0.5
    drawn[0] = True
    return drawn


def similarity(coalitions: Coalitions, width: float) -> Float[Tensor, "coalitions"]:
    """How close coalitions are to all features: exp(-d^2 / (2 width^2)), d the cosine distance.

    Example:
        >>> similarity(torch.tensor([[True, True], [True, False]]), 0.25)
        tensor([1.0000, 0.5034], dtype=torch.float64)
    """
    # The cosine of a coalition of s of M features with all of them is s / sqrt(s M).
    shares = coalitions.double().mean(1)
    return torch.exp(-((1 - shares.sqrt()) ** 2) / (2 * width**2))


def ridge(
    coalitions: Coalitions, objective: Float[Tensor, "coalitions"], width: float, alpha: float
) -> FeatureValues:
    """The linear function that comes closest, with large coefficients penalised.

    Args:
        coalitions: Which features are present.
        objective: Of each.
        width: Of the similarity.
        alpha: The penalty on the sum of squares, which the intercept does not have.

    Raises:
        OptionError: If there are too few coalitions to tell the features apart without a penalty.
    """
    rows, found = coalitions.double().numpy(), objective.numpy()
    weights = similarity(coalitions, width).numpy()
    middle, level = np.average(rows, 0, weights), np.average(found, weights=weights)
    centred = rows - middle
    features = rows.shape[1]
    gram = centred.T @ (weights[:, None] * centred) + alpha * np.eye(features)
    if not alpha and np.linalg.matrix_rank(gram) < features:
        raise too_few(features)
    values = scipy.linalg.solve(gram, centred.T @ (weights * (found - level)), assume_a="pos")
    intercept = float(level - middle @ values)
    fit = explained_share(found, rows @ values + intercept, weights)
    return FeatureValues(torch.from_numpy(values), None, intercept, len(rows), fit)
