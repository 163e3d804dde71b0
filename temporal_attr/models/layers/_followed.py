"""Which tensors depend on given features, and which of them are gates."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.weak import WeakIdKeyDictionary


class Followed:
    """The tensors of a pass that depend on some features.

    A gate is a number between 0 and 1 for each entry, such as what a sigmoid gives, or a view of
    it: where it multiplies another tensor it says how much of it passes.

    Args:
        features: The first of them.

    Example:
        >>> import torch
        >>> x = torch.ones(2)
        >>> followed = Followed(x)
        >>> y = x + 1
        >>> followed.has(y), followed.through([x], y), followed.has(y)
        (False, None, True)
    """

    def __init__(self, features: Tensor) -> None:
        self._gates: Any = WeakIdKeyDictionary()
        self._gates[features] = False

    def of(self, values: Any) -> list[Tensor]:  # noqa: ANN401 - the arguments of a call
        """Those among values."""
        return [leaf for leaf in pytree.tree_leaves(values) if self.has(leaf)]

    def has(self, value: Any) -> bool:  # noqa: ANN401 - it may be anything
        """Whether a value is one of them."""
        return isinstance(value, Tensor) and value in self._gates

    def is_gate(self, tensor: Tensor) -> bool:
        """Whether it is a gate."""
        return bool(self._gates[tensor])

    def add(self, output: Any, gate: bool) -> None:  # noqa: ANN401 - whatever a function returns
        """Note that an output depends on the features."""
        for leaf in pytree.tree_leaves(output):
            if isinstance(leaf, Tensor) and leaf.is_floating_point():
                self._gates[leaf] = gate

    def through(self, operands: list[Tensor], output: Any, mixed: bool = False) -> None:  # noqa: ANN401
        """Note an output of a linear function.

        It is a gate where all operands are, unless they were mixed by weights.
        """
        if operands:
            self.add(output, gate=not mixed and all(self.is_gate(one) for one in operands))
