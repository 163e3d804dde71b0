"""One image network, its frames fused early or late."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from temporal_attr._errors import OptionError
from temporal_attr._require import require_size
from temporal_attr.models import EarlyFusion, LateFusion
from temporal_attr.zoo._base import preprocessing, require_classes
from temporal_attr.zoo._residual import WIDTHS, FrameEncoder

FrameFeatures: TypeAlias = Float[Tensor, "batch time feature"]
Pooled: TypeAlias = Float[Tensor, "batch pooled"]


class AttentionPooling(nn.Module):
    """The sum of the frames, each weighted by softmax over time of `w . tanh(V h)`.

    As in attention-based multiple-instance pooling :cite:p:`ilse2018`, equation 8. Blind to order.

    Example:
        >>> tuple(AttentionPooling(features=6)(torch.rand(2, 5, 6)).shape)
        (2, 6)
    """

    def __init__(self, features: int, hidden: int = 32) -> None:
        super().__init__()
        require_size("features", features, 1)
        require_size("hidden", hidden, 1)
        self.project = nn.Linear(features, hidden, bias=False)
        self.score = nn.Linear(hidden, 1, bias=False)
        self.pooled = features

    def forward(self, features: FrameFeatures) -> Pooled:
        """`(batch, time, feature)` to `(batch, feature)`."""
        attention = self.score(torch.tanh(self.project(features))).softmax(1)
        pooled: Tensor = (attention * features).sum(1)
        return pooled


class NetVLAD(nn.Module):
    """Residuals to learned centres, summed by soft assignment :cite:p:`arandjelovic2016`.

    `V_k = sum_t softmax_k(w_k . h_t + b_k) (h_t - c_k)`, each `V_k` and then all of them together
    scaled to length 1 (equations 3 and 4, and section 3.1). Blind to order.

    Example:
        >>> pooled = NetVLAD(features=6, centres=3)(torch.rand(2, 5, 6))
        >>> tuple(pooled.shape), pooled.norm(dim=1).allclose(torch.ones(2))
        ((2, 18), True)
    """

    def __init__(self, features: int, centres: int = 8) -> None:
        super().__init__()
        require_size("features", features, 1)
        require_size("centres", centres, 1)
        self.assign = nn.Linear(features, centres)
        self.centres = nn.Parameter(torch.randn(centres, features) * features**-0.5)
        self.pooled = centres * features

    def forward(self, features: FrameFeatures) -> Pooled:
        """`(batch, time, feature)` to `(batch, centre * feature)`."""
        assignment = self.assign(features).softmax(2)
        sums = torch.einsum("btk,btd->bkd", assignment, features)
        residuals = sums - assignment.sum(1).unsqueeze(2) * self.centres
        return F.normalize(F.normalize(residuals, dim=2).flatten(1), dim=1)


class TemporalPyramid(nn.Module):
    """Means over the whole clip, its halves, quarters and eighths, one after another.

    Temporal pyramid pooling :cite:p:`wang2017`: it sees order between segments. Segments of a clip
    whose length does not divide evenly share frames at their borders (adaptive average pooling).

    Example:
        >>> pyramid = TemporalPyramid(features=1, levels=(1, 2))
        >>> pyramid(torch.tensor([[[0.0], [2.0], [4.0], [6.0]]]))
        tensor([[3., 1., 5.]])
    """

    def __init__(self, features: int, levels: Sequence[int] = (1, 2, 4, 8)) -> None:
        super().__init__()
        require_size("features", features, 1)
        if not levels:
            raise OptionError("levels of at least one number of segments", "none", "Try (1, 2).")
        for level in levels:
            require_size("levels", level, 1)
        self.levels = tuple(levels)
        self.pooled = sum(levels) * features

    def forward(self, features: FrameFeatures) -> Pooled:
        """`(batch, time, feature)` to `(batch, segment * feature)`, coarse segments first."""
        over_time = features.transpose(1, 2)
        pooled = [F.adaptive_avg_pool1d(over_time, level) for level in self.levels]
        return torch.cat(pooled, 2).transpose(1, 2).flatten(1)


SIMPLE: tuple[Literal["mean", "max", "last"], ...] = ("mean", "max", "last")
AGGREGATIONS: dict[str, Callable[..., AttentionPooling | NetVLAD | TemporalPyramid]] = {
    "attention": AttentionPooling,
    "netvlad": NetVLAD,
    "pyramid": TemporalPyramid,
}


def late_fusion(
    classes: int,
    pooling: str = "mean",
    widths: Sequence[int] = WIDTHS,
    blocks: int = 1,
    grid: int = 1,
    size: int | None = None,
    pooling_options: Mapping[str, Any] | None = None,
) -> LateFusion:
    """A residual network on each frame, pooled over time, and a linear classifier.

    With mean, max, attention and NetVLAD it cannot see the order of the frames; with `"last"` it
    sees one frame only; with `"pyramid"` it sees the order of segments.

    Args:
        classes: Number of classes.
        pooling: `"mean"`, `"max"`, `"last"`, `"attention"`, `"netvlad"` or `"pyramid"`.
        widths: Channels of each stage of the encoder.
        blocks: Residual blocks a stage.
        grid: See `FrameEncoder`.
        size: Height and width that clips are resized to; None for any.
        pooling_options: Those of `AttentionPooling`, `NetVLAD` or `TemporalPyramid`.

    Example:
        >>> model = late_fusion(classes=5, pooling="attention", widths=(4, 8)).eval()
        >>> tuple(model.frame_logits(torch.rand(2, 8, 3, 32, 32)).logits.shape)
        (2, 8, 5)
    """
    require_classes(classes)
    encoder = FrameEncoder(widths=widths, blocks=blocks, grid=grid)
    features = encoder.features
    if pooling in AGGREGATIONS:
        known = [name for name in signature(AGGREGATIONS[pooling]).parameters if name != "features"]
        options = dict(pooling_options or {})
        if not options.keys() <= set(known):
            named = f"options of {pooling} pooling, of which there are {', '.join(known)}"
            raise OptionError(named, ", ".join(map(repr, options)), "Choose among them.")
        aggregation = AGGREGATIONS[pooling](features, **options)
        head = nn.Linear(aggregation.pooled, classes)
        return LateFusion(encoder, head, aggregation, preprocessing(size))
    if pooling_options:
        raise OptionError(f"no options for {pooling} pooling", str(pooling_options), "Drop them.")
    for simple in SIMPLE:
        if pooling == simple:
            return LateFusion(encoder, nn.Linear(features, classes), simple, preprocessing(size))
    names = ", ".join(f'"{name}"' for name in (*SIMPLE, *AGGREGATIONS))
    raise OptionError(f"pooling to be one of {names}", repr(pooling), "Choose one of them.")


def early_fusion(
    classes: int,
    frames: int = 16,
    widths: Sequence[int] = WIDTHS,
    blocks: int = 1,
    size: int | None = None,
) -> EarlyFusion:
    """A residual network whose first layer reads all frames, stacked as channels.

    Args:
        classes: Number of classes.
        frames: Length of a clip.
        widths: Channels of each stage.
        blocks: Residual blocks a stage.
        size: Height and width that clips are resized to; None for any.

    Example:
        >>> model = early_fusion(classes=5, frames=8, widths=(4, 8)).eval()
        >>> tuple(model(torch.rand(2, 8, 3, 32, 32)).shape)
        (2, 5)
    """
    require_classes(classes)
    require_size("frames", frames, 1)
    encoder = FrameEncoder(3 * frames, widths, blocks)
    network = nn.Sequential(encoder, nn.Linear(encoder.features, classes))
    return EarlyFusion(network, frames, preprocessing(size))
