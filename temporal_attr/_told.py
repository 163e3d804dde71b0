"""What came, and what can be done about it, in the words of an error."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor


def usable(value: object) -> bool:
    """Whether this is a tensor that holds numbers as all functions can read them."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and not value.is_nested
        and not value.is_meta
        and not value.is_quantized
        and value.element_size() * 8 >= (1 if value.dtype == torch.bool else 8)
        and not str(value.dtype).startswith("torch.float8")
    )


_SINGLE = (bool, int, float, complex, str, bytes, np.generic)


def told(value: object) -> str:
    """What came, in a few words."""
    if isinstance(value, Tensor):
        odd = "" if usable(value) else f", {'nested' if value.is_nested else value.layout}"
        shape = "" if value.is_nested else f" of shape {tuple(value.shape)}"
        return f"{value.dtype}{shape} on {value.device.type}{odd}"
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} of shape {value.shape}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if value is None or isinstance(value, _SINGLE):
        return f"{shown(value):.60}"
    if isinstance(value, list | tuple | dict | set):
        return _told_of_many(value)
    return f"a {type(value).__name__}"


_DIGITS = 60
"""Of the longest whole number that is written out: Python refuses those of some thousands."""


def shown(value: object) -> str:
    """A value as Python writes it, or how long it is, if nobody could read it.

    Example:
        >>> shown(3), shown(10**5000)
        ('3', 'a whole number of some 5000 digits')
    """
    if isinstance(value, int) and abs(value) >= 10**_DIGITS:
        return f"a whole number of some {round(value.bit_length() * math.log10(2))} digits"
    return repr(value)


def _told_of_many(value: Collection[object]) -> str:
    kind = type(value).__name__
    entries = value.values() if isinstance(value, dict) else value
    if any(isinstance(entry, Tensor | np.ndarray) for entry in entries):
        return f"a {kind} of {len(value)} with tensors or arrays in it"
    return f"a {kind} {' '.join(repr(value).split())[:60]}"


def advice(value: object) -> str:
    """What can be done about what came, if anything can be said."""
    if isinstance(value, Tensor):
        if not usable(value):
            return "Pass dense values that are in memory, in float32 or another usual type."
        if value.is_complex():
            return "Take its .real or .abs()."
        whole = "Convert it with `.float()`; divide bytes by 255 where values are 0 to 1."
        return "" if value.is_floating_point() else whole
    if isinstance(value, type):
        return "Pass an instance of it."
    if isinstance(value, np.ndarray):
        return "torch.from_numpy makes a tensor of an array."
    return "Pass clip.tensor." if type(value).__name__ == "Clip" else ""
