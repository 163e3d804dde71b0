"""A forward pass of a model under relevance rules, for the methods that propagate relevance."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from temporal_attr._errors import OptionError
from temporal_attr._run import RunContext
from temporal_attr._typing import ClipTensor, PerExample
from temporal_attr.models import VideoModel
from temporal_attr.relevance import AuditLog, Composite, Trace, composites, trace

LARGEST_RATIO = 100.0
"""Magnitudes of relevance over the logit, above which a summary warns that pixels mean nothing.

Measured: 1 to 20 in networks whose residual sums an activation follows, and in shallow ones; 800 to
1e6 in deep mixers and the like (docs/relevance.md has the table).
"""


SINKS_SHOWN = 4
"""How many sinks a summary names."""


@dataclass(frozen=True)
class Traced:
    """A traced pass, and the rules that it was traced by.

    Attributes:
        trace: The pass.
        rules: What a result calls them.
    """

    trace: Trace
    rules: str


def traced(
    model: VideoModel | Callable[..., Any],
    forward: Callable[[Tensor], Tensor | tuple[Tensor, Any]],
    clip: ClipTensor,
    composite: Composite | None,
    run: RunContext,
    *,
    sinks: bool = False,
    log: AuditLog | None = None,
) -> Traced:
    """Run something that a model computes, with pixel bounds from the model's normalization.

    Args:
        model: Whose normalization gives the bounds, and whose submodules an error names.
        forward: From the clip to an output of any shape, or to a pair of it and something else.
        clip: `(batch, time, channel, height, width)`.
        composite: The rules; None for those that were found best for models like this one:
            `composites.transformer()` where there is attention, else `composites.paper()`.
        run: Counts the passes.
        sinks: Keep account of relevance that goes to anything but the clip.
        log: Where what happens at each function is written down.
    """
    bounds = None
    normalization = model.normalization if isinstance(model, VideoModel) else None
    if normalization is not None:
        black = torch.zeros_like(clip[:1, :1, :, :1, :1])
        bounds = normalization.apply(black), normalization.apply(black + 1)

    def run_by(rules: Composite) -> Trace:
        if log is not None:
            log.clear()
        found = trace(forward, clip, bounds, rules, model, logits=True, sinks=sinks, log=log)
        run.ran(forward=clip.shape[0] * clip.shape[1])
        return found

    if composite is not None:
        return Traced(run_by(composite), "as given")
    # Modules are few and stay; a function may be made anew for each call.
    known = isinstance(model, nn.Module) and model in _ATTENDING
    if not known:
        found = run_by(composites.paper())
        if not found.attends:
            return Traced(found, "composites.paper()")
        if isinstance(model, nn.Module):
            _ATTENDING.add(model)
    return Traced(run_by(composites.transformer()), "composites.transformer()")


def traces_once_known(model: VideoModel | Callable[..., Any], first: int) -> int:
    """How many passes `traced` takes once it has been called, and took so many then.

    A module's rules are known by then; those of a function are found out for each call.

    Example:
        >>> traces_once_known(nn.Identity(), 2), traces_once_known(torch.tanh, 2)
        (1, 2)
    """
    return 1 if isinstance(model, nn.Module) else first


_ATTENDING: WeakSet[nn.Module] = WeakSet()
"""Models that were seen to have attention, whose rules need not be found out again."""


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


def rules_line(rules: str) -> list[str]:
    """What a summary says of rules that nobody gave.

    Example:
        >>> rules_line("composites.transformer()"), rules_line("as given")
        (['rules: composites.transformer(), as the model has attention'], [])
    """
    if "transformer" not in rules:
        return []
    return [f"rules: {rules}, as the model has attention"]


def require_composite(composite: Composite | None) -> Composite | None:
    """The rules themselves; None where they are to be chosen.

    Raises:
        OptionError: If these are no rules.
    """
    if composite is not None and not isinstance(composite, Composite):
        raise OptionError(
            "composite to be a Composite",
            repr(composite),
            "See temporal_attr.relevance; Composite() has the rules of the ATR paper.",
        )
    return composite
