"""Missing pixels of a clip, imputed from those around them in space and time."""

from __future__ import annotations

from itertools import product

import numpy as np
import scipy
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from temporal_attr._errors import DataError, ModelError

DIRECT = 1 / 12
"""Weight of a neighbour in the same row, column or place of the frame, of which there are six."""

DIAGONAL = 1 / 24
"""Weight of one of the twelve neighbours that differ by one step along two of the axes."""

_CLOSE = 1e-10
"""How nearly the equations are solved, relative to what is known in them."""

NEIGHBOURS = tuple(
    (offset, DIRECT if sum(map(abs, offset)) == 1 else DIAGONAL)
    for offset in product((-1, 0, 1), repeat=3)
    if 1 <= sum(map(abs, offset)) <= 2
)
"""Steps along (time, height, width) to each of the 18 neighbours, with its weight."""


def imputed(
    clip: Float[Tensor, "time channel height width"], missing: Bool[Tensor, "time height width"]
) -> Float[Tensor, "time channel height width"]:
    """A clip whose missing pixels are the weighted means of their neighbours.

    The linear imputation of :cite:t:`rong2022` (section 4), carried over to clips. There a pixel of
    a picture is the mean of its 8 neighbours, direct ones with weight 1/6 and diagonal ones with
    1/12. Here it has 18: the 6 along one axis with weight 1/12, and the 12 that are diagonal in two
    of the three with 1/24; the 8 that are diagonal in all three are left out. As there, direct
    neighbours weigh twice as much, the weights sum to 1, neighbours outside of the clip are left
    out and the others weighted up, and neighbours that are missing themselves are solved for: one
    sparse system of equations for each channel. Values that are linear in space and time come back
    as they were where the missing ones do not touch the clip's border.

    Args:
        clip: `(time, channel, height, width)`.
        missing: `(time, height, width)`, the pixels to impute, in all channels.

    Returns:
        The clip with all others as they are.

    Raises:
        DataError: If every pixel is missing, or the two are of other sizes.
        ModelError: If the equations are not solved, which finite values rule out.

    Example:
        >>> ramp = torch.arange(5.0).reshape(1, 1, 1, 5)
        >>> middle = torch.tensor([False, True, True, True, False]).reshape(1, 1, 5)
        >>> imputed(torch.where(middle[:, None], 9.0, ramp), middle).flatten()
        tensor([0., 1., 2., 3., 4.])
    """
    if clip.ndim != 4 or missing.shape != (len(clip), *clip.shape[2:]) or not clip.numel():
        raise DataError(
            "a clip (time, channel, height, width), and missing (time, height, width) like it",
            f"shapes {tuple(clip.shape)} and {tuple(missing.shape)}",
            "Give one clip, and an entry for each of its pixels.",
        )
    if bool(missing.all()):
        raise DataError("a pixel that is not missing", "none", "Remove a smaller share.")
    if not bool(missing.any()):
        return clip.clone()
    where = missing.cpu().numpy()
    values = clip.detach().cpu().double().numpy()
    matrix, known = _equations(values, where)
    scale = scipy.sparse.diags(1 / matrix.diagonal())
    found = values.copy()
    for channel, right in enumerate(known):
        solved, failed = scipy.sparse.linalg.cg(matrix, right, rtol=_CLOSE, M=scale)
        if failed:
            raise ModelError(
                "equations of missing pixels that can be solved",
                f"{failed} steps without an end",
                "Look at the values of the clip, or remove a smaller share.",
            )
        found[:, channel][where] = solved
    return torch.from_numpy(found).to(clip)


def _equations(
    values: Float[np.ndarray, "time channel height width"],
    missing: Bool[np.ndarray, "time height width"],
) -> tuple[scipy.sparse.csr_array, Float[np.ndarray, "channel missing"]]:
    """A symmetric matrix, and for each channel the right side, whose solution is what is missing.

    A row says that the weighted differences of a missing pixel from its neighbours sum to 0.
    """
    count = int(missing.sum())
    number = np.full(missing.shape, -1)
    number[missing] = np.arange(count)
    diagonal, known = np.zeros(count), np.zeros((values.shape[1], count))
    rows, columns, entries = [], [], []
    for offset, weight in NEIGHBOURS:
        here = tuple(slice(max(0, -step), min(0, -step) or None) for step in offset)
        there = tuple(slice(max(0, step), min(0, step) or None) for step in offset)
        own, other = number[here], number[there]
        # Of each step a pixel has one neighbour, so that no number comes twice.
        diagonal[own[own >= 0]] += weight
        both = (own >= 0) & (other >= 0)
        rows.append(own[both])
        columns.append(other[both])
        entries.append(np.full(int(both.sum()), -weight))
        edge = (own >= 0) & (other < 0)
        beside = values[there[0], :, there[1], there[2]].transpose(1, 0, 2, 3)
        known[:, own[edge]] += weight * beside[:, edge]
    every = np.arange(count)
    row, column = np.concatenate([every, *rows]), np.concatenate([every, *columns])
    entry = np.concatenate([diagonal, *entries])
    return scipy.sparse.csr_array((entry, (row, column)), shape=(count, count)), known
