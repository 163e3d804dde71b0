"""Metrics by their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import get_args

from temporal_attr._errors import OptionError
from temporal_attr._told import told
from temporal_attr.evaluation._case import ScoresOf
from temporal_attr.evaluation._metric import Metric
from temporal_attr.evaluation._registry import METRICS
from temporal_attr.perturbations import Tubes


def metric_names() -> dict[str, Metric]:
    """All metrics with their usual options by name: the slug, and what is scored or removed.

    Example:
        >>> from temporal_attr.evaluation import metric_names
        >>> metric_names()["auprc-pixels"]
        AUPRC(of='pixels')
    """
    found: dict[str, Metric] = {}
    for kind in METRICS:
        found |= {metric.name: metric for metric in _variants(kind)}
    return found


def _variants(kind: type[Metric]) -> list[Metric]:
    """A metric of frames and of pixels, or of frames and of tubes, where it is of either."""
    known = {entry.name for entry in fields(kind)}  # type: ignore[arg-type]
    if "of" in known:
        return [kind(of=of) for of in get_args(ScoresOf)]  # type: ignore[call-arg]
    if "features" in known:
        return [kind(), kind(features=Tubes())]  # type: ignore[call-arg]
    return [kind()]


def metrics_of(metrics: Sequence[str | Metric]) -> list[Metric]:
    """Metrics as they are, and by name; a slug alone is that of frames.

    Raises:
        OptionError: If there is none, two are the same, or something is no metric.
    """
    known = {kind.traits.slug: _variants(kind)[0] for kind in METRICS} | metric_names()
    if isinstance(metrics, str):
        metrics = (metrics,)
    found = []
    for one in metrics:
        metric = known.get(one) if isinstance(one, str) else one
        if not isinstance(metric, Metric):
            raise OptionError(
                "a metric, or the name of one", told(one), f"Known: {', '.join(metric_names())}."
            )
        found.append(metric)
    names = [metric.name for metric in found]
    if not names or len(set(names)) < len(names):
        raise OptionError(
            "metrics, at least one, each once", ", ".join(names) or "none", "Name each once."
        )
    return found
