"""What a network ends in after its logits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, no_type_check

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
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
        Where a function and no layer makes the probabilities, the network as it is, no path, and
        "identity".

    Example:
        >>> whole = Network(nn.Sequential(nn.Linear(2, 3), nn.Softmax(-1)))
        >>> found, path, activation = without_probabilities(whole, torch.rand(1, 2))
        >>> found(torch.zeros(1, 2)).equal(whole.module[0].bias[None]), path, activation
        (True, '1', 'softmax')
    """
    ends = _Ends()
    with ends:
        output, calls = recorded(network, video, keep=_Same)
    logits = logits_of(output)
    for call in reversed(calls):
        kind = type(network.module.get_submodule(call.path))
        leaves = pytree.tree_leaves(call.output)
        same = any(isinstance(leaf, _Same) and leaf.tensor is logits for leaf in leaves)
        if kind in _ENDS and same:
            parts = {**network.substitutes, call.path: nn.Identity().eval()}
            return replace(network, substitutes=parts), call.path, _ENDS[kind]
    # A function cannot be left out, so that its outputs are taken as they are.
    return network, None, "identity" if any(one is logits for one in ends.found) else None


class _Ends(TorchFunctionMode):
    """Notes what functions give that make probabilities of logits, while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Any] = []

    @no_type_check  # as PyTorch has it
    def __torch_function__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        """Make a call, and look at it."""
        output = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "").removesuffix("_") in ("sigmoid", "softmax"):
            self.found.append(output)
        return output


class _Same:
    """A tensor itself, as what was kept of it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
