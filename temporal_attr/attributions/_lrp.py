"""Layer-wise relevance propagation: a prediction shared among the pixels, and conserved."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, overload

import torch
from captum.attr import GradientAttribution
from captum.log import log_usage
from torch import Tensor

from temporal_attr._typing import ClipTensor, Logits, PerExample, TargetLike
from temporal_attr.attributions._base import VideoMethod
from temporal_attr.attributions._graph import own_graph
from temporal_attr.attributions._objectives import logit, resolve_target
from temporal_attr.attributions._results import PixelResult, Run
from temporal_attr.measures import frame_scores
from temporal_attr.models import VideoModel, check_logits
from temporal_attr.relevance import Composite, Trace, trace


@dataclass(frozen=True, eq=False)
class LRPResult(PixelResult):
    """What `LRP.explain` found.

    Attributes:
        attribution: `(batch, time, channel, height, width)`, the relevance of every value.
        frame_scores: `(batch, time)`, its sum over channel, height and width.
        convergence_delta: `(batch,)`, the target's logit less the sum of all relevance.
    """

    convergence_delta: PerExample

    @property
    def meaning(self) -> str:
        """Relevance."""
        return "relevance for the logit"

    @property
    def frame_meaning(self) -> str:
        """The relevance of a frame."""
        return "relevance of the\nframe for the logit"

    def _details(self, example: int) -> list[str]:
        total = self.frame_scores[example].sum().item()
        lines = [f"relevance sums to {total:.4g}; lost {self.convergence_delta[example]:.2g}"]
        if total:
            lines.append(f"frames with most relevance: {self._top_frames(example)}")
        return lines


def trace_model(
    model: VideoModel | Callable[..., Any],
    forward: Callable[[Tensor], Tensor],
    clip: ClipTensor,
    composite: Composite,
) -> Trace:
    """A pass of something that a model computes, with pixel bounds from its normalization."""
    bounds = None
    normalization = model.normalization if isinstance(model, VideoModel) else None
    if normalization is not None:
        black = torch.zeros_like(clip[:1, :1, :, :1, :1])
        bounds = normalization.apply(black), normalization.apply(black + 1)
    return trace(forward, clip, bounds, composite, model)


class LRP(VideoMethod, GradientAttribution):  # type: ignore[misc]
    r"""Layer-wise relevance propagation :cite:p:`bach2015`, for any video model.

    The target's logit is shared among the inputs of the last layer, what each of these got among
    its own inputs, and so on down to the pixels:
    :math:`R_i = \sum_j \frac{a_i w_{ij}}{\sum_{i'} a_{i'} w_{i'j}} R_j`, by rules that the
    composite names. With the default composite relevance is conserved: it sums to the logit, also
    where there are biases, residual sums, branches and gates.

    Operations are intercepted as functions, not as modules, so nothing has to be rewritten or
    registered, and no weight, hook or module is touched. An operation without a rule (attention,
    so far) is an error that names it; there is no fallback to the gradient.

    Args:
        model: A `VideoModel` (see `temporal_attr.wrap`), or a function of clips
            `(batch, time, channel, height, width)` that returns logits `(batch, classes)`.
        composite: Which rule for which operation; by default `Composite()`, the rules of
            :cite:t:`fan2022`. Their rule at the input, z^B, takes its bounds from the model's
            normalization; for a model without one, give them
            (`Composite(input=Box(low=..., high=...))`) or do without (`Composite(input=None)`).

    Costs: about two forward passes and one backward pass.

    Example:
        >>> from temporal_attr.models import LateFusion
        >>> from temporal_attr.relevance import Composite
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 5)).eval()
        >>> method = LRP(LateFusion(network), Composite(input=None))
        >>> clip = torch.rand(1, 4, 3, 8, 8)
        >>> attribution, delta = method.attribute(clip, target=2, return_convergence_delta=True)
        >>> tuple(attribution.shape), delta.abs().item() < 1e-6
        ((1, 4, 3, 8, 8), True)
    """

    name = "Layer-wise Relevance Propagation"

    def __init__(
        self, model: VideoModel | Callable[..., Any], composite: Composite | None = None
    ) -> None:
        super().__init__(model)
        self.composite = Composite() if composite is None else composite

    @property
    def multiplies_by_inputs(self) -> bool:
        """Relevance is a share of the prediction, not a sensitivity to the input."""
        return True

    def has_convergence_delta(self) -> bool:
        """Relevance sums to the logit, so what is lost can be told."""
        return True

    def compute_convergence_delta(
        self,
        attributions: Tensor | tuple[Tensor, ...],
        output: Tensor,
    ) -> PerExample:
        """The output less the sum of the attribution, for each example (Captum's meaning).

        Args:
            attributions: What `attribute` returned.
            output: `(batch,)`, the target's logit.
        """
        entries = attributions if isinstance(attributions, tuple) else (attributions,)
        sums = torch.stack([entry.flatten(1).sum(1) for entry in entries]).sum(0)
        return output - sums

    @overload
    def attribute(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401
        return_convergence_delta: Literal[False] = False,
    ) -> ClipTensor | tuple[ClipTensor]: ...

    @overload
    def attribute(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401
        *,
        return_convergence_delta: Literal[True],
    ) -> tuple[ClipTensor | tuple[ClipTensor], PerExample]: ...

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Any,
        target: TargetLike = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
    ) -> Any:
        """The relevance of every value of the clip for the target's logit.

        Args:
            inputs: `(batch, time, channel, height, width)`, or a tuple of one such tensor.
            target: The class to explain: an int for all clips, a list or tensor with one for each,
                or one-element tuples; None only where the model has one class.
            additional_forward_args: Handed to a function after the clip; a tuple is spread.
            return_convergence_delta: Also return, for each example, the logit less the sum of its
                relevance `(batch,)`.

        Returns:
            A tensor (or tuple) shaped like `inputs`, in logits: positive where a value speaks for
            the target, and, with rules that allow it, negative where it speaks against it.

        Raises:
            ClipError: If `inputs` is not one clip of finite floats within the bounds of z^B.
            TargetError: If `target` does not name a class for each clip.
            ModelError: If the model is in training mode, does not return finite logits, or does
                something that has no rule; the message says what, where, and how to give it one.
        """
        relevance, logits, classes = self._relevance(inputs, target, additional_forward_args)
        found = (relevance,) if isinstance(inputs, tuple) else relevance
        if return_convergence_delta:
            return found, self.compute_convergence_delta(relevance, logit(logits, classes))
        return found

    def explain(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
    ) -> LRPResult:
        """The relevance, its sums over frames, and what was lost; arguments as for `attribute`."""
        start = time.perf_counter()
        relevance, logits, classes = self._relevance(inputs, target, additional_forward_args)
        return LRPResult(
            logits=logits,
            target=classes,
            run=relevance_run(1, None, start),
            attribution=relevance,
            frame_scores=frame_scores(relevance, "sum"),
            convergence_delta=self.compute_convergence_delta(relevance, logit(logits, classes)),
        )

    def _relevance(
        self,
        inputs: Any,  # noqa: ANN401
        target: TargetLike,
        additional_forward_args: Any,  # noqa: ANN401
    ) -> tuple[Tensor, Logits, Tensor]:
        """Relevance of the clip, the logits, and the classes explained."""
        clip = self._one_clip(inputs)
        arguments = self._checked_arguments(additional_forward_args)
        with own_graph((clip,)) as (own,):

            def forward(clip: Tensor) -> Tensor:
                return check_logits(self.model(clip, *arguments), len(clip))

            run = trace_model(self.model, forward, own, self.composite)
            logits = run.output.detach()
            classes = resolve_target(target, logits)
            start = torch.zeros_like(logits)
            start.scatter_(1, classes[:, None], logits.gather(1, classes[:, None]))
            return run.relevance(start).contiguous(), logits, classes


def relevance_run(evaluations: int, chunk_size: int | None, start: float) -> Run:
    """The record of a run that kept the whole pass."""
    return Run(
        memory="whole",
        tried=(),
        precision="full",
        evaluations=evaluations,
        chunk_size=chunk_size,
        seconds=time.perf_counter() - start,
    )
