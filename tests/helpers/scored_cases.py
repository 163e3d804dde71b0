"""Cases for metrics of numbers: scores and truth are given, and no model is asked."""

import torch

from temporal_attr.evaluation._case import Case, Explanation, Truth


def refuse(*_, **__):
    """A model and a method that nobody may ask."""
    raise AssertionError("a metric of numbers ran something")


def case_of(frames=None, pixels=None, matrix=None, truth=None, pairs=None):
    """A case with such scores; the truth is of frames `(time,)`, or else of pixels."""
    tensors = [None if it is None else torch.as_tensor(it) for it in (frames, pixels, matrix)]
    frames, pixels, matrix = tensors
    known = None
    if truth is not None or pairs is not None:
        true = None if truth is None else torch.as_tensor(truth)
        flat = true is not None and true.ndim == 1
        known = Truth(
            frames=true if flat else None,
            region=None if flat else true,
            pairs=None if pairs is None else torch.as_tensor(pairs),
        )
    found = Explanation(frames, None if pixels is None else pixels[:, None], matrix)
    time = len(next(it for it in tensors if it is not None))
    return Case(refuse, torch.zeros(1, time, 3, 2, 2), 0, found, known, refuse)
