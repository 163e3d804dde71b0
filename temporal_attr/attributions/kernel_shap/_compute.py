"""Shapley values as the solution of a weighted least-squares problem."""

from __future__ import annotations

import math
from itertools import product

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


def shapley_coalitions(features: int, samples: int, seed: int) -> Coalitions:
    """All coalitions if there are no more than so many, or else random ones with their complements.

    The first has no feature. Sizes are drawn as the Shapley kernel weighs them, so that all drawn
    coalitions count alike.

    Args:
        features: How many there are.
        samples: How many coalitions at most.
        seed: Of the draws.

    Example:
        >>> shapley_coalitions(2, 4, seed=0).int().tolist()
        [[0, 0], [1, 0], [0, 1]]
        >>> drawn = shapley_coalitions(10, 9, seed=0)[1:]
        >>> bool((drawn[::2] != drawn[1::2]).all())
        True
    """
    empty = torch.zeros(1, features, dtype=torch.bool)
    random = torch.Generator().manual_seed(seed)
    if every_coalition(features, samples):
        rows = torch.tensor(list(product((False, True), repeat=features - 1)), dtype=torch.bool)
        # Without the last feature and, as complements, with it; but for none and all. In random
        # order, so that a run that is stopped has no kind of them only.
        rows = torch.cat([rows, torch.zeros(len(rows), 1, dtype=torch.bool)], 1)[1:]
        rows = rows[torch.randperm(len(rows), generator=random)]
        return torch.cat([empty, torch.stack([rows, ~rows], 1).flatten(0, 1)])
    sizes = torch.arange(1, features, dtype=torch.float64)
    weights = 1 / (sizes * (features - sizes))
    rows_drawn = []
    for _ in range((samples - 1) // 2):
        size = int(torch.multinomial(weights, 1, generator=random)) + 1
        row = torch.zeros(features, dtype=torch.bool)
        row[torch.randperm(features, generator=random)[:size]] = True
        rows_drawn += [row, ~row]
    return torch.cat([empty, torch.stack(rows_drawn)])


def every_coalition(features: int, samples: int) -> bool:
    """Whether so many samples are enough for all coalitions but that of all features."""
    return features <= 30 and 2**features - 1 <= samples


def shapley_regression(
    coalitions: Coalitions, objective: Float[Tensor, "coalitions"], full: float, samples: int
) -> FeatureValues:
    """The values whose sums over coalitions come closest to their objective.

    They add up to the objective of the clip less that of no feature exactly: the last value is what
    the others leave. The standard errors are robust to interactions, and take a coalition and its
    complement for one draw; with fewer than two pairs for each feature they are NaN.

    Args:
        coalitions: As `shapley_coalitions` gives them, or the first of these.
        objective: Of each.
        full: The objective of all features.
        samples: How many coalitions were asked for.

    Raises:
        OptionError: If there are too few coalitions to tell the features apart.
    """
    features = coalitions.shape[1]
    # Pairs only, of which a run that is stopped can have a half.
    used = 1 + (len(coalitions) - 1) // 2 * 2
    rows, found = coalitions[1:used].double().numpy(), objective[1:used].numpy()
    empty = float(objective[0])
    gained = full - empty
    if features == 1:
        return FeatureValues(
            torch.tensor([gained]).double(), torch.zeros(1).double(), empty, 1, 1.0
        )
    weights = _kernel(rows) if every_coalition(features, samples) else np.ones(len(rows))
    # Without the last feature, whose value follows from the sum.
    design = rows[:, :-1] - rows[:, -1:]
    aimed = found - empty - rows[:, -1] * gained
    gram = design.T @ (weights[:, None] * design)
    if len(rows) < features - 1 or np.linalg.matrix_rank(gram) < features - 1:
        raise too_few(features)
    values = scipy.linalg.solve(gram, design.T @ (weights * aimed), assume_a="pos")
    rest = aimed - design @ values
    all_values = np.append(values, gained - values.sum())
    error = np.zeros(features)
    if len(rows) < 2**features - 2:
        error = _standard_error(design, weights, rest, gram)
    fit = explained_share(found, rows @ all_values + empty, weights)
    return FeatureValues(torch.from_numpy(all_values), torch.from_numpy(error), empty, used, fit)


def _standard_error(
    design: Float[np.ndarray, "coalitions others"],
    weights: Float[np.ndarray, "coalitions"],
    rest: Float[np.ndarray, "coalitions"],
    gram: Float[np.ndarray, "others others"],
) -> Float[np.ndarray, "features"]:
    """That of each value, robust to interactions; NaN where there are too few pairs to tell.

    One draw is a coalition and its complement, whose rows of the design differ in sign only. Each
    draw's rest is enlarged by what its own pull on the values took from it (HC2).
    """
    others = design.shape[1]
    if len(design) // 2 < 2 * others:
        return np.full(others + 1, np.nan)
    scores = (design * (weights * rest)[:, None]).reshape(-1, 2, others).sum(1)
    spread = scipy.linalg.solve(gram, design[::2].T, assume_a="pos")
    pull = 2 * weights[::2] * (design[::2] * spread.T).sum(1)
    scores /= np.sqrt(np.maximum(1 - pull, 1e-9))[:, None]
    moved = scipy.linalg.solve(gram, scores.T, assume_a="pos")
    error: np.ndarray = np.sqrt((np.vstack([moved, -moved.sum(0)]) ** 2).sum(1))
    return error


def _kernel(rows: Float[np.ndarray, "coalitions features"]) -> Float[np.ndarray, "coalitions"]:
    """The Shapley kernel of all coalitions but that of none and of all."""
    features = rows.shape[1]
    by_size = [0.0] + [
        (features - 1) / (math.comb(features, size) * size * (features - size))
        for size in range(1, features)
    ]
    weights: np.ndarray = np.array(by_size)[rows.sum(1).astype(int)]
    return weights
