"""What the modules of a network return in a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from temporal_attr._errors import ModelError
from temporal_attr.models.layers._copies import Network


@dataclass(frozen=True)
class Shape:
    """The shape of a tensor, and which of its axes grows with the batch.

    Attributes:
        sizes: With one clip.
        batch_axis: None where the tensor is the same for any batch.
        dtype: Of the tensor.
        device: Of the tensor.
    """

    sizes: tuple[int, ...]
    batch_axis: int | None
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def told(cls, one: Tensor, two: Tensor) -> Shape:
        """The shape of what one clip gives, told from that of two.

        Raises:
            ModelError: If more than one axis grows with the number of clips.
        """
        pairs = enumerate(zip(one.shape, two.shape, strict=True))
        grown = [axis for axis, (size, other) in pairs if size != other]
        if len(grown) > 1 or any(two.shape[axis] != 2 * one.shape[axis] for axis in grown):
            raise ModelError(
                "modules whose outputs have one axis that grows with the number of clips",
                f"one of shape {tuple(one.shape)} for a clip and {tuple(two.shape)} for two",
                "Name another layer, or subclass VideoModel.",
            )
        return cls(tuple(one.shape), grown[0] if grown else None, one.dtype, one.device)

    def fits(self, tensor: Tensor) -> bool:
        """Whether a tensor has this shape, for any number of clips."""
        axis = self.batch_axis
        if tensor.ndim != len(self.sizes):
            return False
        pairs = zip(tensor.shape, self.sizes, strict=True)
        return all(
            size % own == 0 if place == axis else size == own
            for place, (size, own) in enumerate(pairs)
        )

    def empty(self, batch: int, spread: bool = True) -> Tensor:
        """Zeros of that shape for a batch; `spread` are one number, and cannot be written to."""
        sizes = list(self.sizes)
        if self.batch_axis is not None:
            sizes[self.batch_axis] *= batch
        zeros = torch.zeros(() if spread else sizes, dtype=self.dtype, device=self.device)
        return zeros.expand(sizes)


@dataclass(frozen=True)
class Call:
    """One call of a module in a run.

    Attributes:
        path: Of the module.
        parent: The number of the call that it was made in; -1 for that of the network itself.
        order: When it began.
        ended: When it ended, in the same count.
        output: What it returned; of tensors their `Shape` (or, while recorded, the tensors).
    """

    path: str
    parent: int
    order: int
    ended: int
    output: Any


def first_tensor(output: Any) -> Tensor:  # noqa: ANN401 - whatever a layer returns
    """The first tensor in what a layer returns.

    Example:
        >>> first_tensor((None, [torch.ones(1)]))
        tensor([1.])
    """
    found: Tensor = next(leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor))
    return found


def shape_only(tensor: Tensor) -> Tensor:
    """A tensor of the same shape that takes no memory.

    Example:
        >>> shape_only(torch.ones(2, 3)).shape
        torch.Size([2, 3])
    """
    return tensor.detach().new_zeros(()).expand(tensor.shape)


def recorded(
    network: Network,
    video: Tensor,
    keep: Callable[[Tensor], Any] = shape_only,
) -> tuple[Any, list[Call]]:
    """What a network returns for a video, and the calls of its modules on the way.

    Args:
        network: It is run as a copy.
        video: In the network's own layout.
        keep: What is kept of each tensor that a module returns.

    Example:
        >>> network = Network(nn.Sequential(nn.Linear(2, 3), nn.ReLU()))
        >>> output, calls = recorded(network, torch.ones(1, 2))
        >>> [(call.path, tuple(call.output.shape)) for call in calls]
        [('', (1, 3)), ('0', (1, 3)), ('1', (1, 3))]
    """
    copies = network.copies()
    calls: dict[int, Call] = {}
    open_calls: list[int] = []
    count = iter(range(2**62))

    def watch(path: str, copy: nn.Module) -> None:
        def begins(_module: nn.Module, _args: Any) -> None:  # noqa: ANN401
            order = next(count)
            parent = open_calls[-1] if open_calls else -1
            calls[order] = Call(path, parent, order, -1, None)
            open_calls.append(order)

        def ends(_module: nn.Module, _args: Any, output: Any) -> None:  # noqa: ANN401
            order = open_calls.pop()
            kept = pytree.tree_map_only(Tensor, keep, output)
            calls[order] = Call(path, calls[order].parent, order, next(count), kept)

        copy.register_forward_pre_hook(begins, prepend=True)
        copy.register_forward_hook(ends)

    for path, copy in copies.named():
        watch(path, copy)
    output = network.call(copies, video)
    return output, [calls[order] for order in sorted(calls)]
