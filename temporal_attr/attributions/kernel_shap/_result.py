"""What the Shapley values of features are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from temporal_attr._typing import PerExample
from temporal_attr.attributions._feature_result import FeatureResult


@dataclass(frozen=True, eq=False)
class KernelSHAPResult(FeatureResult):
    """What `KernelSHAP.explain` found.

    Attributes:
        attribution: `(batch, time, channel, height, width)`, the Shapley value of the feature that
            each pixel belongs to, which is that of the whole feature; the same for all channels.
        frame_scores: `(batch, time)`, the values of the features that have pixels in the frame,
            each by the share of its pixels that lies there; their sum is
            `full_value - empty_value`.
        full_value: `(batch,)`, the objective of the clip.
        empty_value: `(batch,)`, the objective where all features are masked.
        error_map: `(batch, time, height, width)`, the standard error of the value of each pixel's
            feature; 0 where all coalitions were evaluated, NaN where there were fewer than two
            pairs of them for each feature.
        fit: `(batch,)`, the share of the variance of the coalitions' objective that the values
            explain; low where features interact.
        features: How many each clip has.
        samples: Coalitions that were evaluated, for each clip.
        complete: False if the run was stopped.
        objective: The name of what was explained.

    Example:
        >>> import torch
        >>> from temporal_attr import KernelSHAP, Tubes
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("gru", classes=4, widths=(4, 8)).eval()
        >>> method = KernelSHAP(model, Tubes(2, 2, 2), n_samples=255)
        >>> result = method.explain(torch.rand(1, 4, 3, 16, 16), target=1)
        >>> gap = result.full_value - result.empty_value - result.frame_scores.sum(1)
        >>> bool(gap.abs() < 1e-5), result.samples, bool(result.error_map.any())
        (True, (255,), False)
    """

    large: ClassVar[tuple[str, ...]] = ("attribution", "error_map")

    empty_value: PerExample
    error_map: Float[Tensor, "batch time height width"]
