"""One pass of a network with its graph, and what it tells of the network's layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.utils import _pytree as pytree

from temporal_attr._errors import ModelError
from temporal_attr._memory import is_out_of_memory
from temporal_attr.models._outputs import require_rows
from temporal_attr.models.layers._axes import FITS_NOT, TimeAxis, one_and_two
from temporal_attr.models.layers._copies import Network, submodule
from temporal_attr.models.layers._cuts import cut_nodes
from temporal_attr.models.layers._reading import measured
from temporal_attr.models.layers._recording import Call, first_tensor, recorded, shape_only
from temporal_attr.models.layers._runs import planned, run_from


@dataclass(frozen=True)
class Layer:
    """A layer that the timesteps of a network can be taken from.

    Attributes:
        path: As in `named_modules()`.
        kind: Name of its class.
        shape: Of its output, for one clip.
        time_axis: The axis of timesteps.
        steps: How many there are.
        adds_up: Whether the logits are a sum over its timesteps: all that follows is linear, or
            mixes them in a mean over time only.
        reach: Input frames that the timestep in the middle depends on.
        framewise: Whether each timestep depends on one frame, its own.
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    time_axis: int
    steps: int
    adds_up: bool
    reach: int
    framewise: bool


class Search:
    """One pass of a network with its graph, and others to compare with.

    Args:
        network: The network.
        clip: `(1, time, channel, height, width)`.
        layout: What it takes.
        output: From what it returns to logits.

    Raises:
        ModelError: If the output has not one row for the clip.
    """

    def __init__(
        self, network: Network, clip: Tensor, layout: str, output: Callable[[Any], Tensor]
    ) -> None:
        self._network = network
        self._output = output
        self._layout = layout
        self._leaf = clip.clone().requires_grad_()
        with torch.enable_grad():
            video = self._to_video(self._leaf.clone())
            returned, self._calls = recorded(network, video, keep=_Kept.of)
            self._logits = output(returned)
        if self._logits.shape[:1] != (1,):
            # Several rows for a clip are an error; further axes, as of timesteps, are none here.
            require_rows(self._logits, 1)
        self._one, self._two = (self._shapes(clips) for clips in one_and_two(clip))
        self._longer = self._if_taken(torch.cat([clip, clip], 1))

    def _to_video(self, clip: Tensor) -> Tensor:
        return rearrange(clip, f"batch time channel height width -> {self._layout}")

    def cuts(self) -> list[Call]:
        """The calls through whose output all passes, in their order; of the same the outermost."""
        nodes = cut_nodes(self._logits, self._leaf)
        if not nodes:
            raise ModelError(
                "logits that depend on the clip through differentiable operations",
                "logits that carry no gradient",
                "Remove detach(), no_grad() or conversion to numpy from the model's forward.",
            )
        places = {node: place for place, node in enumerate(nodes)}
        times = [call.path for call in self._calls]
        chosen: dict[int, Call] = {}
        for call in self._calls:
            kept = _kept(call)
            node = None if kept is None else kept.node
            if node in places and call.path and times.count(call.path) == 1:
                chosen.setdefault(places[node], call)
        return sorted(chosen.values(), key=lambda call: call.ended)

    def call(self, path: str) -> Call:
        """The one call of a module.

        Raises:
            ModelError: If there is none, or there are several.
        """
        submodule(self._network.module, path)
        found = [call for call in self._calls if call.path == path and _kept(call) is not None]
        if len(found) != 1:
            raise ModelError(
                f"a layer that runs once for a clip and returns a tensor, at {path!r}",
                f"one that does so {len(found)} times",
                "Name one of those that layers(model, clip) lists.",
            )
        return found[0]

    def timed(self) -> list[tuple[Call, int]]:
        """Those that have a time axis, with it."""
        found = [(call, self.time_axis(call)) for call in self.cuts()]
        return [(call, axis) for call, axis in found if axis is not None]

    def last_no_sum(self, timed: list[tuple[Call, int]]) -> int:
        """The place of the last after which all is no sum over timesteps; -1 if there is none."""
        places = reversed(range(len(timed)))
        return next((place for place in places if not self.is_a_sum(*timed[place])), -1)

    def time_axis(self, call: Call) -> int | None:
        """The axis of a call's output that is time, if there is one."""
        sizes = _values(call).shape
        if self._longer is not None:
            longer = [one for one in self._longer if one.path == call.path]
            if len(longer) != 1 or first_tensor(longer[0].output).ndim != len(sizes):
                return None
            changed = zip(sizes, first_tensor(longer[0].output).shape, strict=True)
            axes = [axis for axis, (size, other) in enumerate(changed) if size != other]
        else:
            axes = [axis for axis in range(len(sizes)) if self._moves_on(call, axis)]
        if len(axes) != 1 or sizes[axes[0]] > self._leaf.shape[1]:
            return None  # none, or tokens of places and timesteps in one
        return axes[0]

    def is_a_sum(self, call: Call, axis: int) -> bool:
        """Whether all that follows a call is a sum over the timesteps of its output."""
        plan = planned(call.path, self._one, self._two)
        time = TimeAxis.of(axis, plan.shape)

        def tail(features: Tensor) -> Tensor:
            return self._output(run_from(self._network, plan, time.to_output(features)))

        features = time.to_features(_values(call).detach())
        return measured(tail, features) is not None

    def row(self, call: Call, axis: int, adds_up: bool) -> Layer:
        """What the table says of a call."""
        output = _values(call)
        steps = output.shape[axis]
        middle = self._reaction(call, axis, steps // 2)
        reached = middle > 0
        own = steps == len(middle) and bool(reached[steps // 2]) and int(reached.sum()) == 1
        return Layer(
            path=call.path,
            kind=type(self._network.module.get_submodule(call.path)).__name__,
            shape=tuple(output.shape),
            time_axis=axis,
            steps=steps,
            adds_up=adds_up,
            reach=int(reached.sum()),
            framewise=own,
        )

    def _moves_on(self, call: Call, axis: int) -> bool:
        """Whether frames that an output depends on move on along an axis, from end to end."""
        steps, frames = _values(call).shape[axis], self._leaf.shape[1]
        if not 1 < steps <= frames:
            return False
        places = torch.arange(frames, dtype=torch.float64)
        ends = []
        for place in (0, steps - 1):
            reaction = self._reaction(call, axis, place)
            ends.append(float((reaction @ places) / reaction.sum().clamp(min=1e-300)))
        return ends[1] - ends[0] > frames / 4

    def _reaction(self, call: Call, axis: int, place: int) -> Tensor:
        """How strongly an entry along an axis reacts to each frame `(time,)`."""
        entry = _values(call).select(axis, place)
        random = torch.Generator().manual_seed(0)
        mixture = torch.randn(entry.shape, generator=random).to(entry)
        total = (entry * mixture).sum()
        # The layer lies between the clip and the logits, so that each entry has a gradient.
        (gradient,) = torch.autograd.grad(total, self._leaf, retain_graph=True)
        reaction: Tensor = gradient[0].flatten(1).double().norm(dim=1).cpu()
        return reaction

    @torch.no_grad()
    def _shapes(self, clip: Tensor) -> tuple[Tensor, list[Call]]:
        video = self._to_video(clip.clone())
        return shape_only(video), recorded(self._network, video)[1]

    def _if_taken(self, clip: Tensor) -> list[Call] | None:
        """The calls for another clip, if the network takes one of its length."""
        try:
            return self._shapes(clip)[1]
        except FITS_NOT as error:
            if is_out_of_memory(error):
                raise
            return None


@dataclass(frozen=True, eq=False)
class _Kept:
    """What a module returned, when it did: what works in place gives it other values and a node.

    Attributes:
        values: A copy, with the graph to the clip.
        node: Of the tensor itself.
    """

    values: Tensor
    node: Any

    @classmethod
    def of(cls, tensor: Tensor) -> _Kept:
        """What is kept of a tensor."""
        return cls(tensor.clone(), tensor.grad_fn)


def _values(call: Call) -> Tensor:
    kept = _kept(call)
    assert kept is not None  # cuts() has chosen calls that returned one
    return kept.values


def _kept(call: Call) -> _Kept | None:
    """The first tensor that a call returned, if any."""
    leaves = pytree.tree_leaves(call.output)
    return next((leaf for leaf in leaves if isinstance(leaf, _Kept)), None)
