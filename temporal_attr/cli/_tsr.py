"""Temporal saliency rescaling at the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from captum.attr import (
    Attribution,
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    Saliency,
)
from matplotlib.figure import Figure
from torch import nn

from temporal_attr import views
from temporal_attr._errors import OptionError
from temporal_attr.attributions import (
    LRP,
    FrameMaskingTSR,
    FrameMaskingTSRResult,
    TemporalGradient,
)
from temporal_attr.clips import Clip
from temporal_attr.models import VideoModel

BASES: dict[str, Callable[[nn.Module], Attribution]] = {
    "gradient-shap": GradientShap,
    "input-x-gradient": InputXGradient,
    "integrated-gradients": IntegratedGradients,
    "lrp": LRP,
    "saliency": Saliency,
    "temporal-gradient": TemporalGradient,
}
"""Methods that can be rescaled, by the names of `--base`."""

OPTIONS = (
    "base",
    "chunk_size",
    "features",
    "hide",
    "normalize",
    "quantile",
    "steps",
    "threshold",
    "window",
)

FRAMES_AT_A_TIME = 16
"""What `FrameMaskingTSR` takes where no chunk size is given."""


def explain_tsr(
    model: nn.Module, clip: Clip, target: int, options: dict[str, Any]
) -> FrameMaskingTSRResult:
    """Rescale the base method; Ctrl-C in the second step ends it with what is done."""
    given = dict(options)
    base, seed = given.pop("base", "temporal-gradient"), given.pop("seed")
    if base not in BASES:
        raise OptionError(f"--base to be {', '.join(BASES)}", str(base), "Choose one of them.")
    given |= _steps(given.pop("steps", None), given.pop("features", None))
    if "hide" in given:
        given["hide"] = _hide(given["hide"])
    if not isinstance(model, VideoModel):
        given["normalization"] = clip.normalization
    if base == "gradient-shap":
        # A seed has every clip go alone, so only a method that draws gets one.
        given["seed"] = seed
        given["method_arguments"] = {"baselines": torch.zeros_like(clip.tensor)}
    if base == "integrated-gradients":
        # Captum would send all 50 steps of a clip through the model at once.
        clips = (given.get("chunk_size") or FRAMES_AT_A_TIME) // clip.tensor.shape[1]
        given["method_arguments"] = {"internal_batch_size": max(1, clips)}
    method = FrameMaskingTSR(BASES[base](model), **given)
    return method.explain(clip.tensor, target, show_progress=True, on_stop="keep")


def _steps(steps: str | None, features: str | None) -> dict[str, Any]:
    """The steps and the parts of a frame; features imply two steps, for one has no use for them."""
    if steps == "one" and features is not None:
        raise OptionError("--features with --steps two", "--steps one", "Leave one of them out.")
    if features is None:
        return {} if steps is None else {"steps": steps}
    name, _, size = features.partition(":")
    if name in ("pixel", "superpixel", "supervoxel") and not size:
        return {"steps": "two", "features": name}
    sides = size.split("x")
    if name == "block" and len(sides) <= 2 and all(side.isdecimal() for side in sides):
        return {"steps": "two", "block": (int(sides[0]), int(sides[-1]))}
    raise OptionError(
        "--features to be pixel, block:SIDE, block:HEIGHTxWIDTH, superpixel or supervoxel",
        features,
        "Try block:10.",
    )


def _hide(text: str) -> float | str:
    """A number, or a name that the method checks."""
    try:
        return float(text)
    except ValueError:
        return text


def tsr_figures(result: FrameMaskingTSRResult, clip: Clip) -> dict[str, Callable[[], Figure]]:
    """Which frames, which places, and whether they are where something moves."""
    figures: dict[str, Callable[[], Figure]] = {
        "keyframe_strip.png": lambda: views.keyframe_strip(result, clip),
        "overlay_grid.png": lambda: views.overlay_grid(result, clip),
    }
    # Keyframes need what flow needs; and with a single flow there is nothing to compare it with.
    if result.keyframes is not None and len(clip.timestamps) > 2:
        figures["flow_saliency.png"] = lambda: views.flow_saliency(result, clip)
    return figures
