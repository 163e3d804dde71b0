"""Assertions and strategies that more than one file of tests needs."""

from pathlib import Path

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st

NAN = float("nan")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

seeds = st.integers(0, 2**32 - 1)


def examples(most):
    """So many examples, however long one takes: the first of a process loads libraries."""
    return settings(max_examples=most, deadline=None)


def assert_near(found, expected, tolerance=1e-12, equal_nan=False):
    """Equal but for the order of sums, relative to the largest finite entry.

    An entry by itself may be a sum that cancels to anything.
    """
    expected = torch.as_tensor(expected, dtype=found.dtype)
    finite = expected[expected.isfinite()]
    scale = finite.abs().max().item() if len(finite) else 0
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * scale, equal_nan=equal_nan)


def assert_near_by_spread(found, expected, tolerance):
    """Equal but for the order of sums, relative to how much the entries differ.

    For logits: those of a model that says the same of everything would be near by any other scale.
    """
    found, expected = torch.as_tensor(found), torch.as_tensor(expected)
    assert torch.isfinite(expected).all()
    spread = expected.std().item()
    assert spread > 1e-3 * expected.abs().max() > 0
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * spread)


def assert_refused(kind, text, function, *arguments, **options):
    """The error that a call must raise: its kind, its text, and its three parts."""
    with pytest.raises(kind, match=text) as caught:
        function(*arguments, **options)
    error = caught.value
    assert str(error) == f"expected {error.expected}, got {error.got}. {error.remedy}"
    assert error.got
    assert error.remedy.endswith((".", ")"))
    return error
