"""What a local linear model of the prediction is."""

from __future__ import annotations

from dataclasses import dataclass

from temporal_attr._typing import PerExample
from temporal_attr.attributions._feature_result import FeatureResult


@dataclass(frozen=True, eq=False)
class VideoLIMEResult(FeatureResult):
    """What `VideoLIME.explain` found.

    Attributes:
        attribution: `(batch, time, channel, height, width)`, the coefficient of the feature that
            each pixel belongs to, which is that of the whole feature; the same for all channels.
        frame_scores: `(batch, time)`, the coefficients of the features that have pixels in the
            frame, each by the share of its pixels that lies there.
        full_value: `(batch,)`, the objective of the clip.
        intercept: `(batch,)`, of the linear model, where no feature is present.
        fit: `(batch,)`, the share of the weighted variance of the coalitions' objective that it
            explains; low where features interact.
        features: How many each clip has.
        samples: Coalitions that were evaluated, for each clip.
        complete: False if the run was stopped.
        objective: The name of what was explained.

    Example:
        >>> import torch
        >>> from temporal_attr import Tubes, VideoLIME
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("gru", classes=4, widths=(4, 8)).eval()
        >>> method = VideoLIME(model, Tubes(2, 2, 2), n_samples=50)
        >>> result = method.explain(torch.rand(1, 4, 3, 16, 16), target=1)
        >>> result.features, result.samples, bool(result.fit <= 1)
        ((8,), (50,), True)
    """

    intercept: PerExample
