"""Runs of a network from one of its layers to another.

A run from a layer calls the network as always. What ran before the layer returns empty outputs of
the shapes that it has, the layer returns what the run starts from, and nothing that came before
reaches what comes after. A run to a layer ends there.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from temporal_attr._errors import FrameLogitsError, ModelError
from temporal_attr.models.layers._copies import ModuleCopies, runs_as, submodule, without_hooks


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


_ONE_NUMBER = "single memory location"
"""What PyTorch says where a tensor is written to whose entries are one number."""


class _Reached(BaseException):
    """A run came to the layer where it ends; no network catches it."""

    def __init__(self, output: Any) -> None:  # noqa: ANN401 - whatever a layer returns
        super().__init__("reached")
        self.output = output


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
    network: nn.Module,
    video: Tensor,
    substitutes: Mapping[str, nn.Module] | None = None,
    keep: Callable[[Tensor], Any] = shape_only,
) -> tuple[Any, list[Call]]:
    """What a network returns for a video, and the calls of its modules on the way.

    Args:
        network: It is run as a copy.
        video: In the network's own layout.
        substitutes: See `ModuleCopies`.
        keep: What is kept of each tensor that a module returns.

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        >>> output, calls = recorded(network, torch.ones(1, 2))
        >>> [(call.path, tuple(call.output.shape)) for call in calls]
        [('', (1, 3)), ('0', (1, 3)), ('1', (1, 3))]
    """
    copies = ModuleCopies(network, substitutes)
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
    output = copies.root(video)
    return output, [calls[order] for order in sorted(calls)]


@dataclass(frozen=True, eq=False)
class Plan:
    """How a network is run from one of its layers, for clips of one shape.

    Attributes:
        video: The shape of the network's input.
        layer: The path of the layer.
        output: What the layer returns, of tensors their `Shape`.
        place: Which of the tensors in it is the one that a run starts from.
        before: What ran before the layer, by path: what each call returned, in order.
    """

    video: Shape
    layer: str
    output: Any
    place: int
    before: dict[str, tuple[Any, ...]]

    @property
    def shape(self) -> Shape:
        """The shape of what a run starts from."""
        found: Shape = pytree.tree_leaves(self.output)[self.place]
        return found


def planned(layer: str, one: tuple[Tensor, list[Call]], two: tuple[Tensor, list[Call]]) -> Plan:
    """The plan of runs from a layer.

    Args:
        layer: Its path.
        one: A video of one clip, and the calls that it makes.
        two: One of two clips, likewise.

    Raises:
        FrameLogitsError: If the layer does not run, or more than once.
        ModelError: If the modules that run depend on the number of clips.
    """
    video, calls = one
    at = [call for call in calls if call.path == layer]
    if len(at) != 1:
        raise FrameLogitsError(
            f"a layer that runs once for a clip, at {layer!r}",
            f"one that runs {len(at)} times",
            "Name one that is called as a module, such as those that layers(model, clip) lists.",
        )
    started, around, above = at[0], set(), at[0].parent
    by_order = {call.order: call for call in calls}
    while above >= 0:
        around.add(above)
        above = by_order[above].parent
    others = {call.order: call for call in two[1]}
    if [call.path for call in calls] != [call.path for call in two[1]]:
        raise ModelError(
            "a network whose modules run in the same order for one clip and for two",
            "another order",
            "Pass a function of clips: TemporalGradient(lambda clip: network(clip)).",
        )
    before: dict[str, list[Any]] = defaultdict(list)
    for call in calls:
        if call.ended < started.order and call.parent in around:
            before[call.path].append(_shapes(call.output, others[call.order].output))
    output = _shapes(started.output, others[started.order].output)
    tensors = [isinstance(leaf, Shape) for leaf in pytree.tree_leaves(output)]
    if not any(tensors):
        raise FrameLogitsError(
            f"a layer that returns a tensor, at {layer!r}",
            type(started.output).__name__,
            "Name another layer.",
        )
    shape = _shape(video, two[0])
    settled = {path: tuple(outputs) for path, outputs in before.items()}
    return Plan(shape, layer, output, tensors.index(True), settled)


def run_to(
    network: nn.Module,
    video: Tensor,
    layer: str,
    substitutes: Mapping[str, nn.Module] | None = None,
) -> Any:  # noqa: ANN401 - whatever a layer returns
    """What a layer of a network returns for a video; nothing after it is run."""
    copies = ModuleCopies(network, substitutes)
    return _ended(copies, layer, lambda: copies.root(video))


def run_from(
    network: nn.Module,
    plan: Plan,
    start: Tensor,
    stop: str | None = None,
    substitutes: Mapping[str, nn.Module] | None = None,
) -> Any:  # noqa: ANN401 - whatever a network returns
    """What a network, or one of its layers, returns where an earlier layer gives `start`.

    Args:
        network: The network.
        plan: Of runs from the earlier layer.
        start: What that layer gives.
        stop: Where the run ends; None for the end of the network.
        substitutes: See `ModuleCopies`.
    """
    axis = plan.shape.batch_axis
    batch = 1 if axis is None else start.shape[axis] // plan.shape.sizes[axis]

    def run(spread: bool) -> tuple[Any, bool]:
        copies = ModuleCopies(network, substitutes)
        skipped = _Skipped(plan, start, batch, spread)
        skipped.put_on(copies)
        video = plan.video.empty(batch, spread)
        return _ended(copies, stop, lambda: copies.root(video)), skipped.reached

    try:
        output, reached = run(spread=True)
    except RuntimeError as error:
        # Something before the layer works in place on what a module returned.
        if _ONE_NUMBER not in str(error):
            raise
        output, reached = run(spread=False)
    if not reached:
        raise FrameLogitsError(
            f"a network that calls its layer {plan.layer!r} by way of its registered submodules",
            "one that calls it by another reference",
            "Name another layer, or subclass VideoModel.",
        )
    return output


def _ended(copies: ModuleCopies, stop: str | None, run: Callable[[], Any]) -> Any:  # noqa: ANN401
    """What a run gives, or the layer where it is to end."""
    if stop is None:
        return run()

    def ends(_module: nn.Module, _args: Any, output: Any) -> None:  # noqa: ANN401
        raise _Reached(output)

    copies.at(stop).register_forward_hook(ends)
    try:
        run()
    except _Reached as reached:
        return reached.output
    raise FrameLogitsError(
        f"a layer that runs, at {stop!r}",
        "one that the network does not call as a module",
        "Name another layer.",
    )


class _Skipped:
    """What stands in place of all that runs before a layer, and of the layer.

    Args:
        plan: Of the run.
        start: What the layer is to return.
        batch: Number of clips.
        spread: See `Shape.empty`.
    """

    def __init__(self, plan: Plan, start: Tensor, batch: int, spread: bool) -> None:
        self._plan = plan
        self._start = start
        self._batch = batch
        self._spread = spread
        self.reached = False

    def put_on(self, copies: ModuleCopies) -> None:
        """Have copies return it."""
        for path, outputs in self._plan.before.items():
            copy = copies.at(path)
            without_hooks(copy)
            runs_as(copy, self._before(copy.forward, outputs))
        layer = copies.at(self._plan.layer)
        without_hooks(layer)
        runs_as(layer, self._layer)

    def _before(self, forward: Callable[..., Any], outputs: tuple[Any, ...]) -> Callable[..., Any]:
        waiting = deque(outputs)

        def skipped(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            # A module that is shared runs again after the layer, as itself.
            if self.reached:
                return forward(*args, **kwargs)
            return self._empty(waiting.popleft())

        return skipped

    def _layer(self, *_args: Any, **_kwargs: Any) -> Any:  # noqa: ANN401
        self.reached = True
        leaves, structure = pytree.tree_flatten(self._plan.output)
        filled = [self._empty(leaf) for leaf in leaves]
        filled[self._plan.place] = self._start
        return pytree.tree_unflatten(filled, structure)

    def _empty(self, output: Any) -> Any:  # noqa: ANN401
        return pytree.tree_map_only(
            Shape, lambda shape: shape.empty(self._batch, self._spread), output
        )


def _shapes(one: Any, two: Any) -> Any:  # noqa: ANN401 - whatever modules return
    """An output with the shape of each of its tensors, told from one clip and two."""
    return pytree.tree_map(
        lambda first, other: _shape(first, other) if isinstance(first, Tensor) else first, one, two
    )


def _shape(one: Tensor, two: Tensor) -> Shape:
    grown = [
        axis
        for axis, (size, other) in enumerate(zip(one.shape, two.shape, strict=True))
        if size != other
    ]
    if len(grown) > 1 or any(two.shape[axis] != 2 * one.shape[axis] for axis in grown):
        raise ModelError(
            "modules whose outputs have one axis that grows with the number of clips",
            f"one of shape {tuple(one.shape)} for a clip and {tuple(two.shape)} for two",
            "Name another layer, or subclass VideoModel.",
        )
    return Shape(tuple(one.shape), grown[0] if grown else None, one.dtype, one.device)


__all__ = ["Call", "Plan", "Shape", "planned", "recorded", "run_from", "run_to", "submodule"]
