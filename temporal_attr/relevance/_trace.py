"""An unmodified forward pass whose way back carries relevance instead of gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from temporal_attr._errors import ClipError, ModelError
from temporal_attr.relevance._composite import Composite
from temporal_attr.relevance._engine import RelevanceMode
from temporal_attr.relevance._operations import Split
from temporal_attr.relevance._rules import Box


@dataclass(frozen=True)
class Trace:
    """A forward pass that relevance can travel back through, as often as one likes."""

    output: Tensor
    clip: Tensor

    def relevance(self, at_output: Tensor) -> Tensor:
        """The relevance of the clip's elements, from that of the output's."""
        (shared,) = torch.autograd.grad(self.output, self.clip, at_output, retain_graph=True)
        return shared

    def relevances(self, at_outputs: Tensor) -> Tensor:
        """The same for several `(rows, *output)` at once: `(rows, *clip)`.

        Faster for small networks, and for rows that reach the same parts of the clip.
        """
        shared: Tensor = torch.vmap(self.relevance)(at_outputs)
        return shared

    def contrasted(self) -> Trace:
        """The same pass, whose last layers also subtract what speaks against each output.

        Relevance R goes back from an output through the weights of the last layer, and R' from the
        same output through these weights negated; below that layer both take the same way, which
        is linear in relevance. So one pass of R - R' stands for two.

        The last layers are those from whose outputs no other layer follows.
        """
        for node in self._last_layers():
            node.split = _difference(node.split, node.opposed())
            node.opposed = None
        return self

    def _last_layers(self) -> list[Any]:
        seen: set[Any] = set()
        found, waiting = [], [self.output.grad_fn]
        while waiting:
            node = waiting.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            if getattr(node, "opposed", None) is not None:
                found.append(node)
            else:
                waiting += [parent for parent, _ in node.next_functions]
        return found


def _difference(split: Split, opposed: Split) -> Split:
    def difference(relevance: Tensor) -> list[Tensor]:
        pairs = zip(split(relevance), opposed(relevance), strict=True)
        return [one - other for one, other in pairs if one is not None and other is not None]

    return difference


def trace(
    forward: Callable[[Tensor], Tensor],
    clip: Tensor,
    bounds: tuple[Tensor, Tensor] | None,
    composite: Composite,
    model: Any,  # noqa: ANN401
) -> Trace:
    """Run a forward pass under a composite.

    Every torch function between clip and output is replaced by one with the same value, whose way
    back splits relevance. No module, weight or hook is touched. Functions that only move values
    keep autograd's own way back; what has no rule is an error, never a gradient.

    Args:
        forward: From the clip to an output of any shape, in evaluation mode.
        clip: Any tensor.
        bounds: The smallest and largest value of each of its elements, for `Box` at the input; None
            if they are not known.
        composite: The rules.
        model: Whose submodules an error names; None for a plain function.

    Raises:
        ModelError: If an operation on the way has no rule, with its name and place; if the output
            is not finite; or if the rule at the input needs bounds that are not known.
        ClipError: If the clip lies outside them.

    Example:
        >>> from torch import nn
        >>> relu = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> x = torch.rand(1, 4)
        >>> run = trace(relu, x, (torch.zeros(1, 4), torch.ones(1, 4)), Composite(), relu)
        >>> torch.equal(run.output, relu(x))
        True
        >>> shared = run.relevance(torch.tensor([[1.0, 0.0]]))
        >>> torch.allclose(shared.sum(), torch.tensor(1.0), atol=1e-4)
        True
    """
    bounds = _pixel_bounds(clip, bounds, composite)
    leaf = clip.detach().requires_grad_()
    with torch.enable_grad(), RelevanceMode(composite, model, leaf, bounds):
        # A copy, so that a model that works in place does not trip over a leaf.
        output = forward(leaf.clone())
    if not torch.isfinite(output).all():
        raise ModelError(
            "finite logits", "NaN or infinite ones", "Relevance has no meaning there; try float64."
        )
    return Trace(output, leaf)


def _pixel_bounds(
    clip: Tensor, bounds: tuple[Tensor, Tensor] | None, composite: Composite
) -> tuple[Tensor, Tensor]:
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
    # Room for the rounding of a pixel that is exactly black or white.
    room = 1e-5 * (high - low)
    outside = int(((clip < low - room) | (clip > high + room)).sum())
    if outside:
        raise ClipError(
            f"pixels within the bounds of z^B, {low.min():.4g} to {high.max():.4g}",
            f"{outside} of {clip.numel()} values outside (from {clip.min():.4g} to "
            f"{clip.max():.4g})",
            "Apply the model's preprocessing, clamp the clip, or give Box wider bounds.",
        )
    return low.expand_as(clip).contiguous(), high.expand_as(clip).contiguous()
