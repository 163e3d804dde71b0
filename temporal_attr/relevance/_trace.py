"""An unmodified forward pass whose backward pass propagates relevance instead of gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import CheckpointError

from temporal_attr._errors import ClipError, ModelError
from temporal_attr.relevance._backward import LastLayers
from temporal_attr.relevance._calls import Bounds
from temporal_attr.relevance._composite import Composite
from temporal_attr.relevance._engine import RelevanceMode
from temporal_attr.relevance._rules import Box


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

    def _propagated(self, at_output: Tensor) -> Tensor:
        try:
            (found,) = torch.autograd.grad(self.output, self.clip, at_output, retain_graph=True)
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

    Raises:
        ModelError: If an operation between the two has no rule, with its name and place; if the
            output is not finite; or if the rule at the input needs bounds that are not known.
        ClipError: If the clip lies outside them, or they are not of its shape.

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
    bounds = _pixel_bounds(clip, bounds, composite)
    leaf = clip.detach().requires_grad_()
    mode = RelevanceMode(composite, model, leaf, bounds)
    with torch.enable_grad(), mode:
        # A copy, so that a model that works in place does not trip over a leaf.
        found = forward(leaf.clone())
        output, beside = found if isinstance(found, tuple) else (found, None)
        output = mode.finish(output)
    if not torch.isfinite(output).all():
        raise ModelError(
            "finite logits", "NaN or infinite ones", "Relevance has no meaning there; try float64."
        )
    return Trace(output, leaf, LastLayers(output), beside)


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
