"""Layer-wise relevance propagation: options and checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, overload

import torch
from captum.attr import GradientAttribution
from captum.log import log_usage
from torch import Tensor, nn

from temporal_attr._activation import Activation
from temporal_attr._errors import ClipError
from temporal_attr._precision import wide
from temporal_attr._run import started
from temporal_attr._typing import ClipTensor, PerExample, TargetLike
from temporal_attr.attributions._by_timestep import by_timestep
from temporal_attr.attributions._estimate import Call, Work
from temporal_attr.attributions._method import VideoMethod, as_given
from temporal_attr.attributions._relevance import relevance_ratio, require_composite
from temporal_attr.attributions._traits import CLIP_AXES, Traits
from temporal_attr.attributions.lrp._audit import RelevanceAudit
from temporal_attr.attributions.lrp._compute import (
    RelevanceRequest,
    clip_relevance,
    relevance_work,
)
from temporal_attr.attributions.lrp._result import LRPResult
from temporal_attr.gradients import logit
from temporal_attr.measures import frame_scores
from temporal_attr.models import VideoModel, require_visible_attention
from temporal_attr.relevance import AuditLog, Composite


class LRP(VideoMethod, GradientAttribution):  # type: ignore[misc]
    r"""Layer-wise relevance propagation :cite:p:`bach2015`, for any video model.

    The target's logit is distributed over the inputs of the last layer, what each of these received
    over its own inputs, and so on down to the pixels:
    :math:`R_i = \sum_j \frac{a_i w_{ij}}{\sum_{i'} a_{i'} w_{i'j}} R_j`, by rules that the
    composite names. With the default composite relevance is conserved: it sums to the logit, also
    where there are biases, residual sums, branches and gates.

    Operations are intercepted as functions, not as modules, so nothing has to be rewritten or
    registered, and no weight, hook or module is touched. An operation without a rule is an error
    that names it; there is no fallback to the gradient. Of a model that ends in a softmax or
    sigmoid, the logits before it are explained.

    In transformers the default holds attention weights constant and gives all relevance to the
    values; `temporal_attr.relevance.composites` has other composites by name. Relevance that ends
    in something other than the clip, such as a class token, is in the result's `sinks`.

    Args:
        model: A `VideoModel` (see `temporal_attr.wrap`), or a function of clips
            `(batch, time, channel, height, width)` that returns logits `(batch, classes)`.
        composite: Which rule for which operation. By default those that were found best
            (docs/relevance.md): `composites.paper()`, the rules of :cite:t:`fan2022`, and for
            models with attention `composites.transformer()`; the result says which. Their rule at
            the input, z^B, takes its bounds from the model's normalization; for a model without
            one, give them
            (`Composite(input=Box(low=..., high=...))`) or do without (`Composite(input=None)`).
        activation: What turns the model's outputs into the probabilities that a result shows; see
            `TemporalGradient`.

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
    traits = Traits(
        slug="lrp",
        question="How much of the logit came from each pixel?",
        gives="relevance, which sums to the logit",
        axes=CLIP_AXES,
        sign="signed",
        unit="logits",
        needs=("relevance rules",),
        cost="about 2 F and one backward pass",
        source="bach2015",
    )

    def __init__(
        self,
        model: VideoModel | Callable[..., Any],
        composite: Composite | None = None,
        activation: Activation | None = None,
    ) -> None:
        super().__init__(model, activation)
        self.composite = require_composite(composite)

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
        sums = torch.stack([entry.flatten(1).sum(1, dtype=wide(entry)) for entry in entries])
        return (output - sums.sum(0)).to(output)

    @overload
    def attribute(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401
        *,
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
    @by_timestep
    def attribute(
        self,
        inputs: Any,
        target: TargetLike = None,
        additional_forward_args: Any = None,
        *,
        return_convergence_delta: bool = False,
    ) -> Any:
        """The relevance of every value of the clip for the target's logit.

        Args:
            inputs: `(batch, time, channel, height, width)`, or a tuple of one such tensor.
            target: The class to explain: an int for all clips, a list or tensor with one for each,
                or one-element tuples; None only where the model has one class. A tuple
                `(timestep, class)`, or a list with one for each, explains the logits of a timestep.
            additional_forward_args: Handed to a function after the clip; a tuple is spread.
            return_convergence_delta: Also return, for each example, the logit less the sum of its
                relevance `(batch,)`.

        Returns:
            A tensor (or tuple) shaped like `inputs`, in logits: positive where a value supports the
            target, and, with rules that allow it, negative where it opposes it.

        Raises:
            ClipError: If `inputs` is not one clip of finite floats within the bounds of z^B.
            TargetError: If `target` does not name a class for each clip.
            ModelError: If the model is in training mode, does not return finite logits, or does
                something that has no rule; the message says what, where, and how to give it one.
        """
        with started() as run:
            found = clip_relevance(self._request(inputs, target, additional_forward_args), run)
        attribution = as_given(found.relevance, inputs)
        if return_convergence_delta:
            explained = logit(found.logits, found.target)
            return attribution, self.compute_convergence_delta(found.relevance, explained)
        return attribution

    @by_timestep
    def explain(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
    ) -> LRPResult:
        """The relevance, its sums over frames, and what was lost; arguments as for `attribute`."""
        request = self._request(inputs, target, additional_forward_args)
        with started() as run:
            found = clip_relevance(request, run, sinks=True)
        explained = logit(found.logits, found.target)
        return LRPResult(
            logits=found.logits,
            target=found.target,
            run=run.finished(found.relevance.shape[0] * found.relevance.shape[1]),
            class_names=self.class_names,
            activation=self.activation,
            attribution=found.relevance,
            frame_scores=frame_scores(found.relevance, "sum"),
            convergence_delta=self.compute_convergence_delta(found.relevance, explained),
            relevance_ratio=relevance_ratio(found.relevance.flatten(1).abs().sum(1), explained),
            sinks={name: got.to(explained) for name, got in found.sinks.items()},
            from_probabilities=found.from_probabilities,
            rules=found.rules,
        )

    def _work(self, inputs: object, target: TargetLike, arguments: object, of: Call) -> Work:
        """Of both calls; only `explain` follows relevance to all else."""
        request = self._request(inputs, target, arguments)
        return relevance_work(request, sinks=of == "explain")

    @by_timestep
    def audit(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
    ) -> RelevanceAudit:
        """What every operation between clip and logit does with relevance, in a table.

        Args:
            inputs: One clip `(1, time, channel, height, width)`.
            target: As for `attribute`.
            additional_forward_args: As for `attribute`.

        Raises:
            ClipError: If there is more than one clip.
            ModelError: And the others, as for `attribute`.

        Example:
            >>> from temporal_attr.zoo import build_model
            >>> model = build_model("tubelet-transformer", classes=4, frames=4, size=16).eval()
            >>> audit = LRP(model).audit(torch.rand(1, 4, 3, 16, 16), target=1)
            >>> audit.calls[-1].function, abs(audit.calls[-1].unexplained) < 1e-4
            ('linear', True)
        """
        request = self._request(inputs, target, additional_forward_args)
        if len(request.clip) != 1:
            raise ClipError("one clip", f"{len(request.clip)}", "Audit them one by one.")
        log = AuditLog(self.model)
        with started() as run:
            found = clip_relevance(request, run, sinks=True, log=log)
        explained = logit(found.logits, found.target)
        return RelevanceAudit(
            calls=log.calls(),
            logit=float(explained),
            clip=float(found.relevance.sum(dtype=wide(found.relevance))),
            sinks={name: float(got) for name, got in found.sinks.items()},
        )

    def _request(
        self,
        inputs: Any,  # noqa: ANN401
        target: TargetLike,
        additional_forward_args: Any,  # noqa: ANN401
    ) -> RelevanceRequest:
        """A call's arguments, checked."""
        if isinstance(self.model, nn.Module):
            require_visible_attention(self.model)
        clip, arguments = self._checked_single(inputs, additional_forward_args)
        return RelevanceRequest(self.model, clip, target, arguments, self.composite)
