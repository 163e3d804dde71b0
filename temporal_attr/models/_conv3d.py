"""3D-convolutional models: space and time mixed together, pooled at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from temporal_attr._errors import FrameLogitsError, ModelError
from temporal_attr._require import require_count
from temporal_attr._typing import ClipTensor, Features, Logits, StepWeights
from temporal_attr.clips import Preprocessing
from temporal_attr.models._base import FrameLogits, RunStage, is_affine
from temporal_attr.models._parts import WholeAndParts

Volume = Float[Tensor, "batch channel steps height width"]


class Conv3D(WholeAndParts):
    """A network over `(batch, channel, time, height, width)`, pooled over space and time.

    `forward` calls the model itself. Its timesteps are found from the parts you name: `stages`
    (run one after another they give the last feature map), `pool` and `classifier`. The
    classifier is applied to each timestep before the pooling over time. With an affine classifier
    (`exactness="linear"`) the weighted sum over timesteps is the model's output; otherwise a
    timestep's logits are the prediction from that step's features alone (`"none"`). The weights are
    uniform unless the pooling has overlapping windows, as in S3D, where they are a trapezoid.

    The named parts are checked against the model's own output once, on the first clip, in
    evaluation mode: parts that leave something out are an error, not another answer.

    A timestep is no slice of the video: its receptive field is usually the whole clip.

    Args:
        model: The network.
        stages: Names of its submodules up to the last feature map, in order. Without them the
            model still predicts, but has no `frame_logits`.
        pool: Name of its pooling module (`nn.AdaptiveAvgPool3d` to one timestep, or
            `nn.AvgPool3d` without padding in time); None for a mean over time and space.
        classifier: Name of its classifier, over the last axis (`nn.Linear`) or over the channel
            axis of the map (1x1x1 `nn.Conv3d`).
        frames_per_step: Temporal stride of the stages.
        preprocessing: See `VideoModel`.

    Example:
        >>> import torch
        >>> net = nn.Sequential(
        ...     nn.Conv3d(3, 4, 3, padding="same"),
        ...     nn.AdaptiveAvgPool3d(1),
        ...     nn.Flatten(),
        ...     nn.Linear(4, 5),
        ... ).eval()
        >>> model = Conv3D(net, stages=["0"], pool="1", classifier="3")
        >>> clip = torch.rand(2, 8, 3, 16, 16)
        >>> torch.allclose(model.frame_logits(clip).clip_logits(), model(clip), atol=1e-6)
        True
    """

    layout = "batch channel time height width"
    remedy = (
        "Name every submodule between input and pool, in order; where the model's forward does "
        "more than call them, subclass VideoModel."
    )

    def __init__(
        self,
        model: nn.Module,
        stages: Sequence[str] = (),
        pool: str | None = None,
        classifier: str | None = None,
        frames_per_step: int = 1,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__(model, preprocessing)
        require_count("frames_per_step", frames_per_step, 1)
        self.frames_per_step = frames_per_step
        # Names, not modules: a module would be registered as a child a second time.
        self._names = (tuple(stages), pool, classifier)
        if self.stages and self._classifier is not None and not is_affine(self._classifier):
            self.exactness = "none"
        if self._pool is not None:
            require_mean(self._pool)

    @property
    def stages(self) -> tuple[Callable[[Tensor], Tensor], ...]:
        """The submodules up to the last feature map."""
        return tuple(_part(self.model, name) for name in self._names[0])

    @property
    def _pool(self) -> nn.Module | None:
        name = self._names[1]
        return None if name is None else _part(self.model, name)

    @property
    def _classifier(self) -> nn.Module | None:
        name = self._names[2]
        return None if name is None else _part(self.model, name)

    def features(self, clip: ClipTensor, run: RunStage = lambda stage, x: stage(x)) -> Features:
        """The last feature map `(batch, channel, steps, height, width)`."""
        if not self.stages or self._classifier is None:
            raise FrameLogitsError(
                "Conv3D with the names of its stages, pool and classifier",
                f"stages for {type(self.model).__name__} that were not named",
                'Name them, such as Conv3D(model, stages=["stem", "layer1"], pool="avgpool", '
                'classifier="fc"); or use a model that wrap() recognises.',
            )
        return super().features(clip, run)

    def head(self, features: Features) -> Logits:
        """Logits of the pooled map."""
        pooled = (
            features.mean((2, 3, 4), keepdim=True) if self._pool is None else self._pool(features)
        )
        return self._classify(pooled).mean(1)

    def frame_head(self, features: Features) -> FrameLogits:
        """Logits of each timestep of the map, pooled over space only."""
        logits = self._classify(pool_space(self._pool, features))
        return FrameLogits(logits, time_weights(self._pool, features.shape[2], features))

    def _classify(self, volume: Volume) -> Tensor:
        """Logits `(batch, steps, classes)` of a map, averaged over space."""
        assert self._classifier is not None  # features() has refused otherwise
        on_map = any(isinstance(part, nn.Conv3d) for part in self._classifier.modules())
        if on_map:
            scores: Tensor = self._classifier(volume)
            return scores.mean((3, 4)).transpose(1, 2)
        rows = volume.permute(0, 2, 3, 4, 1)
        scores = self._classifier(rows.flatten(0, 3)).unflatten(0, rows.shape[:-1])
        return scores.mean((2, 3))


def _part(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError:
        known = ", ".join(child for child, _ in model.named_children())
        raise ModelError(
            f"a submodule {name!r} of {type(model).__name__}",
            f"submodules {known}",
            "Name one as in model.named_modules().",
        ) from None


def require_mean(pool: nn.Module) -> None:
    """Raise unless a pooling is a mean over windows of its own in time."""
    if isinstance(pool, nn.AdaptiveAvgPool3d) and triple(pool.output_size)[0] == 1:
        return
    if isinstance(pool, nn.AvgPool3d):
        plain = not pool.ceil_mode and pool.divisor_override is None
        if plain and triple(pool.padding)[0] == 0:
            return
    raise ModelError(
        "pool to be AdaptiveAvgPool3d to one timestep, or AvgPool3d unpadded in time",
        str(pool),
        "Subclass VideoModel and write head and frame_head for this pooling.",
    )


def triple(value: Any) -> tuple[int, int, int]:  # noqa: ANN401 - PyTorch takes both
    """Time, height and width of a size that may be one number for all."""
    return (value, value, value) if isinstance(value, int) else tuple(value)


def pool_space(pool: nn.Module | None, volume: Volume) -> Float[Tensor, "batch channel steps _ _"]:
    """The pooling with a temporal extent of one."""
    if isinstance(pool, nn.AvgPool3d):
        kernel, stride, padding = map(triple, (pool.kernel_size, pool.stride, pool.padding))
        return F.avg_pool3d(
            volume,
            (1, *kernel[1:]),
            (1, *stride[1:]),
            padding,
            count_include_pad=pool.count_include_pad,
        )
    if isinstance(pool, nn.AdaptiveAvgPool3d):
        return F.adaptive_avg_pool3d(volume, (volume.shape[2], *triple(pool.output_size)[1:]))
    return volume.mean((3, 4), keepdim=True)


def time_weights(pool: nn.Module | None, steps: int, like: Tensor) -> StepWeights:
    """How much each timestep counts in the mean over the pooling's windows, in the dtype `like`."""
    if not isinstance(pool, nn.AvgPool3d):
        return like.new_full((steps,), 1 / steps)
    kernel, stride = triple(pool.kernel_size)[0], triple(pool.stride)[0]
    starts = range(0, steps - kernel + 1, stride)
    weights = like.new_zeros(steps)
    for start in starts:
        weights[start : start + kernel] += 1 / (kernel * len(starts))
    return weights
