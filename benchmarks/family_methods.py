"""The methods of the table of families, and what of them is bounded: see `families.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

import temporal_attr as ta
from tests.helpers.methods import METHODS

KINDS: dict[str, tuple[type[Any], ...]] = {
    "Gradients, orders and masked frames": (
        ta.TemporalGradient,
        ta.ShuffleProbe,
        ta.FrameMaskingTSR,
    ),
    "Perturbed clips": (
        ta.FrameShapley,
        ta.DeletionCurve,
        ta.SlidingFrames,
        ta.Occlusion,
        ta.RISE,
        ta.KernelSHAP,
        ta.VideoLIME,
    ),
    "Class activation and attention": (
        ta.GradCAM,
        ta.GradCAMPlusPlus,
        ta.HiResCAM,
        ta.LayerCAM,
        ta.ScoreCAM,
        ta.AttentionRollout,
        ta.GradientAttention,
    ),
    "Relevance, paths and learned masks": (
        ta.LRP,
        ta.ContrastiveLRPTemporal,
        ta.SelectiveRelevance,
        ta.IntegratedGradients,
        ta.ExpectedGradients,
        ta.ExtremalPerturbation,
    ),
}
"""A table of the page each."""

EXACT_FRAMES = 8
"""Up to so many frames `FrameShapley` asks for all 2^T coalitions; of more it draws."""

BOUNDS = f"""\
Options are those of the contract suite (`tests/helpers/methods.py`), which are small: `RISE` has 12
masks, `KernelSHAP` and `VideoLIME` 24 samples, `IntegratedGradients` and `ExpectedGradients` 2
steps or references, `ExtremalPerturbation` 4 iterations, and class activation maps are not
rectified. `FrameShapley` is exact up to {EXACT_FRAMES} frames, and of more draws 4 permutations."""
"""What is bounded so that a cell takes seconds; nothing else in the table is."""


@dataclass(frozen=True)
class Column:
    """A method with its options.

    Attributes:
        build: From a model and a clip to the method.
        framewise_only: Whether it needs a `FramewiseModel`.
    """

    name: str
    kind: type[Any]
    build: Callable[[ta.VideoModel, Tensor], Any]
    framewise_only: bool = False

    @property
    def table(self) -> str:
        """The title of the table that it is in."""
        return next(title for title, kinds in KINDS.items() if self.kind in kinds)


def _frame_shapley(model: ta.VideoModel, clip: Tensor) -> ta.FrameShapley:
    return ta.FrameShapley(model, n_samples=None if clip.shape[1] <= EXACT_FRAMES else 4)


def _of_suite(method: Any) -> Column:  # noqa: ANN401 - an entry of the contract suite
    bounded = {"frame_shapley": _frame_shapley}
    build = bounded.get(method.name, lambda model, _: method.build(model))
    return Column(method.name, method.kind, build, method.framewise_only)


def _of_layer(name: str, kind: type[Any]) -> Column:
    return Column(name, kind, lambda model, _: kind(model, relu=False))


COLUMNS = [
    *map(_of_suite, METHODS),
    # Those of the same base as Grad-CAM, which the contract suite leaves to tests of their own.
    _of_layer("grad_cam_plus_plus", ta.GradCAMPlusPlus),
    _of_layer("hires_cam", ta.HiResCAM),
    _of_layer("layer_cam", ta.LayerCAM),
]
