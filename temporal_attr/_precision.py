"""The precision in which many small parts are added up."""

from __future__ import annotations

import torch
from torch import Tensor


def wide(like: Tensor) -> torch.dtype:
    """Double precision, or single on a device that has no other.

    Example:
        >>> wide(torch.zeros(3))
        torch.float64
    """
    return torch.float32 if like.device.type == "mps" else torch.float64
