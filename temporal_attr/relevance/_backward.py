"""The backward pass: nodes of autograd's graph that split relevance, and the last layers."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.nn.modules import module
from torch.nn.modules._functions import BackwardHookFunction

from temporal_attr.relevance._calls import Deferred, Handled, Sink, Split

Audited: TypeAlias = Callable[[Any, Sequence[Tensor | None], Sequence[Tensor]], None]
"""Called in a backward pass with the relevance of an output, of each input, and of each sink."""


class Propagation(torch.autograd.Function):
    """An output that is computed already, whose backward pass splits relevance."""

    @staticmethod
    def forward(ctx: Any, node: Node, *inputs: Tensor) -> Any:  # noqa: ANN401
        """The output as it is."""
        ctx.split, ctx.opposed = node.handled.split, node.handled.opposed
        ctx.sinks, ctx.leaves, ctx.audited = node.handled.sinks, node.leaves, node.audited
        ctx.rule = node.handled.rule
        output = node.handled.output
        ctx.single = isinstance(output, Tensor)
        # Dropout in evaluation mode returns its input, of which autograd would make a view.
        storages = {entry.untyped_storage().data_ptr() for entry in inputs}
        if isinstance(output, Tensor):
            return _apart(output, storages)
        return tuple(_apart(entry, storages) for entry in output)

    @staticmethod
    def backward(ctx: Any, *relevances: Tensor) -> Any:  # noqa: ANN401
        """The relevance of each input, and of each sink."""
        relevance = relevances[0] if ctx.single else relevances
        parts = ctx.split(relevance)
        sums = [
            sink.received(relevance).to(leaf)
            for sink, leaf in zip(ctx.sinks, ctx.leaves, strict=False)
        ]
        if ctx.audited is not None:
            ctx.audited(relevance, parts, sums)
        return (None, *parts, *sums)


@dataclass(frozen=True)
class Node:
    """What a node of the graph is made from.

    Attributes:
        handled: The output, and how its relevance is split.
        leaves: One scalar for each sink, where relevance of it is added up; none if sinks are not
            asked for.
        audited: What is told of each backward pass.
    """

    handled: Handled
    leaves: tuple[Tensor, ...] = ()
    audited: Audited | None = None


def propagate(node: Node) -> Any:  # noqa: ANN401 - a tensor, or a tuple of them
    """The output of a call, with a node in the graph that splits its relevance."""
    return Propagation.apply(node, *node.handled.inputs, *node.leaves)


def _apart(output: Tensor, storages: Collection[int]) -> Tensor:
    """An output that shares no memory with the inputs, and is no view: it may be overwritten."""
    if output.untyped_storage().data_ptr() in storages:
        return output.clone()
    return output.data if output._is_view() else output


def is_foreign(node: Any) -> bool:  # noqa: ANN401
    """Whether the backward of a node is a custom function's, and not `Propagation`'s."""
    return isinstance(node, BackwardCFunction) and _function(node) is not Propagation


def is_module_hook(node: Any) -> bool:  # noqa: ANN401
    """Whether a node calls the full backward hooks of a module; its outputs are its inputs."""
    return isinstance(node, BackwardCFunction) and _function(node) is BackwardHookFunction


def may_have_hooks(model: Any) -> bool:  # noqa: ANN401
    """Whether there may be such nodes: modules have hooks, or which modules run is not known."""
    if not isinstance(model, nn.Module):
        return True
    everywhere = (module._global_backward_hooks, module._global_backward_pre_hooks)
    return any(everywhere) or any(
        part._backward_hooks or part._backward_pre_hooks for part in model.modules()
    )


def _function(node: BackwardCFunction) -> Any:  # noqa: ANN401
    return getattr(type(node), "_forward_cls", None)


def ancestors(node: Any, known: Collection[Any] = ()) -> Iterator[Any]:  # noqa: ANN401
    """A node of a graph and all that it depends on, but for what is known already."""
    seen, waiting = set(known), [node]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        waiting += [parent for parent, _ in node.next_functions]


def compute_splits(output: Tensor) -> None:
    """Compute the splits of all calls that relevance of an output reaches.

    Not while it propagates: a pass of several relevances at once (vmap) computes nothing else.
    """
    for node in ancestors(output.grad_fn):
        split = getattr(node, "split", None)
        if isinstance(split, Deferred):
            split.made()


def depends_on(tensor: Tensor, leaf: Tensor) -> bool:
    """Whether autograd's graph leads from a tensor to a leaf."""
    nodes = ancestors(tensor.grad_fn)
    return any(getattr(node, "variable", None) is leaf for node in nodes)


class LastLayers:
    """The layers of a forward pass whose outputs no other layer reads.

    In a contrastive backward pass they subtract R', by their weights negated, from R. PyTorch gives
    a node nothing but the values that it propagates, and runs those on a GPU in threads of their
    own: neither an argument nor a context variable can tell it which kind of pass it is in. So the
    nodes hold the split of the pass that runs, and a lock lets one pass run at a time.

    Args:
        output: Of the forward pass. All layers but the last let go of what contrast would need.
    """

    def __init__(self, output: Tensor) -> None:
        layers = [node for node in ancestors(output.grad_fn) if getattr(node, "opposed", None)]
        read: set[Any] = set()
        for layer in layers:
            if layer not in read:
                for parent, _ in layer.next_functions:
                    read.update(ancestors(parent, read))
        # The split and the sinks of each layer, and what makes those that contrast subtracts.
        self._splits: dict[Any, tuple[_Shares, Callable[[], _Shares]]] = {
            layer: ((layer.split, layer.sinks), functools.cache(layer.opposed))
            for layer in layers
            if layer not in read
        }
        self._lock = threading.Lock()
        for layer in layers:
            layer.opposed = None

    def __len__(self) -> int:
        return len(self._splits)

    @contextmanager
    def contrasted(self, contrastive: bool) -> Iterator[None]:
        """Let these layers subtract what opposes each output, for one backward pass."""
        with self._lock:
            try:
                if contrastive:
                    for layer, ((split, sinks), opposed) in self._splits.items():
                        other, others = opposed()
                        layer.split = _difference(split, other)
                        layer.sinks = tuple(map(_sink_difference, sinks, others))
                yield
            finally:
                for layer, ((split, sinks), _) in self._splits.items():
                    layer.split, layer.sinks = split, sinks


_Shares: TypeAlias = tuple[Split, tuple[Sink, ...]]
"""What inputs get, and what sinks get."""


def _sink_difference(sink: Sink, opposed: Sink) -> Sink:
    def received(relevance: Any) -> Tensor:  # noqa: ANN401
        return sink.received(relevance) - opposed.received(relevance)

    return Sink(sink.name, received)


def _difference(split: Split, opposed: Split) -> Split:
    def difference(relevance: Tensor) -> list[Tensor | None]:
        pairs = zip(split(relevance), opposed(relevance), strict=True)
        return [None if one is None or other is None else one - other for one, other in pairs]

    return difference
