"""Where in the clip the tokens of attention are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from temporal_attr.relevance._attention_flow import AttentionCall
from temporal_attr.relevance._trace import Trace


def token_means(
    found: Trace, calls: Sequence[AttentionCall], fields: Sequence[Float[Tensor, "*clip"]]
) -> list[list[Tensor]]:
    """What a field over the clip adds up to over the mass of each value of attention.

    The mass of a value that is 1 comes to lie on the clip by the rules that the pass was traced by;
    this is the sum of mass times field. With ones as the field it is what of the mass is on the
    clip; with the number of the frame, divided by that, the frame that the token is at.

    That is the transpose of the map of relevance, for all values at once: it is taken as the
    gradient of a backward pass, which is linear in what it propagates.

    Args:
        found: A pass that was traced by an `AttentionFlow`, best with `sums="skip"`, where a token
            stays at its place whatever it attends to.
        calls: Of that flow.
        fields: Shaped as the clip, or to broadcast against it.

    Returns:
        For each field, for each call, a tensor shaped as the values of the call.

    Example:
        Two tokens, of a frame each, which attend to each other.

        >>> from temporal_attr.relevance import AttentionFlow, trace
        >>> flow = AttentionFlow("skip")
        >>> run = trace(
        ...     lambda x: x + (x @ x.mT).softmax(-1) @ x, torch.rand(1, 2, 3), None, flow.composite
        ... )
        >>> [[frames]] = token_means(run, flow.calls, [torch.tensor([[[0.0], [1.0]]])])
        >>> frames
        tensor([[[0., 0., 0.],
                 [1., 1., 1.]]])
    """
    # A value that is read as it is in the clip is the leaf itself, or a view of it.
    values = [call.values for call in calls]
    with torch.enable_grad():
        mass = [torch.ones_like(value).requires_grad_() for value in values]
        (on_clip,) = torch.autograd.grad(
            values, found.clip, mass, create_graph=True, materialize_grads=True
        )
    found_means = []
    for field in fields:
        weights = field.to(on_clip).expand(on_clip.shape)
        means = torch.autograd.grad(
            on_clip, mass, weights, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        found_means.append([entry.detach() for entry in means])
    return found_means
