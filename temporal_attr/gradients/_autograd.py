"""Autograd for the library's own use, whatever the caller has switched off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def isolated_autograd(clips: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, ...]]:
    """Copies of clips that gradients can be taken of, under no_grad, inference mode and autocast.

    What is computed inside is in no graph of the caller's, and the caller's modes are back
    afterwards, also after an exception.

    Example:
        >>> with torch.no_grad(), isolated_autograd((torch.ones(2),)) as (clip,):
        ...     torch.is_grad_enabled()
        True
    """
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        # A method that lowers the precision does so itself, and says so.
        torch.autocast(clips[0].device.type, enabled=False),
    ):
        # An inference tensor can never be part of a graph, but a copy of it can.
        yield tuple(clip.clone() if clip.is_inference() else clip.detach() for clip in clips)
