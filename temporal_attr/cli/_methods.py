"""The methods of the command line: what each reads, computes and draws."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from torch import nn

from temporal_attr import views
from temporal_attr.attributions import (
    LRP,
    ContrastiveLRPTemporal,
    ContrastiveLRPTemporalResult,
    PixelResult,
    Result,
    TemporalGradient,
    TemporalGradientResult,
)
from temporal_attr.clips import Clip
from temporal_attr.models import VideoModel

Explain = Callable[[nn.Module, Clip, int, dict[str, Any]], Result]
Figures = dict[str, Callable[[], Figure]]

OUTPUTS = (
    "result.json",
    "tensors.safetensors",
    "frame_strip.png",
    "overlay_grid.png",
    "influence_map.png",
    "relevance_heatmap.png",
    "overlay.webm",
)
"""What a run writes; those of an earlier run do not stay beside it."""


@dataclass(frozen=True)
class MethodFace:
    """A method at the command line.

    Attributes:
        explain: From model, clip, target and the options that were given to the result.
        figures: From result and clip to pictures by file name, each drawn when called.
        options: The names of the options that it reads.
    """

    explain: Explain
    figures: Callable[[Any, Clip], Figures]
    options: tuple[str, ...] = ()


def _explain_gradient(
    model: nn.Module, clip: Clip, target: int, options: dict[str, Any]
) -> TemporalGradientResult:
    wrapped = isinstance(model, VideoModel)
    if not wrapped:
        line = "the model is not wrapped, so there are no timesteps and no influence matrix ..."
        print(line, file=sys.stderr)
    method = TemporalGradient(model, **options)
    return method.explain(clip.tensor, target, show_progress=True, influence=wrapped)


def _explain_lrp(model: nn.Module, clip: Clip, target: int, options: dict[str, Any]) -> Result:
    return LRP(model, **options).explain(clip.tensor, target)


def _explain_contrastive(
    model: nn.Module, clip: Clip, target: int, options: dict[str, Any]
) -> Result:
    method = ContrastiveLRPTemporal(model, **options)  # type: ignore[arg-type]
    return method.explain(clip.tensor, target, show_progress=True)


def _pixel_figures(result: PixelResult, clip: Clip) -> Figures:
    return {
        "frame_strip.png": lambda: views.frame_strip(result, clip),
        "overlay_grid.png": lambda: views.overlay_grid(result, clip),
    }


def _gradient_figures(result: TemporalGradientResult, clip: Clip) -> Figures:
    figures = _pixel_figures(result, clip)
    if result.influence is not None:
        figures["influence_map.png"] = lambda: views.influence_map(result)
    return figures


def _matrix_figures(result: ContrastiveLRPTemporalResult, clip: Clip) -> Figures:
    return {"relevance_heatmap.png": lambda: views.relevance_heatmap(result)}


METHODS = {
    "contrastive-lrp": MethodFace(
        _explain_contrastive, _matrix_figures, ("chunk_size", "contrastive", "sigma")
    ),
    "lrp": MethodFace(_explain_lrp, _pixel_figures),
    "temporal-gradient": MethodFace(
        _explain_gradient, _gradient_figures, ("chunk_size", "memory", "objective")
    ),
}
