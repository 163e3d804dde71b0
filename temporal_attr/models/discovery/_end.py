"""What a network ends in after its logits."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from temporal_attr._activation import Activation
from temporal_attr.models._outputs import logits_of
from temporal_attr.models.layers import Network
from temporal_attr.models.layers._recording import recorded

_ENDS: dict[type[nn.Module], Activation] = {
    nn.Softmax: "softmax",
    nn.LogSoftmax: "softmax",
    nn.Sigmoid: "sigmoid",
}
"""Layers that make probabilities, or their logarithms, of logits."""


@torch.no_grad()
def without_probabilities(
    network: Network, video: Tensor
) -> tuple[Network, str | None, Activation | None]:
    """A network without the layer that makes probabilities of its logits, if its last is one.

    Args:
        network: The network.
        video: In its own layout.

    Returns:
        The network, in which that layer stands replaced; the path of the layer; and what it is.

    Example:
        >>> whole = Network(nn.Sequential(nn.Linear(2, 3), nn.Softmax(-1)))
        >>> found, path, activation = without_probabilities(whole, torch.rand(1, 2))
        >>> found(torch.zeros(1, 2)).equal(whole.module[0].bias[None]), path, activation
        (True, '1', 'softmax')
    """
    output, calls = recorded(network, video, keep=_Same)
    logits = logits_of(output)
    for call in reversed(calls):
        kind = type(network.module.get_submodule(call.path))
        leaves = pytree.tree_leaves(call.output)
        same = any(isinstance(leaf, _Same) and leaf.tensor is logits for leaf in leaves)
        if kind in _ENDS and same:
            parts = {**network.substitutes, call.path: nn.Identity().eval()}
            return replace(network, substitutes=parts), call.path, _ENDS[kind]
    return network, None, None


class _Same:
    """A tensor itself, as what was kept of it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
