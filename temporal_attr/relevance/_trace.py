"""An unmodified forward pass whose backward pass propagates relevance instead of gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import CheckpointError

from temporal_attr._errors import ClipError, ModelError
from temporal_attr._precision import wide
from temporal_attr.models import check_fits
from temporal_attr.relevance._audit import AuditLog
from temporal_attr.relevance._backward import LastLayers, compute_splits
from temporal_attr.relevance._calls import Bounds
from temporal_attr.relevance._composite import Composite
from temporal_attr.relevance._engine import RelevanceMode
from temporal_attr.relevance._rules import Box
from temporal_attr.relevance._sinks import Sinks


@dataclass(frozen=True)
class Trace:
    """A forward pass from whose output relevance can be propagated back, as often as one likes.

    Contrastive relevance: R is propagated from an output through the weights of the last layer, and
    R' from the same output through these weights negated :cite:p:`gu2018`; below that layer both
    are propagated by the same rules, which are linear in relevance. So one backward pass of R - R'
    stands for two. The last layers are those whose outputs no other layer reads.

    Attributes:
        output: What the forward pass computed.
        clip: The leaf that it depends on.
        beside: What else the forward pass returned.
        from_probabilities: Whether `output` are the logits before the softmax or sigmoid that the
            forward pass ended in: relevance starts there.
        attends: Whether attention weights that were held constant were multiplied with values.

    Example:
        Of two units one supports the output and one opposes it; z+ follows the first, and contrast
        subtracts what the second takes through negated weights.

        >>> last = torch.nn.Linear(2, 1, bias=False)
        >>> last.weight.data = torch.tensor([[3.0, -2.0]])
        >>> run = trace(last, torch.ones(1, 2), None, Composite(input=None))
        >>> run.output.tolist()
        [[1.0]]
        >>> start = run.output.detach()
        >>> run.relevance(start).tolist(), run.relevance(start, contrastive=True).tolist()
        ([[1.0, 0.0]], [[1.0, -1.0]])
        >>> run.relevances(torch.stack([start, 2 * start])).tolist()
        [[[1.0, 0.0]], [[2.0, 0.0]]]
    """

    output: Float[Tensor, "*output"]
    clip: Float[Tensor, "*clip"]
    _last_layers: LastLayers
    beside: Any = None
    from_probabilities: bool = False
    attends: bool = False
    _sinks: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def has_sinks(self) -> bool:
        """Whether relevance can go to anything but the clip, as far as it was asked for."""
        return bool(self._sinks)

    def relevance(
        self, at_output: Float[Tensor, "*output"], contrastive: bool = False
    ) -> Float[Tensor, "*clip"]:
        """The relevance of the clip's elements, from that of the output's.

        Raises:
            ModelError: If it is not finite.
        """
        with self._last_layers.contrasted(contrastive):
            return _finite(self._propagated(at_output))

    def relevances(
        self, at_outputs: Float[Tensor, "rows *output"], contrastive: bool = False
    ) -> Float[Tensor, "rows *clip"]:
        """The same for several relevances of the output at once.

        Faster for small networks, and for rows that reach the same parts of the clip.
        """
        with self._last_layers.contrasted(contrastive):
            found: Tensor = torch.vmap(self._propagated)(at_outputs)
            return _finite(found)

    def relevance_and_sinks(
        self, at_output: Float[Tensor, "*output"], contrastive: bool = False
    ) -> tuple[Float[Tensor, "*clip"], dict[str, Float[Tensor, ""]]]:
        """The same, and the sum of what each sink gets, by its name.

        Together they add up to what there is at the output, over the whole batch. Sinks are there
        if the pass was traced with them.

        Raises:
            ModelError: If it is not finite.
        """
        leaves = (self.clip, *self._sinks.values())
        with self._last_layers.contrasted(contrastive):
            found, *sums = self._gradients(leaves, at_output)
        reached = zip(self._sinks, sums, strict=True)
        relevance = torch.zeros_like(self.clip) if found is None else found
        return _finite(relevance), {name: got for name, got in reached if got is not None}

    def relevances_and_sink_sums(
        self, at_outputs: Float[Tensor, "rows *output"], contrastive: bool = False
    ) -> tuple[Float[Tensor, "rows *clip"], Float[Tensor, "rows"]]:
        """The same for several relevances of the output at once, with the sum over all sinks."""
        leaves = (self.clip, *self._sinks.values())

        def shares(at_output: Tensor) -> tuple[Tensor, Tensor]:
            found, *sums = self._gradients(leaves, at_output)
            nothing = at_output.sum(dtype=wide(at_output)) * 0
            reached = [got for got in sums if got is not None]
            relevance = nothing.to(self.clip) + torch.zeros_like(self.clip)
            return relevance if found is None else found, sum(reached, nothing)

        with self._last_layers.contrasted(contrastive):
            relevance, sums = torch.vmap(shares)(at_outputs)
        return _finite(relevance), sums

    def _propagated(self, at_output: Tensor) -> Tensor:
        (found,) = self._gradients((self.clip,), at_output)
        assert found is not None
        return found

    def _gradients(
        self, leaves: tuple[Tensor, ...], at_output: Tensor
    ) -> tuple[Tensor | None, ...]:
        try:
            found: tuple[Tensor | None, ...] = torch.autograd.grad(
                self.output, leaves, at_output, retain_graph=True, allow_unused=len(leaves) > 1
            )
        except CheckpointError as error:
            raise ModelError(
                "a model that keeps what its forward pass computes",
                "one that computes it again (torch.utils.checkpoint)",
                "Run it without checkpointing.",
            ) from error
        return found


def _finite(relevance: Tensor) -> Tensor:
    if not torch.isfinite(relevance).all():
        raise ModelError(
            "finite relevance", "NaN or infinite values", "Try float64, or a larger epsilon."
        )
    return relevance


def trace(
    forward: Callable[[Tensor], Tensor | tuple[Tensor, Any]],
    clip: Float[Tensor, "*clip"],
    bounds: Bounds | None,
    composite: Composite,
    model: Any = None,  # noqa: ANN401
    *,
    logits: bool = False,
    sinks: bool = False,
    log: AuditLog | None = None,
) -> Trace:
    """Run a forward pass under a composite.

    Every torch function between clip and output is replaced by one with the same value, whose
    backward splits relevance. No module, weight or hook is touched. Functions that only move values
    keep autograd's own backward; what has no rule is an error, never a gradient.

    Args:
        forward: From the clip to an output of any shape, in evaluation mode; or to a pair of it and
            anything else that is wanted of the pass (`Trace.beside`).
        clip: Any tensor.
        bounds: The smallest and largest value of each of its elements, or tensors that broadcast
            against it, for `Box` at the input; None if they are not known.
        composite: The rules.
        model: Whose submodules an error names; None for a plain function.
        logits: Where the forward pass ends in a softmax or sigmoid, take what comes before it as
            the output.
        sinks: Keep account of relevance that goes to anything but the clip: constants that stand
            beside the data (class tokens, borders), biases and shifts under rules that count them,
            and what a rule loses.
        log: Where what happens at each function is written down.

    Raises:
        ModelError: If an operation between the two has no rule, with its name and place; if the
            output is not finite; or if the rule at the input needs bounds that are not known.
        ClipError: If the clip lies outside them, or they are not of its shape; or it is of another
            precision or device than the weights.

    Example:
        >>> from torch import nn
        >>> relu = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> x = torch.rand(1, 4)
        >>> run = trace(relu, x, (torch.zeros(1, 4), torch.ones(1, 4)), Composite(), relu)
        >>> torch.equal(run.output, relu(x))
        True
        >>> relevance = run.relevance(torch.tensor([[1.0, 0.0]]))
        >>> torch.allclose(relevance.sum(), torch.tensor(1.0), atol=1e-4)
        True
    """
    check_fits(forward if model is None else model, clip)
    bounds = _pixel_bounds(clip, bounds, composite)
    leaf = clip.detach().requires_grad_()
    kept = Sinks(model, leaf, log) if sinks else None
    mode = RelevanceMode(composite, model, leaf, bounds, kept, log)
    with torch.enable_grad(), eagerly(), mode:
        # A copy, so that a model that works in place does not trip over a leaf.
        found = forward(leaf.clone())
        given, beside = found if isinstance(found, tuple) else (found, None)
        output = mode.finish(mode.logits_of(given) if logits else given)
    if not torch.isfinite(output).all():
        raise ModelError(
            "finite logits", "NaN or infinite ones", "Relevance has no meaning there; try float64."
        )
    compute_splits(output)
    leaves = {} if kept is None else kept.leaves
    return Trace(
        output, leaf, LastLayers(output), beside, output is not given, mode.attends, leaves
    )


def eagerly() -> AbstractContextManager[None]:
    """Lets parts that `torch.compile` made run as they were written: a mode cannot see into them.

    The compiler would trace the engine itself with them, which takes it longer than the pass.
    """
    set_stance = getattr(torch.compiler, "set_stance", None)
    if set_stance is None:
        off: AbstractContextManager[None] = torch._dynamo.config.patch(disable=True)
        return off
    stance: AbstractContextManager[None] = set_stance("force_eager")
    return stance


def _pixel_bounds(clip: Tensor, bounds: Bounds | None, composite: Composite) -> Bounds:
    """The bounds of each element of the clip; any, where the rule at the input asks for none."""
    rule = composite.input
    if not isinstance(rule, Box):
        return clip.detach(), clip.detach()
    low, high = bounds or (None, None)
    low, high = (
        known if given is None else torch.as_tensor(given, dtype=clip.dtype, device=clip.device)
        for given, known in ((rule.low, low), (rule.high, high))
    )
    if low is None or high is None:
        raise ModelError(
            "the smallest and largest value of a pixel, which the rule z^B at the input needs",
            "a model without a normalization",
            "Give the wrapper its preprocessing, or use Composite(input=Box(low=..., high=...)); "
            "Composite(input=None) treats the first layer like the others.",
        )
    _require_broadcast(clip, low, high)
    _require_within_bounds(clip, low, high)
    return low.expand_as(clip).contiguous(), high.expand_as(clip).contiguous()


def _require_broadcast(clip: Tensor, *bounds: Tensor) -> None:
    for bound in bounds:
        try:
            fits = torch.broadcast_shapes(clip.shape, bound.shape) == clip.shape
        except RuntimeError:
            fits = False
        if not fits:
            raise ClipError(
                f"bounds of pixels that broadcast against the clip, {tuple(clip.shape)}",
                f"one of shape {tuple(bound.shape)}",
                "Give numbers, or one for each channel as (channel, 1, 1).",
            )


def _require_within_bounds(clip: Tensor, low: Tensor, high: Tensor) -> None:
    # Room for the rounding of a pixel that is exactly black or white.
    room = 1e-5 * (high - low)
    # So written that a bound that is NaN, which compares false, has nothing inside.
    outside = int((~((clip >= low - room) & (clip <= high + room))).sum())
    if outside:
        raise ClipError(
            f"pixels within the bounds of z^B, {low.min():.4g} to {high.max():.4g}",
            f"{outside} of {clip.numel()} values outside (from {clip.min():.4g} to "
            f"{clip.max():.4g})",
            "Apply the model's preprocessing, clamp the clip, or give Box wider bounds.",
        )
