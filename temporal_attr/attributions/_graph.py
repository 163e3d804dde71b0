"""A graph of one's own, whatever the caller has switched off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def own_graph(clips: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, ...]]:
    """Clips that a graph can hang on, under no_grad, inference mode and autocast too."""
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        # A method that lowers the precision does so itself, and says so.
        torch.autocast(clips[0].device.type, enabled=False),
    ):
        # An inference tensor can never be part of a graph, but a copy of it can.
        yield tuple(clip.clone() if clip.is_inference() else clip.detach() for clip in clips)
