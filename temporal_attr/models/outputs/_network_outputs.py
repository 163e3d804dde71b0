"""Networks that return something else than logits of a clip: of timesteps, or to be reduced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from jaxtyping import Float
from torch import Tensor, nn

from temporal_attr._errors import FrameLogitsError, ModelError
from temporal_attr._told import told
from temporal_attr._typing import ClipTensor, Features, Logits
from temporal_attr.clips import Preprocessing
from temporal_attr.models._base import FrameLogits, RunStage, VideoModel, check_logits
from temporal_attr.models._outputs import logits_of
from temporal_attr.models.layers._axes import require_layout
from temporal_attr.models.outputs._derived import attribute_of

StepOutputsTensor = Float[Tensor, "batch steps classes"]


class _Network(VideoModel):
    """A network as a whole, with what is made of its output."""

    layout = attribute_of("_layout")

    def __init__(
        self, model: nn.Module, layout: str, preprocessing: Preprocessing | None, *others: object
    ) -> None:
        super().__init__(preprocessing)
        self.model = model
        require_layout(layout)
        self._layout = layout
        self._adopt_mode(model, *others)


class StepOutputs(_Network):
    """A network that returns outputs of every timestep: `(batch, steps, classes)`.

    Such are frame-level labels, action segmentation and boundary detectors. The outputs are the
    wrapper's frame logits, and `forward` is their mean over timesteps, which says how much of a
    class there is in the clip (`exactness="linear"`): an int as a `target` explains that. A tuple
    `(timestep, class)` as a target explains one output, as Captum has it, and so does
    `at_timestep`; an int alone is not Captum's, for which it would be a timestep.

    Args:
        model: The network.
        pick: From what it returns to `(batch, steps, classes)`, such as
            `lambda output: output.transpose(1, 2)`, or `output[..., None]` where there is one
            number for each timestep; None where it returns that itself, alone or as logits.
        layout: The network's own input layout, as an einops pattern over the axes
            `batch time channel height width`.
        preprocessing: See `VideoModel`.

    Raises:
        OptionError: If the layout does not name each axis once.
        ModelError: With the first clip, if the outputs are not of every timestep.

    Example:
        >>> import torch
        >>> from temporal_attr import TemporalGradient
        >>> network = nn.Sequential(
        ...     nn.Conv3d(3, 2, 3, padding=1), nn.AdaptiveAvgPool3d((None, 1, 1)), nn.Flatten(2)
        ... ).eval()
        >>> model = StepOutputs(network, lambda output: output.transpose(1, 2))
        >>> clip = torch.rand(2, 6, 3, 8, 8)
        >>> tuple(model.frame_logits(clip).logits.shape)
        (2, 6, 2)
        >>> attribution = TemporalGradient(model).attribute(clip, target=[(0, 1), (5, 1)])
        >>> attribution.flatten(2).any(2).int().tolist()  # a convolution reads three frames
        [[1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1]]
    """

    def __init__(
        self,
        model: nn.Module,
        pick: Callable[[Any], StepOutputsTensor] | None = None,
        layout: str = "batch channel time height width",
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__(model, layout, preprocessing, pick)
        self.pick = pick
        self._frames_per_step = 1

    @property
    def frames_per_step(self) -> int:  # type: ignore[override]
        """Input frames from one timestep to the next, as the last clip told."""
        return self._frames_per_step

    @property
    def stages(self) -> tuple[Callable[[Tensor], Tensor], ...]:
        """The network as one."""
        return (self._outputs,)

    def _outputs(self, clip: Tensor) -> Any:  # noqa: ANN401 - checked where the batch is known
        output = self.model(clip)
        return logits_of(output) if self.pick is None else self.pick(output)

    def features(self, clip: ClipTensor, run: RunStage = lambda stage, x: stage(x)) -> Features:
        """The outputs `(batch, steps, classes)`."""
        outputs = run(self._outputs, self.to_layout(clip))
        if not isinstance(outputs, Tensor) or outputs.ndim != 3 or len(outputs) != len(clip):
            raise ModelError(
                f"outputs of every timestep (batch, steps, classes) with a batch of {len(clip)}",
                told(outputs),
                "Give StepOutputs a function pick that makes these of what the network returns.",
            )
        if outputs.shape[1] > clip.shape[1] >= outputs.shape[2]:
            raise ModelError(
                "outputs (batch, steps, classes), with no more timesteps than frames",
                f"{told(outputs)} for {clip.shape[1]} frames",
                "If classes come first, say StepOutputs(network, lambda output: "
                "output.transpose(1, 2)).",
            )
        check_logits(outputs.flatten(1), len(clip))
        self._frames_per_step = max(1, round(clip.shape[1] / outputs.shape[1]))
        return outputs

    def head(self, features: Features) -> Logits:
        """The mean over timesteps."""
        return self.frame_head(features).clip_logits()

    def frame_head(self, features: Features) -> FrameLogits:
        """The outputs themselves."""
        steps = features.shape[1]
        return FrameLogits(features, features.new_full((steps,), 1 / steps))


class ReducedOutput(_Network):
    """A network whose output is reduced to one row of numbers for each clip.

    For segmentation, detection, embeddings and whatever else a network returns: `reduce` makes
    `(batch, outputs)` of it, such as the mean logit of a class over a mask, the score of the best
    box, or the embedding in a tuple. It has no timesteps: `TemporalGradient` and `ShuffleProbe`,
    `LRP` and `FrameMaskingTSR` do without.

    What is chosen in `reduce` (a mask, a box, a query) should be chosen on the clip itself and
    held, or methods that change the clip explain another choice.

    Args:
        model: The network.
        reduce: From what it returns to `(batch, outputs)`.
        layout: The network's own input layout, as an einops pattern over the axes
            `batch time channel height width`.
        preprocessing: See `VideoModel`.

    Raises:
        OptionError: If the layout does not name each axis once.
        ModelError: With the first clip, if the reduced output is not `(batch, outputs)`.

    Example:
        >>> import torch
        >>> segmenter = nn.Conv3d(3, 4, 3, padding=1).eval()  # logits of classes at every pixel
        >>> mask = torch.zeros(6, 8, 8)
        >>> mask[2:4, :4] = 1 / 64
        >>> model = ReducedOutput(segmenter, lambda maps: (maps * mask).sum((2, 3, 4)))
        >>> model(torch.rand(1, 6, 3, 8, 8)).shape
        torch.Size([1, 4])
    """

    exactness = "none"
    has_timesteps = False

    def __init__(
        self,
        model: nn.Module,
        reduce: Callable[[Any], Tensor],
        layout: str = "batch channel time height width",
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__(model, layout, preprocessing, reduce)
        self.reduce = reduce

    def forward(self, clip: ClipTensor) -> Logits:
        """The reduced output."""
        return check_logits(self.reduce(self.model(self.to_layout(clip))), len(clip))

    def features(self, clip: ClipTensor, run: RunStage = lambda stage, x: stage(x)) -> Features:
        """There are none: what is reduced has no timesteps.

        Raises:
            FrameLogitsError: Always.
        """
        _no_timesteps()

    def head(self, features: Features) -> Logits:
        """See `features`."""
        _no_timesteps()

    def frame_head(self, features: Features) -> FrameLogits:
        """See `features`."""
        _no_timesteps()


def _no_timesteps() -> NoReturn:
    raise FrameLogitsError(
        "a model whose timesteps each have outputs",
        "a ReducedOutput, which has one row of outputs for a clip",
        "Use StepOutputs for a network with outputs of every timestep; TemporalGradient can also "
        "do without (influence=False).",
    )
