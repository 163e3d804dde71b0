"""An unmodified forward pass whose way back carries relevance instead of gradient."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from temporal_attr._errors import ClipError, ModelError
from temporal_attr.relevance._composite import Composite
from temporal_attr.relevance._engine import RelevanceMode, ancestors
from temporal_attr.relevance._operations import Split
from temporal_attr.relevance._rules import Box


@dataclass(frozen=True)
class Trace:
    """A forward pass that relevance can travel back through, as often as one likes.

    Contrastive relevance: R goes back from an output through the weights of the last layer, and R'
    from the same output through these weights negated :cite:p:`gu2018`; below that layer both take
    the same way, which is linear in relevance. So one pass of R - R' stands for two. The last
    layers are those whose outputs no other layer reads.

    Attributes:
        output: What the pass computed.
        clip: The leaf that it hangs on.
        beside: What else the pass gave back.
    """

    output: Tensor
    clip: Tensor
    _last_layers: tuple[Any, ...]
    beside: Any = None

    def relevance(self, at_output: Tensor, contrastive: bool = False) -> Tensor:
        """The relevance of the clip's elements, from that of the output's.

        Raises:
            ModelError: If it is not finite.
        """
        with self._contrasted(contrastive):
            return _finite(self._back(at_output))

    def relevances(self, at_outputs: Tensor, contrastive: bool = False) -> Tensor:
        """The same for several `(rows, *output)` at once: `(rows, *clip)`.

        Faster for small networks, and for rows that reach the same parts of the clip.
        """
        with self._contrasted(contrastive):
            shared: Tensor = torch.vmap(self._back)(at_outputs)
            return _finite(shared)

    def _back(self, at_output: Tensor) -> Tensor:
        (shared,) = torch.autograd.grad(self.output, self.clip, at_output, retain_graph=True)
        return shared

    @contextmanager
    def _contrasted(self, contrastive: bool) -> Iterator[None]:
        """The last layers subtract what speaks against each output, for a while."""
        kept = [(node, node.split) for node in self._last_layers if contrastive]
        for node, split in kept:
            node.split = _difference(split, node.opposed())
        try:
            yield
        finally:
            for node, split in kept:
                node.split = split


def _difference(split: Split, opposed: Split) -> Split:
    def difference(relevance: Tensor) -> list[Tensor]:
        pairs = zip(split(relevance), opposed(relevance), strict=True)
        return [one - other for one, other in pairs if one is not None and other is not None]

    return difference


def _finite(relevance: Tensor) -> Tensor:
    if not torch.isfinite(relevance).all():
        raise ModelError(
            "finite relevance", "NaN or infinite values", "Try float64, or a larger epsilon."
        )
    return relevance


def _last_layers(output: Tensor) -> tuple[Any, ...]:
    """The layers whose outputs no other layer reads; the others let go of what they would need."""
    layers = [node for node in ancestors(output.grad_fn) if getattr(node, "opposed", None)]
    read: set[Any] = set()
    for layer in layers:
        if layer not in read:
            for parent, _ in layer.next_functions:
                read.update(ancestors(parent, read))
    for layer in layers:
        layer.opposed = None if layer in read else functools.cache(layer.opposed)
    return tuple(layer for layer in layers if layer not in read)


def trace(
    forward: Callable[[Tensor], Tensor | tuple[Tensor, Any]],
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
        forward: From the clip to an output of any shape, in evaluation mode; or to a pair of it and
            anything else that is wanted of the pass (`Trace.beside`).
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
    mode = RelevanceMode(composite, model, leaf, bounds)
    with torch.enable_grad(), mode:
        # A copy, so that a model that works in place does not trip over a leaf.
        found = forward(leaf.clone())
        output, beside = found if isinstance(found, tuple) else (found, None)
        mode.finish(output)
    if not torch.isfinite(output).all():
        raise ModelError(
            "finite logits", "NaN or infinite ones", "Relevance has no meaning there; try float64."
        )
    return Trace(output, leaf, _last_layers(output), beside)


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
