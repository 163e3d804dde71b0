"""The methods of the command line: what each reads, computes and draws."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from torch import nn

from temporal_attr import views
from temporal_attr._errors import OptionError
from temporal_attr.attributions import (
    LRP,
    ContrastiveLRPTemporal,
    ContrastiveLRPTemporalResult,
    PixelResult,
    Result,
    ShuffleProbe,
    ShuffleProbeResult,
    ShuffleSet,
    TemporalGradient,
    TemporalGradientResult,
)
from temporal_attr.cli._tsr import OPTIONS as TSR_OPTIONS
from temporal_attr.cli._tsr import explain_tsr, tsr_figures
from temporal_attr.clips import (
    BlockShuffle,
    Clip,
    FullShuffle,
    LocalShuffle,
    Reversal,
    Shuffling,
)
from temporal_attr.models import VideoModel

Explain = Callable[[nn.Module, Clip, int, dict[str, Any]], Result]
Figures = dict[str, Callable[[], Figure]]

OUTPUTS = (
    "result.json",
    "tensors.safetensors",
    "frame_strip.png",
    "keyframe_strip.png",
    "overlay_grid.png",
    "flow_saliency.png",
    "influence_map.png",
    "relevance_heatmap.png",
    "shuffle_profile.png",
    "ratio_distribution.png",
    "flow_profile.png",
    "window_timeline.png",
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
        seeded: Whether it draws random numbers.
        gather: From the results of several videos and their names to what they say together, for
            methods that say something.
    """

    explain: Explain
    figures: Callable[[Any, Clip], Figures]
    options: tuple[str, ...] = ()
    seeded: bool = False
    gather: Callable[[Sequence[Any], Sequence[str]], ShuffleSet] | None = None


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


def _explain_shuffles(
    model: nn.Module, clip: Clip, target: int, options: dict[str, Any]
) -> ShuffleProbeResult:
    given = dict(options)
    flow = given.pop("flow", "farneback")
    if "shuffling" in given:
        given["shuffling"] = _shuffling(given["shuffling"])
        if given["shuffling"] == Reversal():
            given.setdefault("shuffles", 1)
    if not isinstance(model, VideoModel):
        given["normalization"] = clip.normalization
    return ShuffleProbe(model, **given).explain(
        clip.tensor,
        target,
        show_progress=True,
        flow=None if flow == "none" else flow,
        windows="window" in given,
    )


def _shuffling(text: str) -> Shuffling:
    """The family of orders that an option names, such as `block:4`."""
    name, _, number = text.partition(":")
    plain: dict[str, Callable[[], Shuffling]] = {"full": FullShuffle, "reversal": Reversal}
    sized: dict[str, Callable[[int], Shuffling]] = {"block": BlockShuffle, "local": LocalShuffle}
    if name in plain and not number:
        return plain[name]()
    if name in sized and number.isdecimal():
        return sized[name](int(number))
    raise OptionError(
        "--shuffling to be full, reversal, block:LENGTH or local:RADIUS", text, "Try block:4."
    )


def _shuffle_figures(result: ShuffleProbeResult, clip: Clip) -> Figures:
    figures: Figures = {
        "shuffle_profile.png": lambda: views.shuffle_profile(result, clip),
        "ratio_distribution.png": lambda: views.ratio_distribution(result),
    }
    if result.flow is not None:
        figures["flow_profile.png"] = lambda: views.flow_profile(result, clip)
    if result.windows is not None:
        windows = result.windows[0]
        figures["window_timeline.png"] = lambda: views.window_timeline(windows, clip)
    return figures


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
    "shuffle-probe": MethodFace(
        _explain_shuffles,
        _shuffle_figures,
        ("chunk_size", "flow", "shuffles", "shuffling", "window"),
        seeded=True,
        gather=ShuffleSet.of,
    ),
    "temporal-gradient": MethodFace(
        _explain_gradient, _gradient_figures, ("chunk_size", "memory", "objective")
    ),
    "tsr": MethodFace(explain_tsr, tsr_figures, TSR_OPTIONS, seeded=True),
}
