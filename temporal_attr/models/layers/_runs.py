"""Runs of a network from one of its layers to another.

A run from a layer calls the network as always. What ran before the layer returns empty outputs of
the shapes that it has, the layer returns what the run starts from, and nothing that came before
reaches what comes after. A run to a layer ends there.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from temporal_attr._errors import FrameLogitsError, ModelError
from temporal_attr.models.layers._copies import ModuleCopies, Network, runs_as, without_hooks
from temporal_attr.models.layers._recording import Call, Shape

_ONE_NUMBER = "single memory location"
"""What PyTorch says where a tensor is written to whose entries are one number."""


class _Reached(BaseException):
    """A run came to the layer where it ends; no network catches it."""

    def __init__(self, output: Any) -> None:  # noqa: ANN401 - whatever a layer returns
        super().__init__("reached")
        self.output = output


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
    shape = Shape.told(video, two[0])
    settled = {path: tuple(outputs) for path, outputs in before.items()}
    return Plan(shape, layer, output, tensors.index(True), settled)


def run_to(
    network: Network,
    video: Tensor,
    layer: str,
) -> Any:  # noqa: ANN401 - whatever a layer returns
    """What a layer of a network returns for a video; nothing after it is run."""
    copies = network.copies()
    return _ended(copies, layer, lambda: network.call(copies, video))


def run_from(
    network: Network,
    plan: Plan,
    start: Tensor,
    stop: str | None = None,
) -> Any:  # noqa: ANN401 - whatever a network returns
    """What a network, or one of its layers, returns where an earlier layer gives `start`.

    Args:
        network: The network.
        plan: Of runs from the earlier layer.
        start: What that layer gives.
        stop: Where the run ends; None for the end of the network.
    """
    axis = plan.shape.batch_axis
    batch = 1 if axis is None else start.shape[axis] // plan.shape.sizes[axis]

    def run(spread: bool) -> tuple[Any, bool]:
        copies = network.copies()
        skipped = _Skipped(plan, start, batch, spread)
        skipped.put_on(copies)
        video = plan.video.empty(batch, spread)
        return _ended(copies, stop, lambda: network.call(copies, video)), skipped.reached

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
        # Modules with a kernel for the whole of them, such as a transformer's layer, call their
        # parts where one has a hook.
        layer.register_forward_hook(_nothing)

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
        # A copy, because what follows may work on it in place, and the caller keeps it.
        filled[self._plan.place] = self._start.clone()
        return pytree.tree_unflatten(filled, structure)

    def _empty(self, output: Any) -> Any:  # noqa: ANN401
        return pytree.tree_map_only(
            Shape, lambda shape: shape.empty(self._batch, self._spread), output
        )


def _nothing(_module: nn.Module, _args: Any, _output: Any) -> None:  # noqa: ANN401
    """A hook that changes nothing."""


def _shapes(one: Any, two: Any) -> Any:  # noqa: ANN401 - whatever modules return
    """An output with the shape of each of its tensors, told from one clip and two."""
    return pytree.tree_map(
        lambda first, other: Shape.told(first, other) if isinstance(first, Tensor) else first,
        one,
        two,
    )
