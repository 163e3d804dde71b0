"""A forward pass of a model under relevance rules, for the methods that propagate relevance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from temporal_attr._errors import OptionError
from temporal_attr._run import RunContext
from temporal_attr._typing import ClipTensor
from temporal_attr.models import VideoModel
from temporal_attr.relevance import Composite, Trace, trace


def traced(
    model: VideoModel | Callable[..., Any],
    forward: Callable[[Tensor], Tensor | tuple[Tensor, Any]],
    clip: ClipTensor,
    composite: Composite,
    run: RunContext,
) -> Trace:
    """Run something that a model computes, with pixel bounds from the model's normalization.

    Args:
        model: Whose normalization gives the bounds, and whose submodules an error names.
        forward: From the clip to an output of any shape, or to a pair of it and something else.
        clip: `(batch, time, channel, height, width)`.
        composite: The rules.
        run: Counts the pass.
    """
    bounds = None
    normalization = model.normalization if isinstance(model, VideoModel) else None
    if normalization is not None:
        black = torch.zeros_like(clip[:1, :1, :, :1, :1])
        bounds = normalization.apply(black), normalization.apply(black + 1)
    found = trace(forward, clip, bounds, composite, model)
    run.ran(forward=clip.shape[0] * clip.shape[1])
    return found


def require_composite(composite: Composite | None) -> Composite:
    """The rules themselves, or the default ones.

    Raises:
        OptionError: If these are no rules.
    """
    if composite is None:
        return Composite()
    if not isinstance(composite, Composite):
        raise OptionError(
            "composite to be a Composite",
            repr(composite),
            "See temporal_attr.relevance; Composite() has the default rules.",
        )
    return composite
