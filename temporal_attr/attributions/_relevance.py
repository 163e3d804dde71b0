"""A forward pass of a model under relevance rules, for the methods that propagate relevance."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from temporal_attr._errors import OptionError
from temporal_attr._run import RunContext
from temporal_attr._typing import ClipTensor, PerExample
from temporal_attr.models import VideoModel
from temporal_attr.relevance import AuditLog, Composite, Trace, trace

LARGEST_RATIO = 100.0
"""Magnitudes of relevance over the logit, above which a summary warns that pixels mean nothing.

Measured: 1 to 20 in networks whose residual sums an activation follows, and in shallow ones; 800 to
1e6 in deep mixers and the like (docs/relevance.md has the table).
"""


SINKS_SHOWN = 4
"""How many sinks a summary names."""


def traced(
    model: VideoModel | Callable[..., Any],
    forward: Callable[[Tensor], Tensor | tuple[Tensor, Any]],
    clip: ClipTensor,
    composite: Composite,
    run: RunContext,
    *,
    sinks: bool = False,
    log: AuditLog | None = None,
) -> Trace:
    """Run something that a model computes, with pixel bounds from the model's normalization.

    Args:
        model: Whose normalization gives the bounds, and whose submodules an error names.
        forward: From the clip to an output of any shape, or to a pair of it and something else.
        clip: `(batch, time, channel, height, width)`.
        composite: The rules.
        run: Counts the pass.
        sinks: Keep account of relevance that goes to anything but the clip.
        log: Where what happens at each function is written down.
    """
    bounds = None
    normalization = model.normalization if isinstance(model, VideoModel) else None
    if normalization is not None:
        black = torch.zeros_like(clip[:1, :1, :, :1, :1])
        bounds = normalization.apply(black), normalization.apply(black + 1)
    found = trace(forward, clip, bounds, composite, model, logits=True, sinks=sinks, log=log)
    run.ran(forward=clip.shape[0] * clip.shape[1])
    return found


def relevance_ratio(magnitude: PerExample, start: PerExample) -> PerExample:
    """The magnitudes of all relevance, over that of what was propagated; NaN where that is 0.

    Example:
        >>> relevance_ratio(torch.tensor([6.0, 0.0]), torch.tensor([-2.0, 0.0]))
        tensor([3., nan])
    """
    return magnitude / start.abs()


def ratio_lines(ratio: float, output: str = "logit") -> list[str]:
    """What a summary says of the ratio; nothing where it is not known.

    Args:
        ratio: Of the sum of magnitudes to that of the output.
        output: What the output is called.

    Example:
        >>> ratio_lines(1.25)
        ['magnitudes of relevance add up to 1.2 times the logit']
    """
    if math.isnan(ratio):
        return []
    said = f"magnitudes of relevance add up to {ratio:.2g} times the {output}"
    if ratio <= LARGEST_RATIO:
        return [said]
    return [
        f"WARNING: {said}; large parts cancel in this model's sums, so the relevance of single "
        "pixels and frames means nothing here"
    ]


def sink_lines(sinks: Mapping[str, float], start: float) -> list[str]:
    """What a summary says of relevance that did not go to the clip, the largest first.

    Args:
        sinks: What each got.
        start: What there was.

    Example:
        >>> sink_lines({"cls_token": 0.5, "head.bias": -1.0}, start=2.0)
        ['of 2, to sinks: -1 head.bias, 0.5 cls_token']
    """
    parts = sorted(sinks.items(), key=lambda entry: -abs(entry[1]))
    if not parts:
        return []
    shown = ", ".join(f"{value:.2g} {name}" for name, value in parts[:SINKS_SHOWN])
    rest = len(parts) - SINKS_SHOWN
    return [f"of {start:.3g}, to sinks: {shown}" + (f" and {rest} more" if rest > 0 else "")]


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
