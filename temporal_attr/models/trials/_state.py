"""What a network keeps between passes: looked at, and put back after a trial."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

_Contents = dict[str, Any] | list[Any] | set[Any]


@contextmanager
def put_back(module: nn.Module) -> Iterator[None]:
    """Put back afterwards what passes change of a module: buffers, attributes, lists of its own.

    Values of parameters are not kept, which would take the memory of a second network;
    `tensor_versions` tells whether they were written to.

    Example:
        >>> network = nn.BatchNorm1d(2).train()
        >>> network.seen = []
        >>> with put_back(network):
        ...     _ = network(torch.rand(3, 2))
        ...     network.seen.append(3)
        ...     network.extra = 1
        >>> network.num_batches_tracked.item(), network.seen, hasattr(network, "extra")
        (0, [], False)
    """
    buffers = [(one, one.detach().clone()) for one in module.buffers()]
    parts = [(part, dict(vars(part))) for part in module.modules()]
    held = [(value, _copied(value)) for _, kept in parts for value in kept.values()]
    try:
        yield
    finally:
        for part, kept in parts:
            vars(part).clear()
            vars(part).update(kept)
        for value, before in held:
            _refill(value, before)
        for one, value in buffers:
            # Not all of them, as a write is a change to whoever counts them.
            if not one.is_meta and not torch.equal(one, value):
                one.detach().copy_(value)


def tensor_versions(module: nn.Module) -> dict[str, tuple[int, int]]:
    """Which tensor each parameter and buffer is, and how often it was written to, by name.

    PyTorch does not count what batch norm's kernels write to running statistics.

    Example:
        >>> norm = nn.BatchNorm1d(2)
        >>> before = tensor_versions(norm)
        >>> _ = norm(torch.rand(3, 2))
        >>> sorted(name for name, now in tensor_versions(norm).items() if now != before[name])
        ['num_batches_tracked']
    """
    named = (*module.named_parameters(), *module.named_buffers())
    # Tensors made in inference mode do not count their versions.
    return {name: (id(one), 0 if one.is_inference() else one._version) for name, one in named}


def _copied(value: object) -> _Contents | None:
    kinds = (dict, list, set)
    return value.copy() if isinstance(value, kinds) and not isinstance(value, nn.Module) else None


def _refill(value: Any, before: _Contents | None) -> None:  # noqa: ANN401 - a container, or else
    """Give a container what it held before."""
    if before is None:
        return
    if isinstance(value, list):
        value[:] = before
    else:
        value.clear()
        value.update(before)
